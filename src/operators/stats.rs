//! `/stats`: what the page shows that is no number, as JSON: the server's settings and the latest events. The numbers are in
//! `/metrics`.
//!
//! *Invariant:* whatever names a user stands here and not in `/metrics`, which everybody may read. (Not tested.)

use super::recent::Recent;
use crate::app::site::Site;
use crate::codec::append;
use crate::codec::json::Quoted;
use crate::time::{self, Now};

/// Appends them.
pub fn write(site: &Site, now: Now, recent: &[Recent], out: &mut Vec<u8>) {
    let config = &site.config;
    let mut stamp = Vec::new();
    time::rfc3339(now.wall, &mut stamp);
    let head = format!(
        "{{\"version\":\"{}\",\"time\":\"{}\",\"uptime\":{},\"limit\":{},\"lease\":{},\"listen\":\"{}\",\
         \"credentials\":\"{}\",\"store\":",
        env!("CARGO_PKG_VERSION"),
        String::from_utf8_lossy(&stamp),
        site.started.steady.until(now.steady).millis() / 1000,
        config.limits.total,
        config.lease.secs_ceil(),
        config.listen,
        config.credentials.name(),
    );
    append!(out, &*head, Quoted(site.store.describe().as_bytes()));
    if let Some(trouble) = site.trouble() {
        append!(out, ",\"trouble\":", Quoted(trouble.as_bytes()));
    }
    append!(out, ",\"latest\":[", &Recent::latest(recent)[..], "]}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::json;

    #[test]
    fn is_json() {
        let mut out = Vec::new();
        write(&Site::of_test(), Now::default(), &[Recent::default()], &mut out);
        json::any(&out).unwrap();
        let expected = r#""limit":3,"lease":90,"listen":"127.0.0.1:8000","credentials":"open","store":"memory","latest":[]}"#;
        assert!(out.ends_with(expected.as_bytes()), "{}", String::from_utf8_lossy(&out));
    }
}
