//! Whatever bytes are taken for an account are its record, and a command leaves an account that has a record.

#![no_main]

use libfuzzer_sys::fuzz_target;
use streamer::streams::account::{Account, Policy, WhenFull};
use streamer::streams::arena::Arena;
use streamer::streams::batch::{Action, Command, Findings, Replace};
use streamer::time::{Millis, Timestamp};

fuzz_target!(|record: &[u8]| {
    let Ok(mut account) = Account::decode(record) else { return };
    assert_eq!(encoded(&account), record);
    let mut arena = Arena::default();
    let (user, key) = (arena.add(b"ann"), arena.add(b"v\0tv"));
    let now = account.forgotten_at().unwrap_or_default();
    let now = Timestamp::from_millis(now.millis().saturating_sub(90_000));
    let policy = Policy {
        lease: Millis::from_secs(90),
        when_full: WhenFull::ReplaceOldest,
        one_per_device: true,
        adopt_until: now,
    };
    for action in [
        Action::Start { position: None, replace: Replace::ByPolicy, switch: true },
        Action::Beat { position: None, playing: Some(false) },
        Action::Evict { message: key },
        Action::Hold { length: Millis::from_secs(1), message: user },
    ] {
        let command = Command { user, key, limit: 3, action };
        account.apply(now, &policy, &command, &arena, &mut Findings::default());
        assert_eq!(Account::decode(&encoded(&account)).as_ref(), Ok(&account));
    }
});

fn encoded(account: &Account) -> Vec<u8> {
    let mut record = Vec::new();
    account.encode(&mut record);
    record
}
