//! The ring by itself, over real sockets: what is sent arrives, what is closed goes, and no memory
//! goes before its operation.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::*;
use crate::replay::messages::BackendId;

const LONG: Duration = Duration::from_secs(20);

/// A ring that works for this thread; none where the system forbids it, which is said.
fn ring() -> Option<Ring> {
    sized(Sizes::default())
}

fn sized(sizes: Sizes) -> Option<Ring> {
    let waker = Arc::new(Eventfd::new().unwrap());
    match Ring::new(waker, sizes) {
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
            len: body.bytes().len() - from,
        };
        let send_mode = if at == 0 {
            SendMode::None
        } else {
            SendMode::Any
        };
        assert!(ring.send(id, head, Some(share), send_mode));
        at += sent(&mut ring, id).unwrap();
    }
    let all = reader.join().unwrap();
    assert_eq!(&all[..4], b"head");
    assert!(&all[4..] == body.bytes());
    assert!(ring.released().count() > 0);
    assert_eq!(ring.finish(LONG), 0);
    assert_eq!(Arc::strong_count(&body), 1);
}

/// Fills a connection whose other end reads nothing, until a patient send is under way that can't
/// be done.
fn stuck(ring: &mut Ring, id: SocketId, body: &Arc<Chunk>) {
    let share = || Share {
        chunk: Arc::clone(body),
        at: 0,
        len: body.bytes().len(),
    };
    loop {
        assert!(ring.send(id, b"", Some(share()), SendMode::None));
        match sent(ring, id) {
            Ok(bytes) => assert!(bytes > 0),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                break;
            }
        }
    }
    assert!(ring.send(id, b"head", Some(share()), SendMode::Any));
    assert!(
        !ring.send(id, b"head", None, SendMode::None),
        "one at a time"
    );
    ring.wait(0, Duration::ZERO).unwrap();
    assert!(ring.released().count() > 0);
}

#[test]
fn what_a_closed_connection_sends_stays_in_memory_until_the_kernel_is_done_with_it() {
    let Some(mut ring) = ring() else { return };
    let (id, other) = connected(&mut ring, 0);
    let body = chunk(1_000_000);
    stuck(&mut ring, id, &body);
    ring.receive(id);
    ring.wait(0, Duration::ZERO).unwrap();
    ring.close(id);
    assert_eq!(Arc::strong_count(&body), 2, "it is still being sent");
    assert_eq!(ring.memory.sockets.len(), 1, "its memory is there");
    let give_up = Instant::now() + LONG;
    while !ring.memory.sockets.is_empty() {
        assert!(Instant::now() < give_up, "it is never over");
        ring.wait(1, Duration::from_millis(100)).unwrap();
        ring.take_completions();
        assert!(
            ring.poll_done()
                .is_none_or(|done| matches!(done, Done::Wake)),
            "nothing is told of it"
        );
    }
    assert_eq!(ring.released().count(), 1);
    assert_eq!(Arc::strong_count(&body), 1);
    drop(other);
    assert_eq!(ring.finish(LONG), 0);
}

#[test]
fn the_end_waits_for_what_is_under_way_and_then_nothing_is() {
    let Some(mut ring) = ring() else { return };
    let body = chunk(1_000_000);
    let ends: Vec<_> = (0..5)
        .map(|tag| {
            let (id, other) = connected(&mut ring, tag);
            ring.receive(id);
            stuck(&mut ring, id, &body);
            other
        })
        .collect();
    assert_eq!(ring.finish(LONG), 0);
    assert_eq!(ring.released().count(), 5);
    assert_eq!(Arc::strong_count(&body), 1);
    drop(ring);
    drop(ends);
}

#[test]
fn a_ring_that_goes_with_something_under_way_leaves_its_memory_to_it() {
    let Some(mut ring) = ring() else { return };
    let (id, other) = connected(&mut ring, 0);
    let body = chunk(1_000_000);
    stuck(&mut ring, id, &body);
    drop(ring);
    assert_eq!(Arc::strong_count(&body), 2, "it is leaked, not freed");
    drop(other);
}

#[test]
fn completions_that_find_no_room_are_not_lost() {
    const SOCKETS: usize = 40;
    let sizes = Sizes {
        entries: 4,
        completions: 4,
        buffers: 64,
    };
    let Some(mut ring) = sized(sizes) else { return };
    let mut others = Vec::new();
    let mut ids = Vec::new();
    for tag in 0..SOCKETS {
        let (id, other) = connected(&mut ring, tag);
        ring.receive(id);
        ids.push(id);
        others.push(other);
    }
    for (id, other) in ids.iter().zip(&mut others) {
        assert!(ring.send(*id, b"question", None, SendMode::None));
        other.write_all(b"answer").unwrap();
    }
    let (mut sent, mut received) = (0, 0);
    while sent < SOCKETS || received < SOCKETS {
        match next(&mut ring) {
            Done::Sent { result, .. } => {
                assert_eq!(result.unwrap(), 8);
                sent += 1;
            }
            Done::Received {
                socket,
                result,
                more,
                ..
            } => {
                let filled = result.unwrap().expect("nobody has closed");
                assert_eq!(ring.bytes(&filled), b"answer");
                ring.recycle(filled);
                received += 1;
                if !more {
                    ring.receive(socket);
                }
            }
            Done::Wake => {}
            done @ Done::Connected { .. } => panic!("{done:?}"),
        }
    }
    assert_eq!((sent, received), (SOCKETS, SOCKETS));
    assert_eq!(ring.finish(LONG), 0);
}

#[test]
fn without_a_buffer_bytes_wait_until_there_is_one() {
    let sizes = Sizes {
        buffers: 2,
        ..Sizes::default()
    };
    let Some(mut ring) = sized(sizes) else { return };
    let (id, mut other) = connected(&mut ring, 0);
    ring.receive(id);
    let text: Vec<u8> = (0..100_000_u32).map(|at| (at % 253) as u8).collect();
    other.write_all(&text).unwrap();
    drop(other);
    let (mut all, mut starved) = (Vec::new(), 0);
    loop {
        let Done::Received { result, more, .. } = next(&mut ring) else {
            continue;
        };
        match result {
            Ok(None) => break,
            Ok(Some(filled)) => {
                all.extend_from_slice(ring.bytes(&filled));
                ring.recycle(filled);
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::ENOBUFS));
                starved += 1;
            }
        }
        if !more {
            ring.receive(id);
        }
    }
    assert!(
        all == text && starved > 0,
        "{} bytes, starved {starved} times",
        all.len()
    );
    assert_eq!(ring.finish(LONG), 0);
}

#[test]
fn a_waker_rung_before_during_or_after_a_wait_ends_one() {
    let Some(mut ring) = ring() else { return };
    let waker = Arc::clone(&ring.memory.waker);
    waker.wake();
    assert!(matches!(next(&mut ring), Done::Wake));
    let ringer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        waker.wake();
    });
    assert!(matches!(next(&mut ring), Done::Wake));
    ringer.join().unwrap();
    assert_eq!(ring.finish(LONG), 0);
}
