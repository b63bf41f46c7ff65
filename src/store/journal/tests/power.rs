//! The power goes: files end anywhere, or hold something else than was written.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::store::journal::format::HEADER;

/// The newest file.
fn log(temp: &Temp) -> PathBuf {
    temp.files().pop().unwrap()
}

/// Starts a stream for user after user, each answered before the next. Gives the file, and how long it was at each
/// answer.
fn history(temp: &Temp, users: usize) -> (Vec<u8>, Vec<usize>) {
    let (journal, start) = open(temp, SyncPolicy::Always);
    let mut client = Client::new(&journal);
    let mut lengths = Vec::new();
    for i in 0..users {
        assert_eq!(client.one(start, &format!("user{i}"), "v", START), (Started, 1));
        lengths.push(fs::metadata(log(temp)).unwrap().len() as usize);
        client.one(start + Millis::from_millis(1), "user0", "v", BEAT);
    }
    drop((client, journal));
    (fs::read(log(temp)).unwrap(), lengths)
}

/// What becomes of a journal whose file is this.
fn replayed(temp: &Temp, path: &Path, bytes: &[u8]) -> Result<(Memory<Note>, Replayed), String> {
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
        let playing = memory.sums().playing;
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
        assert_eq!(memory.sums().playing, 2);
        assert!(!next.exists());
    }
    let mut newer = file.clone();
    newer[8] = 3;
    let error = replayed(&temp, &next, &newer).err().unwrap();
    assert!(error.contains("written by a later version of streamer (format 3)"), "{error}");
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

/// A file that another one vouches for: missing, cut at a block's border, cut to its header, turned over in its last block.
#[test]
fn a_file_before_the_last_is_whole_or_the_start_says_which_and_how_to_do_without() {
    let temp = Temp::new();
    let (file, lengths) = history(&temp, 3);
    let (first, second) = (log(&temp), temp.0.join("0000000002.log"));
    let vouched = Some((1, u32::try_from(file.len()).unwrap()));
    let start = Timestamp::BEGINNING;
    let header = Header { number: 2, run: 2, start, lease: LEASE, sequence: 9, before: vouched };
    fs::write(&second, header.encode()).unwrap();
    let mut flipped = file.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (bytes, said) in [
        (&file[..lengths[1]], "cut short to"),
        (&file[..HEADER], "cut short to 64 bytes"),
        (&file[..0], "missing"),
        (&flipped, "damaged at byte"),
    ] {
        let error = replayed(&temp, &first, bytes).err().unwrap();
        assert!(error.contains("0000000001.log is ") && error.contains(said), "{error}");
    }
    assert_eq!(replayed(&temp, &first, &file).unwrap().0.sums().playing, 3);
    fs::rename(&first, temp.0.join("0000000001.lost")).unwrap();
    assert_eq!(replayed(&temp, &second, &header.encode()).unwrap().0.sums().playing, 0);
}

#[test]
fn a_control_file_that_a_crash_has_left_empty_has_not_begun_and_what_is_no_file_is_refused() {
    let temp = Temp::new();
    history(&temp, 5);
    let control = temp.0.join("control");
    assert_eq!(replayed(&temp, &control, &[0; 64]).unwrap().0.sums().playing, 5);
    fs::create_dir(temp.0.join("0000000077.log")).unwrap();
    let error = replayed(&temp, &control, &[0; 64]).err().unwrap();
    assert!(error.ends_with("0000000077.log is no file; move it away"), "{error}");
    fs::remove_file(&control).unwrap();
    fs::create_dir(&control).unwrap();
    let error = Directory::open(&temp.0).err().unwrap();
    assert!(error.ends_with("control is no file; move it away"), "{error}");
}
