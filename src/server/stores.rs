//! Which store `--store` asks for.

use std::sync::Arc;

use super::notice;
use crate::codec::redis_url::Url;
use crate::config::{Config, StoreDown, StoreKind};
use crate::store::Store;
use crate::store::journal::Journal;
use crate::store::memory::Memory;
use crate::store::redis::{self, Redis};
use crate::streams::account::Policy;
use crate::sys;
use crate::time::Timestamp;

/// Opens it; tells besides where the clock of its leases goes on.
///
/// # Errors
///
/// A sentence that says what has to be changed.
pub fn open(config: &Config) -> Result<(Arc<dyn Store>, Timestamp), String> {
    let Config { lease, when_full, one_per_device, .. } = *config;
    let adopt_until = Timestamp::BEGINNING + lease;
    let policy = Policy { lease, when_full, one_per_device, adopt_until };
    match &config.store {
        StoreKind::Memory => Ok((Arc::new(Memory::new(policy)), Timestamp::BEGINNING)),
        StoreKind::Dir(path) => {
            let (journal, first) = Journal::open(path, policy, config.sync, notice)?;
            // What reading it took.
            sys::release_memory();
            Ok((Arc::new(journal), first))
        }
        StoreKind::Redis(url) => {
            let (url, timeout) = (Url::clone(url), config.store_timeout);
            let local = config.store_down == StoreDown::Local;
            let settings = redis::Settings { url, timeout, local, policy, say: notice };
            Ok((Arc::new(Redis::start(settings)?), Timestamp::BEGINNING))
        }
    }
}
