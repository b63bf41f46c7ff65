//! The one place that opens what a server can do without: its store, by `--store`, and what watches for the operators.

use std::sync::Arc;

use crate::app::site::Observer;
#[cfg(feature = "redis")]
use crate::config::StoreDown;
use crate::config::{Config, StoreKind};
#[cfg(feature = "operators")]
use crate::operators::Operators;
use crate::store::Store;
#[cfg(feature = "journal")]
use crate::store::journal::Journal;
use crate::store::memory::Memory;
#[cfg(feature = "redis")]
use crate::store::redis::{self, Redis};
use crate::streams::account::{Adoption, Policy};
use crate::time::Timestamp;

/// Opens the store; tells besides where the clock of its leases goes on.
///
/// # Errors
///
/// A sentence that says what has to be changed.
pub fn store(config: &Config) -> Result<(Arc<dyn Store>, Timestamp), String> {
    let Config { lease, when_full, one_per_device, max_users, .. } = *config;
    let adoption = Adoption::Until(Timestamp::BEGINNING + lease);
    let policy = Policy { lease, when_full, one_per_device, adoption, max_users };
    match &config.store {
        StoreKind::Memory => Ok((Arc::new(Memory::new(policy)), Timestamp::BEGINNING)),
        #[cfg(feature = "journal")]
        StoreKind::Dir(path) => {
            let (journal, first) = Journal::open(path, policy, config.sync, super::notice)?;
            // What reading it took.
            crate::sys::release_memory();
            Ok((Arc::new(journal), first))
        }
        #[cfg(feature = "redis")]
        StoreKind::Redis(url) => {
            let (url, timeout) = (redis::url::Url::clone(url), config.store_timeout);
            let adoption = match config.store_down {
                StoreDown::Allow => Adoption::Always,
                StoreDown::Refuse => Adoption::default(),
            };
            let policy = Policy { adoption, ..policy };
            let settings = redis::Settings { url, timeout, policy, say: super::notice };
            Ok((Arc::new(Redis::start(settings)?), Timestamp::BEGINNING))
        }
    }
}

/// What watches for the operators, if they have a listener.
#[cfg(feature = "operators")]
pub fn observer(config: &Config) -> Option<Box<dyn Observer>> {
    config.admin.map(|_| -> Box<dyn Observer> { Box::new(Operators::new(config.workers + 1)) })
}

/// Nothing does.
#[cfg(not(feature = "operators"))]
pub fn observer(_: &Config) -> Option<Box<dyn Observer>> {
    None
}
