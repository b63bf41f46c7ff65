//! What is counted: one table, in which every counter is one line. Each thread counts for itself; a [`Sum`] adds up.
//!
//! ```text
//! counters.bump(Counter::Admissions, 0)     where it happens, in the thread's own cells
//!         └▶ Sum ─▶ measures ─▶ /metrics ─▶ the page
//! ```
//!
//! *Invariant:* a set of counters is written by one thread alone, so that counting is a load and a store and no
//! worker ever waits for another's cache line. (Not tested.)

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::auth::Failure;
use crate::codec::labelled;
use crate::http::Method;
use crate::http::status::Status;
use crate::measures::{Family, Kind, Label, Measure, bucket};
use crate::streams::batch::{
    Action, ClassFull, Command, Ending, Entry, Notes, Outcome, Replace, StreamEnd, Verdict,
};
use crate::time::Millis;

/// The upper bounds of how long requests took.
pub const BOUNDS: [u64; 15] = [
    25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    10_000_000,
];

/// The upper bounds of how long streams lasted: from 10 s to a day.
const LENGTHS: [u64; 11] = [
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
    3_600_000_000,
    7_200_000_000,
    14_400_000_000,
    28_800_000_000,
    86_400_000_000,
];

/// Makes the [`Counter`]s and their table from one list, so that neither can lack what the other has.
macro_rules! counters {
    ($($id:ident, $kind:expr, $name:literal, $help:literal, $labels:expr;)+) => {
        /// Something that is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Counter { $(#[doc = $help] $id,)+ }

        /// Every [`Counter`], in the order of the enum.
        pub const COUNTED: [Family; [$($name),+].len()] =
            [$(Family { name: $name, kind: $kind, help: $help, labels: $labels },)+];
    };
}

use Kind::{Counter as Count, Gauge, Histogram, Time};

counters! {
    Requests, Count, "streamer_requests_total", "Requests answered, by method and status.",
        &[Label { name: "method", values: &Method::LABELS }, Label { name: "status", values: &Status::DIGITS }];
    Durations, Histogram(&BOUNDS), "streamer_request_duration_seconds",
        "From a request read whole to its response made.", &[];
    Unavailable, Count, "streamer_unavailable_total", "Commands answered 503 because the store could not.", &[];
    Uncounted, Count, "streamer_uncounted_total",
        "Commands answered as if there were room because the store could not count them.", &[];
    AuthFailures, Count, "streamer_auth_failures_total", "Requests refused for their credentials, by cause.",
        &[Label { name: "cause", values: &Failure::LABELS }];
    UsersRefused, Count, "streamer_users_refused_total",
        "Commands of users who had nothing here, answered 503 at --max-users.", &[];
    Admissions, Count, "streamer_admissions_total", "New streams let in.", &[];
    Refusals, Count, "streamer_refusals_total",
        "Starts that found the user full: refused, refused for naming a stream that does not play, only reported.",
        &[Label { name: "policy", values: &Refused::LABELS }];
    ClassRefusals, Count, "streamer_class_refusals_total", "Of these, those that found a class full, and not the user.",
        &[Label { name: "policy", values: &Refused::LABELS }];
    Starts, Count, "streamer_starts_total",
        "Starts asked for, let in or not, by how many streams the user would have played with it.",
        &[Label { name: "playing", values: &["1", "2", "3", "4", "5", "6", "7", "8+"] }];
    Replacements, Count, "streamer_replacements_total", "Streams that gave way to another.", &[];
    Expirations, Count, "streamer_expirations_total", "Leases that ran out.", &[];
    Lengths, Histogram(&LENGTHS), "streamer_stream_duration_seconds",
        "From the start of a stream to its end, by how it ended.",
        &[Label { name: "end", values: &Ending::LABELS }];
    Adoptions, Count, "streamer_adoptions_total", "Unknown streams taken over after a start.", &[];
    Operations, Count, "streamer_operations_total",
        "What operators did to users: ended streams, held, lifted a hold.",
        &[Label { name: "what", values: &Operation::LABELS }];
    UnlistedOrigins, Count, "streamer_unlisted_origins_total",
        "Requests and preflights of scripts that may not read the response: --cors does not list their origin.", &[];
    Accepted, Count, "streamer_connections_accepted_total", "Connections accepted.", &[];
    Closed, Count, "streamer_connections_closed_total", "Connections closed.", &[];
    TurnedAway, Count, "streamer_connections_refused_total", "Connections turned away for want of room.", &[];
    Reclaimed, Count, "streamer_connections_reclaimed_total",
        "Connections closed to make room: idle ones, and those of slow clients.", &[];
    Timeouts, Count, "streamer_timeouts_total", "Connections given up, by what did not come in time.",
        &[Label { name: "kind", values: &Timeout::LABELS }];
    Received, Count, "streamer_received_bytes_total", "Bytes read from clients.", &[];
    Sent, Count, "streamer_sent_bytes_total", "Bytes written to clients.", &[];
    LinesLost, Count, "streamer_log_lines_lost_total",
        "Access log lines lost: the log was not read in time, or could not be written.",
        &[Label { name: "cause", values: &Lost::LABELS }];
    Parked, Gauge, "streamer_parked_turns", "Turns of workers that wait for the store.", &[];
    Stalled, Time, "streamer_clock_stalled_seconds_total",
        "Time in which the whole process stood still, taken out of the clock of the leases.", &[];
    Reloads, Count, "streamer_reloads_total", "How often credentials were read again.",
        &[Label { name: "result", values: &["taken", "refused"] }];
    ReloadFailing, Gauge, "streamer_reload_failing",
        "Whether the last reload failed, so that the old files are in force.", &[];
    Panics, Count, "streamer_panics_total", "Panics caught, each a fault of the program.", &[];
}

labelled! {
    /// How a start that found the user full was answered.
    pub enum Refused {
        ByPolicy = "refuse",
        /// Refused, because what was to be replaced does not play.
        ByName = "replace",
        /// Let through by a policy that only reports.
        Reported = "report",
    }
}

labelled! {
    /// What an operator did to a user.
    pub enum Operation {
        /// Ended one stream, or all of them.
        Ended = "ended",
        /// Ended all of them, and lets none start for a while.
        Held = "held",
        /// Lets them start again.
        Lifted = "lifted",
    }
}

impl Operation {
    /// What `entry` did, if it is an operator's and did anything.
    pub fn of(Entry { command, outcome, .. }: &Entry) -> Option<Self> {
        match command.action {
            _ if outcome.verdict != Verdict::Ended => None,
            Action::Evict { .. } => Some(Self::Ended),
            Action::Hold { length, .. } if length > Millis::ZERO => Some(Self::Held),
            Action::Hold { .. } => Some(Self::Lifted),
            _ => None,
        }
    }
}

labelled! {
    /// Why a line of the log was lost.
    pub enum Lost {
        /// The log was not read in time, and there was no more room to keep the line.
        Slow = "slow",
        /// Writing it failed.
        Failed = "failed",
    }
}

labelled! {
    /// What a connection waits for, and is given up for when it does not come in time.
    pub enum Timeout {
        /// The rest of a head.
        Head = "head",
        /// The rest of a body.
        Body = "body",
        /// Another request.
        Idle = "idle",
        /// That a response is read.
        Write = "write",
        /// That the client closes after the last response.
        Drain = "drain",
    }
}

impl Timeout {
    /// How long it is waited for, where an idle connection is kept for `idle`.
    pub fn duration(self, idle: Millis) -> Millis {
        match self {
            Self::Head | Self::Body | Self::Write => Millis::from_secs(10),
            Self::Idle => idle,
            Self::Drain => Millis::from_secs(2),
        }
    }
}

/// Where the numbers of each counter begin among the cells; and behind the last, how many cells there are.
const FIRST: [usize; COUNTED.len() + 1] = {
    let mut first = [0; COUNTED.len() + 1];
    let mut i = 0;
    while i < COUNTED.len() {
        first[i + 1] = first[i] + COUNTED[i].width();
        i += 1;
    }
    first
};

const CELLS: usize = FIRST[COUNTED.len()];

/// The counters of one thread, on cache lines of their own.
#[repr(align(128))]
pub struct Counters([AtomicU64; CELLS]);

impl Default for Counters {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; CELLS])
    }
}

impl Counters {
    /// Adds `n` to the number of `counter` that stands under its label `label`, or 0 where it has none. Only the thread that
    /// owns the counters may call this: it is no atomic addition.
    pub fn add(&self, counter: Counter, label: usize, n: u64) {
        debug_assert!(label < COUNTED[counter as usize].width());
        let cell = &self.0[FIRST[counter as usize] + label];
        cell.store(cell.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Sets the one number of a gauge, or of a time that is summed elsewhere.
    pub fn set(&self, counter: Counter, n: u64) {
        self.0[FIRST[counter as usize]].store(n, Relaxed);
    }

    pub fn bump(&self, counter: Counter, label: usize) {
        self.add(counter, label, 1);
    }

    /// Counts one response and how long it took.
    pub fn count_response(&self, method: Method, status: Status, micros: u64) {
        self.bump(Counter::Requests, method as usize * Status::ALL.len() + status as usize);
        self.count_time(Counter::Durations, &BOUNDS, 0, micros);
    }

    /// Counts what has ended, and how long it lasted.
    pub fn count_ends(&self, ends: &[StreamEnd]) {
        for StreamEnd { how, lasted } in ends {
            self.count_time(Counter::Lengths, &LENGTHS, *how as usize, lasted.millis() * 1000);
            self.add(Counter::Expirations, 0, (*how == Ending::Expired).into());
        }
    }

    fn count_time(&self, counter: Counter, bounds: &[u64], label: usize, micros: u64) {
        let at = label * (bounds.len() + 2);
        self.bump(counter, at + bucket(bounds, micros));
        self.add(counter, at + bounds.len() + 1, micros);
    }

    /// Counts what became of a command.
    pub fn count_outcome(&self, entry @ Entry { command, outcome, .. }: &Entry) {
        let Outcome { verdict, notes, class_full, .. } = *outcome;
        self.count_start(command, outcome);
        match verdict {
            Verdict::Started => self.bump(Counter::Admissions, 0),
            Verdict::Full => {
                let by_name = matches!(command.action.replaces(), Some(Replace::Stream(_)));
                let refused = if by_name { Refused::ByName } else { Refused::ByPolicy };
                self.count_refusal(refused, class_full);
            }
            Verdict::Unavailable => self.bump(Counter::Unavailable, 0),
            Verdict::NoRoom => self.bump(Counter::UsersRefused, 0),
            Verdict::Ended => {
                Operation::of(entry).inspect(|done| self.bump(Counter::Operations, *done as usize));
            }
            _ => {}
        }
        if notes == Notes::default() {
            return;
        }
        self.add(Counter::Uncounted, 0, notes.uncounted.into());
        self.add(Counter::Adoptions, 0, notes.adopted.into());
        self.add(Counter::Replacements, 0, notes.replaced.into());
        if notes.over_limit {
            self.count_refusal(Refused::Reported, class_full);
        }
    }

    fn count_refusal(&self, refused: Refused, class_full: Option<ClassFull>) {
        self.bump(Counter::Refusals, refused as usize);
        self.add(Counter::ClassRefusals, refused as usize, class_full.is_some().into());
    }

    /// Counts a start, let in or not, under how many streams the user would have played with it.
    fn count_start(&self, command: &Command, outcome: &Outcome) {
        let playing = match (outcome.verdict, outcome.excess) {
            (Verdict::Started, 0) => outcome.count,
            // Who is adopted as paused asks for no slot.
            _ if matches!(command.action, Action::Beat { playing: Some(false), .. }) => return,
            (Verdict::Renewed, 0) if outcome.notes.adopted => outcome.count,
            (Verdict::Started, excess) => command.limits.total + u32::from(excess),
            (Verdict::Full, _) if command.action.replaces().is_some() => outcome.count + 1,
            _ => return,
        };
        let most = COUNTED[Counter::Starts as usize].width();
        self.bump(Counter::Starts, (playing as usize).clamp(1, most) - 1);
    }
}

/// The sum of the counters of several threads.
pub struct Sum([u64; CELLS]);

impl Sum {
    pub fn of(threads: &[Counters]) -> Self {
        let sum = |i: usize| threads.iter().map(|counters| counters.0[i].load(Relaxed)).sum();
        Self(std::array::from_fn(sum))
    }

    /// All numbers of a counter, in the order of its labels.
    pub fn all(&self, counter: Counter) -> &[u64] {
        &self.0[FIRST[counter as usize]..FIRST[counter as usize + 1]]
    }

    /// The number of a counter over all labels.
    pub fn total(&self, counter: Counter) -> u64 {
        self.all(counter).iter().sum()
    }

    /// Every number, as it is shown.
    pub fn measures(&self) -> impl Iterator<Item = Measure> {
        let ranges = FIRST.windows(2).map(|ends| &self.0[ends[0]..ends[1]]);
        const { &COUNTED }.iter().zip(ranges).flat_map(|(family, numbers)| family.measures(numbers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measures::Reading;

    #[test]
    fn a_bucket_takes_its_bound() {
        for (micros, expected) in
            [(0, 0), (25, 0), (26, 1), (1000, 5), (1001, 6), (10_000_000, 14), (u64::MAX, 15)]
        {
            assert_eq!(bucket(&BOUNDS, micros), expected, "{micros}");
        }
    }

    #[test]
    fn every_counter_has_cells_of_its_own_and_is_summed() {
        let both = [Counters::default(), Counters::default()];
        both.iter().for_each(|counters| (0..).zip(&counters.0).for_each(|(i, cell)| cell.store(i, Relaxed)));
        let sum = Sum::of(&both);
        let mut next = 0;
        for (family, ends) in COUNTED.iter().zip(FIRST.windows(2)) {
            assert_eq!((ends[0], ends[1]), (next, next + family.width()), "{}", family.name);
            assert!((ends[0]..ends[1]).all(|i| sum.0[i] == 2 * i as u64));
            next = ends[1];
        }
        assert_eq!(next, CELLS);
        both[0].add(Counter::Panics, 0, 7);
        assert_eq!(Sum::of(&both[..1]).total(Counter::Panics), next as u64 - 1 + 7);
    }

    #[test]
    fn responses_and_outcomes_are_counted_where_they_belong() {
        let counters = Counters::default();
        counters.count_response(Method::Patch, Status::Gone, 30);
        counters.count_response(Method::Patch, Status::Gone, 40);
        let start = |replace| Action::Start { position: None, replace, switch: false };
        let notes = Notes { over_limit: true, replaced: 2, ..Notes::default() };
        let adopted = Notes { adopted: true, ..Notes::default() };
        for (replace, verdict, excess, notes) in [
            (Replace::ByPolicy, Verdict::Started, 0, Notes::default()),
            (Replace::ByPolicy, Verdict::Started, 900, notes),
            (Replace::ByPolicy, Verdict::Renewed, 0, adopted),
            (Replace::ByPolicy, Verdict::Full, 1, Notes::default()),
            (Replace::Stream(Default::default()), Verdict::Full, 2, Notes::default()),
            (Replace::ByPolicy, Verdict::Renewed, 0, Notes::default()),
            (Replace::ByPolicy, Verdict::Unavailable, 0, Notes::default()),
        ] {
            let (user, key) = Default::default();
            let command = Command::new(user, key, 3, start(replace));
            counters.count_outcome(&Entry {
                command,
                outcome: Outcome { verdict, excess, count: 2, notes, ..Outcome::default() },
                waits: false,
            });
        }
        let lasted = |secs| StreamEnd { how: Ending::Expired, lasted: Millis::from_secs(secs) };
        counters.count_ends(&[lasted(60), StreamEnd { how: Ending::Stopped, ..lasted(90_000) }]);
        let sum = Sum::of(&[counters]);
        let lengths: Vec<Measure> =
            sum.measures().filter(|measure| measure.family == "streamer_stream_duration_seconds").collect();
        assert_eq!(lengths.len(), Ending::ALL.len());
        for (i, bucket, end, micros) in [(0, 11, "stopped", 90_000_000_000), (3, 2, "expired", 60_000_000)] {
            let Reading::Histogram { counts, sum, bounds } = &lengths[i].value else {
                panic!("it is a histogram")
            };
            assert_eq!((counts[bucket], *sum, bounds.len() + 1), (1, micros, counts.len()));
            assert_eq!(lengths[i].labels, [("end", end.into())]);
        }
        let patched = Method::Patch as usize * Status::ALL.len() + Status::Gone as usize;
        assert_eq!((sum.all(Counter::Requests)[patched], sum.total(Counter::Requests)), (2, 2));
        let durations = sum.all(Counter::Durations);
        assert_eq!((durations[1], durations[BOUNDS.len() + 1]), (2, 70));
        assert_eq!(sum.all(Counter::Refusals), [1, 1, 1]);
        assert_eq!(sum.all(Counter::Starts), [0, 2, 2, 0, 0, 0, 0, 1]);
        for (counter, expected) in [
            (Counter::Admissions, 2),
            (Counter::Adoptions, 1),
            (Counter::Replacements, 2),
            (Counter::Expirations, 1),
            (Counter::Unavailable, 1),
        ] {
            assert_eq!(sum.total(counter), expected, "{counter:?}");
        }
    }
}
