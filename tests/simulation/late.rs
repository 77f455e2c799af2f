//! A backend that applies late: what it was sent on a connection that has ended it may still apply,
//! a while after it has answered a lookup on another one.
//!
//! hustdb serves its connections from several threads. One of them may have read a request, or have
//! it in its socket, when the connection ends, and others go on meanwhile. Writes come in the order
//! in which they were sent: what would be applied behind what is sent again, no sync server can do
//! anything about. So only lookups pass what is late, and they must wait for it (G4).
//!
//! A process that was stopped takes what its sockets hold when it goes on, in that order, too.

use std::time::Duration;

use crate::backend::{Life, Mood};
use crate::world::{Event, World};

/// Whether these bytes are whole lookups, as far as a backend can tell, and nothing else.
fn are_lookups(bytes: &[u8]) -> bool {
    const TARGET: &[u8] = b"/hustdb/";
    let targets = memchr::memmem::find_iter(bytes, TARGET).map(|at| &bytes[at + TARGET.len()..]);
    let is_lookup = |target: &[u8]| {
        let mut lookups = [&b"zscore?"[..], b"sismember?"].into_iter();
        lookups.any(|lookup| target.starts_with(lookup))
    };
    bytes.starts_with(b"GET ") && targets.into_iter().all(is_lookup)
}

impl World {
    /// Whether what a backend has not read of a connection whose other end is closed will be
    /// applied. Not where it refused what came before: the rest would come without that, and then
    /// come again in order.
    pub(crate) fn may_be_late(&self, connection: u64) -> bool {
        let Some(it) = self.connections.get(&connection) else {
            return false;
        };
        let life = self.backends[it.place].life;
        let lives = matches!(life, Life::Up { since } if since <= it.opened);
        lives
            && !it.dead
            && !it.met_illness
            && !it.up.is_empty()
            && !self.plan.applies_late.is_zero()
    }

    /// The other end of a connection is closed; what its backend has not read comes within a while.
    pub(crate) fn leave_behind(&mut self, connection: u64) {
        let later = self.up_to(self.plan.applies_late);
        if let Some(it) = self.connections.get_mut(&connection) {
            it.has_ended = true;
            self.at(self.now + later, Event::Late { connection });
        }
    }

    /// It is late enough, and so is what was sent before. A process that is stopped waits until it
    /// goes on.
    pub(crate) fn handle_late(&mut self, connection: u64) {
        let Some(it) = self.connections.get(&connection) else {
            return;
        };
        let (place, opened) = (it.place, it.opened);
        if self.backends[place].mood != Mood::Frozen {
            self.take_late_until(place, opened);
        }
    }

    fn take_late(&mut self, connection: u64) {
        if self.may_be_late(connection) {
            let waiting = self.connections[&connection].up.len();
            self.note(format_args!(
                "{connection:x}: what it left behind comes late"
            ));
            for _ in 0..waiting {
                self.arrive(connection, 0);
            }
        }
        self.connections.remove(&connection);
    }

    /// What was left behind is applied before anything that is written later, or after a process
    /// was stopped.
    pub(crate) fn take_all_late(&mut self, place: usize) {
        self.take_late_until(place, self.now);
    }

    /// The same of connections that were opened by then, in that order.
    fn take_late_until(&mut self, place: usize, opened: Duration) {
        let all = self.connections.iter();
        let mut late: Vec<(Duration, u64)> = all
            .filter(|(_, it)| it.place == place && it.has_ended && it.opened <= opened)
            .map(|(number, it)| (it.opened, *number))
            .collect();
        late.sort_unstable();
        for (_, connection) in late {
            self.take_late(connection);
        }
    }

    /// The backend is about to read the next bytes of a connection: what it was sent before comes
    /// first, unless they are lookups.
    pub(crate) fn take_late_before(&mut self, connection: u64) {
        let Some(it) = self.connections.get(&connection) else {
            return;
        };
        let next = it.up.front().map_or(&[][..], Vec::as_slice);
        if !it.has_ended && (it.has_waited || !are_lookups(next)) {
            self.take_all_late(it.place);
        }
    }

    /// A connection gets stuck: nothing of it is read before it ends.
    pub(crate) fn get_stuck(&mut self, connection: u64) {
        if let Some(it) = self.connections.get_mut(&connection) {
            it.is_stuck = true;
        }
    }
}

/// The longest that a backend may take for it, in some worlds: less than lookups wait.
pub(crate) const LATE_MAX: Duration = Duration::from_millis(200);
