//! The whole server, over real sockets and files, against fake HustDBs.
//!
//! Every test has a home of its own in a temporary folder, and ports that the system chose. Nothing
//! sleeps to wait for something: a condition is looked at until it holds or a deadline has passed
//! (`harness::eventually`).
//!
//! The workers run on mio, and with `E2E_ENGINE=io_uring` on io_uring. `.ci/run` runs what
//! touches the wire on both.

mod corpus;
mod delivery;
mod differences;
mod files;
mod forgetting;
mod ha;
mod harness;
mod inspecting;
mod legacy;
mod log;
mod logging;
mod long;
mod looking;
mod mounted;
mod names;
mod operator;
mod pair;
mod process;
mod reconciling;
mod rejected;
mod requeued;
mod restart;
mod same_log;
#[path = "../support/mod.rs"]
mod support;
mod systemd;
mod trouble;
mod ttl;
mod verify;
