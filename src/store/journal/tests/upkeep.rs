//! What a journal does beside writing changes: the control file, the directory, the first copy, new files and the stop.

use super::faults::{Fault, Faults, NOW, check_pauses, failed, failures, open_bad, open_on, wait_for};
use super::*;

/// So short that an eighth of it, after which a new file is begun, passes while a test runs.
const SHORT: Millis = Millis::from_millis(160);

#[test]
fn a_header_vouches_for_all_that_came_before_its_file() {
    let temp = Temp::new();
    let (journal, start) = open(&temp, SyncPolicy::Always);
    assert_eq!(Client::new(&journal).one(start, "ann", "a", START), (Started, 1));
    drop(journal);
    let (journal, _) = open_on(&temp, SyncPolicy::Always, SHORT, SAY, Faults::default());
    // The second file has all that lives, and the horizon is where its run began.
    let names = ["0000000002.log", "0000000003.log"].map(|name| temp.0.join(name));
    until(|| {
        journal.sweep(NOW);
        temp.files() == names
    });
    drop(journal);
    fs::remove_file(&temp.files()[0]).unwrap();
    let error = Journal::open(&temp.0, policy(SHORT), SyncPolicy::Always, SAY).err().unwrap();
    assert!(error.contains("0000000002.log is missing"), "{error}");
}

#[test]
fn the_first_copy_does_not_grow_while_the_disk_fails() {
    let temp = Temp::new();
    let (journal, start) = open(&temp, SyncPolicy::Always);
    let names: Vec<String> = (0..500).map(|n| format!("user{n}")).collect();
    let starts: Vec<_> = names.iter().map(|name| (&**name, "v", START)).collect();
    Client::new(&journal).run(start, &starts);
    drop(journal);
    let full = Faults::default();
    full.writes.store(true, Relaxed);
    let (journal, faults) = open_on(&temp, SyncPolicy::Always, LEASE, SAY, full);
    let queued_after = |n| {
        until(|| {
            journal.sweep(NOW);
            failures(&journal) > n
        });
        journal.lane.mailbox.look(|queue| queue.queued())
    };
    // The records have ended as a block by then.
    let queued = queued_after(3);
    assert_eq!(queued_after(7), queued);
    faults.writes.store(false, Relaxed);
    wait_for(&journal, true);
    drop(journal);
    assert_eq!(open(&temp, SyncPolicy::Always).0.census().unwrap().playing, 500);
}

/// A journal in which 3,000 play, whose records are more than may wait for the disk.
fn with_a_crowd(temp: &Temp) {
    let (journal, start) = open(temp, SyncPolicy::Always);
    let names: Vec<String> = (0..3000).map(|n| format!("user{n:0100}")).collect();
    for names in names.chunks(100) {
        let starts: Vec<_> = names.iter().map(|name| (&**name, "v", START)).collect();
        assert!(Client::new(&journal).run(start, &starts).iter().all(|said| said.0 == Started));
    }
    assert!(fs::metadata(&temp.files()[0]).unwrap().len() > MAX_QUEUED as u64);
}

#[test]
fn a_stop_that_follows_a_start_soon_finishes_the_first_copy() {
    let temp = Temp::new();
    with_a_crowd(&temp);
    for _ in 0..4 {
        drop(open(&temp, SyncPolicy::Always));
        assert!(temp.files().len() <= 2, "{:?}", temp.files());
    }
    assert_eq!(open(&temp, SyncPolicy::Always).0.census().unwrap().playing, 3000);
}

/// The copy is never kept, and what a lease has voided goes all the same.
#[test]
fn a_disk_that_is_full_from_the_first_copy_on_is_emptied() {
    for crowd in [false, true] {
        let temp = Temp::new();
        if crowd {
            with_a_crowd(&temp);
        } else {
            let (journal, start) = open(&temp, SyncPolicy::Always);
            assert_eq!(Client::new(&journal).one(start, "ann", "a", START), (Started, 1));
        }
        let full = Faults::default();
        full.writes.store(true, Relaxed);
        let (journal, _faults) = open_on(&temp, SyncPolicy::Always, LEASE, SAY, full);
        journal.sweep(NOW);
        until(|| !journal.is_up());
        for n in 0..4 {
            let now = NOW + secs(n * 100);
            (0..=crate::store::memory::SHARDS).for_each(|_| _ = journal.sweep(now));
        }
        until(|| lock(&journal.ledger.closed).is_empty());
    }
}

#[test]
fn heartbeats_without_end_are_no_disk_that_hangs() {
    let temp = Temp::new();
    let (journal, start) = open(&temp, SyncPolicy::Always);
    let names: Vec<String> = (0..1000).map(|n| format!("user{n}")).collect();
    let commands = |action| names.iter().map(|name| (&**name, "v", action)).collect::<Vec<_>>();
    let mut client = Client::new(&journal);
    client.run(start, &commands(START));
    let (beats, began, mut now) = (commands(BEAT), Instant::now(), start);
    // The clock runs eight times as fast, so that ten seconds pass twice; but a machine that stands still is no disk that does.
    while now < start + secs(20) {
        let elapsed = Millis::from_millis(8 * began.elapsed().as_millis() as u64);
        now = (start + elapsed).min(now + secs(1));
        client.run(now, &beats);
        journal.sweep(now);
        assert!(journal.is_up(), "{:?}", journal.trouble());
    }
}

#[test]
fn a_stop_keeps_the_heartbeats_of_an_outage_that_has_just_ended() {
    let temp = Temp::new();
    let (journal, faults) = open_bad(&temp, SyncPolicy::Always);
    let mut client = Client::new(&journal);
    assert_eq!(client.one(NOW, "ann", "a", START), (Started, 1));
    settle(&journal);
    faults.writes.store(true, Relaxed);
    assert_eq!(client.one(NOW, "bob", "a", START), (Unavailable, 0));
    let moved = Action::Beat { position: Some(Position::from_secs(7)), playing: None };
    assert_eq!(client.one(NOW, "ann", "a", moved), (Renewed, 1));
    faults.writes.store(false, Relaxed);
    assert_eq!(journal.stop(STOP), Ok(()));
    drop((client, journal));
    let (journal, start) = open(&temp, SyncPolicy::Always);
    let (batch, _) = Client::new(&journal).turn(start, &[("ann", "", Action::List)]);
    assert_eq!(batch.streams(&batch.entries[0].outcome)[0].position.secs(), 7);
}

/// Who has waited since before the first attempt is told too.
#[test]
fn a_control_file_that_cannot_be_synced_at_the_start_is_said_once_and_tried_again() {
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let say: Say = |text| lock(&SAID).push(text.into());
    let temp = Temp::new();
    let ill = Faults::default();
    ill.control_syncs.store(true, Relaxed);
    ill.hanging_control.store(true, Relaxed);
    let (journal, faults) = open_on(&temp, SyncPolicy::Always, SHORT, say, ill);
    let mut client = Client::new(&journal);
    let mut batch = client.submit(NOW, &[("ann", "a", START)]);
    assert!(batch.waits());
    std::thread::sleep(Duration::from_millis(30));
    faults.hanging_control.store(false, Relaxed);
    client.wait(NOW, 1, &mut batch);
    assert_eq!(batch.entries[0].outcome.verdict, Unavailable);
    until(|| failed(&journal, Failing::Sync) > 3);
    assert!(journal.trouble().unwrap().contains("cannot write to bad: "));
    assert_eq!(temp.files().len(), 0, "it is on the disk before there is any other");
    faults.control_syncs.store(false, Relaxed);
    wait_for(&journal, true);
    assert_eq!(client.one(NOW, "ann", "a", START), (Renewed, 1), "it had been made after all");
    let said = lock(&SAID);
    assert!(
        said.len() == 2 && said[0].contains("cannot write") && said[1].contains("again, after"),
        "{said:?}"
    );
}

#[test]
fn a_file_that_cannot_be_deleted_does_not_keep_the_others() {
    let temp = Temp::new();
    let (journal, faults) = open_on(&temp, SyncPolicy::Always, SHORT, SAY, Faults::default());
    let mut client = Client::new(&journal);
    faults.removes.store(true, Relaxed);
    let mut now = NOW;
    until(|| {
        now = now + Millis::from_millis(40);
        client.one(now, "ann", "a", START);
        (0..crate::store::memory::SHARDS).for_each(|_| _ = journal.sweep(now));
        temp.files().len() > 4 && failed(&journal, Failing::Delete) > 0
    });
    let first = temp.files()[0].clone();
    fs::remove_file(&first).unwrap();
    fs::create_dir(&first).unwrap();
    faults.removes.store(false, Relaxed);
    until(|| {
        settle(&journal);
        now = now + Millis::from_millis(40);
        (0..crate::store::memory::SHARDS).for_each(|_| _ = journal.sweep(now));
        lock(&journal.ledger.closed).len() == 1
    });
    assert!(failed(&journal, Failing::Delete) > 1 && journal.is_up());
}

/// None of it keeps a change from being kept: it is said once, counted, and tried again after a pause.
#[test]
fn what_lets_the_directory_grow_is_said_once_and_counted_and_no_change_is_refused() {
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let say: Say = |text| lock(&SAID).push(text.into());
    let rows: [(Fault, Failing, &str); 4] = [
        (|faults| &faults.removes, Failing::Delete, "delete what is void in"),
        (|faults| &faults.control_syncs, Failing::Sync, "delete what is void in"),
        (|faults| &faults.directory_syncs, Failing::Directory, "begin a file in"),
        (|faults| &faults.creates, Failing::Directory, "begin a file in"),
    ];
    for (fault, kind, what) in rows {
        let temp = Temp::new();
        let (journal, faults) = open_on(&temp, SyncPolicy::Always, SHORT, say, Faults::default());
        let mut client = Client::new(&journal);
        assert_eq!(client.one(NOW, "ann", "a", START), (Started, 1));
        settle(&journal);
        let begun = Instant::now();
        fault(&faults).store(true, Relaxed);
        let mut now = NOW;
        until(|| {
            now = now + Millis::from_millis(40);
            client.one(now, "ann", "a", START);
            (0..crate::store::memory::SHARDS).for_each(|_| _ = journal.sweep(now));
            failed(&journal, kind) > 0
        });
        for _ in 0..20 {
            assert_eq!(client.one(now, "ann", "a", START), (Renewed, 1), "{kind:?}");
            assert!(journal.is_up());
            std::thread::sleep(Duration::from_millis(10));
        }
        let said = std::mem::take(&mut *lock(&SAID));
        assert!(said.len() == 1 && said[0].contains(what), "{kind:?}: {said:?}");
        if what.starts_with("delete") {
            check_pauses(&journal, kind, begun);
        }
        fault(&faults).store(false, Relaxed);
        until(|| !lock(&SAID).is_empty());
        assert!(lock(&SAID).remove(0).contains(" again, after "));
        drop((client, journal));
        lock(&SAID).clear();
    }
}
