//! One client's socket: the impure half of a [`Connection`].
//!
//! As hustdb answers, a turn takes one request: the thread works on it for [`SERVICE_TIME`], writes
//! its answer, and goes on to the other connections that have something to do. At once, a turn
//! takes all requests of a read and writes their answers together.
//!
//! ```text
//!          answers, with a delay            the time has come
//!   Open ───────────────────────▶ Held ───────────────────────▶ Open
//!   Open ── the connection is over ─▶ Closing ── all written ─▶ dropped
//!   Open ── by script ─▶ Hung or Endless, until the client goes
//! ```

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use super::Manner;
use super::connection::{After, Connection, READ_BYTES_MAX};
use super::service::Service;

/// What an endless header is made of.
const FILLER: &[u8] = b"X-Filler: ............................................\
                        ............................................\r\n";
/// How long a thread works on a request: what lies between two answers of a real hustdb is 20 to 40
/// µs, the write included.
pub const SERVICE_TIME: Duration = Duration::from_micros(25);
/// Reads of one connection before the others have their turn.
const READS_PER_TURN: u32 = 64;

/// A connection with its socket.
pub(super) struct Client {
    stream: TcpStream,
    connection: Connection,
    manner: Manner,
    out: Vec<u8>,
    /// How much of `out` has been written.
    written: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Reads and answers.
    Open,
    /// Its answers leave when this time has come; nothing is read or answered before.
    Held(Instant),
    /// Closed as soon as all answers are out.
    Closing,
    /// Says nothing any more.
    Hung,
    /// Sends a header without end.
    Endless,
}

/// What becomes of a connection after it had its turn.
pub(super) enum Turn {
    /// It waits for the next event.
    Wait,
    /// It waits for its time.
    Hold,
    /// It wants another turn.
    Again,
    /// It is over.
    Drop,
    /// It is over, with a reset.
    Reset,
    /// hustdb is down.
    Crash,
}

impl Client {
    pub(super) fn new(stream: TcpStream, answers_max: u32, manner: Manner) -> Self {
        let mut connection = Connection::new(answers_max);
        if manner == Manner::OneByOne {
            connection.answer_one_by_one();
        }
        Self {
            stream,
            connection,
            manner,
            out: Vec::new(),
            written: 0,
            state: State::Open,
        }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// When its answers leave, if they wait.
    pub(super) fn held_until(&self) -> Option<Instant> {
        match self.state {
            State::Held(until) => Some(until),
            State::Open | State::Closing | State::Hung | State::Endless => None,
        }
    }

    /// Lets its answers leave.
    pub(super) fn release(&mut self) {
        if self.held_until().is_some() {
            self.state = State::Open;
        }
    }

    /// Writes and reads until there is nothing to do or others must have their turn.
    pub(super) fn take_turn(&mut self, service: &mut Service<'_>) -> Turn {
        self.connection
            .misread_cut_targets(service.misread_cut_targets());
        for _ in 0..READS_PER_TURN {
            if self.held_until().is_some() {
                return Turn::Wait;
            }
            match self.flush() {
                Ok(true) => {}
                Ok(false) => return Turn::Wait,
                Err(_) => return Turn::Drop,
            }
            match self.state {
                State::Open | State::Hung => {}
                State::Held(_) => return Turn::Wait,
                State::Closing => return Turn::Drop,
                State::Endless => {
                    self.out.extend_from_slice(&FILLER.repeat(64));
                    continue;
                }
            }

            let mut buffer = [0u8; READ_BYTES_MAX];
            let count = if self.connection.has_more() {
                0
            } else {
                match self.stream.read(&mut buffer) {
                    Ok(0) => return Turn::Drop,
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Turn::Wait,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => return Turn::Drop,
                }
            };
            service.tally.bytes_in += count as u64;
            if self.state == State::Hung {
                continue;
            }
            if let Some(turn) = self.answer(&buffer[..count], service) {
                return turn;
            }
        }
        Turn::Again
    }

    /// Answers what a read brought (nothing: what was left of an earlier one). Says what becomes of
    /// the turn, if that is over.
    fn answer(&mut self, bytes: &[u8], service: &mut Service<'_>) -> Option<Turn> {
        let begun = Instant::now();
        let answers = self.connection.answers();
        let after = self.connection.handle_read(bytes, service, &mut self.out);
        service.tally.cut_targets += self.connection.take_cut_targets();
        // Whoever has the answer may look at the counters.
        service.flush_tally();
        self.state = match after {
            After::Continue => State::Open,
            After::Close => State::Closing,
            After::Hang => State::Hung,
            After::Endless => State::Endless,
            After::Reset => return Some(Turn::Reset),
            After::Crash => return Some(Turn::Crash),
        };
        let answered = self.connection.answers() - answers;
        if self.manner == Manner::OneByOne && answered > 0 {
            work_until(begun + SERVICE_TIME);
        }
        let delay = service.delay(answered, !bytes.is_empty());
        if self.state == State::Open && !self.out.is_empty() && !delay.is_zero() {
            self.state = State::Held(Instant::now() + delay);
            return Some(Turn::Hold);
        }
        if self.manner == Manner::OneByOne && self.state == State::Open && answered > 0 {
            return Some(match self.flush() {
                // A read might bring more, of which nothing else would tell.
                Ok(true) => Turn::Again,
                Ok(false) => Turn::Wait,
                Err(_) => Turn::Drop,
            });
        }
        None
    }

    /// Writes what is to be written; says whether it is all out.
    fn flush(&mut self) -> io::Result<bool> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(true)
    }
}

/// Keeps this thread busy until then, as hustdb's work keeps its own: a sleep would be longer than
/// the whole.
fn work_until(then: Instant) {
    while Instant::now() < then {
        std::thread::yield_now();
    }
}

/// Makes the end of this connection a reset, whatever is in its buffers.
pub(super) fn reset(stream: &TcpStream) {
    // Where this fails the connection is closed instead, which a client has to take as well.
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}
