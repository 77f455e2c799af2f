//! What connects the engine's threads, and what each of them waits with.

use std::sync::Arc;

use mio::{Poll, Token};

use crate::config::Config;
use crate::engine::choice::Rings;
use crate::engine::connections;
use crate::engine::control::{self, ControlLinks};
use crate::engine::drivers::{Drivers, drivers};
use crate::engine::liveness::{MonitoredThreads, monitored};
use crate::engine::reader_mio;
use crate::engine::shared::Shared;
use crate::engine::start_error::StartError;
use crate::engine::waker::{PollWaker, mailbox};
use crate::limits::{BACKENDS_MAX, POOLED_VECTORS};
use crate::replay;
use crate::replay::links::Mailboxes;
use crate::replay::mailbox::Mailbox;
use crate::replay::messages::{
    CheckpointerMessage, ReaderMessage, ReconcilerMessage, WorkerMessage,
};
use crate::replay::reader::chunks_max;

/// Token of the checkpointer's waker, which is alone in its poll.
const WAKER: Token = Token(0);

/// All that the threads share.
pub(super) struct Links {
    pub(super) replay: replay::links::Links,
    pub(super) reconciler: Arc<Mailbox<ReconcilerMessage>>,
    pub(super) shared: Arc<Shared>,
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
    let mailboxes = Mailboxes {
        control: Arc::clone(&control),
        reader,
        checkpointer,
        workers,
        reconciler: Some(Arc::clone(&reconciler)),
    };
    let links = Links {
        replay: replay::links::Links::new(mailboxes, chunks, POOLED_VECTORS),
        reconciler,
        shared: Arc::new(Shared::new(control)),
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
        let mailboxes = &self.replay.mailboxes;
        let _ = mailboxes.checkpointer.send(CheckpointerMessage::Stop);
        let _ = self.reconciler.send(ReconcilerMessage::Stop);
        let _ = mailboxes.reader.send(ReaderMessage::Stop);
        for worker in &mailboxes.workers {
            let _ = worker.send(WorkerMessage::Stop);
        }
    }

    /// Every thread that has a mailbox, but control.
    pub(super) fn threads(&self) -> MonitoredThreads {
        let mailboxes = &self.replay.mailboxes;
        let mut threads = vec![
            monitored("checkpointer", &mailboxes.checkpointer),
            monitored("reader", &mailboxes.reader),
            monitored("reconciler", &self.reconciler),
        ];
        let workers = mailboxes.workers.iter().enumerate();
        threads.extend(workers.map(|(index, worker)| monitored(format!("w{index}"), worker)));
        threads
    }

    pub(super) fn for_control(&self) -> ControlLinks {
        ControlLinks {
            replay: self.replay.clone(),
            shared: Arc::clone(&self.shared),
            threads: self.threads(),
        }
    }
}
