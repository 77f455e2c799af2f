//! Records, one after the other, as one client would replay them: what a backend holds after a log
//! of unknown origin.
//!
//! It composes requests as the server does, and so shows that nothing was lost, repeated wrongly or
//! put out of order; whether the requests are the right ones, a [`Workload`](super::Workload)
//! shows.

use std::ops::Range;

use crate::binlog::method::Ttl;
use crate::binlog::request::{Composed, Template};
use crate::binlog::{Lifetime, Record};
use crate::fake_hustdb::store::Store;
use crate::fake_hustdb::{Contents, Method, Request};

/// A backend that is fed records.
#[derive(Debug)]
pub struct Replayed {
    store: Store,
    template: Template,
    head: Vec<u8>,
    /// Requests whose target ends behind this octet are rejected, not sent.
    head_bytes_max: usize,
}

impl Replayed {
    /// An empty backend of this name; requests whose target ends behind octet
    /// `head_bytes_max` don't reach it.
    #[must_use]
    pub fn new(backend: &str, head_bytes_max: usize) -> Self {
        Self {
            store: Store::new(false),
            template: Template::new(backend, None),
            head: Vec::new(),
            head_bytes_max,
        }
    }

    /// Replays one record, whose line was written at `written_unix` (0: nobody knows), at
    /// `now_unix` (seconds). Whatever the backend says to it, it is done. False where it may not be
    /// sent.
    pub fn apply(&mut self, record: &Record<'_>, written_unix: u32, now_unix: u64) -> bool {
        self.head.clear();
        let lifetime = Lifetime::of(record, written_unix, now_unix);
        let composed = self.template.compose(record, lifetime, &mut self.head);
        if composed.target_end() > self.head_bytes_max {
            return false;
        }
        let is_member = record.method.row().ttl == Ttl::OfMember;
        if lifetime == Lifetime::Expired && is_member {
            self.head.clear();
            let lookup = self.template.compose_lookup(record, &mut self.head);
            if self.send(record, &lookup, now_unix) != 200 {
                return true;
            }
            self.head.clear();
            self.template.compose(record, lifetime, &mut self.head);
        }
        self.send(record, &composed, now_unix);
        true
    }

    /// Sends what was composed. Gives the answer's status.
    fn send(&mut self, record: &Record<'_>, composed: &Composed, now_unix: u64) -> u16 {
        let (method, target) = request_line(&self.head);
        let body = &record.value[..composed.body_bytes];
        let request = Request::new(method, &self.head[target], body);
        self.store.apply(&request, now_unix).status
    }

    /// What the backend holds at `now_unix` (seconds).
    #[must_use]
    pub fn contents(&self, now_unix: u64) -> Contents {
        self.store.contents(now_unix)
    }
}

/// The method and where the target is in a request that the template composed.
fn request_line(head: &[u8]) -> (Method, Range<usize>) {
    let space =
        |from: usize| memchr::memchr(b' ', &head[from..]).map_or(head.len(), |at| from + at);
    let method_end = space(0);
    let start = (method_end + 1).min(head.len());
    let method = match &head[..method_end] {
        b"GET" => Method::Get,
        b"POST" => Method::Post,
        _ => Method::Other,
    };
    (method, start..space(start))
}
