//! `inspect`: what stands in a log, a line for each line of it, in order; and at the end what there was.
//!
//! Contract: changes nothing, reads as a stream, holds one line in memory at a time. Records and faults go to stdout in the order of the
//! log, the summary to stderr. Exit code 1 where a file can't be read, or with `--strict` where a line is faulty.

mod entry;
mod tally;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use super::lines::Lines;
use crate::binlog::line::decode_in_place;
use crate::binlog::{LineFault, Record};

use entry::Format;
use tally::Tally;

/// Names stdin.
const STDIN: &str = "-";

/// What `inspect` takes.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// Log files, as HA writes them; `-` is stdin
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<PathBuf>,
    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,
    /// Print values too, not only their length
    #[arg(long)]
    values: bool,
    /// Exit with 1 if any line is faulty
    #[arg(long)]
    strict: bool,
}

/// Inspects all logs. False where one can't be read, or is faulty and that counts.
pub(super) fn inspect(args: &InspectArgs) -> Result<bool, Failure> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let (tally, good) = match inspect_all(args, &mut out) {
        Ok(done) => done,
        // Whoever reads us has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(true),
        Err(error) => return Err(format!("the result can't be written: {error}").into()),
    };
    eprint!("{tally}");
    Ok(good && !(args.strict && tally.has_faults()))
}

/// Writes all entries to `out`. Fails only where that does; logs that can't be read are told on stderr and make the second value false.
fn inspect_all(args: &InspectArgs, out: &mut impl Write) -> io::Result<(Tally, bool)> {
    let format = Format {
        json: args.json,
        values: args.values,
        several_files: args.logs.len() > 1,
    };
    let mut tally = Tally::default();
    let mut good = true;
    for path in &args.logs {
        let read = match open(path) {
            Ok(input) => inspect_one(path, input, format, &mut tally, out)?,
            Err(error) => Err(error),
        };
        if let Err(error) = read {
            out.flush()?;
            eprintln!("hustdbsync: {} can't be read: {error}", path.display());
            good = false;
        }
    }
    out.flush()?;
    Ok((tally, good))
}

fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    if path == Path::new(STDIN) {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        let text = "it is a folder; name the files in it";
        return Err(io::Error::new(io::ErrorKind::IsADirectory, text));
    }
    Ok(Box::new(file))
}

/// The outer result is about writing, the inner one about reading.
fn inspect_one(
    path: &Path,
    input: impl Read,
    format: Format,
    tally: &mut Tally,
    out: &mut impl Write,
) -> io::Result<io::Result<()>> {
    tally.files += 1;
    let mut lines = Lines::new(input);
    let mut entry = Vec::new();
    loop {
        let line = match lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        let place = (path, line.number);
        tally.add_line(line.log_bytes, line.ended);
        entry.clear();
        match decode(line.text) {
            Ok(record) => {
                tally.add_record(&record);
                format.record(place, &record, &mut entry);
            }
            Err(fault) => {
                tally.add_fault(fault);
                format.fault(place, fault, &mut entry);
            }
        }
        out.write_all(&entry)?;
    }
}

fn decode(line: Option<&mut [u8]>) -> Result<Record<'_>, LineFault> {
    let line = line.ok_or(LineFault::TooLong)?;
    let range = decode_in_place(line)?;
    Record::parse(&line[range])
}
