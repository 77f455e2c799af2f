//! What commands say on stdout and stderr. Neither need be there: its pipe may be closed, its disk
//! full. Then nothing can be said, and the exit code is what it would be otherwise; `println!` and
//! `eprintln!` would panic.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use super::failure::Failure;

/// Prints what the command was asked for. A reader that has seen enough (`| head`) is not a
/// failure; `what` it is that cannot be written is said otherwise.
pub(super) fn print(what: &str, text: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    unless_closed(out.write_all(text).and_then(|()| out.flush()))
        .map_err(|error| format!("the {what} can't be written: {error}").into())
}

/// Tells on stdout how things go. What is done is done, whoever reads it.
pub(super) fn tell(line: impl Display) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// What came of writing to stdout. Whoever reads us may have seen enough, as `head` does: that is
/// no failure.
pub(super) fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    unless_closed_or(written, ())
}

/// The same for writing that has a result; `closed` stands in for it if the reader has gone.
pub(super) fn unless_closed_or<T>(written: io::Result<T>, closed: T) -> io::Result<T> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(closed),
        written => written,
    }
}

/// Says on stderr what is wrong, or what there is to know besides the result.
pub(super) fn complain(line: impl Display) {
    // In one piece: others may write there, too.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}
