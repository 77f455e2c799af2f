//! hustdbsync replays HA's logs to a HustDB master that is back, in order and without loss.
//!
//! ```text
//!  cli ──▶ config ──▶ engine       threads, sockets, files: every system call
//!                       │ drives
//!                       ▼
//!                     replay       the decisions: reader, lanes, workers, checkpointer, controller
//!                       │ uses
//!                       ▼
//!  binlog, ledger, status, http    lines and records, what is completed, numbers, HTTP
//! ```
//!
//! | module | read it for |
//! |---|---|
//! | `binlog` | a line of a log, the record in it, the request that replays it |
//! | `replay` | how a record travels, what an answer means, when a backend is up |
//! | `reconcile` | what both masters of a key hold, and which of them is right |
//! | `ledger` | which lines are completed, and the format of the checkpoint |
//! | `engine` | the threads, the two drivers of the workers, the HTTP listener, the disk |
//! | `http`, `status` | the server's protocol; counters, metrics, endpoints |
//! | `config`, `limits`, `clock`, `text` | settings; every other bound; time; dates and names |
//! | `fake_hustdb`, `workload` | a fake hustdb, generated logs: for tests, benchmarks, the demo |
//! | `cli` | the commands |
//! | `internals` | what tests, benchmarks and fuzz targets take of these; not in the product |
//!
//! `binlog`, `http`, `ledger`, `status`, `replay` and `reconcile` have no clock, disk, socket or
//! thread of their own. ARCHITECTURE.md has the diagrams and shows where things are;
//! docs/guarantees.md has the promises G1 to G13 that comments cite.

// They panic where nobody can read any more; see `cli::output`.
#![deny(clippy::print_stdout, clippy::print_stderr)]
// What only tests use is not compiled into the product.
#![cfg_attr(not(feature = "testing"), deny(dead_code, unused_imports))]

#[macro_use]
mod failpoint;

mod binlog;
mod cli;
mod clock;
mod config;
mod connections;
mod engine;
#[cfg_attr(
    not(feature = "testing"),
    allow(
        dead_code,
        unused_imports,
        reason = "tests ask more of it than the command"
    )
)]
mod fake_hustdb;
mod http;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod internals;
mod ledger;
mod limits;
mod pace;
#[cfg(test)]
#[path = "../tests/support/patience.rs"]
mod patience;
mod reconcile;
mod replay;
mod status;
mod text;
mod workload;

pub use cli::{Cli, execute, parse};
pub use engine::signals::block as block_signals;
