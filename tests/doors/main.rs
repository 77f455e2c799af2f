//! HA's door over real sockets: that it answers as HA expects, byte for byte, and that nobody who leans on it can break it in.

mod conformance;
mod crowd;
mod door;
mod fair;
mod rate;
mod siege;
#[path = "../support/mod.rs"]
mod support;
