//! A disk that does not answer, in a write or in a sync.

use super::faults::{NOW, open_bad, wait_for};
use super::*;

/// While the disk hangs, changes wait, and so does whatever else is asked of their users; nothing else does.
#[test]
fn a_disk_that_does_not_answer_has_failed_after_ten_seconds() {
    for (sync, in_write) in
        [(SyncPolicy::Always, false), (SyncPolicy::Always, true), (SyncPolicy::Second, true)]
    {
        let temp = Temp::new();
        let (journal, faults) = open_bad(&temp, sync);
        let (mut client, mut other) = (Client::new(&journal), Client::new(&journal));
        assert_eq!(client.one(NOW, "zoe", "a", START), (Started, 1));
        settle(&journal);
        let hangs = if in_write { &faults.hanging_writes } else { &faults.hangs };
        let begun = faults.begun.load(Relaxed);
        hangs.store(true, Relaxed);
        let mut batch =
            client.submit(NOW, &[("ann", "a", START), ("zoe", "a", BEAT), ("ann", "a", Action::Look)]);
        assert_eq!(batch.entries.iter().map(|entry| entry.waits).collect::<Vec<_>>(), [true, false, false]);
        until(|| faults.begun.load(Relaxed) > begun);
        for command in [("ann", "a", START), ("ann", "a", BEAT), ("ann", "b", Action::End)] {
            assert!(other.submit(NOW, &[command]).waits(), "{command:?} {sync:?}");
        }
        assert!(
            !other.submit(NOW, &[("ann", "", Action::List), ("zoe", "a", BEAT), ("carl", "a", BEAT)]).waits()
        );
        let early = NOW + Millis::from_millis(PATIENCE.millis() - 1);
        journal.watch(early);
        assert_eq!(client.session.complete(early, &mut Registry(&mut client.poller)), None);
        let due = NOW + PATIENCE;
        journal.watch(due);
        client.wait(due, 2, &mut batch);
        assert_eq!((batch.entries[0].outcome.verdict, journal.is_up()), (Unavailable, false));
        assert!(journal.trouble().unwrap().contains("the disk does not answer"));
        assert_eq!(client.one(due, "ann", "b", START), (Unavailable, 0));
        assert_eq!(client.one(due, "ann", "b", Action::Look), (Info, 1));
        assert_eq!(client.one(due, "zoe", "a", BEAT), (Renewed, 1));
        hangs.store(false, Relaxed);
        wait_for(&journal, true);
        assert_eq!(client.one(due, "ann", "a", START), (Renewed, 1), "it had been made after all");
    }
}

/// With heartbeats alone it is noticed too.
#[test]
fn a_disk_that_hangs_is_noticed_by_the_oldest_work_whoever_waits() {
    for sync in [SyncPolicy::Always, SyncPolicy::Second] {
        let temp = Temp::new();
        let (journal, faults) = open_bad(&temp, sync);
        let mut client = Client::new(&journal);
        assert_eq!(client.one(NOW, "ann", "a", START), (Started, 1));
        settle(&journal);
        let begun = faults.begun.load(Relaxed);
        faults.hangs.store(true, Relaxed);
        assert_eq!(client.one(NOW, "ann", "a", BEAT), (Renewed, 1));
        until(|| faults.begun.load(Relaxed) > begun + usize::from(sync == SyncPolicy::Always));
        journal.watch(NOW + PATIENCE);
        assert!(!journal.is_up());
        let oldest = journal.measures().into_iter().find(|m| m.family == "streamer_journal_oldest_seconds");
        assert_eq!(oldest.unwrap().value, crate::measures::Reading::Gauge(10));
        faults.hangs.store(false, Relaxed);
        wait_for(&journal, true);
    }
}

#[test]
fn a_stop_after_a_disk_has_answered_however_late_ends_well() {
    let temp = Temp::new();
    let (journal, faults) = open_bad(&temp, SyncPolicy::Always);
    let mut client = Client::new(&journal);
    assert_eq!(client.one(NOW, "ann", "a", START), (Started, 1));
    settle(&journal);
    faults.hangs.store(true, Relaxed);
    let mut batch = client.submit(NOW, &[("ann", "b", START)]);
    journal.watch(NOW + PATIENCE);
    client.wait(NOW + PATIENCE, 2, &mut batch);
    assert!(!journal.is_up());
    faults.hangs.store(false, Relaxed);
    assert_eq!(journal.stop(STOP), Ok(()));
    drop((client, journal));
    let (journal, start) = open(&temp, SyncPolicy::Always);
    assert_eq!(Client::new(&journal).one(start, "ann", "b", Action::Look), (Info, 2));
}

/// Heartbeats wait for as long as the disk says no. When it takes them again, that is no disk that does not answer.
#[test]
fn a_disk_that_has_said_no_for_long_does_not_hang_when_it_is_back() {
    let temp = Temp::new();
    let (journal, faults) = open_bad(&temp, SyncPolicy::Second);
    let mut client = Client::new(&journal);
    assert_eq!(client.one(NOW, "zoe", "a", START), (Started, 1));
    settle(&journal);
    faults.writes.store(true, Relaxed);
    assert_eq!(client.one(NOW, "ann", "b", START), (Unavailable, 0));
    assert_eq!(client.one(NOW, "zoe", "a", BEAT), (Renewed, 1));
    let late = NOW + PATIENCE + PATIENCE;
    journal.watch(late);
    assert!(journal.trouble().is_some_and(|trouble| !trouble.contains("does not answer")));
    faults.writes.store(false, Relaxed);
    wait_for(&journal, true);
    journal.watch(late);
    assert_eq!(journal.trouble(), None);
}
