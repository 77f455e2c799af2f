//! HTTP/1.1, both ways, as bytes in and bytes out.

pub mod response;
