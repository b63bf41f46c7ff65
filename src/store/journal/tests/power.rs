//! The power goes: files end anywhere, or hold something else than was written.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::store::journal::format::HEADER;

/// The file of the only worker: the one that is not the sweeper's.
fn log(temp: &Temp) -> PathBuf {
    temp.files().pop().unwrap()
}

/// Starts a stream for user after user, each answered before the next. Gives the file, and how long it was at each
/// answer.
fn history(temp: &Temp, users: usize) -> (Vec<u8>, Vec<usize>) {
    let (journal, start) = open(temp, SyncPolicy::Always);
    let mut client = Client::new(&journal);
    let path = log(temp);
    let mut lengths = Vec::new();
    for i in 0..users {
        assert_eq!(client.one(start, &format!("user{i}"), "v", START), (Started, 1));
        lengths.push(fs::metadata(&path).unwrap().len() as usize);
        client.one(start + Millis::from_millis(1), "user0", "v", BEAT);
    }
    drop((client, journal));
    (fs::read(&path).unwrap(), lengths)
}

/// What becomes of a journal whose file is this.
fn replayed(temp: &Temp, path: &Path, bytes: &[u8]) -> Result<(Memory, Found), String> {
    fs::write(path, bytes).unwrap();
    let memory = Memory::new(policy(LEASE));
    let found = replay::replay(&Directory::open(&temp.0)?, &memory, LEASE, SAY)?;
    Ok((memory, found))
}

#[test]
fn every_prefix_that_contains_what_was_synced_holds_all_that_was_answered() {
    let temp = Temp::new();
    let (file, lengths) = history(&temp, 12);
    let path = log(&temp);
    for len in 0..=file.len() {
        let answered = lengths.iter().filter(|&&length| length <= len).count() as u64;
        let (memory, _) = replayed(&temp, &path, &file[..len]).unwrap();
        let playing = memory.census().unwrap().playing;
        assert!(
            (answered..=answered + 1).contains(&playing),
            "{playing} after {len} bytes: {answered} answered"
        );
    }
}

#[test]
fn a_tail_is_cut_off_once_and_kept_aside() {
    let temp = Temp::new();
    let (file, lengths) = history(&temp, 3);
    let path = log(&temp);
    let len = lengths[2] - 5;
    fs::write(&path, &file[..len]).unwrap();
    let (journal, start) = open(&temp, SyncPolicy::Always);
    assert_eq!(temp.torn(), 1);
    for entry in fs::read_dir(&temp.0).unwrap() {
        let (entry, others) = (entry.unwrap(), 0o077);
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & others,
            0,
            "{entry:?} says who watches what"
        );
    }
    let mut client = Client::new(&journal);
    assert_eq!(client.one(start, "user1", "v", Action::Look), (Info, 1));
    assert_eq!(client.one(start, "user2", "v", START), (Started, 1));
    drop((client, journal));
    open(&temp, SyncPolicy::Always);
    assert_eq!(temp.torn(), 1);
    assert!(fs::metadata(&path).unwrap().len() < len as u64);
}

#[test]
fn damage_in_what_was_synced_stops_the_start_with_file_and_offset() {
    let temp = Temp::new();
    let (mut file, lengths) = history(&temp, 4);
    let path = log(&temp);
    let mut damaged = 0;
    for at in 0..file.len() {
        file[at] ^= 0x20;
        match replayed(&temp, &path, &file) {
            Err(error) => {
                damaged += 1;
                let where_and_what = error.contains(&path.display().to_string())
                    && (error.contains("damaged at byte ") || error.contains("a later version"));
                assert!(where_and_what, "{error}");
            }
            // What no later block vouches for could have been cut off as well.
            Ok(_) => assert!(at >= lengths[2], "byte {at} of {} was changed unseen", file.len()),
        }
        file[at] ^= 0x20;
    }
    assert!(damaged >= lengths[2], "{damaged}");
}

#[test]
fn a_file_that_was_being_begun_is_no_loss_and_a_later_version_is_refused() {
    let temp = Temp::new();
    let (file, _) = history(&temp, 2);
    let next = temp.0.join("0000000099.log");
    for len in [0, 1, HEADER - 1] {
        let (memory, _) = replayed(&temp, &next, &file[..len]).unwrap();
        assert_eq!(memory.census().unwrap().playing, 2);
        assert!(!next.exists());
    }
    let mut newer = file.clone();
    newer[8] = 2;
    let error = replayed(&temp, &next, &newer).err().unwrap();
    assert!(error.contains("written by a later version of streamer (format 2)"), "{error}");
    let error = replayed(&temp, &next, &file).err().unwrap();
    assert!(error.contains("0000000099.log is damaged at byte 16"), "a file of another number: {error}");
    fs::remove_file(&next).unwrap();
    let error = replayed(&temp, &temp.0.join("control"), &[7; 64]).err().unwrap();
    assert!(error.contains("control is damaged at byte 0"), "{error}");
}

#[test]
fn without_the_control_file_nothing_is_lost() {
    let temp = Temp::new();
    history(&temp, 5);
    fs::remove_file(temp.0.join("control")).unwrap();
    let (journal, start) = open(&temp, SyncPolicy::Always);
    assert_eq!(start, Timestamp::BEGINNING + Millis::from_millis(1));
    assert_eq!(journal.census().unwrap().playing, 5);
}
