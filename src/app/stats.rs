//! `/stats`: everything counted, as JSON for the page; and the page itself.
//!
//! *Invariant:* the page asks this listener alone: its policy allows no other source, and nothing inline but its own
//! script and style, by their hashes.

use std::fmt::Write;
use std::sync::LazyLock;

use super::Settings;
use super::counters::{BOUNDS, REFUSALS};
use super::metrics::{Process, Snapshot};
use super::recent::{Decision, What};
use crate::codec::{base64, json, sha256};
use crate::http::status::Status;
use crate::time;

/// The page.
pub const PAGE: &str = include_str!("page.html");

/// The page's `Content-Security-Policy`: its one script and its one style by their hashes, and nothing else.
pub static PAGE_POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |tag: &str| {
        let mut text = String::from("'sha256-").into_bytes();
        base64::encode(&sha256::digest(element(PAGE, tag).as_bytes()), &mut text);
        String::from_utf8_lossy(&text).into_owned() + "'"
    };
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style")
    )
});

/// What stands between the first `<tag>` and its `</tag>`.
fn element<'a>(page: &'a str, tag: &str) -> &'a str {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let inside = page.split_once(&open).and_then(|(_, rest)| rest.split_once(&close));
    inside.map_or("", |(text, _)| text)
}

/// Appends the numbers. They count from the start; the page takes differences.
pub fn write(snapshot: &Snapshot, settings: &Settings, out: &mut Vec<u8>) {
    let (sum, census) = (&snapshot.sum, &snapshot.census);
    let mut stamp = Vec::new();
    time::rfc3339(snapshot.wall, &mut stamp);
    let by_status = |status: Status| sum.requests.iter().map(|row| row[status as usize]).sum::<u64>();
    let statuses = Status::all().map(|status| (status.digits(), by_status(status))).filter(|(_, n)| *n > 0);
    let Process { resident, cpu_seconds, .. } = snapshot.process.unwrap_or_default();
    let mut text = String::with_capacity(4 * 1024);
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "{{\"version\":\"{version}\",\"uptime\":{uptime},\"time\":\"{time}\",\"ready\":{ready},\"limit\":{limit},\
         \"lease\":{lease},\"workers\":{workers},\"streams\":{{\"playing\":{playing},\"paused\":{paused}}},\
         \"users\":{users},\"usersByPlaying\":{by_playing:?},\"usersAtLimit\":{at_limit},\"requests\":{requests},\
         \"statuses\":{{{statuses}}},\"admissions\":{admissions},\"refusals\":{{{refusals}}},\
         \"replacements\":{replacements},\"expirations\":{expirations},\"adoptions\":{adoptions},\
         \"durations\":{{\"bounds\":{BOUNDS:?},\"counts\":{durations:?}}},\
         \"connections\":{{\"open\":{open},\"max\":{max},\"accepted\":{accepted},\"refused\":{refused},\
         \"reclaimed\":{reclaimed}}},\"authFailures\":{auth_failures},\"memory\":{resident},\
         \"cpuSeconds\":{cpu_seconds},\"received\":{received},\"sent\":{sent},\"latest\":[",
        version = env!("CARGO_PKG_VERSION"),
        uptime = snapshot.uptime.millis() / 1000,
        time = String::from_utf8_lossy(&stamp),
        ready = snapshot.ready,
        limit = settings.limit,
        lease = settings.lease.secs_ceil(),
        workers = snapshot.workers,
        playing = census.playing,
        paused = census.paused,
        users = snapshot.users(),
        by_playing = census.users,
        at_limit = snapshot.users_at_limit(),
        requests = sum.durations.iter().sum::<u64>(),
        statuses = members(statuses),
        admissions = sum.admissions,
        refusals = members(REFUSALS.into_iter().zip(sum.refusals)),
        replacements = sum.replacements,
        expirations = sum.expirations,
        adoptions = sum.adoptions,
        durations = sum.durations,
        open = snapshot.open(),
        max = snapshot.max_connections,
        accepted = sum.accepted,
        refused = sum.refused,
        reclaimed = sum.reclaimed,
        auth_failures = sum.auth_failures.iter().sum::<u64>(),
        received = sum.received,
        sent = sum.sent,
    );
    out.extend_from_slice(text.as_bytes());
    for (i, event) in snapshot.latest.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        self::event(event, out);
    }
    out.extend_from_slice(b"]}");
}

fn members<'a>(values: impl Iterator<Item = (&'a str, u64)>) -> String {
    values.map(|(name, n)| format!("\"{name}\":{n}")).collect::<Vec<_>>().join(",")
}

fn event(event: &Decision, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    time::rfc3339(event.at, out);
    out.extend_from_slice(b"\",\"user\":");
    json::write_string(event.user.as_bytes(), out);
    out.extend_from_slice(b",\"id\":");
    json::write_string(event.id.as_bytes(), out);
    if let Some(device) = &event.device {
        out.extend_from_slice(b",\"device\":");
        json::write_string(device.as_bytes(), out);
    }
    let what = match event.what {
        What::Admitted => "admitted",
        What::Replaced => "replaced",
        What::Reported => "reported",
        What::Refused => "refused",
    };
    let rest = format!(",\"what\":\"{what}\",\"count\":{},\"limit\":{}}}", event.count, event.limit);
    out.extend_from_slice(rest.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Template;
    use crate::streams::account::WhenFull;
    use crate::streams::name::Name;
    use crate::time::{Millis, Timestamp};

    #[test]
    fn is_json_whatever_the_names() {
        let name = |text: &str| Name::from(text.as_bytes());
        let event = Decision {
            at: Timestamp::default(),
            user: name("a\"b"),
            id: name("\\"),
            device: Some(name("é")),
            what: What::Reported,
            count: 4,
            limit: 3,
        };
        let mut snapshot = Snapshot { latest: vec![event.clone(), event], ..Snapshot::default() };
        snapshot.sum.requests[0][0] = 1;
        snapshot.sum.requests[1][5] = 1;
        let settings = Settings {
            limit: 3,
            lease: Millis::from_secs(90),
            when_full: WhenFull::Refuse,
            endpoint: Template::parse("/{id}").unwrap(),
            cors: None,
            log: None,
            keep_recent: true,
        };
        let mut out = Vec::new();
        write(&snapshot, &settings, &mut out);
        json::any(&out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(r#""statuses":{"200":1,"403":1}"#), "{text}");
    }

    #[test]
    fn the_page_has_one_script_and_one_style_and_nothing_inline() {
        for tag in ["script", "style"] {
            assert_eq!(PAGE.matches(&format!("<{tag}")).count(), 1);
            assert!(element(PAGE, tag).len() > 100);
        }
        for inline in [" style=", " onclick=", " onload=", "javascript:", "http://", "https://"] {
            let found = PAGE.replace("http://www.w3.org/2000/svg", "").contains(inline);
            assert!(!found, "{inline}");
        }
    }
}
