//! `--pass`: what a player shows to a CDN that cannot ask here before each segment.
//!
//! A pass is a JWT: `{"sub":USER,"id":VIDEO,"device":DEVICE,"exp":SECONDS}`, without `device` where
//! there is none. It ends with the lease of its stream; each heartbeat answers the next one, and who is refused gets none.
//!
//! *Invariant:* nothing here reads a pass: it lets nobody in here. (Tested by `a_pass_lets_nobody_in_here`.)

use super::exchange::{Exchange, Requests};
use super::{App, response};
use crate::codec::append;
use crate::codec::json::Quoted;
use crate::codec::template::Placeholder;
use crate::streams::batch::{Entry, StreamView, Verdict};
use crate::time::{Millis, Timestamp};

impl App {
    /// Makes the pass that goes with a response: nothing if the stream does not play, or none is shown.
    pub(super) fn make_pass(&mut self, exchange: &Exchange, requests: &Requests) {
        self.pass.clear();
        let Some(keys) = &self.credentials.pass else { return };
        let Some(Entry { command, outcome, .. }) = exchange.entry(requests) else { return };
        let (batch, wall) = (&requests.batch, self.now.wall);
        let is_shown = match outcome.verdict {
            Verdict::Started | Verdict::Renewed => true,
            Verdict::Info => !command.key.is_empty() && self.site.config.endpoint.names(Placeholder::Pass),
            _ => false,
        };
        if let (true, [StreamView { playing: true, expires_in, .. }]) = (is_shown, batch.streams(outcome)) {
            let [user, key] = [command.user, command.key].map(|word| batch.arena.get(word));
            keys.write(|out| claims(user, key, wall, *expires_in, out), &mut self.pass);
        }
    }
}

fn claims(user: &[u8], key: &[u8], wall: Timestamp, rest: Millis, out: &mut Vec<u8>) {
    append!(out, "{\"sub\":", Quoted(user), ",");
    response::name(key, out);
    append!(out, ",\"exp\":", (wall + rest).millis().div_ceil(1000), "}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_names_the_stream_and_ends_with_its_lease() {
        for (key, millis, expected) in [
            (&b"V"[..], 90_000, r#"{"sub":"al\"ice","id":"V","exp":1800000090}"#),
            (b"V\0t v", 89_001, r#"{"sub":"al\"ice","id":"V","device":"t v","exp":1800000090}"#),
            ("é\\\0tv".as_bytes(), 89_000, r#"{"sub":"al\"ice","id":"é\\","device":"tv","exp":1800000089}"#),
        ] {
            let (wall, mut out) = (Timestamp::from_millis(1_800_000_000_000), Vec::new());
            claims(b"al\"ice", key, wall, Millis::from_millis(millis), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
