//! Whatever bytes are taken for an account are its record, and a command leaves an account that has a record.

#![no_main]

use libfuzzer_sys::fuzz_target;
use streamer::streams::account::{Account, Adoption, Policy, WhenFull};
use streamer::streams::arena::Arena;
use streamer::streams::batch::{Action, Command, Findings, Replace};
use streamer::time::{Millis, Timestamp};

fuzz_target!(|record: &[u8]| {
    let Ok(mut account) = Account::decode(record) else { return };
    // Version 1 is only read.
    assert!(record[0] == 1 || encoded(&account) == record);
    let mut arena = Arena::default();
    let (user, key) = (arena.add(b"ann"), arena.add(b"v\0tv"));
    let now = account.forgotten_at().unwrap_or_default();
    let now = Timestamp::from_millis(now.millis().saturating_sub(90_000));
    let policy = Policy {
        when_full: WhenFull::ReplaceOldest,
        one_per_device: true,
        adoption: Adoption::Always,
        ..Policy::new(Millis::from_secs(90))
    };
    for action in [
        Action::Start { position: None, replace: Replace::ByPolicy, switch: true },
        Action::pause(),
        Action::Evict { message: key },
        Action::Hold { length: Millis::from_secs(1), message: user },
    ] {
        let command = Command::new(user, key, 3, action);
        account.apply(now, &policy, &command, &arena, &mut Findings::default());
        assert_eq!(Account::decode(&encoded(&account)).as_ref(), Ok(&account));
    }
});

fn encoded(account: &Account) -> Vec<u8> {
    let mut record = Vec::new();
    account.encode(&mut record);
    record
}
