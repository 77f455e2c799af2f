//! The floor: what nobody can avoid who replays a log, in a process of its own.
//!
//! It reads the same logs in chunks of the same size, decodes payloads in place with base64-simd
//! alone, and sends the bytes that the product sends, in bursts as large, over as many connections.
//! It counts the bytes of the answers. It checks nothing, keeps nothing, and knows no order: a
//! record goes to whatever connection is free.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hustdbsync::internals::binlog::request::Template;
use hustdbsync::internals::binlog::{Lifetime, Record};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::figure::Figure;
use crate::reference;
use crate::{AUTHORIZATION, CONNECTIONS, Outcome};

/// What the reader reads at once.
const CHUNK_BYTES: usize = 512 * 1024;
/// The product's defaults.
const BURST_BYTES: usize = 4096;
const BURST_REQUESTS: usize = 64;
/// Values up to so many bytes are copied behind their heads, as the product does.
const COPIED_BYTES: usize = hustdbsync::internals::limits::BODY_COPY_BYTES_MAX;
/// So long without an answer means that the answers are not as long as the first.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the bench starts itself with to be the floor.
#[derive(Debug, clap::Args)]
pub(crate) struct FloorArgs {
    /// Be the floor, for the sink at this address
    #[arg(long, hide = true, value_name = "HOST:PORT", requires = "floor_logs")]
    pub(crate) floor: Option<String>,
    /// The floor's logs
    #[arg(long, hide = true, value_name = "FOLDER")]
    floor_logs: Option<PathBuf>,
}

/// One run of the floor over the logs in `folder`, which have `records` records.
pub(crate) fn run(address: &str, folder: &Path, records: u64) -> Outcome<Figure> {
    reference::run("floor", address, folder, records)
}

/// In the floor's own process: sends all, says how it went, and waits to be measured.
pub(crate) fn be(args: &FloorArgs, address: &str) -> Outcome<()> {
    let logs = args.floor_logs.as_deref().expect("clap requires it");
    let begun = Instant::now();
    let sent = Floor::new(address, logs)
        .and_then(|mut floor| floor.send_all())
        .map_err(|error| format!("{address}: {error}"))?;
    println!("{sent} {}", begun.elapsed().as_secs_f64());
    // Its CPU time is read while it still is.
    let _ = io::stdin().read(&mut [0]);
    Ok(())
}

/// Whole lines, decoded where they lie.
struct Chunk {
    bytes: Vec<u8>,
}

/// A record that waits: its chunk, and where it is.
type Waiting = (Rc<Chunk>, Range<usize>);

struct Connection {
    stream: TcpStream,
    head: Vec<u8>,
    /// A value that is not copied.
    body: Option<Waiting>,
    sent: usize,
    /// Bytes of answers to come; the first answer's end is looked for.
    due: usize,
    is_measuring: bool,
}

struct Floor {
    poll: Poll,
    connections: Vec<Connection>,
    files: VecDeque<File>,
    rest: Vec<u8>,
    waiting: VecDeque<Waiting>,
    template: Template,
    /// Bytes of an answer; 0 before there was one.
    answer_bytes: usize,
    received: Vec<u8>,
    records: u64,
}

impl Floor {
    fn new(address: &str, logs: &Path) -> io::Result<Self> {
        let mut files: Vec<PathBuf> = fs::read_dir(logs)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        files.sort();
        let poll = Poll::new()?;
        let mut connections = Vec::new();
        for place in 0..CONNECTIONS as usize {
            let stream = std::net::TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry()
                .register(&mut stream, Token(place), interest)?;
            connections.push(Connection {
                stream,
                head: Vec::new(),
                body: None,
                sent: 0,
                due: 0,
                is_measuring: false,
            });
        }
        Ok(Self {
            poll,
            connections,
            files: files.iter().map(File::open).collect::<io::Result<_>>()?,
            rest: Vec::new(),
            waiting: VecDeque::new(),
            template: Template::new(address, Some(AUTHORIZATION)),
            answer_bytes: 0,
            received: vec![0; 64 * 1024],
            records: 0,
        })
    }

    /// Gives how many records were sent and answered.
    fn send_all(&mut self) -> io::Result<u64> {
        // How long an answer is, by the first one.
        self.begin(0, 1)?;
        let mut events = Events::with_capacity(1024);
        loop {
            self.poll.poll(&mut events, Some(PATIENCE))?;
            if events.is_empty() {
                let why = "no answer: are they not all as long as the first?";
                return Err(io::Error::new(ErrorKind::TimedOut, why));
            }
            for event in &events {
                let place = event.token().0;
                if event.is_writable() {
                    self.transmit(place)?;
                }
                if event.is_readable() {
                    self.receive(place)?;
                }
            }
            if self.answer_bytes == 0 {
                continue;
            }
            let mut is_busy = false;
            for place in 0..self.connections.len() {
                if self.connections[place].due == 0 {
                    self.begin(place, BURST_REQUESTS)?;
                }
                is_busy |= self.connections[place].due > 0;
            }
            if !is_busy {
                return Ok(self.records);
            }
        }
    }

    /// Sends the next burst on a connection, if there are records.
    fn begin(&mut self, place: usize, requests_max: usize) -> io::Result<()> {
        let connection = &mut self.connections[place];
        connection.head.clear();
        (connection.body, connection.sent) = (None, 0);
        let mut requests = 0;
        while requests < requests_max && self.connections[place].body.is_none() {
            if self.waiting.is_empty() && !self.read()? {
                break;
            }
            let (chunk, range) = self.waiting.front().expect("it was just looked");
            let record = Record::parse_checked(&chunk.bytes[range.clone()]);
            let head = &mut self.connections[place].head;
            let start = head.len();
            let is_long = record.value.len() > COPIED_BYTES;
            self.template.compose(&record, Lifetime::Unlimited, head);
            let bytes = head.len() - start + record.value.len();
            if start > 0 && start + bytes > BURST_BYTES {
                head.truncate(start);
                break;
            }
            if is_long {
                let value = range.end - record.value.len()..range.end;
                self.connections[place].body = Some((Rc::clone(chunk), value));
            } else {
                head.extend_from_slice(record.value);
            }
            self.waiting.pop_front();
            requests += 1;
        }
        self.records += requests as u64;
        let connection = &mut self.connections[place];
        connection.is_measuring = self.answer_bytes == 0;
        connection.due = requests * self.answer_bytes.max(1);
        self.transmit(place)
    }

    fn transmit(&mut self, place: usize) -> io::Result<()> {
        let connection = &mut self.connections[place];
        loop {
            let head = &connection.head[connection.sent.min(connection.head.len())..];
            let body = match &connection.body {
                None => &[][..],
                Some((chunk, range)) => {
                    let sent = connection.sent.saturating_sub(connection.head.len());
                    &chunk.bytes[range.clone()][sent..]
                }
            };
            if head.is_empty() && body.is_empty() {
                return Ok(());
            }
            let parts = [IoSlice::new(head), IoSlice::new(body)];
            match connection.stream.write_vectored(&parts) {
                Ok(bytes) => connection.sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn receive(&mut self, place: usize) -> io::Result<()> {
        let connection = &mut self.connections[place];
        loop {
            match connection.stream.read(&mut self.received) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(bytes) if connection.is_measuring => {
                    self.answer_bytes = bytes;
                    connection.due = 0;
                    connection.is_measuring = false;
                }
                Ok(bytes) => {
                    connection.due = connection.due.checked_sub(bytes).ok_or_else(|| {
                        io::Error::other("the answers are not all as long as the first")
                    })?;
                    if bytes < self.received.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads and decodes the next chunk; false at the end.
    fn read(&mut self) -> io::Result<bool> {
        while let Some(file) = self.files.front_mut() {
            let mut text = std::mem::take(&mut self.rest);
            let kept = text.len();
            text.resize(kept + CHUNK_BYTES, 0);
            let read = file.read(&mut text[kept..])?;
            text.truncate(kept + read);
            if read == 0 {
                self.files.pop_front();
                continue;
            }
            let whole = memchr::memrchr(b'\n', &text).map_or(0, |newline| newline + 1);
            self.rest.extend_from_slice(&text[whole..]);
            text.truncate(whole);
            self.decode(text)?;
            if !self.waiting.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn decode(&mut self, mut text: Vec<u8>) -> io::Result<()> {
        let (mut ranges, mut start) = (Vec::new(), 0);
        while let Some(length) = memchr::memchr(b'\n', &text[start..]) {
            let line = &mut text[start..start + length];
            let at = memchr::memrchr(b' ', line).map_or(0, |space| space + 1);
            let record = base64_simd::STANDARD
                .decode_inplace(&mut line[at..])
                .map_err(io::Error::other)?;
            ranges.push(start + at..start + at + record.len());
            start += length + 1;
        }
        let chunk = Rc::new(Chunk { bytes: text });
        let records = ranges.into_iter();
        self.waiting
            .extend(records.map(|range| (Rc::clone(&chunk), range)));
        Ok(())
    }
}
