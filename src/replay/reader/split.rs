//! Turns a piece of log into records by worker: splits, decodes in place, checks, chooses the lane.
//!
//! This is the reader's hot path: each byte is looked at for its newline, decoded, and not copied.

use std::collections::VecDeque;
use std::ops::Range;

use memchr::{memchr, memrchr};

use crate::binlog::key::order_hash;
use crate::binlog::line::decode_in_place;
use crate::binlog::long_line::LongRecord;
use crate::binlog::{LineFault, Record};
use crate::clock::Now;
use crate::ledger::identity::LastRead;
use crate::limits::LINE_TIME_BYTES_MAX;
use crate::replay::messages::Fed;
use crate::replay::reachability::KnownOutages;

/// Runs of lines that are settled already, by their numbers in the file, from 0.
pub type SettledRuns = VecDeque<Range<u64>>;

/// The lines of a piece of log, one by one.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    at: usize,
}

impl Lines {
    /// Where in `piece` the next line is, without its newline; `None` if there is no further
    /// newline.
    #[must_use]
    pub fn poll(&mut self, piece: &[u8]) -> Option<Range<usize>> {
        let length = memchr(b'\n', &piece[self.at..])?;
        let start = self.at;
        self.at = start + length + 1;
        Some(start..start + length)
    }

    /// What follows the last newline, as a line; `None` if nothing does.
    #[must_use]
    pub fn poll_tail(&mut self, piece: &[u8]) -> Option<Range<usize>> {
        let start = self.at;
        self.at = piece.len();
        (start < piece.len()).then_some(start..piece.len())
    }

    /// Bytes of the lines that were returned, newlines included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.at
    }
}

/// Where a piece of log comes from, and how to treat it.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Number of its first line in the file, from 0.
    pub first_line: u64,
    /// Where it begins in the file.
    pub first_byte: u64,
    /// Lines that were sent before and never answered, ascending, by their numbers in the file.
    pub sent: Vec<Range<u64>>,
    /// Lines that begin before this byte of the file may have been sent before.
    pub sent_below: u64,
    /// Lines that begin before this byte were there when this process started.
    pub old_below: u64,
    /// When the backend was dead.
    pub outages: KnownOutages,
    /// Whether the times in its lines are correct; otherwise it is not known when they were
    /// written.
    pub has_times: bool,
    /// The time.
    pub now: Now,
    /// Whether what follows its last newline is a line.
    pub tail_is_line: bool,
    /// How many lines are taken at most.
    pub lines_max: u32,
    /// The backend's lanes, at least one.
    pub lanes: u16,
}

impl Piece {
    /// Whether a record may have been applied already, as far as that matters to it. Its line
    /// begins at byte `place` of the file, and is line `line` of the piece.
    fn is_maybe_sent(&self, record: &Record<'_>, place: u64, line: u32, written_unix: u32) -> bool {
        place < self.sent_below
            || self.was_sent(self.first_line + u64::from(line))
            || (record.is_harmful_twice() && self.may_be_applied(place, written_unix))
    }

    fn was_sent(&self, line: u64) -> bool {
        let at = self.sent.partition_point(|run| run.end <= line);
        self.sent.get(at).is_some_and(|run| run.start <= line)
    }

    /// Whether HA's own write may have been applied, or an earlier process may have sent this line:
    /// true unless the backend was surely dead then.
    fn may_be_applied(&self, place: u64, written_unix: u32) -> bool {
        let is_old = place < self.old_below;
        if failpoint!(ForgetRestart) && is_old {
            return false;
        }
        let written_unix = u64::from(written_unix);
        !self.outages.cover(written_unix, is_old, self.now)
    }
}

/// How much of a piece was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub lines: u32,
    /// Bytes of them, newlines included.
    pub bytes: usize,
    /// Whether no whole line is left.
    pub all: bool,
    /// Its last bytes, if they are at hand: what was decoded is overwritten.
    pub last_read: Option<LastRead>,
}

/// A line that is not a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its index in the piece.
    pub line: u32,
    /// Where it was in the piece, without its newline. Its bytes have been overwritten.
    pub span: Range<usize>,
    /// What is wrong with it.
    pub fault: LineFault,
}

/// Splits pieces. What it has found is in its fields until the next piece.
#[derive(Debug)]
pub struct Splitter {
    /// Records for each worker, in the log's order.
    pub records: Vec<Vec<Fed>>,
    /// Lines that are not records.
    pub faults: Vec<Fault>,
    /// Indices of lines that were settled before, ascending.
    pub settled_before: Vec<u32>,
    /// For keys that need decoding.
    scratch: Vec<u8>,
    times: LineTimes,
}

impl Splitter {
    /// For this many workers, at least one. `written_unix` reads a line's time from its prefix.
    #[must_use]
    pub fn new(workers: usize, written_unix: WrittenUnix) -> Self {
        assert!(workers > 0, "somebody must send");
        Self {
            records: vec![Vec::new(); workers],
            faults: Vec::new(),
            settled_before: Vec::new(),
            scratch: Vec::new(),
            times: LineTimes::new(written_unix),
        }
    }

    /// Takes whole lines from the front of `bytes` and decodes them in place. Lines in `settled`
    /// are skipped; runs that are passed are removed from it.
    pub fn split(&mut self, bytes: &mut [u8], piece: &Piece, settled: &mut SettledRuns) -> Taken {
        self.clear();
        // Decoding overwrites what is read, and how much of it will be taken is not known yet.
        let whole = match piece.tail_is_line {
            true => bytes.len(),
            false => memrchr(b'\n', bytes).map_or(0, |newline| newline + 1),
        };
        let last_read = LastRead::new(piece.first_byte, &bytes[..whole]);
        let mut lines = Lines::default();
        let mut line = 0;
        let all = loop {
            if line == piece.lines_max {
                break memchr(b'\n', &bytes[lines.bytes()..]).is_none() && !piece.tail_is_line;
            }
            let tail = piece.tail_is_line;
            let next = lines.poll(bytes);
            let Some(span) = next.or_else(|| tail.then(|| lines.poll_tail(bytes)).flatten()) else {
                break true;
            };
            if is_settled(settled, piece.first_line + u64::from(line)) {
                self.settled_before.push(line);
            } else {
                self.take_line(bytes, span, line, piece);
            }
            line += 1;
        };
        let bytes = lines.bytes();
        Taken {
            lines: line,
            bytes,
            all,
            last_read: (bytes == whole).then_some(last_read),
        }
    }

    /// Takes one line that is too long for memory. It has this prefix, and the record's head begins
    /// at `at` in the chunk that the lane gets.
    pub fn take_long(&mut self, prefix: &[u8], record: &LongRecord, at: usize, piece: &Piece) {
        let head = Record::parse_checked(&record.head);
        let written_unix = if piece.has_times && head.needs_written_time() {
            self.times.of(prefix)
        } else {
            0
        };
        let lane = lane_of(record.order, piece.lanes);
        let worker = usize::from(lane) % self.records.len();
        self.records[worker].push(Fed {
            at: narrow(at),
            bytes: narrow(record.head.len()),
            line: 0,
            lane,
            written_unix,
            maybe_sent: piece.is_maybe_sent(&head, piece.first_byte, 0, written_unix),
        });
    }

    /// Forgets the last piece.
    pub fn clear(&mut self) {
        self.records.iter_mut().for_each(Vec::clear);
        self.faults.clear();
        self.settled_before.clear();
    }

    /// Whether the last piece had a record to send.
    #[must_use]
    pub fn has_records(&self) -> bool {
        self.records.iter().any(|records| !records.is_empty())
    }

    fn take_line(&mut self, bytes: &mut [u8], span: Range<usize>, line: u32, piece: &Piece) {
        let start = span.start;
        let range = match decode_in_place(&mut bytes[span.clone()]) {
            Ok(range) => start + range.start..start + range.end,
            Err(fault) => return self.faults.push(Fault { line, span, fault }),
        };
        let record = Record::parse_checked(&bytes[range.clone()]);
        let hash = order_hash(&record, &mut self.scratch);
        let written_unix = if piece.has_times && record.needs_written_time() {
            self.times.of(&bytes[start..range.start])
        } else {
            0
        };
        let place = piece.first_byte + start as u64;
        let maybe_sent = piece.is_maybe_sent(&record, place, line, written_unix);
        let lane = lane_of(hash, piece.lanes);
        let worker = usize::from(lane) % self.records.len();
        self.records[worker].push(Fed {
            at: narrow(range.start),
            bytes: narrow(range.len()),
            line,
            lane,
            written_unix,
            maybe_sent,
        });
    }
}

/// Reads the Unix seconds at which a line was written from its prefix; `None` means that it cannot
/// be read.
pub type WrittenUnix = fn(&[u8]) -> Option<u64>;

/// When lines were written. The lines of one second have one prefix, which is read once.
#[derive(Debug)]
struct LineTimes {
    written_unix: WrittenUnix,
    /// The prefix that was read last, and its time.
    prefix: Vec<u8>,
    unix: u32,
}

impl LineTimes {
    fn new(written_unix: WrittenUnix) -> Self {
        Self {
            written_unix,
            prefix: Vec::new(),
            unix: 0,
        }
    }

    /// Unix seconds; 0 if `prefix` contains no time.
    fn of(&mut self, prefix: &[u8]) -> u32 {
        let prefix = &prefix[..prefix.len().min(LINE_TIME_BYTES_MAX)];
        if prefix != self.prefix {
            self.prefix.clear();
            self.prefix.extend_from_slice(prefix);
            let unix = (self.written_unix)(prefix);
            self.unix = unix.and_then(|unix| unix.try_into().ok()).unwrap_or(0);
        }
        self.unix
    }
}

/// The lane of a hash: its upper bits scaled to the lanes, which needs no division.
fn lane_of(hash: u64, lanes: u16) -> u16 {
    let scaled = (u128::from(hash) * u128::from(lanes)) >> 64;
    u16::try_from(scaled).expect("a lane's number is below the number of lanes")
}

fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).expect("a piece has less than 4 GiB")
}

/// Whether `line` is in a run, when asked for lines in ascending order.
pub fn is_settled(settled: &mut SettledRuns, line: u64) -> bool {
    while settled.front().is_some_and(|run| run.end <= line) {
        settled.pop_front();
    }
    settled.front().is_some_and(|run| run.start <= line)
}

/// Makes lines settled again that [`is_settled`] has passed: those with these indices, ascending,
/// counted from `first_line`.
pub fn put_back(settled: &mut SettledRuns, first_line: u64, indices: &[u32]) {
    for line in indices.iter().rev().map(|&at| first_line + u64::from(at)) {
        match settled.front_mut() {
            Some(run) if run.start <= line => {}
            Some(run) if run.start == line + 1 => run.start = line,
            _ => settled.push_front(line..line + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::binlog::Method;

    #[test]
    fn lines_that_were_passed_are_settled_again_when_they_are_put_back() {
        let runs = || SettledRuns::from([101..103, 104..105, 106..120]);
        for lines in 0..15_u32 {
            let mut settled = runs();
            let passed: Vec<u32> = (0..lines)
                .filter(|&line| is_settled(&mut settled, 100 + u64::from(line)))
                .collect();
            put_back(&mut settled, 100, &passed);
            let again = (0..25).filter(|line| is_settled(&mut settled, 100 + line));
            let all = (0..25).filter(|line| is_settled(&mut runs(), 100 + line));
            assert!(again.eq(all), "after {lines} lines");
        }
    }

    fn piece(lines_max: u32, tail_is_line: bool) -> Piece {
        Piece {
            first_line: 100,
            first_byte: 0,
            sent: Vec::new(),
            sent_below: 0,
            old_below: 0,
            outages: KnownOutages::default(),
            has_times: true,
            now: Now::new(Duration::ZERO, 0),
            tail_is_line,
            lines_max,
            lanes: 4,
        }
    }

    /// The number that a prefix begins with.
    fn digits(prefix: &[u8]) -> Option<u64> {
        let end = prefix.iter().position(|octet| !octet.is_ascii_digit())?;
        std::str::from_utf8(&prefix[..end]).ok()?.parse().ok()
    }

    /// A line of a record that is `put`, changed by `change`.
    fn line(prefix: &str, change: impl FnOnce(&mut Record<'_>)) -> Vec<u8> {
        let mut record = Record::new(Method::Put, b"k", b"v");
        change(&mut record);
        let (mut bytes, mut line) = (Vec::new(), Vec::new());
        record.encode(&mut bytes);
        crate::binlog::line::encode(prefix.as_bytes(), &bytes, &mut line);
        line
    }

    #[test]
    fn a_record_has_its_lines_time_where_that_matters() {
        let ttl = |record: &mut Record<'_>| record.expires_unix = 9;
        let zadd = |opt| {
            move |record: &mut Record<'_>| {
                record.method = Method::Zadd;
                record.table = b"t";
                record.opt = opt;
            }
        };
        let lines = [
            (line("17 ", ttl), 17),
            (line("17 ", ttl), 17),
            (line("18 ", zadd(1)), 18),
            (line("17 ", zadd(-1)), 17),
            (line("17 ", zadd(0)), 17),
            (line("17 ", |_| ()), 0),
            (line("no time ", ttl), 0),
            (line("4294967296 ", ttl), 0),
            (line("4294967295 ", ttl), u32::MAX),
            (line("", ttl), 0),
        ];
        let bytes: Vec<u8> = lines.iter().flat_map(|(line, _)| line.clone()).collect();
        let mut splitter = Splitter::new(1, digits);
        splitter.split(&mut bytes.clone(), &piece(99, false), &mut VecDeque::new());
        let found = splitter.records[0].iter().map(|fed| fed.written_unix);
        assert!(found.eq(lines.iter().map(|(_, expected)| *expected)));
    }

    #[test]
    fn lines_of_one_second_have_their_time_read_once() {
        use std::sync::atomic::{AtomicU32, Ordering};
        static READ: AtomicU32 = AtomicU32::new(0);
        let mut times = LineTimes::new(|_| {
            READ.fetch_add(1, Ordering::Relaxed);
            Some(5)
        });
        for prefix in ["a", "a", "b", "b", "a"] {
            assert_eq!(times.of(prefix.as_bytes()), 5);
        }
        assert_eq!(READ.load(Ordering::Relaxed), 3);
    }

    fn check(bytes: &[u8], piece: &Piece, expected: Taken) -> Splitter {
        let mut splitter = Splitter::new(2, digits);
        let mut settled = SettledRuns::from([90..95, 101..102]);
        let taken = splitter.split(&mut bytes.to_vec(), piece, &mut settled);
        assert_eq!(taken, expected);
        splitter
    }

    #[test]
    fn empty_lines_are_lines_and_settled_ones_are_passed_over() {
        let taken = Taken {
            lines: 3,
            bytes: 6,
            all: true,
            last_read: Some(LastRead::new(0, b"\nbad\n\n")),
        };
        let splitter = check(b"\nbad\n\ntail", &piece(9, false), taken);
        assert_eq!(splitter.settled_before, [1]);
        let faults: Vec<_> = splitter
            .faults
            .iter()
            .map(|f| (f.line, f.span.clone()))
            .collect();
        assert_eq!(faults, [(0, 0..0), (2, 5..5)]);
        assert!(!splitter.has_records());
    }

    #[test]
    fn a_tail_is_a_line_where_it_is_said_to_be() {
        let taken = Taken {
            lines: 2,
            bytes: 6,
            all: true,
            last_read: Some(LastRead::new(0, b"x\ntail")),
        };
        check(b"x\ntail", &piece(9, true), taken);
        let taken = Taken {
            lines: 1,
            bytes: 2,
            all: true,
            last_read: Some(LastRead::new(0, b"x\n")),
        };
        check(b"x\n", &piece(9, true), taken);
    }

    #[test]
    fn no_more_lines_are_taken_than_there_is_credit_for() {
        let taken = Taken {
            lines: 1,
            bytes: 2,
            all: false,
            last_read: None,
        };
        check(b"x\ny\nz", &piece(1, false), taken);
        let taken = Taken {
            lines: 2,
            bytes: 4,
            all: true,
            last_read: Some(LastRead::new(0, b"x\ny\n")),
        };
        check(b"x\ny\nz", &piece(2, false), taken);
        let taken = Taken {
            lines: 2,
            bytes: 4,
            all: false,
            last_read: None,
        };
        check(b"x\ny\nz", &piece(2, true), taken);
    }

    #[test]
    fn lanes_are_spread_over_their_whole_range() {
        assert_eq!(lane_of(0, 16), 0);
        assert_eq!(lane_of(u64::MAX, 16), 15);
        assert_eq!(lane_of(u64::MAX, u16::MAX), u16::MAX - 1);
        assert_eq!(lane_of(1 << 63, 3), 1);
    }
}
