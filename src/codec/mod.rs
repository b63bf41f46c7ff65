//! Encodings, each from its own specification: bytes in, bytes out.
//!
//! *Invariant:* nothing here knows HTTP, streams, sockets, files or the clock.

pub mod base64;
pub mod crc;
pub mod decimal;
pub mod hex;
pub mod json;
pub mod redis_url;
pub mod resp;
pub mod sha256;
pub mod template;
pub mod text;
pub mod urlencoded;
