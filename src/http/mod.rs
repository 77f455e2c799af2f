//! HTTP/1.1, both ways, as bytes in and bytes out.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod answer;
pub mod basic;
pub mod chunked;
pub mod host;
pub mod request;
pub mod response;
pub mod server;
