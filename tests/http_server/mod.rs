//! The HTTP server over real sockets: that it answers as HA expects, byte for byte, and that nobody
//! who leans on it can break it in.

mod abuse;
mod conformance;
mod fair;
mod many_connections;
mod rate;
mod server;
