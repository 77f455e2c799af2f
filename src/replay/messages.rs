//! What the threads say to each other. Everything between them goes through these.
//!
//! ```text
//!            Backend, Up, Down                 Batch
//!  control ───────────────────▶ reader ───────────────────▶ workers
//!     ▲  │                       ▲    │ FileOpened, Segment,    │ Settled, Rejected,
//!     │  │ Open, Flush, Ttl      │    │ Rejected, Flushed       │ Flushed, Checkpoint
//!     │  └──────────▶ workers    │    ▼                         ▼
//!     │                          └── checkpointer ◀───────────────────┘
//!     └── workers: Trouble      Plan, SegmentDone, FileDeleted; to workers: CheckpointDurable
//! ```
//!
//! **Epochs.** A backend's epoch counts how often its pipeline has been flushed. Control raises it
//! when the backend goes down and tells everyone: the reader stops reading, the workers forget its
//! records, and each then says `Flushed` to the checkpointer *behind* all that it has told it
//! before. When the checkpointer has all of them, its ledger is exact, and it sends the reader the
//! [`ResumePlan`] from which to start again. Batches of an older epoch are dropped on sight.

mod backend;
mod bodies;
mod log;
mod origin;
mod reconcile;
mod rejection;
mod requeue;
mod settings;
mod trouble;

use std::net::SocketAddr;
use std::sync::Arc;

pub use crate::ledger::forgotten::ForgottenTotals;
use crate::ledger::identity::{Identity, LogKey};
pub use crate::ledger::ids::{FileId, SegmentId};
pub use crate::ledger::plan::{EntriesForgotten, EntriesMoved, FileStart, ResumePlan};
pub use crate::ledger::rejected::Filter;
use crate::ledger::segment::{NewSegment, SegmentDone};
use crate::replay::chunk::{Chunk, Share};
pub use crate::replay::ids::{BackendId, Epoch};
use crate::replay::lane::LaneSettings;
use crate::replay::outcome::Settlement;
use crate::replay::reachability::KnownOutages;
use crate::status::control_request::Listed;
pub use crate::status::control_request::RejectedVerb;
use crate::status::counters::BackendCounters;
use crate::status::snapshot::SecondName;
use crate::status::sync_point::PointBoard;
pub use backend::BackendInfo;
pub use bodies::{BodyReader, BodyRequest, LineInLog, LongBody};
pub use log::{AwayLog, FileOpened};
pub use origin::Origin;
pub use reconcile::{FinishedLog, ReconcilerMessage};
pub use rejection::Rejection;
pub use requeue::Requeued;
pub use settings::{CheckpointerSettings, ReaderSettings};
pub use trouble::{FailedRecord, Trouble};

/// A thread that takes part in a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Component {
    LogReader,
    /// The worker of this number.
    Worker(usize),
}

/// One record's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Where its line is.
    pub segment: SegmentId,
    /// The line's index in the segment.
    pub line: u32,
    /// How it ended.
    pub settlement: Settlement,
}

/// To the checkpointer.
#[derive(Debug)]
pub enum CheckpointerMessage {
    /// From control: a backend to keep a ledger for. The checkpointer reads its state and answers
    /// the reader with the plan of epoch 0.
    Backend(BackendInfo),
    /// What only this backend's ledger has to do with.
    Of(BackendId, BackendMessage),
    /// From the reader: a log has gone from its folder.
    LogAway(AwayLog),
    /// From the reader, after `LogAway`: all that the log had is in another file, a copy.
    LogCopied {
        backend: BackendId,
        key: LogKey,
        copy: LogKey,
    },
    /// From the reader, which has looked for logs that have gone: remember how far all logs go now,
    /// and answer `SyncPointTaken`; from then on keep the point's numbers, and say `SyncPointMoved`
    /// when a backend of it is settled.
    SyncPoint {
        /// What the point is called.
        id: u64,
        /// Whether a folder's name is a backend's.
        is_backend: fn(&str) -> bool,
    },
    /// From control: nobody will ask for this point any more.
    ForgetSyncPoint { id: u64 },
    /// From control: which logs does a backend have? Answered by `Listed`.
    ListLogs {
        backend: BackendId,
        /// What the question is called.
        ask: u64,
    },
    /// From control: what is left of a backend? Answered by `StateLeft`.
    AskLeft { backend: BackendId },
    /// From the reader, behind all that it has told of it: nobody has anything of a backend any
    /// more. Remove its state, whatever is in it, and answer `Forgotten`.
    Forget { backend: BackendId },
    /// From the reconciler: the keys of logs are compared.
    Compared {
        backend: BackendId,
        /// Which, each up to the length that it was told with.
        logs: Vec<FinishedLog>,
    },
    /// From control: other settings.
    Settings(CheckpointerSettings),
    /// From control: write what there is and end. Sent when every backend has been flushed, or the
    /// time is up.
    Stop,
}

/// What a backend's ledger is told.
#[derive(Debug)]
pub enum BackendMessage {
    /// From the reader.
    FileOpened(FileOpened),
    /// From the reader: lines that are about to be fed, told before any of their records is given
    /// to a worker.
    Segment {
        /// The lines.
        segment: NewSegment,
    },
    /// From the reader: more of a file's first bytes are known than when it was opened; its
    /// identity covers them now. Sent before what they are of is fed, for a file that was opened
    /// while it was shorter.
    FileIdentified { file: FileId, identity: Identity },
    /// From the reader: a file is another by now, or will not come back, or the checkpointer said
    /// that it has deleted it; nothing more will be fed from it, its state can go.
    FileGone { file: FileId },
    /// From the reader: a file has another name, or has gone from its folder, or is back. It stays
    /// open: it may come back, and goes on where it was.
    FileMoved {
        file: FileId,
        /// What it is called.
        name: Arc<str>,
        /// Since when it has been away, Unix seconds; 0: it is in the folder.
        away_unix: u64,
    },
    /// From the reader: files of the last plan's entries have gone from the folder, or are back.
    EntriesMoved(EntriesMoved),
    /// From the reader: these entries of the last plan it will never use: their files are gone, or
    /// are others by now. Only the reader says so, and it says so before it opens anything in their
    /// place; so both know the same entries at any time.
    EntriesForgotten(EntriesForgotten),
    /// From a worker, behind what is settled: write a checkpoint soon, and answer
    /// `CheckpointDurable` once one has all of that, or can't be written.
    Checkpoint { worker: usize },
    /// From a worker: in each lane's order.
    Settled {
        /// The records' ends. The vector goes back to where it came from.
        batch: Vec<Settled>,
    },
    /// From the reader or a worker; a worker's stands in its lane's order.
    Rejected(Box<Rejection>),
    /// From control: a flush has begun. Sent before anyone else is told.
    Flush {
        /// The new epoch.
        epoch: Epoch,
    },
    /// From each party.
    Flushed {
        /// The epoch that has begun.
        epoch: Epoch,
        /// Who has let go.
        component: Component,
        /// Of the lines in flight those that it has sent: nobody knows whether they were applied.
        sent: Vec<(SegmentId, u32)>,
    },
    /// From control: take rejected lines back, or throw them away; and answer `Requeued`.
    Requeue {
        /// What the question is called.
        ask: u64,
        what: RejectedVerb,
        filter: Filter,
    },
    /// From control: which lines were rejected last? Answered by `Listed`.
    ListRejected {
        /// What the question is called.
        ask: u64,
    },
    /// From control: replace what is kept of a backend's outages.
    KeepOutages {
        /// What is kept.
        bytes: Vec<u8>,
    },
    /// From control: remove what is kept of them, durably, and answer `OutagesForgotten`.
    ForgetOutages,
}

/// To the reader.
#[derive(Debug)]
pub enum ReaderMessage {
    /// From control: a backend to feed.
    Backend(BackendInfo),
    /// From the checkpointer.
    Plan {
        backend: BackendId,
        /// The epoch that it is for; one for an older is out of date.
        epoch: Epoch,
        /// Where to go on.
        plan: ResumePlan,
    },
    /// From control: feed it.
    Up {
        backend: BackendId,
        epoch: Epoch,
        /// When it was dead, so that what was written then is not applied.
        outages: KnownOutages,
    },
    /// From control: stop feeding it, tell the checkpointer `Flushed`, and wait for the plan.
    Down {
        backend: BackendId,
        /// The new epoch.
        epoch: Epoch,
    },
    /// From the checkpointer: all lines of a segment are settled; its records' credit comes back.
    SegmentDone {
        backend: BackendId,
        done: SegmentDone,
        /// Of this epoch; of an older one it is out of date.
        epoch: Epoch,
    },
    /// From the checkpointer: a finished log has been deleted. The reader lets go of it and answers
    /// `FileGone`; what it has fed of it meanwhile is settled as usual.
    FileDeleted {
        backend: BackendId,
        file: FileId,
        /// The log: after a flush the reader knows it by no number.
        key: LogKey,
        /// It has another name somewhere: its books stay open, and the reader does not answer.
        is_elsewhere: bool,
    },
    /// From the checkpointer: state cannot be written (true), or can again (false). Nothing is fed
    /// while it cannot.
    StorePaused {
        /// Whose state; none: everybody's.
        backend: BackendId,
        /// Whether feeding it must wait.
        paused: bool,
    },
    /// From a worker: the next piece of a body that is too long to be held.
    Body(BodyRequest),
    /// From control: look at all folders, and then ask the checkpointer for this sync point.
    SyncPoint {
        /// What the point is called.
        id: u64,
        /// Whether a folder's name is a backend's.
        is_backend: fn(&str) -> bool,
    },
    /// From control: it is flushed, and stays down. Forget it and tell the checkpointer to.
    Forget { backend: BackendId },
    /// From control: tell again of folders whose backends were not taken in. There is room.
    TellFolders,
    /// From control: other settings.
    Settings(ReaderSettings),
    /// From control: end.
    Stop,
}

/// A record in a batch: where its bytes are and which lane it goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// Where the decoded record begins in the chunk.
    pub at: u32,
    pub bytes: u32,
    /// Its line's index in the segment.
    pub line: u32,
    /// The backend's lane, from 0.
    pub lane: u16,
    /// When HA wrote its line, Unix seconds, for a record whose time matters: one with a ttl, or a
    /// zadd that adds. 0 for all others, and where the line's prefix cannot be read.
    pub written_unix: u32,
    /// Whether it may have been sent in an earlier epoch or by an earlier process, or, of a zadd
    /// that adds, HA's own write of it may have been applied.
    pub maybe_sent: bool,
}

/// Records of one segment for one worker, in the log's order.
#[derive(Debug)]
pub struct Batch {
    pub backend: BackendId,
    pub epoch: Epoch,
    /// Where they come from.
    pub origin: Origin,
    /// Their bytes; it begins with the segment's first one.
    pub chunk: Arc<Chunk>,
    pub records: Vec<Fed>,
    /// Set where its one record has a value that is in the log only; the chunk then has the line's
    /// first bytes, and behind them the record without its value.
    pub body: Option<LongBody>,
}

/// To a worker.
#[derive(Debug)]
pub enum WorkerMessage {
    /// From control: the backend is up; its lanes may connect. Comes before any batch of this
    /// epoch.
    Open {
        backend: BackendId,
        epoch: Epoch,
        address: SocketAddr,
        /// How to speak to it.
        settings: Arc<LaneSettings>,
        /// Its numbers.
        counters: Arc<BackendCounters>,
    },
    /// From control: forget its records and say `Flushed` to the checkpointer.
    Flush {
        backend: BackendId,
        /// The new epoch.
        epoch: Epoch,
        /// Let what is in flight be answered first, until this monotonic instant.
        drain_until: Option<std::time::Duration>,
    },
    /// From control: whether records with a ttl may go (docs/hustdb.md, "Time to live": hustdb's
    /// clock after a start).
    Ttl {
        backend: BackendId,
        /// Whether they may.
        ready: bool,
    },
    /// From the checkpointer: the answer to `Checkpoint`.
    CheckpointDurable { backend: BackendId },
    /// From control: other settings; connections stay.
    Settings {
        backend: BackendId,
        /// How to speak to it from now on.
        settings: Arc<LaneSettings>,
    },
    /// From control: it is flushed, and stays down. Forget it.
    Forget { backend: BackendId },
    /// From the reader.
    Batch(Batch),
    /// From the reader: what a lane asked for. None: the log has not got those bytes any more.
    Body(BodyReader, Option<Share>),
    /// From control: end.
    Stop,
}

/// To control.
#[derive(Debug)]
pub enum ControlMessage {
    /// From the reader: a folder that is a backend's by its name. Said again when a folder that had
    /// gone is back: its watch went with it.
    BackendFound(String),
    /// From the reader: a backend's folder is not there any more.
    FolderGone(String),
    /// From the reader: a folder that is not.
    FolderUnrecognized {
        /// The folder's name.
        name: String,
        /// Why it is no backend's.
        why: String,
    },
    /// From the reader: all names that lead to a folder which is read under another name, whenever
    /// they have changed.
    SecondNames(Vec<SecondName>),
    /// From a worker.
    Trouble {
        backend: BackendId,
        /// In which lane of the backend, from 0.
        lane: u16,
        epoch: Epoch,
        trouble: Trouble,
        /// On which record; none: the lane was connecting, or looking up for something else.
        record: Option<FailedRecord>,
    },
    /// From the checkpointer: everyone has let go, the plan is sent.
    Flushed {
        backend: BackendId,
        /// The epoch that has begun.
        epoch: Epoch,
    },
    /// From the checkpointer: why state cannot be written; none: it can again.
    StoreFault {
        backend: BackendId,
        /// Path and cause.
        fault: Option<String>,
    },
    /// From the reader: why logs cannot be read. `None`: they can be again.
    LogFault {
        backend: BackendId,
        /// Path and cause.
        fault: Option<String>,
    },
    /// From the checkpointer: logs have left their folder with lines that are not delivered. The
    /// counters have how many.
    LogsAway {
        backend: BackendId,
        /// The first of them in the order of their names; `None` if there are none any more.
        first: Option<Box<str>>,
    },
    /// From a helper thread: what a backend's name resolves to.
    Resolved {
        backend: BackendId,
        /// Its address, or why there is none.
        address: Result<SocketAddr, String>,
    },
    /// From the checkpointer, once it has read a backend's state.
    OutagesRead {
        backend: BackendId,
        /// What an earlier process has kept of its outages, if anything; an error where that cannot
        /// be read.
        kept: Result<Option<Vec<u8>>, ()>,
    },
    /// From the checkpointer: nothing of them is on disk any more.
    OutagesForgotten { backend: BackendId },
    /// From the checkpointer: a point stands, or why there is none.
    SyncPointTaken {
        id: u64,
        /// Its numbers, kept by the checkpointer.
        taken: Result<Arc<PointBoard>, String>,
    },
    /// From the checkpointer: a backend of this point is settled.
    SyncPointMoved,
    /// From the checkpointer: what became of a backend's rejected lines, or why nothing did.
    Requeued {
        backend: BackendId,
        /// The question.
        ask: u64,
        /// What became of them.
        outcome: Result<Requeued, String>,
    },
    /// From the checkpointer: what a client has asked for, or why that cannot be read.
    Listed {
        /// The question.
        ask: u64,
        /// The lines that were rejected last, or the logs.
        listed: Result<Listed, String>,
    },
    /// From the checkpointer: what would be lost if a backend were forgotten, as a sentence; an
    /// error where that cannot be done now, whatever is left.
    StateLeft {
        backend: BackendId,
        /// What; none: nothing.
        left: Result<Option<String>, String>,
    },
    /// From the checkpointer: nothing of a backend is left, and that is durable.
    Forgotten {
        backend: BackendId,
        /// What all that were ever forgotten had come to.
        totals: ForgottenTotals,
    },
    /// From the checkpointer, at a start: what those had come to that earlier processes have
    /// forgotten.
    ForgottenBefore(ForgottenTotals),
    /// From the checkpointer: everything is written; it ends.
    CheckpointerDone,
}
