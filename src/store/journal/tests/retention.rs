//! What is old goes, and nothing else.

use super::faults::failed;
use super::*;

/// So short that an eighth of it passes while a test runs.
const SHORT: Millis = Millis::from_millis(40);

fn open_short(temp: &Temp) -> (Arc<Journal>, Timestamp) {
    let (journal, start) = Journal::open(&temp.0, policy(SHORT), SyncPolicy::Always, SAY).unwrap();
    (Arc::new(journal), start)
}

/// One round of the sweep, when all that came before it is on the disk.
fn round(journal: &Journal, now: Timestamp) {
    std::thread::sleep(Duration::from_millis(6));
    settle(journal);
    for _ in 0..crate::store::memory::SHARDS {
        journal.sweep(now);
    }
}

#[test]
fn files_go_when_a_lease_has_passed_and_what_lives_stays() {
    let temp = Temp::new();
    let (journal, start) = open_short(&temp);
    let mut client = Client::new(&journal);
    let mut most = 0;
    let mut now = start;
    for i in 0..60 {
        now = now + Millis::from_millis(10);
        assert_eq!(client.one(now, "ann", "a", START).1, 1);
        client.one(now, &format!("user{i}"), "a", START);
        round(&journal, now);
        most = most.max(temp.files().len());
    }
    assert!(most < 20, "{most} files");
    let first = temp.files()[0].clone();
    assert!(first > temp.0.join("0000000005.log"), "{first:?}");
    drop((client, journal));
    let (journal, now) = open_short(&temp);
    let mut client = Client::new(&journal);
    assert_eq!(client.one(now, "ann", "a", Action::Look), (Info, 1));
    assert_eq!(client.one(now, "user59", "a", Action::Look), (Info, 1));
    assert_eq!(client.one(now, "user1", "a", BEAT), (Unknown, 0));
}

#[test]
fn a_hold_outlives_its_file_and_one_that_was_lifted_does_not_come_back() {
    let temp = Temp::new();
    let (mut journal, start) = open_short(&temp);
    let mut client = Client::new(&journal);
    let hold = |length| Action::Hold { length, message: Word::default() };
    for user in ["ann", "bob", "carl"] {
        client.one(start, user, "", hold(secs(1000)));
    }
    let mut now = start;
    for i in 0..40 {
        now = now + Millis::from_millis(10);
        if i == 10 {
            client.one(now, "bob", "", hold(Millis::ZERO));
        }
        round(&journal, now);
        if i % 8 == 0 {
            drop((client, Arc::into_inner(journal)));
            (journal, now) = open_short(&temp);
            client = Client::new(&journal);
        }
    }
    assert!(temp.files().len() < 20, "{:?}", temp.files());
    assert_eq!(client.one(now, "ann", "a", START), (Held, 0));
    assert_eq!(client.one(now, "bob", "a", START), (Started, 1));
    assert_eq!(client.one(now, "carl", "a", START), (Held, 0));
}

/// Each start copies what lives into new files, and the ones before go.
#[test]
fn restarts_do_not_add_files() {
    let temp = Temp::new();
    for i in 0..40 {
        let (journal, start) = open(&temp, SyncPolicy::Always);
        let mut client = Client::new(&journal);
        assert_eq!(client.one(start, &format!("user{i}"), "a", START), (Started, 1));
        if i % 2 == 0 {
            client.one(start, &format!("user{i}"), "a", Action::End);
        }
        drop((client, journal));
        assert!(temp.files().len() <= 3, "{:?}", temp.files());
    }
    let (journal, _) = open(&temp, SyncPolicy::Always);
    assert_eq!(journal.census().unwrap().playing, 20);
}

/// What is void goes although nothing can be written, and what cannot be deleted is tried again.
#[test]
fn deletion_depends_on_the_clock_alone() {
    let temp = Temp::new();
    let (journal, faults) = faults::open_bad(&temp, SyncPolicy::Always);
    let mut client = Client::new(&journal);
    assert_eq!(client.one(faults::NOW, "ann", "a", START), (Started, 1));
    faults.writes.store(true, Relaxed);
    assert_eq!(client.one(faults::NOW, "ann", "b", START), (Unavailable, 0));
    until(|| !lock(&journal.ledger.closed).is_empty());
    faults.removes.store(true, Relaxed);
    for now in [faults::NOW, faults::NOW + LEASE, faults::NOW + LEASE + LEASE] {
        (0..=crate::store::memory::SHARDS).for_each(|_| _ = journal.sweep(now));
    }
    until(|| failed(&journal, Failing::Delete) > 0);
    faults.removes.store(false, Relaxed);
    until(|| lock(&journal.ledger.closed).is_empty());
    assert!(!journal.is_up());
    faults.writes.store(false, Relaxed);
    faults::wait_for(&journal, true);
}
