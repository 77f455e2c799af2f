//! What a monitor's orders mean to the others, and in which order each hears of them.
//!
//! | order | who is told | and not before |
//! |---|---|---|
//! | a new backend | reader; checkpointer | the checkpointer when the reader knows it |
//! | flush | checkpointer; reader and workers | these when the checkpointer knows that a flush has begun |
//! | open, once its [`Gate`] lets it | workers; reader | the reader when every worker can take its batches |
//! | ttl | workers | |
//! | forget | workers; reader, which tells the checkpointer | when the checkpointer has all that it was told before; the reader when every worker has let go |

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::replay::lane::LaneSettings;
use crate::replay::messages::{
    BackendId, BackendInfo, CheckpointerMessage, Epoch, ReaderMessage, WorkerMessage,
};
use crate::replay::outbox::{After, Outbox};
use crate::replay::reachability::gate::{Gate, Opened, Request};

impl Outbox {
    /// A backend has been found.
    pub fn introduce(&mut self, info: &BackendInfo) {
        self.reader(After::Nothing, ReaderMessage::Backend(info.clone()));
        self.checkpointer(After::LogReader, CheckpointerMessage::Backend(info.clone()));
    }

    /// An epoch begins. What is in flight may be answered until `drain_until`, monotonic; none: it
    /// is let go at once.
    pub fn flush(&mut self, backend: BackendId, epoch: Epoch, drain_until: Option<Duration>) {
        self.checkpointer(
            After::Nothing,
            CheckpointerMessage::Flush { backend, epoch },
        );
        self.reader(After::Checkpointer, ReaderMessage::Down { backend, epoch });
        self.workers(After::Checkpointer, || WorkerMessage::Flush {
            backend,
            epoch,
            drain_until,
        });
    }

    /// What would be lost if a backend were forgotten?
    pub fn ask_left(&mut self, backend: BackendId) {
        self.checkpointer(After::Nothing, CheckpointerMessage::AskLeft { backend });
    }

    /// A backend that is flushed and stays down is to be forgotten.
    pub fn forget(&mut self, backend: BackendId) {
        self.workers(After::Checkpointer, || WorkerMessage::Forget { backend });
        self.reader(After::Workers, ReaderMessage::Forget { backend });
    }

    /// What a gate asks of the checkpointer.
    pub fn keep_outages(&mut self, backend: BackendId, gate: &mut Gate) {
        while let Some(request) = gate.poll_request() {
            let message = match request {
                Request::Keep(bytes) => CheckpointerMessage::KeepOutages { backend, bytes },
                Request::Forget => CheckpointerMessage::ForgetOutages { backend },
            };
            self.checkpointer(After::Nothing, message);
        }
    }

    /// A backend is up, at `address`.
    pub fn open(
        &mut self,
        info: &BackendInfo,
        opened: Opened,
        address: SocketAddr,
        settings: &Arc<LaneSettings>,
    ) {
        let backend = info.id;
        let Opened {
            epoch,
            ttl_ready,
            outages,
        } = opened;
        self.workers(After::Nothing, || WorkerMessage::Open {
            backend,
            epoch,
            address,
            settings: Arc::clone(settings),
            counters: Arc::clone(&info.counters),
        });
        let up = ReaderMessage::Up {
            backend,
            epoch,
            outages,
        };
        self.reader(After::Workers, up);
        if let Some(ready) = ttl_ready {
            self.ttl(backend, ready);
        }
    }

    /// Whether records with a ttl may go.
    pub fn ttl(&mut self, backend: BackendId, ready: bool) {
        self.workers(After::Nothing, || WorkerMessage::Ttl { backend, ready });
    }
}
