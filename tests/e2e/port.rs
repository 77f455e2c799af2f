//! Ports for servers whose configuration has to name one before they take it.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// One that is free, and that the system gives to nobody by itself, neither to a listener nor to a
/// connection: those begin at 32768. So it is free again after a restart, too. Programs that
/// run at one time begin a hundred ports apart, unless their ids are equal modulo 100.
pub(crate) fn free() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = u16::try_from(std::process::id() % 100 * 100).unwrap();
    (0..10_000)
        .map(|_| 20_000 + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("one of ten thousand ports is free")
}
