//! The tests of `e2e` once more, with the workers on io_uring.

#[path = "../e2e/corpus.rs"]
mod corpus;
#[path = "../e2e/delivery.rs"]
mod delivery;
#[path = "../e2e/files.rs"]
mod files;
#[path = "../e2e/forgetting.rs"]
mod forgetting;
#[path = "../e2e/ha.rs"]
mod ha;
#[path = "../e2e/harness.rs"]
mod harness;
#[path = "../e2e/inspecting.rs"]
mod inspecting;
#[path = "../e2e/legacy.rs"]
mod legacy;
#[path = "../e2e/log.rs"]
mod log;
#[path = "../e2e/logging.rs"]
mod logging;
#[path = "../e2e/long.rs"]
mod long;
#[path = "../e2e/mounted.rs"]
mod mounted;
#[path = "../e2e/names.rs"]
mod names;
#[path = "../e2e/operator.rs"]
mod operator;
#[path = "../e2e/process.rs"]
mod process;
#[path = "../e2e/rejected.rs"]
mod rejected;
#[path = "../e2e/requeued.rs"]
mod requeued;
#[path = "../e2e/restart.rs"]
mod restart;
#[path = "../e2e/same_log.rs"]
mod same_log;
#[path = "../support/mod.rs"]
mod support;
#[path = "../e2e/systemd.rs"]
mod systemd;
#[path = "../e2e/trouble.rs"]
mod trouble;
#[path = "../e2e/ttl.rs"]
mod ttl;
