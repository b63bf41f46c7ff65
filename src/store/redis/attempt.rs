//! What waits for a server: one attempt to connect, and one search for the map.
//!
//! *Invariant:* each is done by a thread that has nothing else to do.

use super::cluster::{self, Range};
use super::control::{Control, LogIn, Trouble};
use super::stream::Stream;
use crate::codec::redis_url::Address;
use crate::codec::resp::Reply;

/// A connection for a session.
pub struct Connected {
    /// Logged in.
    pub stream: Stream,
    /// Which of the node's addresses it leads to.
    pub at: usize,
}

/// What a server has said of who has the keys.
pub enum Found {
    /// Each range of slots has a node.
    Cluster(Vec<Range>),
    /// It is no Cluster.
    Single,
}

/// Connects to the first of a node's addresses that is a master, the one that was `good` last before the others.
pub fn connect(addresses: &[Address], good: usize, log_in: &LogIn) -> Result<Connected, Trouble> {
    let mut last = Trouble::Away("no address".into());
    for i in 0..addresses.len() {
        let at = (good + i) % addresses.len();
        let address = &addresses[at];
        let connected =
            Control::open(address, log_in).and_then(|mut control| match control.is_replica()? {
                true => Err(Trouble::Away(format!("{address} is a replica"))),
                false => control.into_stream(),
            });
        match connected {
            Ok(stream) => return Ok(Connected { stream, at }),
            Err(trouble) => last = trouble,
        }
    }
    Err(last)
}

/// Asks one server after the other for the map until one answers.
pub fn find(peers: &[Address], log_in: &LogIn) -> Result<Found, Trouble> {
    let mut last = Trouble::Away("no server is known".into());
    for address in peers {
        match ask_for_map(address, log_in) {
            Ok(found) => return Ok(found),
            // What the operator has to change is more worth saying than which node is away.
            Err(trouble) if matches!(last, Trouble::Away(_)) => last = trouble,
            Err(_) => {}
        }
    }
    Err(last)
}

fn ask_for_map(address: &Address, log_in: &LogIn) -> Result<Found, Trouble> {
    let mut control = Control::open(address, log_in)?;
    let ranges = control.ask(&[b"CLUSTER", b"SLOTS"], |reply| match reply {
        Reply::Error(_) => Ok(None),
        reply => Ok(cluster::map(reply, address)),
    })?;
    Ok(ranges.map_or(Found::Single, Found::Cluster))
}
