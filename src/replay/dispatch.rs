//! The messages that a monitor's orders become, and the order in which the threads receive them.
//!
//! - *A new backend*: first the reader, then the checkpointer.
//! - *Flush*: first the checkpointer, so that it knows of the flush before anyone reports to have
//!   finished it; then the reader and the workers.
//! - *Open*, once the backend's [`Gate`] allows it: first the workers, so that every one of them
//!   can take batches; then the reader.
//! - *Ttl*: the workers.
//! - *The reconciler* hears of a new backend, and whether it is up, in no order with the others.
//! - *Forget*: once the checkpointer has received everything before it, the workers; then the
//!   reader, which passes it on to the checkpointer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::replay::lane::LaneSettings;
use crate::replay::messages::{
    BackendId, BackendInfo, BackendMessage, CheckpointerMessage, Epoch, ReaderMessage,
    ReconcilerMessage, WorkerMessage,
};
use crate::replay::outbox::{After, Outbox};
use crate::replay::reachability::gate::{Gate, Opened, Request};

impl Outbox {
    /// Introduces a backend that has been found.
    pub fn introduce(&mut self, info: &BackendInfo) {
        self.reader(ReaderMessage::Backend(info.clone()));
        self.after(After::LogReader)
            .checkpointer(CheckpointerMessage::Backend(info.clone()));
        self.reconciler(ReconcilerMessage::Backend(info.clone()));
    }

    /// Begins an epoch. What is in flight may still be answered until `drain_until`, monotonic;
    /// `None` means that it is discarded at once.
    pub fn flush(&mut self, backend: BackendId, epoch: Epoch, drain_until: Option<Duration>) {
        self.reconciler(ReconcilerMessage::Up {
            backend,
            is_up: false,
        });
        self.backend_message(backend, BackendMessage::Flush { epoch });
        self.after(After::Checkpointer)
            .reader(ReaderMessage::Down { backend, epoch });
        self.after(After::Checkpointer)
            .workers(|| WorkerMessage::Flush {
                backend,
                epoch,
                drain_until,
            });
    }

    /// Asks the checkpointer what would be lost if a backend were forgotten.
    pub fn ask_left(&mut self, backend: BackendId) {
        self.checkpointer(CheckpointerMessage::AskLeft { backend });
    }

    /// Has a backend forgotten that is flushed and stays down.
    pub fn forget(&mut self, backend: BackendId) {
        self.after(After::Checkpointer)
            .workers(|| WorkerMessage::Forget { backend });
        self.after(After::Workers)
            .reader(ReaderMessage::Forget { backend });
    }

    /// Passes a gate's requests on to the checkpointer.
    pub fn keep_outages(&mut self, backend: BackendId, gate: &mut Gate) {
        while let Some(request) = gate.poll_request() {
            let message = match request {
                Request::Keep(bytes) => BackendMessage::KeepOutages { bytes },
                Request::Forget => BackendMessage::ForgetOutages,
            };
            self.backend_message(backend, message);
        }
    }

    /// Has records sent to a backend that is up, at `address`.
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
        self.workers(|| WorkerMessage::Open {
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
        self.after(After::Workers).reader(up);
        self.reconciler(ReconcilerMessage::Up {
            backend,
            is_up: true,
        });
        if let Some(ready) = ttl_ready {
            self.ttl(backend, ready);
        }
    }

    /// Sets whether records with a ttl may be sent.
    pub fn ttl(&mut self, backend: BackendId, ready: bool) {
        self.workers(|| WorkerMessage::Ttl { backend, ready });
    }
}
