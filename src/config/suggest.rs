//! What was probably meant: for flags, variables and commands that there are not.

/// What other programs call a thing, and what it is called here.
const SYNONYMS: [(&str, &[&str]); 9] = [
    ("listen", &["port", "host", "bind", "address", "addr", "ip", "p"]),
    ("admin", &["metrics", "admin-port", "metrics-port"]),
    ("limit", &["streams", "max-streams", "screens", "max-screens"]),
    ("lease", &["ttl", "timeout", "expire", "expiry"]),
    ("cors", &["origin", "origins", "allow-origin", "cors-origin", "cors-origins"]),
    ("proxy", &["proxies", "trust-proxy", "trusted-proxy", "trusted-proxies"]),
    ("idle", &["keep-alive", "keepalive", "keep-alive-timeout", "idle-timeout"]),
    ("workers", &["threads", "cores", "jobs"]),
    ("log", &["verbose", "quiet", "debug", "log-format", "log-level"]),
];

/// The name that was probably meant: what another program calls `written`, or else the nearest of those for which at most
/// every third letter is wrong.
pub(super) fn closest<'a>(written: &str, names: &[&'a str]) -> Option<&'a str> {
    let meant = SYNONYMS.iter().find(|(_, others)| others.contains(&written)).map(|(name, _)| *name);
    if let Some(name) = names.iter().find(|name| Some(**name) == meant) {
        return Some(name);
    }
    let edits_allowed = |name: &str| (name.len() / 3).clamp(1, 2);
    (0..=2).find_map(|edits| {
        let mut worth_it = names.iter().copied().filter(|name| edits <= edits_allowed(name));
        worth_it.find(|name| is_near(written.as_bytes(), name.as_bytes(), edits))
    })
}

/// Whether `written` asks for a configuration file, which there is not.
pub(super) fn is_config_file(written: &str) -> bool {
    matches!(written, "config" | "config-file" | "conf" | "c" | "f")
}

/// Whether at most `edits` insertions, deletions, replacements and swaps of neighbours turn one into the other.
fn is_near(a: &[u8], b: &[u8], edits: usize) -> bool {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[same..], &b[same..]);
    let Some(edits) = edits.checked_sub(1) else { return a == b };
    match (a, b) {
        ([], []) => true,
        ([], [_, b @ ..]) => is_near(a, b, edits),
        ([_, a @ ..], []) => is_near(a, b, edits),
        ([a0, a_rest @ ..], [b0, b_rest @ ..]) => {
            let is_swap = a_rest.first() == Some(b0) && b_rest.first() == Some(a0);
            is_near(a_rest, b_rest, edits)
                || is_near(a_rest, b, edits)
                || is_near(a, b_rest, edits)
                || (is_swap && is_near(&a_rest[1..], &b_rest[1..], edits))
        }
    }
}
