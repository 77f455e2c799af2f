//! Any bytes at HA's door, whole and one by one: the same answers, and memory that stays bounded.
#![no_main]

use hustdbsync::clock::Now;
use hustdbsync::http::server::{ServerConnection, ServerLimits};
use hustdbsync::status::answer::{Gate, Pages, answer};
use hustdbsync::status::snapshot::Snapshot;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = answers(bytes, bytes.len().max(1));
    assert_eq!(answers(bytes, 1), whole);
});

/// What is answered to `bytes` that come in pieces of `piece_bytes`.
fn answers(bytes: &[u8], piece_bytes: usize) -> Vec<u8> {
    let now = Now::default();
    let (gate, snapshot, mut pages) = (Gate::new("u", "p"), Snapshot::new(0, 0, vec![]), Pages::default());
    let mut connection = ServerConnection::new(ServerLimits::default(), now);
    let mut sent = Vec::new();
    for piece in bytes.chunks(piece_bytes) {
        if connection.wants_input() {
            connection.handle_received(piece, now);
        }
        loop {
            let Some(request) = connection.poll_request() else {
                break;
            };
            let answer = answer(&request, &gate, &snapshot, &mut pages);
            connection.respond(&answer, now);
            let outgoing = connection.outgoing().len();
            sent.extend_from_slice(connection.outgoing());
            connection.handle_sent(outgoing, now);
        }
        let outgoing = connection.outgoing().len();
        sent.extend_from_slice(connection.outgoing());
        connection.handle_sent(outgoing, now);
        assert!(connection.buffer_bytes() <= bytes.len() + 256 * 1024);
    }
    sent
}
