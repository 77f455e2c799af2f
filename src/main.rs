//! Arguments to command to exit code.

#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use hustdbsync::{block_signals, execute, parse};

fn main() -> ExitCode {
    // Before anything else: a reload or a logrotate may come in the process's first millisecond.
    block_signals();
    match parse(std::env::args_os()) {
        Ok(cli) => execute(cli),
        Err(code) => code,
    }
}
