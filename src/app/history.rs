//! `/history`: what the charts of the page show of the time before it was opened.
//!
//! *Invariant:* a sample is a few sums, so that taking one costs nearly nothing.

use std::collections::VecDeque;

use super::counters::Counter;
use super::snapshot::Snapshot;
use crate::time::{Millis, Timestamp};

/// How often a sample is taken.
pub const EVERY: Millis = Millis::from_secs(5);
/// How many samples are kept: ten minutes of them.
const MAX_SAMPLES: usize = 121;

/// The samples of the last ten minutes, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct History(VecDeque<Sample>);

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Timestamp,
    playing: u64,
    requests: u64,
    refusals: u64,
}

impl History {
    /// Adds a sample, and forgets the oldest when there are too many.
    pub fn add(&mut self, snapshot: &Snapshot) {
        if self.0.len() == MAX_SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back(Sample {
            at: snapshot.wall,
            playing: snapshot.census.map_or(0, |census| census.playing),
            requests: snapshot.sum.total(Counter::Requests),
            refusals: snapshot.sum.total(Counter::Refusals),
        });
    }

    /// Appends the samples as JSON. Requests and refusals count from the start; the page takes differences.
    pub fn write(&self, out: &mut Vec<u8>) {
        let samples = self.0.iter().map(|Sample { at, playing, requests, refusals }| {
            let at = at.millis();
            format!("{{\"at\":{at},\"playing\":{playing},\"requests\":{requests},\"refusals\":{refusals}}}")
        });
        let samples = samples.collect::<Vec<_>>().join(",");
        out.extend_from_slice(format!("{{\"samples\":[{samples}]}}").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::counters::Counters;
    use crate::codec::json;
    use crate::store::Census;

    #[test]
    fn keeps_ten_minutes() {
        let (counters, mut history) = (Counters::default(), History::default());
        for i in 0..200 {
            counters.bump(Counter::Refusals, 0);
            counters.add(Counter::Requests, 5, 2);
            let snapshot = Snapshot {
                wall: Timestamp::from_millis(i * 5000),
                census: (i % 2 == 0).then_some(Census { playing: i, ..Census::default() }),
                sum: [&counters].into_iter().collect(),
                ..Snapshot::default()
            };
            history.add(&snapshot);
        }
        let mut out = Vec::new();
        history.write(&mut out);
        json::any(&out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with(r#"{"samples":[{"at":395000,"playing":0,"requests":160,"refusals":80},"#),
            "{text}"
        );
        assert!(text.ends_with(r#"{"at":995000,"playing":0,"requests":400,"refusals":200}]}"#), "{text}");
        assert_eq!(text.matches("at").count(), MAX_SAMPLES);
    }
}
