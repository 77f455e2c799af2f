//! HustDB's sync server: replays HA's logs to a master that has come back, in order and without loss.

#[macro_use]
#[doc(hidden)]
pub mod planted;

pub mod binlog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub mod http;
pub mod ledger;
pub mod limits;
pub mod replay;
pub mod standin;
pub mod status;
pub mod text;
pub mod workload;
