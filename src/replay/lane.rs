//! A lane: records of one backend whose order must hold, and the one connection on which they go.
//!
//! ```text
//!            records come                 connected
//!   Idle ──────────────────▶ Connecting ─────────────▶ Ready ◀──────────────┐
//!    ▲                          │                      │  ▲               │ last answer is in
//!    │ time is up               │ failed        burst  ▼  │ closed, idle: │
//!   Waiting ◀───────────────────┴──────────────────── Busy ─┴─▶ Idle ───────┘
//!             failed, broken, late, or an answer that settles nothing
//! ```
//!
//! A connection that has been idle for `idle_timeout` is closed. If the first burst on one that was
//! idle is lost without a byte of an answer, another connection is made at once, and no failure is
//! counted (`idle`).
//!
//! **Order.** `pending` is the log's order. A burst is a prefix of it, sent whole requests at a
//! time on a connection that has nothing outstanding; answers come in the same order and take
//! records off the front. After trouble the connection is closed and the next burst starts at the
//! front again: what is sent again is a suffix (guarantees, G2 and G3). Some records are looked up
//! on the backend before they are written, several in a burst: see `lookup`.
//!
//! Nothing here makes a system call: a driver does what [`Step`] says, and tells what came of it.

mod answer_sizes;
mod answers;
mod burst;
mod complete;
mod idle;
mod lookup;
mod poison;
mod raw_line;
mod resends;
mod results;
mod sending;
mod settings;

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Now;
use crate::limits::RETRY_FIRST_MS;
use crate::pace::{Bucket, LongTrials, Window, jittered_retry_delay};
use crate::replay::batch_table::{BatchKey, BatchTable};
use crate::replay::chunk::Share;
use crate::replay::in_flight::InFlight;
use crate::replay::messages::{Fed, Trouble};
use crate::replay::outcome::Settlement;
use crate::status::counters::BackendCounters;

use answer_sizes::AnswerSizes;
use idle::{idle_until, ready};
use lookup::Found;
use poison::PoisonDetector;
pub use raw_line::RawLine;
use resends::{Member, Resends};
pub use results::{Results, hand_over};
pub use settings::LaneSettings;

/// A record that waits to be settled.
#[derive(Clone, Copy, Debug)]
struct Pending {
    batch: BatchKey,
    at: u32,
    bytes: u32,
    line: u32,
    /// When its line was written, Unix seconds; 0 where that is not known.
    written_unix: u32,
    /// Whether it may have been applied: it was sent before, here or by whoever fed it, and its
    /// answer never came.
    maybe_sent: bool,
    /// Whether it was sent here.
    sent: bool,
    /// Its member for [`Resends`], if it counts, as was seen when its bytes were read last.
    member: Option<Member>,
    /// It was the first of a burst that was lost with a connection that had been idle.
    lost_idle: bool,
    /// What the backend was found to have of it on this connection, unless it was written since.
    found: Option<Found>,
    /// How it is completed once it comes to the front: nothing is to be sent.
    done: Option<Settlement>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No connection, and no reason yet to make one.
    Idle,
    /// No connection, after trouble.
    Waiting { until: Duration },
    /// A connection is being made.
    Connecting { deadline: Duration },
    /// A connection with nothing outstanding, idle since then.
    Ready { since: Duration },
    /// A burst is out, or on its way.
    Busy { deadline: Duration },
}

/// What the driver is to do for a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until something happens.
    Rest,
    /// Make a connection; tell `handle_connected` or `handle_closed`.
    Connect,
    /// Send what is outgoing; tell `handle_sent`.
    Transmit,
    /// Close the connection. Nothing is told.
    Close,
}

/// What a lane needs to know, and where its results go.
pub struct LaneContext<'a> {
    /// The time.
    pub now: Now,
    /// Any number, for jitter.
    pub jitter: u64,
    /// How to speak to the backend.
    pub settings: &'a LaneSettings,
    /// The backend's numbers.
    pub counters: &'a BackendCounters,
    /// Where the records' bytes are.
    pub held: &'a mut BatchTable,
    /// Whether new bursts may go: not while draining, nor while the checkpointer cannot take more
    /// outcomes.
    pub sending: bool,
    /// Whether records with a ttl may go.
    pub ttl_ready: bool,
    /// When lookups may go, monotonic.
    pub lookups_from: Duration,
    /// Bounds the rate.
    pub bucket: &'a mut Bucket,
    /// Bounds what long bodies cost that are not answered.
    pub long_trials: &'a mut LongTrials,
    /// Takes what is settled, in order.
    pub results: Results<'a>,
}

/// See the module.
#[derive(Debug)]
pub struct Lane {
    /// Its number among the backend's lanes.
    number: u16,
    /// Records in the log's order. Those of the exchange that are not answered are its front.
    pending: VecDeque<Pending>,
    state: State,
    window: Window,
    in_flight: InFlight,
    /// Bytes of an answer whose end has not come; empty when not `Busy`.
    received: Vec<u8>,
    /// Bytes of one segment on this connection.
    segment_bytes_max: usize,
    /// Answers that this connection has given.
    answers: u32,
    answer_sizes: AnswerSizes,
    /// When the burst that is out, or was last, was composed, monotonic; and how long its
    /// connection had been idle then.
    composed_at: Duration,
    idle_before: Duration,
    /// Failures in a row, of whatever record: the exponent of the delay.
    failures: u32,
    /// When lookups may go since a connection of this lane ended with requests out, monotonic.
    lookups_from: Duration,
    poison: PoisonDetector,
    /// Records that were completed or rejected, so the number of the one at the front.
    completed: u64,
    /// Whether a lookup was answered on this connection.
    has_findings: bool,
    resends: Resends,
}

impl Lane {
    /// A lane without records or connection.
    #[must_use]
    pub fn new(number: u16) -> Self {
        Self {
            number,
            pending: VecDeque::new(),
            state: State::Idle,
            window: Window::default(),
            in_flight: InFlight::default(),
            received: Vec::new(),
            segment_bytes_max: usize::MAX,
            answers: 0,
            answer_sizes: AnswerSizes::default(),
            composed_at: Duration::ZERO,
            idle_before: Duration::ZERO,
            failures: 0,
            lookups_from: Duration::ZERO,
            poison: PoisonDetector::default(),
            completed: 0,
            has_findings: false,
            resends: Resends::default(),
        }
    }

    /// A lane of another backend in this one's slot. It takes no late piece of this one's bodies
    /// for one of its own.
    #[must_use]
    pub fn successor(&self, number: u16) -> Self {
        Self {
            in_flight: self.in_flight.successor(),
            ..Self::new(number)
        }
    }

    /// Its number among the backend's lanes.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Puts a record behind the others.
    pub fn push(&mut self, batch: BatchKey, fed: &Fed) {
        self.pending.push_back(Pending {
            batch,
            at: fed.at,
            bytes: fed.bytes,
            line: fed.line,
            written_unix: fed.written_unix,
            maybe_sent: fed.maybe_sent,
            sent: false,
            member: None,
            lost_idle: false,
            found: None,
            done: None,
        });
        let waiting = self.pending.len() - self.in_flight.unanswered();
        if failpoint!(SwapRecords) && waiting > 1 {
            let last = self.pending.len() - 1;
            self.pending.swap(last - 1, last);
        }
    }

    /// Whether a burst is out.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self.state, State::Busy { .. })
    }

    /// Whether there is a connection, made or being made.
    #[must_use]
    pub fn has_connection(&self) -> bool {
        matches!(
            self.state,
            State::Connecting { .. } | State::Ready { .. } | State::Busy { .. }
        )
    }

    /// Whether it has nothing out, and would send or connect if there were something to send.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        matches!(self.state, State::Idle | State::Ready { .. })
    }

    /// Whether a checkpoint is to be asked for, so that it may go on.
    #[must_use]
    pub fn wants_checkpoint(&self) -> bool {
        self.resends.wants_checkpoint()
    }

    /// A checkpoint was asked for, behind all outcomes so far.
    pub fn handle_checkpoint_asked(&mut self) {
        self.resends.handle_asked();
    }

    /// The checkpoint that was asked for is durable.
    pub fn handle_checkpoint_durable(&mut self) {
        self.resends.handle_durable();
    }

    /// Records that wait to be settled.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// When `handle_deadline` wants to be called, monotonic.
    #[must_use]
    pub fn deadline(&self, settings: &LaneSettings) -> Option<Duration> {
        match self.state {
            State::Idle => None,
            State::Ready { since } => Some(idle_until(since, settings)),
            State::Waiting { until: deadline }
            | State::Connecting { deadline }
            | State::Busy { deadline } => Some(deadline),
        }
    }

    /// What is still to be sent: head bytes, then a body's.
    #[must_use]
    pub fn outgoing<'a>(&'a self, held: &'a BatchTable) -> [&'a [u8]; 2] {
        self.in_flight.outgoing(held)
    }

    /// What is still to be sent of a body that is not copied, for a driver that sends while others
    /// go on.
    #[must_use]
    pub fn outgoing_body(&self, held: &BatchTable) -> Option<Share> {
        self.in_flight.outgoing_body(held)
    }

    /// What to do now. Called after anything happened to the lane, and once its connection is
    /// closed: what still comes of that one must find the lane without another.
    pub fn poll_step(&mut self, cx: &mut LaneContext<'_>) -> Step {
        match self.state {
            State::Waiting { until } if cx.now.monotonic >= until => {
                self.state = State::Idle;
                self.poll_step(cx)
            }
            State::Idle if cx.sending && !self.pending.is_empty() => {
                self.state = State::Connecting {
                    deadline: cx.now.after(cx.settings.connect_timeout),
                };
                Step::Connect
            }
            State::Ready { since } if cx.now.monotonic >= idle_until(since, cx.settings) => {
                self.disconnect(State::Idle);
                Step::Close
            }
            State::Ready { .. } if !cx.sending || self.pending.is_empty() => Step::Rest,
            State::Ready { .. } if self.answers_left(cx.settings) == 0 => {
                self.disconnect(State::Idle);
                Step::Close
            }
            State::Ready { since } => {
                self.composed_at = cx.now.monotonic;
                self.idle_before = cx.now.monotonic.saturating_sub(since);
                self.compose_burst(cx)
            }
            State::Idle | State::Waiting { .. } | State::Connecting { .. } | State::Busy { .. } => {
                Step::Rest
            }
        }
    }

    /// The connection stands; one segment of it has `segment_bytes_max` bytes (the connection's
    /// MSS). One that was given up meanwhile, and that the driver has not closed yet, is none.
    pub fn handle_connected(&mut self, segment_bytes_max: usize, cx: &LaneContext<'_>) {
        if !matches!(self.state, State::Connecting { .. }) {
            return;
        }
        self.state = ready(cx);
        self.segment_bytes_max = segment_bytes_max;
        self.answers = 0;
    }

    /// The connection was closed or broke, or could not be made.
    pub fn handle_closed(&mut self, why: String, cx: &mut LaneContext<'_>) -> Step {
        match self.state {
            State::Idle | State::Waiting { .. } => Step::Rest,
            State::Ready { .. } => {
                self.disconnect(State::Idle);
                Step::Close
            }
            State::Busy { .. } if self.may_be_lost_idle() => self.connect_again(cx),
            State::Connecting { .. } | State::Busy { .. } => {
                self.fail(Trouble::Connection(why), cx)
            }
        }
    }

    /// Time has passed: what was waited for is late.
    pub fn handle_deadline(&mut self, cx: &mut LaneContext<'_>) -> Step {
        match self.state {
            State::Connecting { deadline } if cx.now.monotonic >= deadline => self.fail(
                Trouble::Connection("no connection within connect_timeout".into()),
                cx,
            ),
            State::Busy { deadline } if cx.now.monotonic >= deadline => {
                if self.may_be_lost_idle() {
                    return self.connect_again(cx);
                }
                self.fail(Trouble::Timeout, cx)
            }
            _ => self.poll_step(cx),
        }
    }

    /// Bytes have come.
    pub fn handle_received(&mut self, bytes: &[u8], cx: &mut LaneContext<'_>) -> Step {
        if !self.is_busy() {
            return match self.state {
                State::Ready { .. } => {
                    self.fail(Trouble::Garbage("bytes that nobody asked for".into()), cx)
                }
                _ => Step::Rest,
            };
        }
        if self.received.is_empty() {
            let (taken, step) = self.take_answers(bytes, cx);
            if self.is_busy() {
                self.received.extend_from_slice(&bytes[taken..]);
            }
            return step;
        }
        let mut received = std::mem::take(&mut self.received);
        received.extend_from_slice(bytes);
        let (taken, step) = self.take_answers(&received, cx);
        received.drain(..taken);
        if !self.is_busy() {
            received.clear();
        }
        self.received = received;
        step
    }

    /// Forgets all records and the connection; a flush. Those that were sent will be sent again
    /// when they are fed again, and are counted so. Says whether there was a connection to close.
    pub fn discard(
        &mut self,
        held: &mut BatchTable,
        counters: &BackendCounters,
        results: &mut Results<'_>,
    ) -> Step {
        let sent = self.pending.iter().take_while(|pending| pending.sent);
        match sent.count() {
            0 => {}
            sent => counters.resent.add(sent as u64),
        }
        while let Some(pending) = self.pending.pop_front() {
            if pending.sent && !failpoint!(ForgetSent) {
                results.discard_sent(held, pending.batch, pending.line);
            }
            if let Some(chunk) = held.complete_one(pending.batch) {
                results.release(chunk);
            }
        }
        let had_connection = self.has_connection();
        self.disconnect(State::Idle);
        while let Some(piece) = self.in_flight.poll_spent() {
            results.release(piece);
        }
        self.window = Window::default();
        self.failures = 0;
        if failpoint!(ForgetFailures) {
            self.poison = PoisonDetector::default();
        }
        if had_connection {
            Step::Close
        } else {
            Step::Rest
        }
    }

    /// What must hold between calls.
    pub fn check_invariants(&self) {
        assert!(
            self.in_flight.unanswered() <= self.pending.len(),
            "what is out is a prefix of what waits"
        );
        assert_eq!(
            self.is_busy(),
            self.in_flight.unanswered() > 0,
            "busy is having answers to come"
        );
        assert!(
            self.is_busy() || self.received.is_empty(),
            "only a busy lane has a part of an answer"
        );
        assert!(
            self.has_findings || self.pending.iter().take(8).all(|it| it.found.is_none()),
            "what was found is of this connection"
        );
    }

    /// Answers that this connection may still give. Two at least in all: what a lookup has found is
    /// lost with its connection, so its write goes on the same one.
    fn answers_left(&self, settings: &LaneSettings) -> usize {
        let answers = settings.requests_per_connection.max(2);
        answers.saturating_sub(self.answers) as usize
    }

    /// Something went wrong: close, wait, start at the front again. A record that has failed
    /// `attempts_max` times while the backend was otherwise well is rejected instead (guarantees,
    /// G8).
    fn fail(&mut self, trouble: Trouble, cx: &mut LaneContext<'_>) -> Step {
        let was_busy = self.is_busy();
        if was_busy {
            self.lookups_from = cx.settings.lookups_from(cx.now);
        }
        while failpoint!(DropTail) && was_busy && self.pending.len() > self.in_flight.unanswered() {
            let last = self.pending.pop_back().expect("there is more than is out");
            cx.held
                .complete_one(last.batch)
                .into_iter()
                .for_each(|chunk| cx.results.release(chunk));
        }
        while failpoint!(AcknowledgeEarly) && self.in_flight.unanswered() > 0 {
            self.in_flight.answered();
            self.settle_front(Settlement::Applied, false, cx);
        }
        let is_record = was_busy && trouble != Trouble::Refused && !self.is_asking_health();
        let others_turn = if was_busy && self.in_flight.is_long() {
            let trials = &mut *cx.long_trials;
            trials.handle_failed(self.in_flight.sent_bytes(), cx.now.monotonic);
            trials.waits_until(cx.now.monotonic)
        } else {
            None
        };
        let is_canary = self.has_canary();
        let failed_at = if is_record { self.due_at() } else { 0 };
        let mut record = is_record.then(|| self.failed(failed_at, cx)).flatten();
        self.failures = self.failures.saturating_add(1);
        self.window.halve();
        if failed_at > 0 {
            // A lookup ahead of its turn. Whose fault that is shows when it is at the front, alone.
            self.window = Window::default();
        } else if is_record {
            self.note_failed_canary(cx);
        }
        // A canary that is answered ends the lane's failures, not the record's: its next try is no
        // sooner for that.
        let failures = self.failures.max(self.poison.failures().saturating_add(1));
        let mut until = cx.now.after(jittered_retry_delay(failures, cx.jitter));
        if let Some(others_turn) = others_turn {
            // The next long body is another lane's, if one waits to send its own.
            until = until.max(others_turn + Duration::from_millis(RETRY_FIRST_MS));
        }
        self.disconnect(State::Waiting { until });
        if let Some(record) = &mut record
            && !is_canary
            && failed_at == 0
        {
            record.others_answered = self.count_failure(&trouble, cx);
        }
        cx.results.trouble(self.number, trouble, record);
        Step::Close
    }

    fn disconnect(&mut self, state: State) {
        self.state = state;
        self.in_flight.clear();
        self.received.clear();
        self.dismiss_canary();
        if std::mem::take(&mut self.has_findings) {
            self.pending.iter_mut().for_each(|it| it.found = None);
        }
    }
}
