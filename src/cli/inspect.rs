//! `inspect`: what stands in logs, a line for each line of them, in order; and at the end what
//! there was. State files too ([`state`]).
//!
//! Contract: changes nothing, reads as a stream, holds one line in memory at a time. Records and
//! faults go to stdout in the order of the log, the summary and the progress bar to stderr. Exit
//! code 1 where a file can't be read, or with `--strict` where a line is faulty; 2 where the
//! arguments are wrong.

mod entry;
mod filter;
mod follow;
mod frequent;
mod source;
mod state;
mod state_lines;
mod statistics;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Cursor, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::Failure;
use super::lines::{Line, Lines};
use super::paint::Paint;
use super::pattern::Pattern;
use crate::binlog::line::decode_in_place;
use crate::binlog::{LineFault, Method, Record};
use crate::cli::output;
use crate::text::without_controls;

use entry::{Form, Format};
use filter::{Filter, parse_method};
use follow::{Followed, Over};
use source::{Progress, STDIN};
use state::Kind;
use statistics::Statistics;
use tally::Tally;

pub(super) const EXAMPLES: &str = "\
Examples:
  hustdbsync inspect /data/hustdbha/logs/10.0.0.7:8085/*.log     all of a backend's logs
  hustdbsync inspect -fn 10 /data/hustdbha/logs/10.0.0.7:8085    what HA writes for it now
  hustdbsync inspect --key 'user:*' --method put,del /data/hustdbha/logs
  hustdbsync inspect --stats some.log                            number, sizes, keys that repeat
  hustdbsync inspect --json --values some.log | jq .key
  hustdbsync inspect --raw --table t1 some.log > smaller.log     a log of these records
  hustdbsync inspect /data/hustdbha/status                       checkpoints and rejected lines
  zcat old.log.gz | hustdbsync inspect -";

/// The most entries that `--last` holds in memory.
const LAST_MAX: i64 = 100_000;

/// What `inspect` takes.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// Logs as HA writes them, state files, or folders of either; `-` is stdin
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<PathBuf>,
    /// Only records of these methods, such as put,del
    #[arg(
        long, value_name = "METHOD", value_delimiter = ',', value_parser = parse_method,
        help_heading = "Which records"
    )]
    method: Vec<Method>,
    /// Only records whose key matches as a whole: `*` is any octets, `?` is one; without either it
    /// is exact, `user:*` is a prefix
    #[arg(long, value_name = "PATTERN", help_heading = "Which records")]
    key: Option<Pattern>,
    /// Only records whose table matches, likewise
    #[arg(long, value_name = "PATTERN", help_heading = "Which records")]
    table: Option<Pattern>,
    /// Only logs of backends that match, likewise; a log's backend is the name of its folder
    #[arg(long, value_name = "PATTERN", help_heading = "Which records")]
    backend: Option<Pattern>,
    /// Go on as the log grows, then with the next one of its folder; of a folder, from its newest
    /// log on. SIGINT ends it, with 0
    #[arg(short, long, conflicts_with_all = ["stats", "backend"])]
    follow: bool,
    /// Print the last so many entries only; with --follow, then what comes
    #[arg(
        short = 'n', long, value_name = "N", conflicts_with = "stats",
        value_parser = clap::value_parser!(u32).range(0..=LAST_MAX), help_heading = "Which records"
    )]
    last: Option<u32>,
    /// Print JSON, an object a line
    #[arg(long, help_heading = "How to show them")]
    json: bool,
    /// Print log lines as they are, for making a smaller log
    #[arg(long, conflicts_with_all = ["json", "values", "stats"], help_heading = "How to show \
        them")]
    raw: bool,
    /// Print statistics instead of records: methods, sizes of values, keys that repeat
    #[arg(long, conflicts_with = "values", help_heading = "How to show them")]
    stats: bool,
    /// Print values too, not only their length
    #[arg(long, help_heading = "How to show them")]
    values: bool,
    /// Print neither progress nor counts
    #[arg(short, long, help_heading = "How to show them")]
    quiet: bool,
    /// Exit with 1 if any line is faulty
    #[arg(long)]
    strict: bool,
}

impl InspectArgs {
    /// What of the arguments is wrong together, as a sentence.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let is_stdin = |path: &PathBuf| path == Path::new(STDIN);
        match self.follow {
            true if self.logs.len() > 1 => {
                Some("--follow takes one log, or one backend's folder of logs")
            }
            true if self.logs.iter().any(is_stdin) => {
                Some("--follow takes a log or a folder; stdin is followed anyhow, until it ends")
            }
            _ => None,
        }
    }
}

/// Inspects all logs. False where one can't be read, or is faulty and that counts.
pub(super) fn inspect(args: &InspectArgs) -> Result<bool, Failure> {
    let stdout = io::stdout();
    let prints_to_terminal = stdout.is_terminal() && !args.stats;
    let mut inspection = Inspection::new(args, Paint::of(&stdout), stdout.lock());
    let done = if args.follow {
        let over = Over::on_signals().map_err(|why| format!("signals can't be received: {why}"))?;
        inspection.follow(&args.logs[0], over)
    } else {
        inspection.all(&args.logs, !args.quiet && !prints_to_terminal)
    };
    let good = match done.and_then(|good| inspection.end().map(|()| good)) {
        Ok(good) => good,
        // Whoever reads us has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(true),
        Err(error) => return Err(format!("the result can't be written: {error}").into()),
    };
    let tally = inspection.tally;
    if !args.quiet {
        output::complain(tally.to_string().trim_end());
    }
    Ok(good && !(args.strict && tally.has_faults()))
}

/// One run of the command.
struct Inspection<W: Write> {
    format: Format,
    filter: Filter,
    statistics: Option<Statistics>,
    tally: Tally,
    out: BufWriter<W>,
    /// Entries that are printed if no more come; none where all are printed.
    last: Option<LastEntries>,
    /// Of a file that is followed: whether all that it has now was read. Then the next line has to
    /// be waited for.
    is_at_end: Option<Box<dyn FnMut() -> bool>>,
    /// One line's text, one line as it came, one key.
    entry: Vec<u8>,
    raw: Vec<u8>,
    scratch: Vec<u8>,
}

/// Reading may fail, and then the next file is read. Writing may fail, and then all is over.
type Done<T> = io::Result<io::Result<T>>;

impl<W: Write> Inspection<W> {
    fn new(args: &InspectArgs, paint: Paint, out: W) -> Self {
        let filter = Filter {
            methods: args.method.clone(),
            key: args.key.clone(),
            table: args.table.clone(),
            backend: args.backend.clone(),
        };
        Self {
            format: Format {
                form: match (args.raw, args.json) {
                    (true, _) => Form::Raw,
                    (false, true) => Form::Json,
                    (false, false) => Form::Pretty,
                },
                values: args.values,
                several_files: args.logs.len() > 1,
                paint,
            },
            tally: Tally::new(filter.is_about_records()),
            filter,
            statistics: args.stats.then(Statistics::default),
            out: BufWriter::with_capacity(1 << 16, out),
            last: args.last.map(LastEntries::new),
            is_at_end: None,
            entry: Vec::new(),
            raw: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Reads all of them. Fails only where writing does; what can't be read is told on stderr and
    /// makes the value false.
    fn all(&mut self, paths: &[PathBuf], shows_progress: bool) -> io::Result<bool> {
        let mut good = true;
        let mut files = Vec::new();
        for path in paths {
            match source::expand(path, &self.filter) {
                Ok(found) => files.extend(found),
                Err(error) => good = self.unread(path, &error, None)?,
            }
        }
        self.format.several_files |= files.len() > 1;
        let mut progress = Progress::of(&files, shows_progress);
        for path in &files {
            let read = match source::open(path) {
                Ok(input) => self.file(path, input, ends(path), &mut progress)?,
                Err(error) => Err(error),
            };
            if let Err(error) = read {
                good = self.unread(path, &error, Some(&progress))?;
            }
        }
        progress.end();
        Ok(good)
    }

    /// Reads one log after the other as they grow.
    fn follow(&mut self, path: &Path, over: Over) -> io::Result<bool> {
        self.format.several_files = path.is_dir();
        let mut followed = Followed::new(path, over.clone());
        let mut progress = Progress::of(&[], false);
        loop {
            let read = match followed.next() {
                Ok(None) => return Ok(true),
                Ok(Some((path, tail))) => {
                    let kind = state::recognise(&path, &[], None);
                    match tail.watch_end() {
                        Ok(is_at_end) => {
                            self.is_at_end = Some(Box::new(is_at_end));
                            let read = self.lines(&path, kind, tail, &mut progress)?;
                            read.and_then(|()| followed.advance(&path))
                        }
                        Err(error) => Err(error),
                    }
                }
                Err(error) => Err(error),
            };
            if let Err(error) = read {
                return self.unread(path, &error, None);
            }
            // What comes next has another name.
            self.format.several_files = true;
        }
    }

    fn unread(
        &mut self,
        path: &Path,
        why: &io::Error,
        progress: Option<&Progress>,
    ) -> io::Result<bool> {
        self.out.flush()?;
        let text = format!("hustdbsync: {} can't be read: {why}", path.display());
        let text = without_controls(&text);
        match progress {
            Some(progress) => progress.say(&text),
            None => output::complain(text),
        }
        Ok(false)
    }

    /// Reads a file of whatever kind. `ends`: its length and last byte, where they are known.
    fn file(
        &mut self,
        path: &Path,
        mut input: impl Read,
        ends: Option<(u64, u8)>,
        progress: &mut Progress,
    ) -> Done<()> {
        let mut head = Vec::new();
        if let Err(error) = input
            .by_ref()
            .take(state::HEAD_BYTES as u64)
            .read_to_end(&mut head)
        {
            return Ok(Err(error));
        }
        let kind = state::recognise(path, &head, ends);
        let input = Cursor::new(head).chain(input);
        if kind.has_lines() {
            return self.lines(path, kind, input, progress);
        }
        self.tally.files += 1;
        if self.format.form == Form::Raw {
            // It has no lines that HA wrote.
            return Ok(Ok(()));
        }
        match state::describe(kind, input, self.format.form == Form::Json) {
            Ok(text) => {
                if self.format.several_files && self.format.form == Form::Pretty {
                    let path = path.to_string_lossy();
                    write!(self.out, "{}: ", without_controls(&path))?;
                }
                self.out.write_all(text.as_bytes())?;
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    fn lines(
        &mut self,
        path: &Path,
        kind: Kind,
        input: impl Read,
        progress: &mut Progress,
    ) -> Done<()> {
        self.tally.files += 1;
        let mut lines = Lines::new(input);
        loop {
            if let Some(is_at_end) = &mut self.is_at_end
                && lines.is_drained()
            {
                if is_at_end() {
                    self.print_last()?;
                }
                self.out.flush()?;
            }
            let line = match lines.next() {
                Ok(Some(line)) => line,
                Ok(None) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
            };
            progress.advance(line.log_bytes);
            self.tally.add_line(line.log_bytes, line.ended);
            self.entry.clear();
            match kind {
                Kind::Rejected => self.rejected(path, &line),
                Kind::Differences => self.difference(path, &line),
                _ => self.log_line((path, line.number), line),
            }
            match &mut self.last {
                Some(last) => last.push(&self.entry),
                None => self.out.write_all(&self.entry)?,
            }
        }
    }

    /// Prints the entries that are the last ones; what comes from now on is printed at once.
    fn print_last(&mut self) -> io::Result<()> {
        let last = self.last.take().into_iter().flat_map(|last| last.entries);
        for entry in last {
            self.out.write_all(&entry)?;
        }
        Ok(())
    }

    /// One line of a log, into `entry`.
    fn log_line(&mut self, place: (&Path, u64), line: Line<'_>) {
        let is_raw = self.format.form == Form::Raw;
        if is_raw && let Some(text) = &line.text {
            self.raw.clear();
            self.raw.extend_from_slice(text);
        }
        match decode(line.text) {
            Ok(record) => {
                if !self.filter.admits(&record, &mut self.scratch) {
                    return;
                }
                self.tally.add_record(&record);
                match &mut self.statistics {
                    Some(statistics) => statistics.add(&record),
                    None if is_raw => {
                        self.entry.extend_from_slice(&self.raw);
                        self.entry.push(b'\n');
                    }
                    None => self.format.record(place, &record, &mut self.entry),
                }
            }
            Err(fault) => {
                self.tally.add_fault(fault);
                // A line without a record has none of what is asked for.
                let is_shown = self.statistics.is_none() && !self.filter.is_about_records();
                if is_shown && is_raw && fault != LineFault::TooLong {
                    self.entry.extend_from_slice(&self.raw);
                    self.entry.push(b'\n');
                } else if is_shown && !is_raw {
                    self.format
                        .fault(place, fault.code(), &fault.to_string(), &mut self.entry);
                }
            }
        }
    }

    /// Writes what is left, and the statistics.
    fn end(&mut self) -> io::Result<()> {
        self.print_last()?;
        if let Some(statistics) = &self.statistics {
            match self.format.form {
                Form::Json => writeln!(self.out, "{}", statistics.to_json())?,
                _ => write!(self.out, "{statistics}")?,
            }
        }
        self.out.flush()
    }
}

/// The last so many entries.
struct LastEntries {
    max: usize,
    entries: VecDeque<Vec<u8>>,
}

impl LastEntries {
    fn new(max: u32) -> Self {
        Self {
            max: max as usize,
            entries: VecDeque::new(),
        }
    }

    fn push(&mut self, entry: &[u8]) {
        if entry.is_empty() || self.max == 0 {
            return;
        }
        // The first one's room is the new one's.
        let mut room = match self.entries.len() == self.max {
            true => self.entries.pop_front().unwrap_or_default(),
            false => Vec::new(),
        };
        room.clear();
        room.extend_from_slice(entry);
        self.entries.push_back(room);
    }
}

/// A file's length and last byte.
fn ends(path: &Path) -> Option<(u64, u8)> {
    let mut file = File::open(path).ok()?;
    let length = file
        .metadata()
        .ok()
        .filter(std::fs::Metadata::is_file)?
        .len();
    let mut last = [0];
    file.seek(SeekFrom::End(-1)).ok()?;
    file.read_exact(&mut last).ok()?;
    Some((length, last[0]))
}

fn decode(line: Option<&mut [u8]>) -> Result<Record<'_>, LineFault> {
    let line = line.ok_or(LineFault::TooLong)?;
    let range = decode_in_place(line)?;
    Record::parse(&line[range])
}
