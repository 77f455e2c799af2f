//! What the controller has its driver do, and what comes of it.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::http::answer::{Answer, ClientId, Status};
use crate::replay::messages::BackendId;

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make a new backend's probe. Nobody else knows the backend before this is done.
    Add {
        backend: BackendId,
        /// Its folder, which is its name.
        folder: Arc<str>,
    },
    /// Drop the probe: the backend is forgotten.
    Remove(BackendId),
    /// Look up its name, and report the result by `ControlMessage::Resolved`, or at once by
    /// [`Controller::handle_resolved`](super::Controller::handle_resolved).
    Resolve {
        backend: BackendId,
        /// Which of its addresses.
        wanted: Wanted,
    },
    /// Probe a backend, and report the result by
    /// [`Controller::handle_probe`](super::Controller::handle_probe).
    Probe(ProbeRequest),
    /// Close the probe's connection. Nothing more is reported of it.
    CloseProbe(BackendId),
    /// Send a client its answer; it may be gone.
    Reply(ClientId, Reply),
    /// Begin the server's own log file anew, and answer this client.
    Rotate(ClientId),
    /// Shutdown has begun.
    BeginShutdown,
}

/// How to probe a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeRequest {
    pub backend: BackendId,
    pub address: SocketAddr,
    /// With the password, by a request that changes nothing; otherwise `GET /status.html`.
    pub authenticated: bool,
    /// Whether it is up: one that is down is given up sooner.
    pub is_up: bool,
}

/// Which of a name's addresses is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// One that was seen up; it is taken if the name still has it, so that a name with several
    /// addresses does not move with the order in which they come.
    pub proven: Option<SocketAddr>,
    /// How many look-ups have been in vain: each next one takes the next address.
    pub attempt: usize,
}

/// What became of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// The answer is as it should be.
    Good {
        /// The connection is kept, and its loss will be told.
        watched: bool,
    },
    /// It is not, or nothing was asked: why.
    Bad(String),
    /// Connections are refused, or closed without a word: what the system says.
    Closed(String),
    /// There is no connection or no answer within the time for it: what was waited for.
    Silent(String),
    /// An authenticated one was answered 401 with a challenge.
    Refused,
    /// A connection that had been good was closed: idle, before an answer on it began, or just
    /// behind a good one.
    Lost,
}

impl ProbeResult {
    /// The same in words, for people.
    #[must_use]
    pub(super) fn answer(&self) -> Cow<'static, str> {
        match self {
            Self::Good { .. } => "good".into(),
            Self::Bad(why) | Self::Closed(why) | Self::Silent(why) => why.clone().into(),
            Self::Refused => "auth failed (401)".into(),
            Self::Lost => "it closed its idle connection".into(),
        }
    }
}

/// An answer to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: Status,
    /// The body's `Content-Type`.
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

impl Reply {
    /// One line of text.
    #[must_use]
    pub fn line(status: Status, text: &str) -> Self {
        Self {
            status,
            content_type: "text/plain",
            body: format!("{text}\n").into_bytes(),
        }
    }

    /// A JSON document.
    #[must_use]
    pub fn json(status: Status, body: Vec<u8>) -> Self {
        Self {
            status,
            content_type: "application/json",
            body,
        }
    }

    /// What the HTTP server sends.
    #[must_use]
    pub fn answer(&self) -> Answer<'_> {
        Answer {
            status: self.status,
            content_type: Some(self.content_type),
            fields: &[("Cache-Control", "no-store")],
            body: &self.body,
        }
    }
}
