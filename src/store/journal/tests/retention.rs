//! What is old goes, and nothing else.

use super::*;

/// So short that an eighth of it passes while a test runs.
const SHORT: Millis = Millis::from_millis(40);

fn open_short(temp: &Temp) -> (Arc<Journal>, Timestamp) {
    let (journal, start) = Journal::open(&temp.0, policy(SHORT), SyncPolicy::Always, SAY).unwrap();
    (Arc::new(journal), start)
}

/// One round of the sweep, with every lane's syncer woken before it.
fn round(journal: &Journal, now: Timestamp) {
    std::thread::sleep(std::time::Duration::from_millis(12));
    for lane in journal.lanes().clone() {
        lane.tend(&journal.files);
    }
    while journal.sweep(now).visits > 0 {
        if journal.sweeper.lock().unwrap().visits == 0 {
            break;
        }
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
    // The sweeper's own file is empty, and stays.
    let second = temp.files()[1].clone();
    assert!(second > temp.0.join("0000000030.log"), "{second:?}");
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
