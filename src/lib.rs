#![doc = "streamer"]
pub mod time;
pub mod streams;
pub mod store;
