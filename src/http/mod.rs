//! HTTP/1.1, both ways, as bytes in and bytes out.

pub mod answer;
pub mod basic;
pub mod chunked;
pub mod request;
pub mod response;
pub mod server;
