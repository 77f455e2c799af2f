//! Records, one after the other, as one client would replay them: what a backend holds after a log of unknown origin.
//!
//! It composes requests as the server does, and so shows that nothing was lost, repeated wrongly or put out of order; whether the
//! requests are the right ones, a [`Workload`](super::Workload) shows.

use std::ops::Range;

use crate::binlog::Record;
use crate::binlog::request::Template;
use crate::standin::store::Store;
use crate::standin::{Contents, Method, Request};

/// A backend that is fed records.
#[derive(Debug)]
pub struct Replayed {
    store: Store,
    template: Template,
    head: Vec<u8>,
    /// Requests with a longer head are rejected, not sent.
    head_bytes_max: usize,
}

impl Replayed {
    /// An empty backend of this name; requests whose head has more bytes don't reach it.
    #[must_use]
    pub fn new(backend: &str, head_bytes_max: usize) -> Self {
        Self {
            store: Store::new(false),
            template: Template::new(backend, None),
            head: Vec::new(),
            head_bytes_max,
        }
    }

    /// Replays one record at `now_unix` (seconds). Whatever the backend says to it, it is done. False where it may not be sent.
    pub fn apply(&mut self, record: &Record<'_>, now_unix: u64) -> bool {
        self.head.clear();
        let composed = self.template.compose(record, now_unix, &mut self.head);
        if composed.head_bytes > self.head_bytes_max {
            return false;
        }
        let (method, target) = request_line(&self.head);
        let body = &record.value[..composed.body_bytes];
        let request = Request::new(method, &self.head[target], body);
        self.store.apply(&request, now_unix);
        true
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
