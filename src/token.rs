//! `streamer token` and `streamer key`: make a token, and for a users file the line that lets it in; and a key.

use std::fs::File;
use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use streamer::app::auth::keys::Claims;
use streamer::codec::{base64, hex, sha256};
use streamer::config::TokenArgs;
use streamer::server;
use streamer::time::Millis;

/// Makes a token; returns what to print.
pub fn make(args: &TokenArgs) -> Result<String, String> {
    let TokenArgs { user, secret, limits, classes, admin, audience, ttl } = args;
    let limits = limits.as_ref().map(ToString::to_string);
    if let Some(secret) = secret {
        let keys = server::keys(secret, "--secret")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
        let claims = Claims {
            user,
            expiry: now.as_secs() + ttl.map_or(24 * 3600, Millis::secs_ceil),
            limit: limits.as_deref(),
            classes: classes.as_deref(),
            admin: *admin,
            audience: audience.as_deref(),
        };
        return Ok(format!("{}\n", keys.mint(&claims)));
    }
    let token = key()?;
    let mut line = format!("{user}:").into_bytes();
    hex::encode(&sha256::digest(token.as_bytes()), &mut line);
    let line = String::from_utf8_lossy(&line);
    let limits = match (limits, admin) {
        (Some(limits), true) => format!(":{limits}:admin"),
        (Some(limits), false) => format!(":{limits}"),
        (None, true) => "::admin".into(),
        (None, false) => String::new(),
    };
    Ok(format!("token: {token}\nline:  {line}{limits}\n"))
}

/// A key, or a token: 256 bits from the kernel, as 43 characters.
pub fn key() -> Result<String, String> {
    let mut bytes = [0; 32];
    let read = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    read.map_err(|error| format!("no randomness from /dev/urandom: {error}"))?;
    Ok(String::from_utf8_lossy(&base64::encode_url_digest(&bytes)).into_owned())
}
