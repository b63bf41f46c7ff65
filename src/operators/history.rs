//! `/history`: what the charts of the page show of the time before it was opened.

use std::collections::VecDeque;

use crate::app::counters::{Counter, Sum};
use crate::store::Census;
use crate::time::{Millis, Timestamp};

/// How often a sample is taken.
pub const EVERY: Millis = Millis::from_secs(5);
/// How many samples are kept: ten minutes of them.
const MAX_SAMPLES: usize = 121;

/// The samples of the last ten minutes as JSON, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct History(VecDeque<String>);

impl History {
    /// Adds a sample, and forgets the oldest when there are too many. Requests and refusals count from the start; the page
    /// takes differences.
    pub fn add(&mut self, at: Timestamp, census: Option<Census>, sum: &Sum) {
        if self.0.len() == MAX_SAMPLES {
            self.0.pop_front();
        }
        let (at, playing) = (at.millis(), census.map_or(0, |census| census.playing));
        let [requests, refusals] = [Counter::Requests, Counter::Refusals].map(|counter| sum.total(counter));
        self.0.push_back(format!(
            "{{\"at\":{at},\"playing\":{playing},\"requests\":{requests},\"refusals\":{refusals}}}"
        ));
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        let samples = self.0.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        out.extend_from_slice(format!("{{\"samples\":[{samples}]}}").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::counters::Counters;
    use crate::codec::json;

    #[test]
    fn keeps_ten_minutes() {
        let (threads, mut history) = ([Counters::default()], History::default());
        for i in 0..200 {
            threads[0].bump(Counter::Refusals, 0);
            threads[0].add(Counter::Requests, 5, 2);
            let census = (i % 2 == 0).then_some(Census { playing: i, ..Census::default() });
            history.add(Timestamp::from_millis(i * 5000), census, &Sum::of(&threads));
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
