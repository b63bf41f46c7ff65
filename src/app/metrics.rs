//! `/metrics`: everything counted and measured, in the Prometheus text format 0.0.4.
//!
//! *Invariant:* nothing is listed here; what there is stands in the tables of `counters` and `snapshot`.

use std::fmt::Write;

use super::counters::{BOUNDS, Family, Kind, Label};
use super::snapshot::Snapshot;
use crate::store::{Measure, Value};

/// What Prometheus asks for.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Appends the page of metrics.
pub fn write(snapshot: &Snapshot, out: &mut Vec<u8>) {
    let mut text = String::with_capacity(32 * 1024);
    for (Family { name, kind, help, labels }, numbers) in snapshot.families() {
        let word = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        begin(name, word, help, &mut text);
        match (kind, numbers.split_last()) {
            (Kind::Histogram, Some((sum, counts))) => histogram(name, &BOUNDS, counts, *sum, &mut text),
            _ => series(name, "", labels, &numbers, &mut text),
        }
    }
    snapshot.store.chunk_by(|a, b| a.family == b.family).for_each(|family| measures(family, &mut text));
    out.extend_from_slice(text.as_bytes());
}

/// Appends the two lines that a family begins with.
fn begin(name: &str, kind: &str, help: &str, text: &mut String) {
    // Writing to a string cannot fail; neither can the lines below.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Appends a line for each number; `above` is what stands in braces for the labels already taken.
fn series(name: &str, above: &str, labels: &[Label], numbers: &[f64], text: &mut String) {
    let Some((label, rest)) = labels.split_first() else {
        let braces = if above.is_empty() { String::new() } else { format!("{{{above}}}") };
        numbers.iter().for_each(|number| {
            let _ = writeln!(text, "{name}{braces} {number}");
        });
        return;
    };
    let comma = if above.is_empty() { "" } else { "," };
    for (value, numbers) in label.values.iter().zip(numbers.chunks(numbers.len() / label.values.len())) {
        series(name, &format!("{above}{comma}{}=\"{value}\"", label.name), rest, numbers, text);
    }
}

/// Appends buckets that add up. `counts` are those of each bucket alone, `bounds` and `sum` in microseconds.
fn histogram(name: &str, bounds: &[u64], counts: &[f64], sum: f64, text: &mut String) {
    let mut below = 0.0;
    let bounds = bounds.iter().map(|&bound| (bound as f64 / 1e6).to_string());
    for (bound, n) in bounds.chain(["+Inf".into()]).zip(counts) {
        below += n;
        let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {below}");
    }
    let _ = writeln!(text, "{name}_sum {}\n{name}_count {below}", sum / 1e6);
}

/// Appends a family of the store.
fn measures(family: &[Measure], text: &mut String) {
    let word = match family[0].value {
        Value::Counter(_) => "counter",
        Value::Gauge(_) => "gauge",
        Value::Histogram { .. } => "histogram",
    };
    begin(family[0].family, word, family[0].help, text);
    for Measure { family: name, label, value, .. } in family {
        match value {
            Value::Counter(n) | Value::Gauge(n) => {
                let label = label.as_ref().map(|(name, value)| format!("{{{name}=\"{}\"}}", escape(value)));
                let _ = writeln!(text, "{name}{} {n}", label.unwrap_or_default());
            }
            Value::Histogram { bounds, counts, sum } => {
                let counts: Vec<_> = counts.iter().map(|&n| n as f64).collect();
                histogram(name, bounds, &counts, *sum as f64, text);
            }
        }
    }
}

/// A label's value as the format has it.
fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::counters::{Counter, Counters};
    use crate::app::snapshot::Process;
    use crate::http::Method;
    use crate::http::status::Status;
    use crate::store::Census;

    #[test]
    fn writes_every_family_once_and_buckets_that_add_up() {
        let counters = Counters::default();
        for micros in [3, 25, 30_000_000] {
            counters.count_response(Method::Get, Status::Ok, micros);
        }
        counters.add(Counter::Received, 0, 1 << 50);
        let census = Census { users: [1, 2, 3, 4, 5, 0, 0, 0, 6], ..Census::default() };
        let snapshot = Snapshot {
            limit: 3,
            process: Some(Process::default()),
            census: Some(census),
            sum: [&counters].into_iter().collect(),
            ..Snapshot::default()
        };
        let mut out = Vec::new();
        write(&snapshot, &mut out);
        let text = String::from_utf8(out).unwrap();
        for line in [
            "streamer_requests_total{method=\"GET\",status=\"200\"} 3",
            "streamer_requests_total{method=\"other\",status=\"505\"} 0",
            "streamer_request_duration_seconds_bucket{le=\"0.000025\"} 2",
            "streamer_request_duration_seconds_bucket{le=\"10\"} 2",
            "streamer_request_duration_seconds_bucket{le=\"+Inf\"} 3",
            "streamer_request_duration_seconds_sum 30.000028",
            "streamer_request_duration_seconds_count 3",
            "streamer_received_bytes_total 1125899906842624",
            "streamer_users 21",
            "streamer_users_by_playing{playing=\"8+\"} 6",
            "streamer_users_at_limit 15",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        let families: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let distinct: std::collections::HashSet<&&str> = families.iter().collect();
        assert_eq!(families.len(), distinct.len(), "{families:?}");
    }

    #[test]
    fn writes_the_families_of_the_store() {
        let help = "Help.";
        let up = |shard: &'static str, up| Measure {
            family: "streamer_store_up",
            help,
            label: Some(("shard", shard.into())),
            value: Value::Gauge(up),
        };
        let trips = Value::Histogram { bounds: &[1000], counts: vec![2, 1], sum: 250_000 };
        let store = vec![up("a\"\\", 1), up("b", 0), Measure::single("streamer_store_seconds", help, trips)];
        let mut out = Vec::new();
        write(&Snapshot { store, ..Snapshot::default() }, &mut out);
        let expected = r#"# HELP streamer_store_up Help.
# TYPE streamer_store_up gauge
streamer_store_up{shard="a\"\\"} 1
streamer_store_up{shard="b"} 0
# HELP streamer_store_seconds Help.
# TYPE streamer_store_seconds histogram
streamer_store_seconds_bucket{le="0.001"} 2
streamer_store_seconds_bucket{le="+Inf"} 3
streamer_store_seconds_sum 0.25
streamer_store_seconds_count 3
"#;
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn leaves_out_what_cannot_be_said() {
        let mut out = Vec::new();
        write(&Snapshot::default(), &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains("process_") && !text.contains("streamer_users_by_playing"), "{text}");
    }
}
