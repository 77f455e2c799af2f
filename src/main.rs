//! Arguments to command to exit code.

use std::process::ExitCode;

use hustdbsync::cli::{execute, parse};
use hustdbsync::engine::Engine;

fn main() -> ExitCode {
    match parse(std::env::args_os()) {
        Ok(cli) => execute::<Engine>(cli),
        Err(code) => code,
    }
}
