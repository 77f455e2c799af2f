//! The threads' turns: what each driver in `engine` does, with the sleep as an event.

use std::time::Duration;

use hustdbsync::internals::connections::{Action, Connected};
use hustdbsync::internals::limits::{LONG_LINES_MAX, OUTBOX_RETRY};
use hustdbsync::internals::replay::{checkpointer, reader};

use crate::bad_lines::TOO_LONG_BY_MAX;
use crate::net::Arrival;
use crate::server::{CHECKPOINTER, CONTROL, Driven, READER, Server, Then, WORKERS};
use crate::world::{Event, World};

/// Turns of one thread in a virtual second above which it is held to circle (G8).
const TURNS_PER_SECOND_MAX: u32 = 20_000;

impl World {
    /// How late a thread is.
    fn lateness(&mut self, thread: usize) -> Duration {
        let longest = match self.random.u32(..1000) {
            // What sends must hear of a backend's end before it is back: a real one takes longer
            // for that than a thread is ever held up.
            0..4 if self.plan.faults.stalls && matches!(thread, READER | CHECKPOINTER) => {
                Duration::from_millis(1500)
            }
            4..24 if self.plan.faults.stalls => Duration::from_millis(40),
            // So that its small mailbox is full when a log is deleted.
            24..224 if self.plan.dies_at_deletions && !self.healed && thread == READER => {
                Duration::from_millis(100)
            }
            24..124 => Duration::from_millis(2),
            _ => Duration::from_micros(100),
        };
        Duration::from_micros(1) + self.up_to(longest)
    }

    /// Plans the next turn of a thread, in place of an earlier plan.
    pub(crate) fn plan_turn(&mut self, thread: usize, at: Duration) {
        let Some(server) = &mut self.server else {
            return;
        };
        let state = &mut server.threads[thread];
        state.turn += 1;
        let (life, turn) = (self.life, state.turn);
        self.at(at, Event::Turn { life, thread, turn });
    }

    /// Keeps a thread from its next turn until then, whatever comes to it.
    pub(crate) fn hold_up(&mut self, thread: usize, until: Duration) {
        if let Some(server) = &mut self.server {
            server.threads[thread].asleep = false;
            self.plan_turn(thread, until);
        }
    }

    /// Wakes a thread that sleeps.
    pub(crate) fn wake(&mut self, thread: usize) {
        let Some(server) = &mut self.server else {
            return;
        };
        let state = &mut server.threads[thread];
        if std::mem::take(&mut state.asleep) {
            let at = self.now + self.lateness(thread);
            self.plan_turn(thread, at);
        }
    }

    /// Wakes whose waker has rung.
    pub(crate) fn wake_rung(&mut self) {
        for thread in 0..WORKERS + self.plan.workers {
            let rung = self
                .server
                .as_ref()
                .is_some_and(|server| server.threads[thread].take_ring());
            if rung {
                self.wake(thread);
            }
        }
    }

    pub(crate) fn take_turn(&mut self, thread: usize, turn: u64) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        let state = &mut server.threads[thread];
        if state.turn != turn || state.over {
            self.server = Some(server);
            return;
        }
        state.asleep = false;
        self.turns += 1;
        let second = self.now.as_secs();
        if state.second != second {
            (state.second, state.turns) = (second, 0);
        }
        state.turns += 1;
        assert!(
            state.turns < TURNS_PER_SECOND_MAX,
            "G8: thread {thread} circles"
        );
        let life = self.life;
        let then = match thread {
            CONTROL => self.control_turn(&mut server),
            READER => self.reader_turn(&mut server),
            CHECKPOINTER => self.checkpointer_turn(&mut server),
            worker => {
                let then = self.worker_turn(&mut server, worker - WORKERS);
                self.check_backlogs(&server);
                then
            }
        };
        if self.life != life {
            // The end was reached in this turn.
            return;
        }
        server.threads[thread].over = then == Then::Over;
        server.threads[thread].asleep = matches!(then, Then::Sleep(_));
        self.server = Some(server);
        if thread == CONTROL && self.plan.counters {
            self.note_epochs();
        }
        match then {
            Then::Again => {
                let at = self.now + self.lateness(thread);
                self.plan_turn(thread, at);
            }
            Then::Sleep(until) if until < Duration::from_secs(1 << 30) => {
                let at = until.max(self.now) + Duration::from_micros(50);
                self.plan_turn(thread, at);
            }
            Then::Sleep(_) | Then::Over => {}
        }
    }

    fn control_turn(&mut self, server: &mut Server) -> Then {
        let now = self.clock();
        server.control.core.mailbox().awake();
        let over = server.control.turn(now);
        self.run_errands(&mut server.control);
        if let Some(over) = over {
            self.note(format_args!("the end, {:?}", over.cut));
            self.end_life();
            return Then::Over;
        }
        if server.control.core.has_work() {
            return Then::Again;
        }
        if server.control.core.mailbox().prepare_sleep() {
            Then::Sleep(server.control.deadline(now))
        } else {
            Then::Again
        }
    }

    fn reader_turn(&mut self, server: &mut Server) -> Then {
        server.reader_mailbox.awake();
        let turn = server.reader.turn(self.clock());
        while let Some(action) = server.reader.poll_action() {
            server.watch(action);
        }
        let then = match turn {
            reader::Turn::Busy => Then::Again,
            reader::Turn::Stopped => Then::Over,
            reader::Turn::Idle { until } if server.reader.prepare_sleep() => Then::Sleep(until),
            reader::Turn::Idle { .. } => Then::Again,
        };
        self.check_bounds(server);
        then
    }

    fn checkpointer_turn(&mut self, server: &mut Server) -> Then {
        let now = self.clock();
        server.checkpointer.mailbox().awake();
        match server.checkpointer.turn(now) {
            checkpointer::Turn::Again => Then::Again,
            checkpointer::Turn::Done => Then::Over,
            checkpointer::Turn::Sleep => server
                .checkpointer
                .prepare_sleep(now)
                .map_or(Then::Again, Then::Sleep),
        }
    }

    /// G7: what is in flight is bounded, whatever the backlog.
    fn check_bounds(&self, server: &Server) {
        for (_, info, _) in server.control.all() {
            let counters = &info.counters;
            let (records, bytes) = (
                counters.in_flight_records.load(),
                counters.in_flight_bytes.load(),
            );
            let records_max = u64::from(self.plan.reader.in_flight_per_backend);
            assert!(records <= records_max, "G7: {records} records in flight");
            // Of a line that is too long, only the head is in memory.
            let too_long = self.plan.bounds.line_bytes_max + TOO_LONG_BY_MAX;
            // Nor is there more than a part of one that is long.
            let long = LONG_LINES_MAX * self.plan.bounds.line_bytes_max;
            let bytes_max = (self.plan.reader.memory_budget_bytes + too_long + long) as u64;
            assert!(bytes <= bytes_max, "G7: {bytes} bytes in flight");
        }
        // What is held of a line is whole, however small the share.
        let line = self.plan.bounds.line_bytes_max * self.plan.backends;
        let memory_max = (self.plan.reader.memory_budget_bytes + line) as u64;
        let memory = server.counters.memory_bytes.load();
        assert!(memory <= memory_max, "G7: {memory} bytes of memory");
    }

    /// G13: no backend looks as if it had no backlog while a record is sent to it.
    fn check_backlogs(&mut self, server: &Server) {
        let sent_to = std::mem::take(&mut self.sent_to);
        for (place, info, _) in server.control.all() {
            assert!(
                !sent_to.contains(&place) || info.counters.has_backlog(),
                "G13: {} is sent to and has no backlog",
                info.name
            );
        }
    }

    fn worker_turn(&mut self, server: &mut Server, index: usize) -> Then {
        let driven = &mut server.workers[index];
        let now = self.clock();
        driven.worker.mailbox().awake();
        for (connection, what) in std::mem::take(&mut driven.arrivals) {
            self.take_arrival(driven, connection, what);
        }
        driven.worker.handle_deadlines(now);
        driven.worker.receive_messages(now);
        let slots = driven.worker.slots();
        driven.by_slot.resize_with(slots, || None);
        while let Some(action) = driven.worker.poll_action(now) {
            match action {
                Action::Connect(slot, address) => {
                    let place = usize::from(address.port() - 10_000);
                    match self.connect(index, place) {
                        Some(connection) => driven.by_slot[slot] = Some(connection),
                        None => driven
                            .worker
                            .handle_closed(slot, "no descriptor left".into(), now),
                    }
                }
                Action::Transmit(slot) => self.transmit(driven, slot),
                Action::Close(slot) => {
                    if let Some(connection) = driven.by_slot[slot].take() {
                        self.close(connection);
                    }
                }
            }
        }
        let handed_over = driven.worker.hand_over(now);
        driven.worker.check_invariants();
        if driven.worker.is_stopped() && handed_over {
            return Then::Over;
        }
        if driven.worker.has_work() || !driven.worker.mailbox().prepare_sleep() {
            Then::Again
        } else if handed_over {
            Then::Sleep(driven.worker.deadline())
        } else {
            Then::Sleep(self.now + OUTBOX_RETRY)
        }
    }

    /// What the driver does with an event of a connection.
    fn take_arrival(&mut self, driven: &mut Driven, connection: u64, what: Arrival) {
        let slot = driven.by_slot.iter().position(|at| *at == Some(connection));
        // One that was closed may still have an event.
        let Some(slot) = slot else {
            return;
        };
        let now = self.clock();
        match what {
            Arrival::Connected(segment_bytes) => {
                driven.worker.handle_connected(slot, segment_bytes, now);
            }
            Arrival::Bytes(bytes) => driven.worker.handle_received(slot, &bytes, now),
            Arrival::Room => self.transmit(driven, slot),
            Arrival::Closed(why) => {
                driven.by_slot[slot] = None;
                self.close(connection);
                driven.worker.handle_closed(slot, why.into(), now);
            }
        }
    }

    /// Sends as much as the system takes.
    fn transmit(&mut self, driven: &mut Driven, slot: usize) {
        let Some(connection) = driven.by_slot[slot] else {
            return;
        };
        let now = self.clock();
        loop {
            let [head, body] = driven.worker.outgoing(slot);
            let bytes = [head, body].concat();
            if bytes.is_empty() {
                return;
            }
            self.note_leaving(connection, head);
            self.sent_to.extend(self.place_of(connection));
            let mut taken = bytes.len();
            if self.odds(self.plan.faults.partial_writes) {
                taken = self.random.usize(..taken);
            }
            if taken > 0 {
                self.note_sent(connection, &bytes[..taken]);
                self.send(connection, &bytes[..taken]);
                driven.worker.handle_sent(slot, taken, now);
            }
            if taken < bytes.len() {
                let what = Arrival::Room;
                self.soon(Duration::from_millis(3), Event::Down { connection, what });
                return;
            }
        }
    }
}
