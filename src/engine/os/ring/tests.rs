//! The ring by itself, over real sockets: what is sent arrives, what is closed goes, and no memory goes before its operation.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::*;
use crate::limits::{RING_BUFFER_BYTES, RING_BUFFERS};
use crate::replay::messages::BackendId;

const LONG: Duration = Duration::from_secs(20);

/// A ring that works for this thread; none where the system forbids it, which is said.
fn ring() -> Option<Ring> {
    let bell = Arc::new(Eventfd::new().unwrap());
    match Ring::new(bell) {
        Ok(mut ring) => {
            ring.enable().unwrap();
            Some(ring)
        }
        Err(error) => {
            eprintln!("SKIPPED: no ring here: {error}");
            None
        }
    }
}

/// Waits until something is done.
fn next(ring: &mut Ring) -> Done {
    let give_up = Instant::now() + LONG;
    loop {
        if let Some(done) = ring.poll_done() {
            return done;
        }
        assert!(Instant::now() < give_up, "nothing is done within {LONG:?}");
        ring.wait(1, Duration::from_millis(100)).unwrap();
        ring.take_completions();
    }
}

/// A connection, and its other end.
fn connected(ring: &mut Ring, tag: usize) -> (SocketId, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let id = ring.connect(&address, tag).unwrap();
    match next(ring) {
        Done::Connected {
            socket,
            tag: told,
            result,
        } => {
            assert_eq!((socket, told), (id, tag));
            result.unwrap();
        }
        done => panic!("{done:?}"),
    }
    let (other, _) = listener.accept().unwrap();
    (id, other)
}

/// The next that is done must be this socket's send; gives how many bytes were taken.
fn sent(ring: &mut Ring, id: SocketId) -> io::Result<usize> {
    match next(ring) {
        Done::Sent { socket, result, .. } if socket == id => result,
        done => panic!("{done:?}"),
    }
}

fn chunk(bytes: usize) -> Arc<Chunk> {
    let text = (0..bytes).map(|at| (at % 251) as u8).collect();
    Chunk::new(text, BackendId(0))
}

#[test]
fn a_head_and_a_large_body_arrive_whole_whatever_room_there_is() {
    let Some(mut ring) = ring() else { return };
    let (id, mut other) = connected(&mut ring, 0);
    let body = chunk(5_000_000);
    let reader = std::thread::spawn(move || {
        let mut all = vec![0; 5_000_004];
        other.read_exact(&mut all).unwrap();
        all
    });
    let mut at = 0;
    while at < 5_000_004 {
        let head = &b"head"[at.min(4)..];
        let from = at.saturating_sub(4);
        let share = Share {
            chunk: Arc::clone(&body),
            at: from,
            bytes: body.bytes().len() - from,
        };
        let patience = if at == 0 {
            Patience::None
        } else {
            Patience::Any
        };
        assert!(ring.send(id, head, Some(share), patience));
        at += sent(&mut ring, id).unwrap();
    }
    let all = reader.join().unwrap();
    assert_eq!(&all[..4], b"head");
    assert!(&all[4..] == body.bytes());
    assert!(ring.released().count() > 0);
    assert_eq!(ring.finish(LONG), 0);
    assert_eq!(Arc::strong_count(&body), 1);
}
