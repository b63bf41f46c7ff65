//! The bytes of a journal: written, cut off at every byte, changed in every bit.

use super::*;

const NUMBER: u64 = 7;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn header() -> Header {
    let (start, lease) = (at(86_400_000), Millis::from_secs(90));
    Header { number: NUMBER, run: 3, start, lease, sequence: 41, before: Some((5, 1234)) }
}

/// Users and accounts of a block.
type Records = &'static [(u64, &'static str, &'static str)];

/// When, how much was synced, what changed.
const BLOCKS: [(u64, u64, Records); 5] = [
    (1000, 64, &[(42, "ann", "plays a"), (43, "bob", "turns"), (44, "ann", "")]),
    (1001, 64, &[]),
    (1002, 0, &[(45, "", ""), (46, "turn", "turnturnturn")]),
    // How long the file is when this is written.
    (1003, 256, &[(47, "carl", "x")]),
    (1004, 0, &[(48, "carl", "y")]),
];

/// A file of these blocks, and where each begins.
fn file() -> (Vec<u8>, Vec<usize>) {
    let mut out = header().encode().to_vec();
    let mut starts = Vec::new();
    for (time, synced, records) in BLOCKS {
        let from = out.len();
        starts.push(from);
        out.extend_from_slice(&[0; BLOCK]);
        for (sequence, user, account) in records {
            put_record(*sequence, user.as_bytes(), |out| out.extend_from_slice(account.as_bytes()), &mut out);
        }
        end_block(&mut out[from..], at(time));
        seal(&mut out[from..], NUMBER, from as u64, synced);
    }
    (out, starts)
}

/// How a file ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Whole,
    Torn(usize),
    Damaged(usize),
}

/// All records of a block; they fill it.
fn records_of<'a>(block: &Block<'a>) -> Vec<Kept<'a>> {
    let (mut rest, mut records) = (block.records, Vec::new());
    while !rest.is_empty() {
        let (record, length) = read_record(rest).unwrap();
        records.push(record);
        rest = &rest[length..];
    }
    records
}

/// Reads blocks from a file as far as it goes: how many there are, and how it ends.
fn read(bytes: &[u8]) -> (usize, End) {
    let mut offset = HEADER;
    for (n, (time, synced, records)) in BLOCKS.iter().enumerate() {
        if offset == bytes.len() {
            return (n, End::Whole);
        }
        match read_block(&bytes[offset..], NUMBER, offset as u64) {
            Ok(Some((block, length))) => {
                assert_eq!((block.time, block.synced), (at(*time), *synced));
                let found = records_of(&block).into_iter().map(|r| (r.sequence, r.user, r.account));
                let expected = records.iter().map(|(s, u, a)| (*s, u.as_bytes(), a.as_bytes()));
                assert!(found.eq(expected));
                offset += length;
            }
            _ if is_damage(&bytes[offset..], NUMBER, offset as u64) => return (n, End::Damaged(offset)),
            _ => return (n, End::Torn(offset)),
        }
    }
    (BLOCKS.len(), End::Whole)
}

#[test]
fn every_prefix_has_the_blocks_that_are_whole_in_it_and_a_torn_tail() {
    let (file, starts) = file();
    assert_eq!(read(&file), (BLOCKS.len(), End::Whole));
    for len in HEADER..file.len() {
        let whole = starts.iter().filter(|&&start| start <= len).count() - 1;
        let end = if starts.contains(&len) { End::Whole } else { End::Torn(starts[whole]) };
        assert_eq!(read(&file[..len]), (whole, end), "the first {len} bytes");
    }
}

#[test]
fn every_flipped_bit_is_found_and_is_damage_if_it_was_on_the_disk() {
    let (mut file, starts) = file();
    for at in HEADER..file.len() {
        let block = starts.iter().filter(|&&start| start <= at).count() - 1;
        let start = starts[block];
        // The block of time 1003 says that its file was synced up to 256, and only it can say so.
        let proven = block < 3 && start < 256;
        let end = if proven { End::Damaged(start) } else { End::Torn(start) };
        for bit in 0..8 {
            file[at] ^= 1 << bit;
            assert_eq!(read(&file), (block, end), "bit {bit} of byte {at}");
            file[at] ^= 1 << bit;
        }
    }
}

#[test]
fn a_block_holds_only_at_its_place_in_its_file() {
    let (file, starts) = file();
    let first = &file[starts[0]..starts[1]];
    assert!(read_block(first, NUMBER, starts[0] as u64).unwrap().is_some());
    assert_eq!(read_block(first, NUMBER + 1, starts[0] as u64), Err(Unreadable::Corrupt));
    assert_eq!(read_block(first, NUMBER, starts[1] as u64), Err(Unreadable::Corrupt));
}

#[test]
fn zeros_are_no_block_and_what_says_that_it_is_huge_is_not_whole() {
    assert_eq!(read_block(&[0; 4096], NUMBER, 64), Err(Unreadable::Corrupt));
    let mut huge = [0; BLOCK];
    huge[..4].copy_from_slice(MARK);
    huge[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(read_block(&huge, NUMBER, 64), Ok(None));
    assert_eq!(read_block(b"", NUMBER, 64), Ok(None));
}

#[test]
fn a_record_is_read_whole_or_not_at_all() {
    let mut bytes = Vec::new();
    put_record(1, b"ann", |out| out.push(b'x'), &mut bytes);
    let record = Kept { sequence: 1, user: b"ann", account: b"x" };
    assert_eq!(read_record(&bytes), Some((record, bytes.len())));
    for len in 0..bytes.len() {
        assert_eq!(read_record(&bytes[..len]), None, "the first {len} bytes");
    }
}

#[test]
fn a_header_is_read_whole_and_unharmed_or_not_at_all() {
    let mut bytes = header().encode();
    assert_eq!(Header::decode(&bytes), Ok(header()));
    for len in 0..HEADER {
        assert_eq!(Header::decode(&bytes[..len]), Err(Unreadable::Corrupt));
    }
    for at in (0..HEADER).filter(|at| !(8..12).contains(at)) {
        bytes[at] ^= 1;
        assert_eq!(Header::decode(&bytes), Err(Unreadable::Corrupt), "byte {at}");
        bytes[at] ^= 1;
    }
    bytes[8] = 3;
    assert_eq!(Header::decode(&bytes), Err(Unreadable::Newer(3)));
    bytes[8] = 0;
    assert_eq!(Header::decode(&bytes), Err(Unreadable::Corrupt));
}

#[test]
fn one_slot_of_the_control_file_may_be_torn_and_the_later_one_holds() {
    #[track_caller]
    fn check(before: Checkpoint, after: Checkpoint) {
        let mut bytes = [0; 2 * SLOT];
        for control in [before, after] {
            let (slot, offset) = control.encode();
            bytes[offset as usize..][..SLOT].copy_from_slice(&slot);
            assert_eq!(Checkpoint::decode(&bytes), Ok(control));
        }
        let (_, offset) = after.encode();
        for at in 0..SLOT {
            bytes[offset as usize + at] ^= 0x10;
            assert_eq!(Checkpoint::decode(&bytes), Ok(before), "byte {at}");
            bytes[offset as usize + at] ^= 0x10;
        }
        bytes[0] ^= 1;
        bytes[SLOT] ^= 1;
        assert_eq!(Checkpoint::decode(&bytes), Err(Unreadable::Corrupt));
    }
    let control = |horizon, turn| Checkpoint { horizon, time: at(horizon * 2), turn };
    check(control(5, 1), control(6, 2));
    check(control(6, 2), control(9, 3));
    check(control(7, u16::MAX), control(8, 0));
    check(control(8, 0), control(9, 1));
    assert_eq!(Checkpoint::decode(b""), Ok(Checkpoint::default()));
    assert_eq!(Checkpoint::decode(&[0; SLOT]), Ok(Checkpoint::default()));
}

#[test]
fn blocks_can_be_sealed_again_for_another_place() {
    let (mut file, starts) = file();
    let blocks = &mut file[starts[0]..starts[2]];
    seal(blocks, NUMBER + 1, 1000, 900);
    let (first, length) = read_block(blocks, NUMBER + 1, 1000).unwrap().unwrap();
    assert_eq!((first.time, first.synced, records_of(&first).len()), (at(1000), 900, 3));
    let (second, rest) = read_block(&blocks[length..], NUMBER + 1, 1000 + length as u64).unwrap().unwrap();
    assert_eq!((second.time, second.synced, length + rest), (at(1001), 900, blocks.len()));
}
