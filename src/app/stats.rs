//! `/stats`: everything counted and measured, as JSON for the page, under the names of `/metrics`.
//!
//! *Invariant:* numbers count from the start; the reader takes differences.

use super::Settings;
use super::counters::{BOUNDS, Family, Kind, Label};
use super::recent::{Event, EventKind};
use super::snapshot::Snapshot;
use crate::codec::json;
use crate::store::{Measure, Value};
use crate::time;

/// Appends the numbers and the latest events.
pub fn write(snapshot: &Snapshot, settings: &Settings, out: &mut Vec<u8>) {
    let mut stamp = Vec::new();
    time::rfc3339(snapshot.wall, &mut stamp);
    let head = format!(
        "{{\"version\":\"{}\",\"time\":\"{}\",\"uptime\":{},\"ready\":{},\"limit\":{},\"lease\":{},\"listen\":\"{}\",\
         \"credentials\":\"{}\",\"store\":",
        env!("CARGO_PKG_VERSION"),
        String::from_utf8_lossy(&stamp),
        snapshot.uptime.millis() / 1000,
        snapshot.ready,
        settings.limit,
        settings.lease.secs_ceil(),
        snapshot.listen.map(|listen| listen.to_string()).unwrap_or_default(),
        snapshot.credentials,
    );
    out.extend_from_slice(head.as_bytes());
    json::write_string(snapshot.store_name.as_bytes(), out);
    out.extend_from_slice(b",\"metrics\":{");
    let families = snapshot.families().map(|(family, numbers)| (family.name, value(family, &numbers)));
    let of_store = snapshot.store.chunk_by(|a, b| a.family == b.family);
    let of_store = of_store.map(|family| (family[0].family, measured(family)));
    let members: Vec<_> =
        families.chain(of_store).map(|(name, value)| format!("\"{name}\":{value}")).collect();
    out.extend_from_slice(members.join(",").as_bytes());
    out.extend_from_slice(b"},\"latest\":[");
    for (i, event) in snapshot.latest.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        self::event(event, out);
    }
    out.extend_from_slice(b"]}");
}

/// The numbers of a family: one number; an object with a member for each value of its label, which are such objects again
/// where it has a second label; or a histogram.
fn value(family: &Family, numbers: &[f64]) -> String {
    match (family.kind, numbers.split_last()) {
        (Kind::Histogram, Some((sum, counts))) => histogram(&BOUNDS, counts, *sum),
        _ => by_label(family.labels, numbers),
    }
}

fn by_label(labels: &[Label], numbers: &[f64]) -> String {
    let Some((label, rest)) = labels.split_first() else { return numbers[0].to_string() };
    let parts = numbers.chunks(numbers.len() / label.values.len());
    let members =
        label.values.iter().zip(parts).map(|(value, part)| format!("\"{value}\":{}", by_label(rest, part)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// `counts` are those of each bucket alone, `bounds` and `sum` in microseconds.
fn histogram(bounds: &[u64], counts: &[f64], sum: f64) -> String {
    let bounds: Vec<_> = bounds.iter().map(|&bound| bound as f64 / 1e6).collect();
    format!("{{\"bounds\":{bounds:?},\"counts\":{counts:?},\"sum\":{}}}", sum / 1e6)
}

/// A family of the store, in the same forms.
fn measured(family: &[Measure]) -> String {
    let one = |Measure { label, value, .. }: &Measure| {
        let value = match value {
            Value::Counter(n) | Value::Gauge(n) => n.to_string(),
            Value::Histogram { bounds, counts, sum } => {
                let counts: Vec<_> = counts.iter().map(|&n| n as f64).collect();
                histogram(bounds, &counts, *sum as f64)
            }
        };
        let Some((_, of)) = label else { return value };
        let mut name = Vec::new();
        json::write_string(of.as_bytes(), &mut name);
        format!("{}:{value}", String::from_utf8_lossy(&name))
    };
    let members: Vec<_> = family.iter().map(one).collect();
    if family[0].label.is_none() { members.join(",") } else { format!("{{{}}}", members.join(",")) }
}

fn event(event: &Event, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    time::rfc3339(event.at, out);
    out.extend_from_slice(b"\",\"user\":");
    json::write_string(event.user.as_bytes(), out);
    if let Some(id) = &event.id {
        out.extend_from_slice(b",\"id\":");
        json::write_string(id.as_bytes(), out);
    }
    if let Some(device) = &event.device {
        out.extend_from_slice(b",\"device\":");
        json::write_string(device.as_bytes(), out);
    }
    let what = match event.kind {
        EventKind::Refused => "refused",
        EventKind::KeptOut => "kept out",
        EventKind::Reported => "reported",
        EventKind::Replaced => "replaced",
        EventKind::Ended => "ended",
        EventKind::Held => "held",
        EventKind::Lifted => "lifted",
    };
    let rest = format!(",\"what\":\"{what}\",\"count\":{},\"limit\":{}}}", event.count, event.limit);
    out.extend_from_slice(rest.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::counters::Counters;
    use crate::codec::template::Template;
    use crate::http::Method;
    use crate::http::status::Status;
    use crate::streams::account::WhenFull;
    use crate::streams::name::Name;
    use crate::time::{Millis, Timestamp};

    #[test]
    fn is_json_whatever_the_names() {
        let name = |text: &str| Name::from(text.as_bytes());
        let event = Event {
            at: Timestamp::default(),
            user: name("a\"b"),
            id: Some(name("\\")),
            device: Some(name("é")),
            kind: EventKind::Reported,
            count: 4,
            limit: 3,
        };
        let counters = Counters::default();
        counters.count_response(Method::Get, Status::Ok, 1);
        counters.count_response(Method::Head, Status::Forbidden, 26);
        let latest = vec![event.clone(), Event { id: None, device: None, ..event }];
        let up = |shard: &'static str, up| Measure {
            family: "streamer_store_up",
            help: "",
            label: Some(("shard", shard.into())),
            value: Value::Gauge(up),
        };
        let trips = Value::Histogram { bounds: &[500_000], counts: vec![2, 1], sum: 750_000 };
        let store = vec![
            Measure::single("streamer_store_parked", "", Value::Gauge(5)),
            up("\"a", 1),
            up("b", 0),
            Measure::single("streamer_store_seconds", "", trips),
        ];
        let snapshot =
            Snapshot { latest, store, sum: [&counters].into_iter().collect(), ..Snapshot::default() };
        let settings = Settings {
            limit: 3,
            lease: Millis::from_secs(90),
            when_full: WhenFull::Refuse,
            endpoint: Template::parse("/{id}").unwrap(),
            cors: None,
            proxies: Default::default(),
            log: None,
            keep_recent: true,
        };
        let mut out = Vec::new();
        write(&snapshot, &settings, &mut out);
        json::any(&out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in [
            r#""streamer_requests_total":{"GET":{"200":1,"201":0,"#,
            r#""streamer_request_duration_seconds":{"bounds":[2.5e-5, 5e-5, "#,
            r#""counts":[1.0, 1.0, 0.0, "#,
            r#""sum":0.000027}"#,
            r#""streamer_store_parked":5,"streamer_store_up":{"\"a":1,"b":0},"#,
            r#""streamer_store_seconds":{"bounds":[0.5],"counts":[2.0, 1.0],"sum":0.75}}"#,
            r#""user":"a\"b","id":"\\","device":"é","what":"reported","count":4,"limit":3},"#,
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
