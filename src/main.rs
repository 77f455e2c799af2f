//! Arguments to command to exit code.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use hustdbsync::cli::{Cli, LevelHandle, Server, execute};
use hustdbsync::config::Config;
use hustdbsync::status::snapshot::Snapshot;

/// Stands where `engine::Engine` comes: there is none of these, so nothing pretends to run.
struct NoEngine(Infallible);

/// Says so.
#[derive(Debug)]
struct NotBuilt;

impl std::fmt::Display for NotBuilt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("this build has no engine")
    }
}

impl std::error::Error for NotBuilt {}

impl Server for NoEngine {
    type StartError = NotBuilt;

    fn start(_: Config, _: LevelHandle) -> Result<Self, NotBuilt> {
        Err(NotBuilt)
    }

    fn local_addr(&self) -> SocketAddr {
        match self.0 {}
    }

    fn snapshot(&self) -> Snapshot {
        match self.0 {}
    }

    fn stop(&self) {
        match self.0 {}
    }

    fn wait(self) -> String {
        match self.0 {}
    }
}

fn main() -> ExitCode {
    execute::<NoEngine>(Cli::parse())
}
