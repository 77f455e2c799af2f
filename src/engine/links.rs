//! What connects the threads: their mailboxes and what else they share, and each one's poll.

use std::sync::Arc;

use mio::{Poll, Token};

use crate::config::Config;
use crate::engine::choice::Rings;
use crate::engine::connections;
use crate::engine::control::{self, ControlLinks};
use crate::engine::drivers::{Drivers, WorkerMailboxes, drivers};
use crate::engine::liveness::{MonitoredThreads, monitored};
use crate::engine::reader_mio;
use crate::engine::shared::Shared;
use crate::engine::start_error::StartError;
use crate::engine::waker::{PollWaker, mailbox};
use crate::limits::{BACKENDS_MAX, POOLED_VECTORS};
use crate::replay::checkpointer::CheckpointerLinks;
use crate::replay::chunk::BufferReturns;
use crate::replay::controller::ControllerLinks;
use crate::replay::dirty_flags::DirtyFlags;
use crate::replay::mailbox::Mailbox;
use crate::replay::messages::{
    CheckpointerMessage, ControlMessage, Fed, ReaderMessage, ReconcilerMessage, Settled,
    WorkerMessage,
};
use crate::replay::reader::{ReaderLinks, chunks_max};
use crate::replay::reconciler::ReconcilerLinks;
use crate::replay::vec_pool::VecPool;
use crate::replay::worker::WorkerLinks;
use crate::status::counters::ServerCounters;

/// Token of the checkpointer's waker, which is alone in its poll.
const WAKER: Token = Token(0);

/// All mailboxes and what else the threads share.
pub(super) struct Links {
    pub(super) control: Arc<Mailbox<ControlMessage>>,
    reader: Arc<Mailbox<ReaderMessage>>,
    checkpointer: Arc<Mailbox<CheckpointerMessage>>,
    reconciler: Arc<Mailbox<ReconcilerMessage>>,
    workers: WorkerMailboxes,
    dirty_flags: Arc<DirtyFlags>,
    returns: Arc<BufferReturns>,
    settled_pool: Arc<VecPool<Settled>>,
    fed_pool: Arc<VecPool<Fed>>,
    pub(super) shared: Arc<Shared>,
    pub(super) counters: Arc<ServerCounters>,
}

/// Each thread's poll.
pub(super) struct Polls {
    pub(super) control: Poll,
    pub(super) reader: Poll,
    pub(super) checkpointer: Poll,
    pub(super) reconciler: Poll,
    /// For what it waits for besides messages.
    pub(super) checkpointer_waker: PollWaker,
    pub(super) workers: Drivers,
}

/// Makes what the threads share, and what each of them waits with.
///
/// # Errors
/// The system gives no poll, or not the rings that are asked for.
pub(super) fn connect(config: &Config, rings: &dyn Rings) -> Result<(Links, Polls), StartError> {
    let (control_poll, _, control) = mailbox(control::WAKER)?;
    let (reader_poll, _, reader) = mailbox(reader_mio::WAKER)?;
    let (drivers, workers) = drivers(config, rings)?;
    let (checkpointer_poll, checkpointer_waker, checkpointer) = mailbox(WAKER)?;
    let (reconciler_poll, _, reconciler) = mailbox(connections::WAKER)?;
    let chunks = chunks_max(config.sync.memory_budget, BACKENDS_MAX);
    let links = Links {
        dirty_flags: Arc::new(DirtyFlags::new(Arc::clone(&reader))),
        returns: Arc::new(BufferReturns::new(chunks, Arc::clone(&reader))),
        settled_pool: Arc::new(VecPool::new(POOLED_VECTORS)),
        fed_pool: Arc::new(VecPool::new(POOLED_VECTORS)),
        shared: Arc::new(Shared::new(Arc::clone(&control))),
        counters: Arc::default(),
        control,
        reader,
        checkpointer,
        reconciler,
        workers,
    };
    let polls = Polls {
        control: control_poll,
        reader: reader_poll,
        checkpointer: checkpointer_poll,
        reconciler: reconciler_poll,
        checkpointer_waker,
        workers: drivers,
    };
    Ok((links, polls))
}

impl Links {
    /// Tells everyone but control to end. Where a mailbox is full its thread has failed or will be
    /// left behind.
    pub(super) fn stop_all(&self) {
        let _ = self.checkpointer.send(CheckpointerMessage::Stop);
        let _ = self.reconciler.send(ReconcilerMessage::Stop);
        let _ = self.reader.send(ReaderMessage::Stop);
        for worker in &self.workers {
            let _ = worker.send(WorkerMessage::Stop);
        }
    }

    /// Every thread that has a mailbox, but control.
    pub(super) fn threads(&self) -> MonitoredThreads {
        let mut threads = vec![
            monitored("checkpointer", &self.checkpointer),
            monitored("reader", &self.reader),
            monitored("reconciler", &self.reconciler),
        ];
        let workers = self.workers.iter().enumerate();
        threads.extend(workers.map(|(index, worker)| monitored(format!("w{index}"), worker)));
        threads
    }

    pub(super) fn for_control(&self) -> ControlLinks {
        ControlLinks {
            controller: ControllerLinks {
                mailbox: Arc::clone(&self.control),
                reader: Arc::clone(&self.reader),
                checkpointer: Arc::clone(&self.checkpointer),
                workers: self.workers.clone(),
                reconciler: Some(Arc::clone(&self.reconciler)),
                dirty_flags: Arc::clone(&self.dirty_flags),
            },
            shared: Arc::clone(&self.shared),
            counters: Arc::clone(&self.counters),
            threads: self.threads(),
        }
    }

    pub(super) fn for_checkpointer(&self) -> CheckpointerLinks {
        CheckpointerLinks {
            mailbox: Arc::clone(&self.checkpointer),
            reader: Arc::clone(&self.reader),
            control: Arc::clone(&self.control),
            reconciler: Some(Arc::clone(&self.reconciler)),
            settled_pool: Arc::clone(&self.settled_pool),
        }
    }

    pub(super) fn for_reconciler(&self) -> ReconcilerLinks {
        ReconcilerLinks {
            mailbox: Arc::clone(&self.reconciler),
            checkpointer: Arc::clone(&self.checkpointer),
        }
    }

    pub(super) fn for_reader(&self) -> ReaderLinks {
        ReaderLinks {
            mailbox: Arc::clone(&self.reader),
            workers: self.workers.clone(),
            checkpointer: Arc::clone(&self.checkpointer),
            control: Arc::clone(&self.control),
            returns: Arc::clone(&self.returns),
            dirty_flags: Arc::clone(&self.dirty_flags),
            fed_pool: Arc::clone(&self.fed_pool),
            counters: Arc::clone(&self.counters),
        }
    }

    pub(super) fn for_worker(&self, index: usize) -> WorkerLinks {
        WorkerLinks {
            mailbox: Arc::clone(&self.workers[index]),
            checkpointer: Arc::clone(&self.checkpointer),
            control: Arc::clone(&self.control),
            reader: Arc::clone(&self.reader),
            returns: Arc::clone(&self.returns),
            settled_pool: Arc::clone(&self.settled_pool),
            fed_pool: Arc::clone(&self.fed_pool),
        }
    }
}
