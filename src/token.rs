//! `streamer token`: makes a token, and for a users file the line that lets it in.

use std::fs::File;
use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use streamer::codec::{base64, hex, sha256};
use streamer::config::{TokenArgs, TokenKind};
use streamer::server;

/// Makes a token; returns what to print.
pub fn make(args: &TokenArgs) -> Result<String, String> {
    let TokenArgs { user, kind } = args;
    match kind {
        TokenKind::Listed { limit, admin } => {
            let token = random_token()?;
            let mut line = format!("{user}:").into_bytes();
            hex::encode(&sha256::digest(token.as_bytes()), &mut line);
            let mut line = String::from_utf8_lossy(&line).into_owned();
            match (limit, admin) {
                (Some(limit), true) => line += &format!(":{limit}:admin"),
                (Some(limit), false) => line += &format!(":{limit}"),
                (None, true) => line += "::admin",
                (None, false) => {}
            }
            Ok(format!("token: {token}\nline:  {line}\n"))
        }
        TokenKind::Signed { secret, limit, ttl } => {
            let keys = server::keys(secret)?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
            let expiry = now.as_secs() + ttl.secs_ceil();
            Ok(format!("{}\n", keys.mint(user.as_bytes(), *limit, expiry)))
        }
    }
}

/// 256 bits from the kernel, as 43 characters.
fn random_token() -> Result<String, String> {
    let mut bytes = [0; 32];
    let read = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    read.map_err(|error| format!("no randomness from /dev/urandom: {error}"))?;
    Ok(String::from_utf8_lossy(&base64::encode_url_digest(&bytes)).into_owned())
}
