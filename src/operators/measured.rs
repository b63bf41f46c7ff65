//! All numbers that there are, at one moment: what the threads have counted, what is measured when somebody looks, and what
//! the store says of itself.
//!
//! *Invariant:* a number stands once: in the table of `counters`, here, or among the store's own. (Not tested.)

use super::process;
use super::usage::Usage;
use crate::app::counters::{Counter, Sum};
use crate::app::site::Site;
use crate::measures::{Measure, Reading};
use crate::store::{Census, PLAYING_KINDS};
use crate::time::Now;

use Reading::Gauge;

const KINDS: [&str; PLAYING_KINDS] = ["0", "1", "2", "3", "4", "5", "6", "7", "8+"];

pub fn all(site: &Site, usage: &Usage, now: Now) -> Vec<Measure> {
    let sum = site.sum();
    let mut all: Vec<Measure> = sum.measures().collect();
    of_server(site, &sum, &mut all);
    site.store.census().inspect(|census| of_census(census, site.config.limits.total, &mut all));
    of_days(usage.peaks(now.wall), &mut all);
    all.extend(process::measures(site.started.wall));
    all.extend(site.store.measures());
    all
}

fn of_server(site: &Site, sum: &Sum, all: &mut Vec<Measure>) {
    all.push(Measure::labelled(
        "streamer_build_info",
        "Always 1; the version is in the label.",
        ("version", env!("CARGO_PKG_VERSION")),
        Gauge(1),
    ));
    let open = sum.total(Counter::Accepted).saturating_sub(sum.total(Counter::Closed));
    for (family, help, n) in [
        (
            "streamer_ready",
            "Whether requests should be sent here: what /readyz says.",
            u64::from(site.is_ready()),
        ),
        ("streamer_connections_open", "Connections that are open.", open),
        (
            "streamer_connections_max",
            "Client connections that there may be.",
            site.config.max_connections as u64,
        ),
        ("streamer_workers", "Worker threads.", site.config.workers as u64),
        ("streamer_store_up", "Whether the store can carry commands out.", site.store.is_up().into()),
    ] {
        all.push(Measure::single(family, help, Gauge(n)));
    }
    all.extend(
        site.config.max_users.map(|most| {
            Measure::single("streamer_users_max", "Users that there may be.", Gauge(most as u64))
        }),
    );
}

fn of_census(census: &Census, limit: u32, all: &mut Vec<Measure>) {
    let states = [("playing", census.playing), ("paused", census.paused)];
    all.extend(states.map(|(state, n)| {
        Measure::labelled("streamer_streams", "Streams, by state.", ("state", state), Gauge(n))
    }));
    let at_limit = &census.users[(limit as usize).min(PLAYING_KINDS - 1)..];
    for (family, help, users) in [
        ("streamer_users", "Users of whom a stream is known, ended ones too.", &census.users[..]),
        (
            "streamer_users_at_limit",
            "Users who play as many streams as --limit allows, or 8 or more under a higher limit.",
            at_limit,
        ),
    ] {
        all.push(Measure::single(family, help, Gauge(users.iter().sum())));
    }
    let help = "Users, by how many streams they play.";
    let by_playing = KINDS.iter().zip(census.users);
    all.extend(
        by_playing.map(|(kind, n)| {
            Measure::labelled("streamer_users_by_playing", help, ("playing", *kind), Gauge(n))
        }),
    );
}

fn of_days(peaks: [[u64; PLAYING_KINDS]; 2], all: &mut Vec<Measure>) {
    let help = "Users who asked for a start, by how many streams they played at once at most that day (UTC); estimated.";
    for (day, peaks) in ["today", "yesterday"].iter().zip(peaks) {
        all.extend(KINDS.iter().zip(peaks).map(|(kind, n)| Measure {
            labels: vec![("day", (*day).into()), ("peak", (*kind).into())],
            ..Measure::single("streamer_users_by_peak", help, Gauge(n))
        }));
    }
}
