//! The power goes at any moment: of each file there is what was synced, and any sectors of what was written since; of the
//! directory what was synced, and any of the files that were made or deleted since.

use std::collections::BTreeMap;

use super::*;
use crate::store::journal::directory::{Disk, Medium};

const SHORT: Millis = Millis::from_millis(200);
const SECTOR: usize = 512;
const USERS: u64 = 12;

/// What is on the disk, and what is only said to be.
#[derive(Default)]
struct Platter {
    /// By name. A file that has been deleted stays until the directory is synced.
    files: BTreeMap<String, Written>,
}

#[derive(Clone, Default)]
struct Written {
    synced: Vec<u8>,
    /// What was written since, and where.
    since: Vec<(usize, Vec<u8>)>,
    is_there: bool,
    /// Whether the directory on the disk names it.
    is_named: bool,
}

fn put(bytes: &mut Vec<u8>, offset: usize, what: &[u8]) {
    bytes.resize(bytes.len().max(offset + what.len()), 0);
    bytes[offset..offset + what.len()].copy_from_slice(what);
}

#[derive(Clone)]
struct CutDisk(Arc<Mutex<Platter>>, String);

impl CutDisk {
    /// All that is in a directory is on the disk.
    fn load(path: &Path) -> Self {
        let read = |entry: io::Result<fs::DirEntry>| {
            let entry = entry.unwrap();
            let synced = fs::read(entry.path()).unwrap();
            let file = Written { synced, since: Vec::new(), is_there: true, is_named: true };
            (entry.file_name().into_string().unwrap(), file)
        };
        let files = fs::read_dir(path).unwrap().map(read).collect();
        Self(Arc::new(Mutex::new(Platter { files })), "control".into())
    }

    fn file<R>(&self, with: impl FnOnce(&mut Written) -> R) -> R {
        with(lock(&self.0).files.entry(self.1.clone()).or_default())
    }

    /// What a process that is killed at this moment leaves with the system; a directory shows it.
    fn kill(&self, path: &Path) -> Self {
        let files = lock(&self.0).files.clone();
        fs::create_dir_all(path).unwrap();
        for (name, file) in files.iter().filter(|(_, file)| file.is_there) {
            let mut bytes = file.synced.clone();
            file.since.iter().for_each(|(offset, written)| put(&mut bytes, *offset, written));
            fs::write(path.join(name), bytes).unwrap();
        }
        Self(Arc::new(Mutex::new(Platter { files })), self.1.clone())
    }

    /// Writes what a power cut leaves at this moment into a directory.
    fn cut(&self, random: &mut Random, path: &Path) {
        fs::create_dir_all(path).unwrap();
        for (name, file) in &lock(&self.0).files {
            if file.is_named != file.is_there && random.below(2) == 0 || !file.is_named && !file.is_there {
                continue;
            }
            let mut bytes = file.synced.clone();
            for (offset, written) in &file.since {
                for (n, sector) in written.chunks(SECTOR).enumerate() {
                    if random.below(2) == 0 {
                        put(&mut bytes, offset + n * SECTOR, sector);
                    }
                }
            }
            fs::write(path.join(name), bytes).unwrap();
        }
    }
}

impl Medium for CutDisk {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file(|file| file.since.push((offset as usize, bytes.into())));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file(|Written { synced, since, .. }| {
            since.drain(..).for_each(|(offset, bytes)| put(synced, offset, &bytes));
        });
        Ok(())
    }
}

impl Disk for CutDisk {
    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, number: u64) -> io::Result<Arc<dyn Medium>> {
        let file = Self(Arc::clone(&self.0), format!("{number:010}.log"));
        file.file(|file| *file = Written { is_there: true, ..Written::default() });
        Ok(Arc::new(file))
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        Self(Arc::clone(&self.0), format!("{number:010}.log")).file(|file| file.is_there = false);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut platter = lock(&self.0);
        platter.files.retain(|_, file| file.is_there);
        platter.files.values_mut().for_each(|file| file.is_named = true);
        Ok(())
    }

    fn control(&self) -> &dyn Medium {
        self
    }
}

/// Vigna's "splitmix64".
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

/// What a user was told last, and when it was asked for: that a stream plays, or that none does.
type Said = BTreeMap<String, (bool, Timestamp)>;

/// A run over the directory that a power cut has left.
struct Run {
    journal: Arc<Journal>,
    client: Client,
    disk: CutDisk,
    start: Timestamp,
    begun: Instant,
}

impl Run {
    /// On a disk that a killed process has left, or one on which all is that is in the directory.
    fn new(temp: &Temp, disk: Option<CutDisk>) -> Self {
        let directory = Directory::open(&temp.0).unwrap();
        let memory = Memory::new(policy(SHORT));
        let found = replay::replay(&directory, &memory, SHORT, SAY).unwrap();
        let (disk, start) = (disk.unwrap_or_else(|| CutDisk::load(&temp.0)), found.header.start);
        let health = Health::new("cut".into(), SAY);
        let journal = Journal::begin(memory, Box::new(disk.clone()), health, SyncPolicy::Always, found);
        let journal = Arc::new(journal.unwrap());
        Self { client: Client::new(&journal), journal, disk, start, begun: Instant::now() }
    }

    fn now(&self) -> Timestamp {
        self.start + Millis::from_millis(self.begun.elapsed().as_millis() as u64)
    }
}

/// What a start makes of a cut at `now`: all that was answered, and of the change under way either.
fn check(temp: &Temp, said: &Said, under_way: &str, now: Timestamp, seed: u64) {
    let (journal, start) = Journal::open(&temp.0, policy(SHORT), SyncPolicy::Always, SAY)
        .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let mut client = Client::new(&Arc::new(journal));
    for (user, (plays, at)) in said.iter().filter(|(user, _)| *user != under_way) {
        let found = client.one(start, user, "v", Action::Look).1 == 1;
        let is_over = *plays && *at + SHORT <= now;
        assert!(found == *plays || is_over, "seed {seed}: {user}, asked at {at:?}, now {now:?}");
    }
    assert_eq!(client.one(start, "held", "v", START), (Held, 0), "seed {seed}");
    assert_eq!(client.one(start, "lifted", "v", START).0, Started, "seed {seed}");
}

/// What the server in `run` knows at its start, and two users whom operators have held.
fn prepare(run: &mut Run, said: &mut Said) {
    // What lived has a fresh lease.
    said.values_mut().filter(|(plays, _)| *plays).for_each(|(_, at)| *at = run.start);
    said.retain(|user, (plays, _)| !*plays || run.client.one(run.start, user, "v", Action::Look).1 == 1);
    let hold = |secs| Action::Hold { length: Millis::from_secs(secs), message: Word::default() };
    for (user, length) in [("held", 1000), ("lifted", 1000), ("lifted", 0)] {
        assert_eq!(run.client.one(run.now(), user, "", hold(length)).0, Ended);
    }
}

/// Some commands, with a cut now and then; the last cut is what the next run begins with, or a kill is.
fn run(
    temp: &Temp,
    disk: Option<CutDisk>,
    said: &mut Said,
    random: &mut Random,
    seed: u64,
) -> (Temp, Option<CutDisk>, usize) {
    let (mut run, mut images) = (Run::new(temp, disk), 0);
    prepare(&mut run, said);
    loop {
        let (user, now) = (format!("user{}", random.below(USERS)), run.now());
        let plays = random.below(3) > 0;
        let action = if plays { START } else { Action::End };
        let mut batch = run.client.submit(now, &[(&user, "v", action)]);
        let (image, cut) = (Temp::new(), random.below(8));
        if cut == 0 {
            run.disk.cut(random, &image.0);
            check(&image, said, &user, run.now(), seed);
            images += 1;
        }
        run.client.wait(now, run.client.tickets, &mut batch);
        if matches!(batch.entries[0].outcome.verdict, Started | Renewed | Ended) {
            said.insert(user, (plays, now));
        }
        for _ in 0..16 {
            run.journal.sweep(run.now());
        }
        if cut == 1 {
            if images > 20 && random.below(2) == 0 {
                let left = run.disk.kill(&image.0);
                return (image, Some(left), images);
            }
            run.disk.cut(random, &image.0);
            let (last, now) = (images > 20, run.now());
            if last {
                return (image, None, images);
            }
            check(&image, said, "", now, seed);
            images += 1;
        }
    }
}

#[test]
fn no_power_cut_forgets_what_was_answered_or_leaves_what_a_start_refuses() {
    let seed = u64::from(std::process::id());
    let (mut random, mut said) = (Random(seed), Said::new());
    let (mut temp, mut disk, mut images) = (Temp::new(), None, 0);
    for _ in 0..12 {
        let (next, left, n) = run(&temp, disk, &mut said, &mut random, seed);
        (temp, disk, images) = (next, left, images + n);
    }
    assert!(images > 240, "{images}");
}
