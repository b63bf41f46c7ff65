//! `/metrics`: everything counted and measured, in the Prometheus text format 0.0.4.

use std::fmt::Write;

use crate::measures::{Measure, Reading};

/// What Prometheus asks for.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Appends the page of metrics.
pub fn write(all: &[Measure], out: &mut Vec<u8>) {
    let mut text = String::with_capacity(32 * 1024);
    for family in all.chunk_by(|a, b| a.family == b.family) {
        let Measure { family: name, help, value, .. } = &family[0];
        let kind = match value {
            Reading::Counter(_) | Reading::Time(_) => "counter",
            Reading::Gauge(_) => "gauge",
            Reading::Histogram { .. } => "histogram",
        };
        // Writing to a string cannot fail; neither can the lines below.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        family.iter().for_each(|measure| row(measure, &mut text));
    }
    out.extend_from_slice(text.as_bytes());
}

fn row(Measure { family, labels, value, .. }: &Measure, text: &mut String) {
    let labels: Vec<_> = labels.iter().map(|(name, of)| format!("{name}=\"{}\"", escape(of))).collect();
    let braced = |labels: &[String]| match labels {
        [] => String::new(),
        _ => format!("{{{}}}", labels.join(",")),
    };
    let own = braced(&labels);
    let _ = match value {
        Reading::Counter(n) | Reading::Gauge(n) => writeln!(text, "{family}{own} {n}"),
        Reading::Time(micros) => writeln!(text, "{family}{own} {}", seconds(*micros)),
        Reading::Histogram { bounds, counts, sum } => {
            let mut below = 0;
            let bounds = bounds.iter().map(|&bound| seconds(bound).to_string());
            for (bound, n) in bounds.chain(["+Inf".into()]).zip(counts) {
                below += n;
                let labels = braced(&[&labels[..], &[format!("le=\"{bound}\"")]].concat());
                let _ = writeln!(text, "{family}_bucket{labels} {below}");
            }
            writeln!(text, "{family}_sum{own} {}\n{family}_count{own} {below}", seconds(*sum))
        }
    };
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// A label's value as the format has it.
fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::counters::{Counter, Counters, Sum};
    use crate::http::Method;
    use crate::http::status::Status;

    fn text(all: &[Measure]) -> String {
        let mut out = Vec::new();
        write(all, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn writes_what_is_counted_and_buckets_that_add_up() {
        let counters = Counters::default();
        for micros in [3, 25, 30_000_000] {
            counters.count_response(Method::Get, Status::Ok, micros);
        }
        counters.add(Counter::Received, 0, 1 << 50);
        counters.set(Counter::Stalled, 2_500_000);
        let text = text(&Sum::of(&[counters]).measures().collect::<Vec<_>>());
        for line in [
            "streamer_requests_total{method=\"GET\",status=\"200\"} 3",
            "streamer_requests_total{method=\"other\",status=\"505\"} 0",
            "streamer_request_duration_seconds_bucket{le=\"0.000025\"} 2",
            "streamer_request_duration_seconds_bucket{le=\"10\"} 2",
            "streamer_request_duration_seconds_bucket{le=\"+Inf\"} 3",
            "streamer_request_duration_seconds_sum 30.000028",
            "streamer_request_duration_seconds_count 3",
            "streamer_received_bytes_total 1125899906842624",
            "streamer_clock_stalled_seconds_total 2.5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn writes_a_family_once_and_escapes_what_is_told_of_it() {
        let help = "Help.";
        let up =
            |shard, up| Measure::labelled("streamer_store_up", help, ("shard", shard), Reading::Gauge(up));
        let trips = Reading::Histogram { bounds: &[1000], counts: vec![2, 1], sum: 250_000 };
        let all = [up("a\"\\", 1), up("b", 0), Measure::single("streamer_store_seconds", help, trips)];
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
        assert_eq!(text(&all), expected);
    }
}
