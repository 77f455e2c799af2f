//! A master that keys are looked up on: its connections, what waits to be asked, and whether it is
//! well.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::binlog::request::Template;
use crate::clock::Now;
use crate::connections::Action;
use crate::limits::{RECONCILE_BAD_ANSWERS_FOR, RECONCILE_BAD_ANSWERS_MAX, RECONCILE_BAD_KEYS_MAX};
use crate::pace::{Bucket, jittered_retry_delay};
use crate::reconcile::ask::Answer;
use crate::reconcile::connection::{Connection, ConnectionLimits, End, Request};

/// What a master says while it is not well.
#[derive(Clone, Debug)]
struct Trouble {
    failures: u32,
    retry_at: Duration,
    why: String,
}

/// See the module.
pub struct Master {
    /// Its name, `host:port`.
    pub name: Arc<str>,
    template: Template,
    address: Option<SocketAddr>,
    /// It may be elsewhere by now.
    has_failed: bool,
    connections: Vec<Connection>,
    queue: VecDeque<Request>,
    /// Requests that have ended without an answer of its own, and what is to be taken for it.
    ended: Vec<(Request, Answer)>,
    bucket: Bucket,
    trouble: Option<Trouble>,
    /// Why nothing new is asked, as the end of a sentence that begins with its name.
    paused: Option<&'static str>,
    /// Answers since `stalled` was zero.
    answers: u32,
    /// So many answers are a progress, and fewer at a low rate.
    progress_answers_max: u32,
    rate: u32,
    answers_total: u64,
    /// For how long it has been asked since it last made progress.
    stalled: Duration,
    /// Since when it has taken no write, monotonic, though it was asked to.
    writes_bad_since: Option<Duration>,
}

impl Master {
    /// A master with `connections` connections and a bound of `rate` requests a second, 0 for none.
    /// It makes progress with each `progress_answers_max` answers, or with those of a second at
    /// this rate. It has been asked before for `stalled` without progress.
    #[must_use]
    pub fn new(
        name: Arc<str>,
        credentials: Option<&str>,
        connections: usize,
        rate: u32,
        progress_answers_max: u32,
        stalled: Duration,
        now: Now,
    ) -> Self {
        Self {
            template: Template::new(&name, credentials),
            name,
            address: None,
            has_failed: false,
            connections: (0..connections.max(1))
                .map(|_| Connection::default())
                .collect(),
            queue: VecDeque::new(),
            ended: Vec::new(),
            bucket: Bucket::new(f64::from(rate), now.monotonic),
            trouble: None,
            paused: None,
            answers: 0,
            progress_answers_max,
            rate,
            answers_total: 0,
            stalled,
            writes_bad_since: None,
        }
    }

    /// Where it is.
    pub fn set_address(&mut self, address: SocketAddr) {
        self.address = Some(address);
        self.has_failed = false;
    }

    /// Whether its address is known, and nothing speaks against that.
    #[must_use]
    pub fn has_address(&self) -> bool {
        self.address.is_some() && !self.has_failed
    }

    /// How often in a row it could not be reached.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.trouble.as_ref().map_or(0, |trouble| trouble.failures)
    }

    /// Its name cannot be looked up.
    pub fn handle_unresolved(&mut self, why: String) {
        self.trouble.get_or_insert(Trouble {
            failures: 0,
            retry_at: Duration::ZERO,
            why,
        });
    }

    /// Why new requests wait until this is called again, as the end of a sentence that begins with
    /// its name; `None` where they do not.
    pub fn set_paused(&mut self, why: Option<&'static str>) {
        self.paused = why;
    }

    /// So much time has passed in which its answers were all that requests to it waited for, if
    /// there were some.
    pub fn handle_time(&mut self, passed: Duration) {
        if self.outstanding() > 0 {
            self.stalled += passed;
        }
    }

    /// Bounds the requests a second.
    pub fn set_rate(&mut self, rate: u32) {
        self.bucket.set_rate(f64::from(rate));
        self.rate = rate;
    }

    /// How many answers are a progress. A rate of 0 has no bound.
    fn progress_answers(&self) -> u32 {
        match self.rate {
            0 => self.progress_answers_max,
            rate => rate.min(self.progress_answers_max),
        }
    }

    /// Puts a request behind those that wait.
    pub fn ask(&mut self, request: Request) {
        self.queue.push_back(request);
    }

    /// Requests that wait or have no answer yet.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        let sent = self.connections.iter().map(Connection::outstanding);
        self.queue.len() + sent.sum::<usize>()
    }

    /// Why it is not well; `None` where it is.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_ref().map(|trouble| trouble.why.as_str())
    }

    /// Why requests to it wait, as a sentence; `None` where they do not, or only for its answers.
    #[must_use]
    pub fn waits_for(&self) -> Option<String> {
        let name = &self.name;
        match (self.paused, &self.trouble) {
            _ if self.outstanding() == 0 => None,
            (Some(why), _) => Some(format!("{name} {why}")),
            (None, Some(trouble)) => Some(format!("{name} cannot be asked: {}", trouble.why)),
            (None, None) => None,
        }
    }

    /// For how long it has had requests, also while it was paused, and has answered few.
    #[must_use]
    pub fn stalled(&self) -> Duration {
        self.stalled
    }

    /// Drops everything that was asked, and begins to measure anew for how long it is stalled;
    /// connections with requests out are closed by `actions`.
    pub fn give_up(&mut self, first_slot: usize, actions: &mut VecDeque<Action>) {
        self.queue.clear();
        self.ended.clear();
        self.stalled = Duration::ZERO;
        for (slot, connection) in (first_slot..).zip(&mut self.connections) {
            if connection.outstanding() > 0 {
                connection.close();
                actions.push_back(Action::Close(slot));
            }
        }
    }

    /// Connects, sends and gives up what is late, as far as there is something to ask. Requests
    /// that `compose` cannot compose go to `refused`.
    pub fn act(
        &mut self,
        first_slot: usize,
        limits: &ConnectionLimits,
        now: Now,
        actions: &mut VecDeque<Action>,
        refused: &mut Vec<Request>,
        mut compose: impl FnMut(&Request, &mut Vec<u8>, &Template) -> bool,
    ) {
        for at in 0..self.connections.len() {
            let slot = first_slot + at;
            if self.connections[at].deadline() <= now.monotonic {
                let why = self.connections[at].timeout();
                actions.push_back(Action::Close(slot));
                self.handle_end(at, End::Failed(why), now);
            }
            if self.queue.is_empty() || self.paused.is_some() {
                continue;
            }
            let connection = &mut self.connections[at];
            if connection.is_closed() {
                let may_retry = self
                    .trouble
                    .as_ref()
                    .is_none_or(|trouble| trouble.retry_at <= now.monotonic);
                // While it is not well one connection is enough to find out that it is.
                if let Some(address) = self.address
                    && may_retry
                    && (at == 0 || self.trouble.is_none())
                {
                    connection.begin(limits, now);
                    actions.push_back(Action::Connect(slot, address));
                }
            } else if connection.is_free() {
                let requests_max = self.bucket.available(now.monotonic);
                if requests_max == 0 {
                    continue;
                }
                let template = &self.template;
                let (sends, declined) = connection.compose(
                    &mut self.queue,
                    requests_max,
                    limits,
                    now,
                    |request, bytes| compose(request, bytes, template),
                );
                refused.extend(declined);
                if sends {
                    self.bucket.take(connection.outstanding());
                    actions.push_back(Action::Transmit(slot));
                }
            }
        }
    }

    /// Requests that have ended without an answer of the master, and what is to be taken for it:
    /// [`Answer::Bad`] of writes that it answers wrongly or not at all, and that may have been
    /// applied or not; [`Answer::Declined`] of lookups that it answers so while it answers others.
    pub fn take_ended(&mut self) -> Vec<(Request, Answer)> {
        std::mem::take(&mut self.ended)
    }

    /// When [`Master::act`] may have something to do though nothing happens, monotonic.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        let connections = self.connections.iter().map(Connection::deadline);
        let mut earliest = connections.min().unwrap_or(Duration::MAX);
        if self.queue.is_empty() || self.paused.is_some() {
            return earliest;
        }
        if let Some(trouble) = &self.trouble
            && self.address.is_some()
            && self.connections[0].is_closed()
        {
            earliest = earliest.min(trouble.retry_at);
        }
        if self.bucket.is_spent() && self.connections.iter().any(Connection::is_free) {
            earliest = earliest.min(self.bucket.next());
        }
        earliest
    }

    /// What is left to be sent on a connection.
    #[must_use]
    pub fn outgoing(&self, at: usize) -> &[u8] {
        self.connections[at].outgoing()
    }

    /// Whether nobody waits for a connection, or has it.
    #[must_use]
    pub fn is_closed(&self, at: usize) -> bool {
        self.connections[at].is_closed()
    }

    /// A connection is made.
    pub fn handle_connected(&mut self, at: usize, segment_bytes: usize) {
        self.connections[at].handle_connected(segment_bytes);
    }

    /// Bytes were sent. False: the connection has to be closed.
    #[must_use]
    pub fn handle_sent(
        &mut self,
        at: usize,
        bytes: usize,
        limits: &ConnectionLimits,
        now: Now,
    ) -> bool {
        if self.connections[at].is_closed() {
            return true;
        }
        let sent = self.connections[at].handle_sent(bytes, limits, now);
        let is_well = sent.is_ok();
        if let Err(end) = sent {
            self.handle_end(at, end, now);
        }
        is_well
    }

    /// Bytes have come. False: the connection has to be closed.
    #[must_use]
    pub fn handle_received(
        &mut self,
        at: usize,
        bytes: &[u8],
        value_bytes_max: usize,
        limits: &ConnectionLimits,
        now: Now,
        mut on_answer: impl FnMut(Request, Answer),
    ) -> bool {
        let (mut answers, mut is_written) = (0, false);
        let received = self.connections[at].handle_received(
            bytes,
            value_bytes_max,
            limits,
            now,
            |request, answer| {
                answers += 1;
                is_written |= request.is_mend();
                on_answer(request, answer);
            },
        );
        if is_written {
            self.writes_bad_since = None;
        }
        if answers > 0 {
            self.trouble = None;
            self.answers += answers;
            self.answers_total += u64::from(answers);
            if self.answers >= self.progress_answers() {
                self.answers = 0;
                self.stalled = Duration::ZERO;
            }
        }
        let is_well = received.is_ok();
        if let Err(end) = received {
            self.handle_end(at, end, now);
        }
        is_well
    }

    /// A connection was closed, or could not be made.
    pub fn handle_closed(&mut self, at: usize, why: String, now: Now) {
        if self.connections[at].is_closed() {
            return;
        }
        // A connection that waits for nothing may end.
        let end = match self.connections[at].is_free() {
            true => End::Retired,
            false => End::Failed(why),
        };
        self.handle_end(at, end, now);
    }

    fn handle_end(&mut self, at: usize, end: End, now: Now) {
        let mut unanswered = self.connections[at].close();
        let (end, bad_status) = match end {
            // Of a number that is none, or beyond what hustdb has.
            End::BadAnswer(200) => {
                let why = "it answers 200 without a version, value or score that could be read";
                (End::Failed(why.to_owned()), Some(200))
            }
            End::BadAnswer(status) => (End::Failed(format!("it answers {status}")), Some(status)),
            other => (other, None),
        };
        // The first of them may be what the master stumbles over.
        if matches!(end, End::Failed(_))
            && let Some(request) = unanswered.pop_front()
        {
            self.handle_bad_answer(request, bad_status, now);
        }
        for request in unanswered.into_iter().rev() {
            match request.is_mend() {
                true => self.ended.push((request, Answer::Lost)),
                false => self.queue.push_front(request),
            }
        }
        if let End::Failed(why) = end {
            self.has_failed = true;
            let failures = self.failures() + 1;
            let jitter = now.monotonic.as_nanos() as u64;
            self.trouble = Some(Trouble {
                failures,
                retry_at: now.after(jittered_retry_delay(failures, jitter)),
                why,
            });
        }
    }

    /// A lookup is asked again behind all others, so that none waits for a sick key. It is given
    /// up once it was answered wrongly, or not at all, several times with good answers in between.
    /// So it is where only it and few others are left, and only wrong answers have come for a
    /// minute. A master that answers everything wrongly, or nothing at all, is waited for.
    fn handle_bad_answer(&mut self, mut request: Request, status: Option<u16>, now: Now) {
        if request.is_mend() {
            let since = *self.writes_bad_since.get_or_insert(now.monotonic);
            let lasts = now.monotonic.saturating_sub(since);
            let answer = match status {
                Some(status) if lasts > RECONCILE_BAD_ANSWERS_FOR => Answer::Declined(status),
                _ => Answer::Bad,
            };
            return self.ended.push((request, answer));
        }
        let is_last = self.answers_total > 0 && self.outstanding() < RECONCILE_BAD_KEYS_MAX;
        let bad = &mut request.bad_answers;
        if bad.times == 0 {
            bad.first_at = now.monotonic;
        }
        if bad.times == 0 || bad.answers < self.answers_total {
            bad.times += 1;
        }
        bad.answers = self.answers_total;
        let lasts = now.monotonic.saturating_sub(bad.first_at);
        let is_last_sick = status.is_some() && is_last && lasts > RECONCILE_BAD_ANSWERS_FOR;
        if bad.times >= RECONCILE_BAD_ANSWERS_MAX || is_last_sick {
            let answer = Answer::Declined(status.unwrap_or(0));
            self.ended.push((request, answer));
        } else {
            self.queue.push_back(request);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::RECONCILE_PROGRESS_ANSWERS;
    use crate::reconcile::ask::Ask;
    use crate::reconcile::check::CheckId;
    use crate::reconcile::connection::BadAnswers;
    use crate::reconcile::key::Kind;

    const LIMITS: ConnectionLimits = ConnectionLimits {
        burst_bytes: 4096,
        requests_per_connection: 100,
        connect_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(1),
    };

    fn request(number: u64, ask: Ask) -> Request {
        Request {
            check: CheckId(number),
            ask,
            kind: Kind::Key,
            asked_at: Duration::ZERO,
            bad_answers: BadAnswers::default(),
        }
    }

    /// Has everything sent that can be; gives what is not sent.
    fn act(master: &mut Master, now: Now) -> Vec<Request> {
        let mut refused = Vec::new();
        let actions = &mut VecDeque::new();
        master.act(
            0,
            &LIMITS,
            now,
            actions,
            &mut refused,
            |request, bytes, _| {
                bytes.push(b'x');
                !request.is_stale(now)
            },
        );
        refused
    }

    fn connected(requests: &[Request]) -> Master {
        let now = Now::at_ms(0);
        let mut master = Master::new(
            "127.0.0.1:1".into(),
            None,
            1,
            0,
            RECONCILE_PROGRESS_ANSWERS,
            Duration::ZERO,
            now,
        );
        master.set_address("127.0.0.1:1".parse().unwrap());
        requests.iter().for_each(|request| master.ask(*request));
        act(&mut master, now);
        master.handle_connected(0, 1400);
        master
    }

    /// The simulation of comparing found both: a write that is sent late overwrites what came
    /// meanwhile.
    #[test]
    fn a_lookup_is_asked_again_and_a_write_is_not() {
        let (look, write) = (request(1, Ask::Look), request(2, Ask::Write));
        let mut master = connected(&[look, write]);
        assert_eq!(act(&mut master, Now::at_ms(1)), []);
        master.handle_closed(0, "reset".into(), Now::at_ms(2));
        assert_eq!(master.take_ended(), [(write, Answer::Lost)]);
        assert_eq!(master.outstanding(), 1);
        assert_eq!(master.trouble(), Some("reset"));
        assert!(!master.has_address(), "its name may lead elsewhere by now");
        assert_eq!(master.failures(), 1);
    }

    #[test]
    fn a_write_that_waited_too_long_is_not_sent() {
        let (look, write) = (request(1, Ask::Look), request(2, Ask::Write));
        let mut master = connected(&[look, write]);
        master.set_paused(Some("has records waiting"));
        assert_eq!(act(&mut master, Now::at_ms(10)), []);
        master.set_paused(None);
        assert_eq!(act(&mut master, Now::at_ms(1500)), [write]);
        assert_eq!(master.outstanding(), 1);
    }

    const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nVersion: 1\r\nContent-Length: 0\r\n\r\n";

    /// Asks for a key at which the master stumbles as `stumble` does, and for others between; gives
    /// what is taken for the answer in the end.
    fn stumble_at(kind: Kind, stumble: impl Fn(&mut Master, Now)) -> Answer {
        let sick = Request {
            kind,
            ..request(1, Ask::Look)
        };
        let mut master = connected(&[sick]);
        let mut ms = 0;
        while master.ended.is_empty() {
            ms += 2_000;
            assert!(Duration::from_millis(ms) < RECONCILE_BAD_ANSWERS_FOR);
            master.ask(request(2, Ask::Look));
            let now = Now::at_ms(ms);
            act(&mut master, now);
            master.handle_connected(0, 1400);
            act(&mut master, now);
            while let Some(asked) = master.connections[0].first() {
                match asked.check == sick.check {
                    true => stumble(&mut master, now),
                    false => receive(&mut master, GOOD, now),
                }
            }
        }
        let (request, answer) = master.take_ended().remove(0);
        assert_eq!(request.check, sick.check);
        answer
    }

    fn receive(master: &mut Master, bytes: &[u8], now: Now) {
        _ = master.handle_received(0, bytes, 1 << 20, &LIMITS, now, |_, _| {});
    }

    /// One sick key is no sick master: the others are answered meanwhile.
    #[test]
    fn a_lookup_that_a_master_stumbles_over_while_others_are_answered_is_given_up() {
        let bad = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
        let found = stumble_at(Kind::Key, |master, now| receive(master, bad, now));
        assert_eq!(found, Answer::Declined(500));
        // A score that is none.
        let found = stumble_at(Kind::SortedSet, |master, now| receive(master, GOOD, now));
        assert_eq!(found, Answer::Declined(200));
        let closed = |master: &mut Master, now| master.handle_closed(0, "reset".into(), now);
        assert_eq!(stumble_at(Kind::Key, closed), Answer::Declined(0));
    }

    /// A master that answers everything with an error is waited for, not its keys given up.
    #[test]
    fn a_master_that_answers_all_lookups_wrongly_is_stalled_and_gives_up_none() {
        const BAD: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n";
        let mut master = connected(&[request(1, Ask::Look), request(2, Ask::Look)]);
        for second in 1..200 {
            let now = Now::at_ms(second * 1000);
            act(&mut master, now);
            master.handle_connected(0, 1400);
            act(&mut master, now);
            receive(&mut master, BAD, now);
            master.handle_time(Duration::from_secs(1));
        }
        assert_eq!(master.take_ended(), []);
        assert_eq!(master.outstanding(), 2);
        assert!(master.stalled().as_secs() > 190);
    }

    /// One that takes no write at all is found out once, not for each key.
    #[test]
    fn a_master_that_takes_no_write_for_long_declines_each_at_once() {
        const FULL: &[u8] = b"HTTP/1.1 403 Forbidden\r\nVersion: 1\r\nContent-Length: 0\r\n\r\n";
        let mut master = connected(&[]);
        let mut answer_at = |ms| {
            let now = Now::at_ms(ms);
            let write = Request {
                asked_at: now.monotonic,
                ..request(ms, Ask::Write)
            };
            master.ask(write);
            act(&mut master, now);
            master.handle_connected(0, 1400);
            act(&mut master, now);
            receive(&mut master, FULL, now);
            master.take_ended().remove(0).1
        };
        assert_eq!(answer_at(1_000), Answer::Bad);
        assert_eq!(answer_at(60_000), Answer::Bad);
        assert_eq!(answer_at(70_000), Answer::Declined(403));
    }

    #[test]
    fn who_answers_little_is_stalled_while_it_is_asked() {
        let mut master = connected(&[request(1, Ask::Look)]);
        act(&mut master, Now::at_ms(1));
        master.handle_time(Duration::from_millis(700));
        assert_eq!(master.stalled().as_millis(), 700);
        master.set_paused(Some("has records waiting"));
        master.handle_time(Duration::from_millis(200));
        assert_eq!(master.stalled().as_millis(), 900, "whoever pauses it");
        master.set_paused(None);
        // One key after the other, each answered late.
        for second in 1..=5 {
            receive(&mut master, GOOD, Now::at_ms(second * 1000));
            assert_eq!(master.outstanding(), 0);
            master.handle_time(Duration::from_secs(60));
            master.ask(request(second, Ask::Look));
            act(&mut master, Now::at_ms(second * 1000));
            master.handle_time(Duration::from_secs(1));
        }
        assert_eq!(master.stalled().as_millis(), 5_900);
        for number in 0..RECONCILE_PROGRESS_ANSWERS {
            master.ask(request(number.into(), Ask::Look));
            while master.outstanding() > 0 {
                act(&mut master, Now::at_ms(6_000));
                master.handle_connected(0, 1400);
                act(&mut master, Now::at_ms(6_000));
                receive(&mut master, GOOD, Now::at_ms(6_000));
            }
        }
        assert_eq!(master.stalled(), Duration::ZERO);
    }
}
