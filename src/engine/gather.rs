//! When the answers on a connection are looked at: as each comes, or when those to a whole burst
//! are there.
//!
//! hustdb answers each request of a burst by itself, some 25 µs after the one before. A worker that
//! is woken for each spends most of its time on waking up. So where bursts are answered in pieces
//! the system is told to wake it for so many bytes only (`SO_RCVLOWAT`):
//!
//! ```text
//!           two bursts on end were answered in pieces
//!   each ───────────────────────────────────────────────▶ gathered
//!    ▲                                                        │
//!    └────────────────────────────────────────────────────────┘
//!       the bytes are not there, and bursts take far less time
//! ```
//!
//! Nothing waits for bytes that may never come: a worker that has waited for four times as long as
//! bursts take has the system wake it for the next byte again. The end of a connection wakes it at
//! all times.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::engine::os::tcp;
use crate::limits::{GATHER_BYTES_MAX, GATHER_MAX, GATHER_MIN};

/// Reads of a burst's answers from which on they come in pieces.
const PIECES: u32 = 3;
/// So many bursts on end tell that this is the backend's manner.
const BURSTS_IN_PIECES: u32 = 2;

/// See the module. One for each connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gather {
    /// What the system was told: bytes that have to be there before it wakes anybody.
    low_mark: usize,
    is_on: bool,
    /// A burst is out, sent to its end.
    is_out: bool,
    bursts_in_pieces: u32,
    /// Reads since the burst was sent.
    reads: u32,
    sent_at: Duration,
    /// How long a burst's answers take, smoothed; zero where that is not known.
    burst_time: Duration,
    /// When no more is waited for; `MAX` where nothing is.
    late_at: Duration,
}

impl Gather {
    pub(super) fn new() -> Self {
        Self {
            low_mark: 1,
            is_on: false,
            is_out: false,
            bursts_in_pieces: 0,
            reads: 0,
            sent_at: Duration::ZERO,
            burst_time: Duration::ZERO,
            late_at: Duration::MAX,
        }
    }

    /// When [`Gather::handle_late`] wants to be called, monotonic.
    pub(super) fn late_at(&self) -> Duration {
        self.late_at
    }

    /// A burst is sent to its end; `due` bytes of answers may gather. To be told once or more.
    ///
    /// # Errors
    /// What the system says where it can't be told.
    pub(super) fn handle_sent(
        &mut self,
        due: usize,
        now: Duration,
        socket: BorrowedFd<'_>,
    ) -> io::Result<()> {
        if std::mem::replace(&mut self.is_out, true) {
            return Ok(());
        }
        self.reads = 0;
        self.sent_at = now;
        if self.is_on {
            let patience = (4 * self.burst_time).clamp(GATHER_MIN, GATHER_MAX);
            self.late_at = now.saturating_add(patience);
        }
        self.mark(due, socket)
    }

    /// Bytes have come and were looked at. `due`: how many more may gather; none where the burst is
    /// answered.
    ///
    /// # Errors
    /// What the system says where it can't be told.
    pub(super) fn handle_received(
        &mut self,
        due: Option<usize>,
        now: Duration,
        socket: BorrowedFd<'_>,
    ) -> io::Result<()> {
        self.reads += 1;
        match due {
            Some(due) => self.mark(due, socket),
            None => {
                self.handle_burst(now.saturating_sub(self.sent_at));
                Ok(())
            }
        }
    }

    /// The time is up: whatever comes is looked at.
    ///
    /// # Errors
    /// What the system says where it can't be told.
    pub(super) fn handle_late(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.is_on = false;
        self.bursts_in_pieces = 0;
        self.late_at = Duration::MAX;
        self.mark(1, socket)
    }

    fn handle_burst(&mut self, took: Duration) {
        self.is_out = false;
        self.late_at = Duration::MAX;
        self.burst_time = match self.burst_time {
            Duration::ZERO => took,
            before => (7 * before + took) / 8,
        };
        if self.is_on {
            return;
        }
        if self.reads >= PIECES && took <= GATHER_MAX / 4 {
            self.bursts_in_pieces += 1;
        } else {
            self.bursts_in_pieces = 0;
        }
        self.is_on = self.bursts_in_pieces >= BURSTS_IN_PIECES;
    }

    fn mark(&mut self, due: usize, socket: BorrowedFd<'_>) -> io::Result<()> {
        let low_mark = if self.is_on {
            due.min(GATHER_BYTES_MAX)
        } else {
            1
        };
        if low_mark != self.low_mark {
            tcp::set_low_mark(socket, low_mark)?;
            self.low_mark = low_mark;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener};
    use std::os::fd::AsFd;

    use mio::net::TcpStream;
    use mio::{Events, Interest, Poll, Token};

    use super::*;

    const ANSWER: &[u8] = &[b'a'; 93];
    const MS: Duration = Duration::from_millis(1);

    struct Fixture {
        ours: TcpStream,
        theirs: std::net::TcpStream,
        poll: Poll,
        gather: Gather,
        now: Duration,
    }

    impl Fixture {
        fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (theirs, _) = listener.accept().unwrap();
            theirs.set_nodelay(true).unwrap();
            let poll = Poll::new().unwrap();
            let registry = poll.registry();
            registry
                .register(&mut ours, Token(0), Interest::READABLE)
                .unwrap();
            Self {
                ours,
                theirs,
                poll,
                gather: Gather::new(),
                now: MS,
            }
        }

        /// Whether it is woken within so many milliseconds.
        fn is_woken(&mut self, within_ms: u32) -> bool {
            let mut events = Events::with_capacity(1);
            self.poll.poll(&mut events, Some(within_ms * MS)).unwrap();
            !events.is_empty()
        }

        fn send(&mut self, due: usize) {
            let socket = self.ours.as_fd();
            self.gather.handle_sent(due, self.now, socket).unwrap();
        }

        fn answer(&mut self) {
            self.theirs.write_all(ANSWER).unwrap();
        }

        /// Reads what is there; `due` as the worker has it then. Gives how many bytes there were.
        fn receive(&mut self, due: Option<usize>) -> usize {
            let bytes = self.ours.read(&mut [0; 4096]).unwrap();
            let socket = self.ours.as_fd();
            self.gather.handle_received(due, self.now, socket).unwrap();
            bytes
        }

        /// A burst of four whose answers are read one by one.
        fn burst_in_pieces(&mut self) {
            self.send(300);
            for left in (0..4).rev() {
                self.answer();
                assert!(self.is_woken(1000));
                assert_eq!(self.receive((left > 0).then_some(80 * left)), ANSWER.len());
            }
            self.now += MS;
        }
    }

    #[test]
    fn answers_that_come_in_pieces_are_gathered_from_then_on() {
        let mut fixture = Fixture::new();
        fixture.burst_in_pieces();
        fixture.burst_in_pieces();
        fixture.send(300);
        for _ in 0..3 {
            fixture.answer();
        }
        assert!(!fixture.is_woken(20), "the last one is not there");
        fixture.answer();
        assert!(fixture.is_woken(1000));
        assert_eq!(fixture.receive(None), 4 * ANSWER.len());
        fixture.send(1);
        fixture.answer();
        assert!(fixture.is_woken(1000), "one alone is looked at at once");
    }

    #[test]
    fn nothing_is_waited_for_that_does_not_come() {
        let mut fixture = Fixture::new();
        fixture.burst_in_pieces();
        fixture.burst_in_pieces();
        fixture.send(300);
        fixture.answer();
        assert!(!fixture.is_woken(20));
        assert!(fixture.gather.late_at() <= fixture.now + GATHER_MAX);
        let socket = fixture.ours.as_fd();
        fixture.gather.handle_late(socket).unwrap();
        assert!(fixture.is_woken(1000), "what is there is looked at");
        fixture.receive(Some(200));
        fixture.answer();
        assert!(fixture.is_woken(1000), "and so is what comes then");
        fixture.receive(None);
        assert_eq!(fixture.gather.late_at(), Duration::MAX);
    }

    #[test]
    fn the_end_of_a_connection_is_not_waited_for() {
        let mut fixture = Fixture::new();
        fixture.burst_in_pieces();
        fixture.burst_in_pieces();
        fixture.send(300);
        fixture.theirs.shutdown(Shutdown::Both).unwrap();
        assert!(fixture.is_woken(1000));
    }

    #[test]
    fn answers_that_come_at_once_or_late_are_not_gathered() {
        let mut fixture = Fixture::new();
        for _ in 0..4 {
            fixture.send(300);
            for _ in 0..4 {
                fixture.answer();
            }
            assert!(fixture.is_woken(1000));
            fixture.receive(None);
        }
        assert!(!fixture.gather.is_on);
        for _ in 0..4 {
            fixture.send(300);
            fixture.now += GATHER_MAX;
            for left in (0..4).rev() {
                fixture.answer();
                assert!(fixture.is_woken(1000));
                fixture.receive((left > 0).then_some(80 * left));
            }
        }
        assert!(!fixture.gather.is_on);
    }
}
