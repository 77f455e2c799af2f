//! The sync points that the controller knows, and the clients that wait for one of them.
//!
//! Bounded: at most [`SYNC_POINTS_MAX`] points, of which the one that was requested longest ago is
//! forgotten first; at most [`SYNC_POINT_WAITERS_MAX`] waiters, of which the one that has waited
//! longest is answered first. They are in memory only: a restart forgets them, and a client then
//! takes another point, which covers everything that the earlier one did.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::http::answer::ClientId;
use crate::limits::{
    SYNC_POINT_KEPT, SYNC_POINT_TAKEN_WITHIN, SYNC_POINT_WAITERS_MAX, SYNC_POINTS_MAX,
};
use crate::status::control_request::SyncPointRequest;
use crate::status::sync_point::PointBoard;

/// A point.
struct Known {
    number: u64,
    /// `None` until the checkpointer has taken it.
    board: Option<Arc<PointBoard>>,
    /// The client that has requested it.
    client: ClientId,
    /// When it was taken or last asked about, monotonic.
    asked_at: Duration,
}

impl Known {
    /// Whether its client does not wait until it is taken any more.
    fn is_given_up(&self, now: Now) -> bool {
        self.asked_at + SYNC_POINT_TAKEN_WITHIN < now.monotonic
    }
}

/// A waiting client.
pub(super) struct Waiter {
    pub(super) client: ClientId,
    pub(super) id: String,
    pub(super) board: Arc<PointBoard>,
    /// It waits for this backend only.
    pub(super) backend: Option<String>,
    /// It waits until this monotonic instant.
    until: Duration,
}

impl Waiter {
    fn is_settled(&self) -> bool {
        let settled = self.board.is_settled(self.backend.as_deref());
        settled == Some(true)
    }
}

/// What to do with a question about a point.
pub(super) enum Asked {
    /// There is no such point.
    Unknown,
    /// There was no such backend when it was taken; there were these.
    NoBackend(Vec<Arc<str>>),
    /// Answer this client now: the one that has asked, or one that had to make room for it.
    Answer(Waiter),
    /// The answer comes later.
    Later,
}

/// See the module.
pub(super) struct SyncPoints {
    /// A random number of this process.
    process: u64,
    next: u64,
    points: Vec<Known>,
    waiters: VecDeque<Waiter>,
}

impl SyncPoints {
    pub(super) fn new(process: u64) -> Self {
        Self {
            process,
            next: 0,
            points: Vec::new(),
            waiters: VecDeque::new(),
        }
    }

    /// A point's name in requests and answers.
    pub(super) fn id(&self, number: u64) -> String {
        format!("{:016x}-{number}", self.process)
    }

    /// How many points and waiters there are.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.points.len(), self.waiters.len())
    }

    /// A new point's number, and the number of the point that is forgotten for it; `None` if all
    /// points are being taken, and have been asked for not long ago.
    pub(super) fn begin(&mut self, client: ClientId, now: Now) -> Option<(u64, Option<u64>)> {
        let mut forgotten = None;
        if self.points.len() >= SYNC_POINTS_MAX {
            let made = self.points.iter().enumerate();
            let oldest = made
                .filter(|(_, known)| known.board.is_some() || known.is_given_up(now))
                .min_by_key(|(_, known)| known.asked_at)?;
            forgotten = Some(self.points.remove(oldest.0).number);
        }
        self.next += 1;
        self.points.push(Known {
            number: self.next,
            board: None,
            client,
            asked_at: now.monotonic,
        });
        Some((self.next, forgotten))
    }

    /// The checkpointer has taken one, or could not. Returns the client that has requested it.
    pub(super) fn handle_taken(
        &mut self,
        number: u64,
        board: Option<Arc<PointBoard>>,
    ) -> Option<ClientId> {
        let at = self
            .points
            .iter()
            .position(|known| known.number == number)?;
        let client = self.points[at].client;
        match board {
            Some(board) => self.points[at].board = Some(board),
            None => drop(self.points.remove(at)),
        }
        Some(client)
    }

    /// A client asks how far a point is settled.
    pub(super) fn ask(&mut self, client: ClientId, ask: SyncPointRequest, now: Now) -> Asked {
        let number = ask
            .id
            .rsplit_once('-')
            .and_then(|(_, number)| number.parse().ok())
            .filter(|number| self.id(*number) == ask.id);
        let mut points = self.points.iter_mut();
        let known = points.find(|known| Some(known.number) == number);
        let Some((known, board)) = known.and_then(|known| {
            let board = known.board.clone()?;
            Some((known, board))
        }) else {
            return Asked::Unknown;
        };
        known.asked_at = now.monotonic;
        let Some(is_settled) = board.is_settled(ask.backend.as_deref()) else {
            let names = board.backends.iter();
            return Asked::NoBackend(names.map(|backend| Arc::clone(&backend.name)).collect());
        };
        let waiter = Waiter {
            client,
            id: ask.id,
            board,
            backend: ask.backend,
            until: now.after(ask.wait),
        };
        if is_settled || ask.wait.is_zero() {
            return Asked::Answer(waiter);
        }
        self.waiters.push_back(waiter);
        if self.waiters.len() <= SYNC_POINT_WAITERS_MAX {
            return Asked::Later;
        }
        self.waiters.pop_front().map_or(Asked::Later, Asked::Answer)
    }

    /// A waiter that need not wait any longer; at the `end`, any waiter.
    pub(super) fn take_due(&mut self, end: bool, now: Now) -> Option<Waiter> {
        let mut waiters = self.waiters.iter();
        let at = waiters
            .position(|waiter| end || waiter.until <= now.monotonic || waiter.is_settled())?;
        self.waiters.remove(at)
    }

    /// Forgets a point that nobody has asked about in a long time, and returns its number.
    pub(super) fn take_expired(&mut self, now: Now) -> Option<u64> {
        let mut points = self.points.iter();
        let at = points.position(|known| known.asked_at + SYNC_POINT_KEPT <= now.monotonic)?;
        Some(self.points.remove(at).number)
    }

    /// When a waiter's time is up or a point expires, monotonic.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let waits = self.waiters.iter().map(|waiter| waiter.until);
        let points = self.points.iter();
        waits
            .chain(points.map(|known| known.asked_at + SYNC_POINT_KEPT))
            .min()
    }
}
