//! Arguments to command to exit code.

use std::process::ExitCode;

use clap::Parser;
use hustdbsync::cli::{Cli, execute};
use hustdbsync::engine::Engine;

fn main() -> ExitCode {
    execute::<Engine>(Cli::parse())
}
