#![doc = "streamer"]
pub mod time;
pub mod codec;
pub mod http;
pub mod streams;
pub mod store;
pub mod config;
pub mod app;
