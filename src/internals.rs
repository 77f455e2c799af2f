//! What the integration tests, the benchmarks and the fuzz targets take of the library.
//!
//! It has no more than that, and the product is compiled without it, so the compiler sees what
//! nobody takes. What only tests take of a module has `#[cfg(feature = "testing")]`, as this has.
//! It is no interface: it changes with them.

#![allow(missing_docs, reason = "each item has its docs where it is defined")]

pub mod binlog {
    pub use crate::binlog::{Lifetime, LineFault, Method, Record};
    pub mod key {
        pub use crate::binlog::key::order_hash;
    }
    pub mod line {
        pub use crate::binlog::line::{decode_in_place, encode};
    }
    pub mod method {
        pub use crate::binlog::method::{Key, Ttl, Twice};
    }
    pub mod record {
        pub use crate::binlog::record::Record;
    }
    pub mod request {
        pub use crate::binlog::request::{Composed, Template};
    }
}

pub mod clock {
    pub use crate::clock::Now;
}

pub mod config {
    pub use crate::config::{BackendName, Config, Effect, EngineName, Login, Secret, sample};
}

pub mod connections {
    pub use crate::connections::{Action, Connected};
}

pub mod engine {
    pub use crate::engine::{Engine, EngineOptions, StartError};
    pub mod choice {
        pub use crate::engine::choice::{KernelRings, Rings, choose};
    }
    pub mod files {
        pub use crate::engine::files::RealDisk;
    }
    pub mod listener {
        pub use crate::engine::listener::{Answers, Listener, ListenerOptions};
    }
    pub mod os {
        pub mod eventfd {
            pub use crate::engine::os::eventfd::Eventfd;
        }
        pub mod open_files {
            pub use crate::engine::os::open_files::raise_bound;
        }
        pub mod priority {
            pub use crate::engine::os::priority::set_nice;
        }
        pub mod ring {
            pub use crate::engine::os::ring::{Ring, SendMode};
            pub mod facts {
                pub use crate::engine::os::ring::facts::Facts;
            }
            pub mod fault_injector {
                pub use crate::engine::os::ring::fault_injector::{
                    FaultInjector, InjectedResult, Operation,
                };
            }
            pub mod setup {
                pub use crate::engine::os::ring::setup::Sizes;
            }
        }
        pub mod socket {
            pub use crate::engine::os::socket::SocketOptions;
        }
    }
    pub mod resolve {
        pub use crate::engine::resolve::{Resolver, system_resolver};
    }
    pub mod waker {
        pub use crate::engine::waker::PollWaker;
    }
}

#[cfg(debug_assertions)]
pub mod failpoint {
    pub use crate::failpoint::Failpoint;
}

pub mod fake_hustdb {
    pub use crate::fake_hustdb::{
        Accept, Act, Contents, FakeHustdb, Item, Method, On, Options, Request, Rule, Script, Space,
        Stored, Value, Verb, differences,
    };
    pub mod answer {
        pub use crate::fake_hustdb::answer::Answer;
    }
    pub mod connection {
        pub use crate::fake_hustdb::connection::{
            ANSWERS_MAX, After, Connection, Handler, READ_BYTES_MAX,
        };
    }
    pub mod contents {
        pub use crate::fake_hustdb::contents::{Contents, Item, Stored, Value};
    }
    pub mod query {
        pub use crate::fake_hustdb::query::{Call, Method, Request, Space, Verb, decode};
    }
    pub mod store {
        pub use crate::fake_hustdb::store::{Effect, Store, kept_version, live_versions};
    }
}

pub mod http {
    pub mod answer {
        pub use crate::http::answer::{Answer, ClientId, Status};
    }
    pub mod request {
        pub use crate::http::request::{Method, Request};
    }
    pub mod response {
        pub use crate::http::response::{Response, parse};
    }
    pub mod server {
        pub use crate::http::server::{ServerConnection, ServerLimits};
    }
}

pub mod ledger {
    pub mod acks {
        pub use crate::ledger::acks::{OpenSegment, OpenSegments};
    }
    pub mod backend {
        pub use crate::ledger::backend::BackendLedger;
    }
    pub mod checkpoint {
        pub use crate::ledger::checkpoint::Checkpoint;
    }
    pub mod file {
        pub use crate::ledger::file::Place;
    }
    pub mod forgotten {
        pub use crate::ledger::forgotten::{Forgotten, ForgottenTotals};
    }
    pub mod identity {
        pub use crate::ledger::identity::{Identity, LastRead};
    }
    pub mod ids {
        pub use crate::ledger::ids::{FileId, SegmentId};
    }
    pub mod legacy {
        pub use crate::ledger::legacy::{
            LegacyStatus, LegacyTotals, STATUS_BYTES, TOTALS_BYTES, first_totals,
        };
    }
    pub mod plan {
        pub use crate::ledger::plan::{FileResume, FileStart, LegacyResume, ResumePlan};
    }
    pub mod rejected {
        pub use crate::ledger::rejected::{NAME, Piece, RejectedLine, STAGED, pieces};
    }
    pub mod runs {
        pub use crate::ledger::runs::LineRuns;
    }
    pub mod totals {
        pub use crate::ledger::totals::Totals;
    }
}

pub mod limits {
    pub use crate::limits::{
        BODY_COPY_BYTES_MAX, BODY_PIECES_MAX, DELETED_LOGS_WATCHED_MAX, HTTP_HEAD_BYTES_MAX,
        HTTP_SENT_PER_TURN_BYTES, HTTP_UNSENT_BYTES_MAX, HTTP_WORK_BODY_BYTES, HTTP_WORK_PER_TURN,
        IDENTITY_PREFIX_BYTES_MAX, LONG_LINES_MAX, LOOKUP_HOLD, OUTBOX_RETRY,
        RECONCILE_PROGRESS_ANSWERS, RECONCILE_SEND_WITHIN, VALUE_BYTES_MAX,
    };
}

pub mod reconcile {
    pub mod comparison {
        pub use crate::reconcile::comparison::ComparisonSettings;
    }
    pub mod connection {
        pub use crate::reconcile::connection::ConnectionLimits;
    }
    pub mod difference {
        pub use crate::reconcile::difference::{
            Difference, FILE_NAME, How, Line, Settlement, Stored, hash_of,
        };
    }
    pub mod settings {
        pub use crate::reconcile::settings::{ReconcileMode, ReconcileSettings};
    }
    pub mod table {
        pub use crate::reconcile::table::Table;
    }
}

pub mod replay {
    pub mod checkpointer {
        pub use crate::replay::checkpointer::{Checkpointer, Turn, replace_checkpoint};
    }
    pub mod chunk {
        pub use crate::replay::chunk::BufferReturns;
    }
    pub mod controller {
        pub use crate::replay::controller::{
            Action, Controller, ControllerRules, ControllerSettings,
        };
        pub mod action {
            pub use crate::replay::controller::action::{ProbeResult, Reply};
        }
    }
    pub mod dirty_flags {
        pub use crate::replay::dirty_flags::{BackendDirtyFlags, DirtyFlags};
    }
    pub mod disk {
        pub use crate::replay::disk::{Area, Disk, LogEntry, LogMeta};
    }
    pub mod durable_write {
        pub use crate::replay::durable_write::{Completed, DurableWrite, JobId, Submitted};
    }
    pub mod ending {
        pub use crate::replay::ending::Over;
    }
    pub mod lane {
        pub use crate::replay::lane::LaneSettings;
    }
    pub mod links {
        pub use crate::replay::links::{ControllerLinks, Links, Mailboxes, ReconcilerLinks};
    }
    pub mod mailbox {
        pub use crate::replay::mailbox::{Mailbox, NoWaker, Wake};
    }
    pub mod messages {
        pub use crate::replay::messages::{
            BackendId, BackendInfo, BackendMessage, Batch, CheckpointerMessage,
            CheckpointerSettings, Component, ControlMessage, Fed, FinishedLog, ReaderMessage,
            ReaderSettings, ReconcilerMessage, ResumePlan, Settled, WorkerMessage,
        };
    }
    pub mod monitor {
        pub use crate::replay::monitor::{Monitor, MonitorSettings};
    }
    pub mod outcome {
        pub use crate::replay::outcome::{Outcomes, Settlement, Verdict};
    }
    pub mod reachability {
        pub use crate::replay::reachability::{KnownOutages, Reachability};
    }
    pub mod reader {
        pub use crate::replay::reader::{Action, LogReader, ReaderRules, Turn, chunks_max};
        pub mod buffers {
            pub use crate::replay::reader::buffers::ReaderBounds;
        }
    }
    pub mod reconciler {
        pub use crate::replay::reconciler::{Address, Reconciler, Surroundings, Turn};
    }
    pub mod testdisk {
        pub use crate::replay::testdisk::{Crash, Deletion, Observer, Op, TestDisk};
    }
    pub mod vec_pool {
        pub use crate::replay::vec_pool::VecPool;
    }
    pub mod worker {
        pub use crate::replay::worker::Worker;
    }
}

pub mod status {
    pub mod answer {
        pub use crate::status::answer::{BodyCache, answer, is_long};
    }
    pub mod auth {
        pub use crate::status::auth::Auth;
    }
    pub mod control_request {
        pub use crate::status::control_request::{
            BackendRequest, ControlRequest, RejectedReport, RejectedRequest, RejectedVerb,
            SyncPointRequest,
        };
    }
    pub mod counters {
        pub use crate::status::counters::{BackendCounters, ServerCounters};
    }
    pub mod report {
        pub use crate::status::report::Report;
    }
    pub mod server {
        pub use crate::status::server::ListenerCounters;
    }
    pub mod snapshot {
        pub use crate::status::snapshot::{BackendSnapshot, StatusBoard};
    }
    pub mod sync_point {
        pub use crate::status::sync_point::PointReport;
    }
}

pub mod workload {
    pub use crate::workload::{Generator, Mutation, Workload, Written};
    pub mod live_connection {
        pub use crate::workload::live_connection::Connection;
    }
    pub mod live_pair {
        pub use crate::workload::live_pair::{LiveLog, LivePair, Reach, write_one};
    }
}
