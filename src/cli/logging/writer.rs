//! Lines on their way out: handed over without waiting, written by a thread of their own.
//!
//! The contract: whoever logs never waits for a disk, a terminal or a journal. What comes faster
//! than it can be written is dropped beyond [`LINES_MAX`] waiting lines, and so is what cannot be
//! written; both are counted, and told in a line of its own once a line is written again. What is
//! still on its way at the end is written, as far as that takes no longer than [`END_MS`].

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that may wait to be written.
const LINES_MAX: usize = 8192;

/// Between two looks of the thread at what else it has to say, while nothing comes.
const IDLE: Duration = Duration::from_secs(5);

/// How long the end waits for the last lines, in milliseconds.
const END_MS: u64 = 1000;

enum Message {
    Line(Vec<u8>),
    End,
}

/// Where lines are handed over.
#[derive(Clone)]
pub(super) struct Lines {
    sender: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

/// Ends the thread when it goes, after it has written what waits.
pub(super) struct Guard {
    sender: SyncSender<Message>,
    ended: Receiver<()>,
}

/// Starts the thread. It writes each line to `sink` as a whole, and calls `idle` now and then while
/// nothing comes.
///
/// # Errors
/// The system gives no thread; the sentence says what it was for.
pub(super) fn start(
    sink: impl Write + Send + 'static,
    idle: impl FnMut() + Send + 'static,
) -> io::Result<(Lines, Guard)> {
    let (sender, mails) = sync_channel(LINES_MAX);
    let (end, ended) = sync_channel(1);
    let lines = Lines {
        sender: sender.clone(),
        dropped: Arc::default(),
    };
    let dropped = Arc::clone(&lines.dropped);
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || {
            write_all(&mails, sink, idle, &dropped);
            let _ = end.send(());
        })
        .map_err(|error| {
            let why = format!(
                "the system gives no thread to write the log: {error}; raise the bound on this \
                 user's processes (ulimit -u, TasksMax=)"
            );
            io::Error::new(error.kind(), why)
        })?;
    Ok((lines, Guard { sender, ended }))
}

fn write_all(
    mails: &Receiver<Message>,
    sink: impl Write,
    mut idle: impl FnMut(),
    dropped: &AtomicU64,
) {
    let mut sink = LineWriter::new(sink);
    loop {
        match mails.recv_timeout(IDLE) {
            Ok(Message::Line(line)) if !sink.write(&line) => {
                dropped.fetch_add(1, Ordering::Relaxed);
                // There is no place to tell it until a line can be written again.
                continue;
            }
            Ok(Message::Line(_)) => {}
            Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                idle();
                continue;
            }
        }
        let lines = dropped.swap(0, Ordering::Relaxed);
        if lines > 0 {
            // It goes the way of every line, through this very queue: from here nothing waits for
            // it.
            tracing::warn!(
                lines,
                "these many lines of the log could not be written, or came faster than they could \
                 be, and are left out"
            );
        }
    }
    let _ = sink.inner.flush();
}

/// Writes whole lines, or a part of one that ends before the next begins.
struct LineWriter<W> {
    inner: W,
    /// Whether the last line was written in part.
    is_torn: bool,
}

impl<W: Write> LineWriter<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            is_torn: false,
        }
    }

    /// Whether the whole line is written.
    fn write(&mut self, line: &[u8]) -> bool {
        if self.is_torn && self.inner.write_all(b"\n").is_err() {
            return false;
        }
        self.is_torn = false;
        let mut rest = line;
        while !rest.is_empty() {
            match self.inner.write(rest) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return false,
                Ok(written) => {
                    rest = &rest[written..];
                    self.is_torn = !rest.is_empty();
                }
            }
        }
        true
    }
}

/// One call is one line.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.sender.try_send(Message::Line(line.to_vec())) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let until = Instant::now() + Duration::from_millis(END_MS);
        let mut message = Message::End;
        // A full queue has room again as soon as the thread has written one.
        while let Err(TrySendError::Full(back)) = self.sender.try_send(message) {
            if Instant::now() >= until {
                return;
            }
            message = back;
            thread::yield_now();
        }
        let _ = self
            .ended
            .recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A sink that keeps what is written, and lets every write wait while it is held.
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_in_order_and_all_of_them_by_the_end() {
        let sink = Sink::default();
        let (mut lines, guard) = start(sink.clone(), || {}).unwrap();
        let expected: String = (0..1000).map(|nth| format!("line {nth}\n")).collect();
        for line in expected.split_inclusive('\n') {
            lines.write_all(line.as_bytes()).unwrap();
        }
        drop(guard);
        let written = sink.0.lock().unwrap();
        assert_eq!(String::from_utf8_lossy(&written), expected);
    }

    /// A disk with room for so many bytes more.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (written, room) = &mut *self.0.lock().unwrap();
            let fits = bytes.len().min(*room);
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *room -= fits;
            written.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_can_not_be_written_are_counted_and_a_torn_one_ends_before_the_next() {
        let disk = Disk::default();
        let mut writer = LineWriter::new(disk.clone());
        let room = |bytes: usize| disk.0.lock().unwrap().1 = bytes;
        room(7);
        assert!(writer.write(b"one\n"));
        assert!(!writer.write(b"torn\n"));
        assert!(!writer.write(b"none\n"));
        room(100);
        assert!(writer.write(b"two\n"));
        assert!(writer.write(b"three\n"));
        let written = &disk.0.lock().unwrap().0;
        assert_eq!(String::from_utf8_lossy(written), "one\ntor\ntwo\nthree\n");
    }

    #[test]
    fn what_could_not_be_written_is_told_once_something_can() {
        let disk = Disk::default();
        let (mut lines, guard) = start(disk.clone(), || {}).unwrap();
        let dropped = Arc::clone(&lines.dropped);
        for _ in 0..3 {
            lines.write_all(b"none\n").unwrap();
        }
        let until = Instant::now() + Duration::from_secs(20);
        while dropped.load(Ordering::Relaxed) < 3 {
            assert!(Instant::now() < until, "{dropped:?}");
            thread::yield_now();
        }
        disk.0.lock().unwrap().1 = 100;
        lines.write_all(b"one\n").unwrap();
        drop(guard);
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
        assert_eq!(disk.0.lock().unwrap().0, b"one\n");
    }

    #[test]
    fn whoever_logs_never_waits_and_what_is_too_much_is_counted() {
        let sink = Sink::default();
        let (mut lines, guard) = start(sink.clone(), || {}).unwrap();
        let held = sink.0.lock().unwrap();
        // The thread holds one line in its hands at the most; all that do not fit the queue are
        // dropped.
        for _ in 0..LINES_MAX + 100 {
            lines.write_all(b"x\n").unwrap();
        }
        let dropped = lines.dropped.load(Ordering::Relaxed);
        assert!((99..=100).contains(&dropped), "{dropped}");
        drop(held);
        drop(guard);
        assert_eq!(
            sink.0.lock().unwrap().len() as u64 / 2 + dropped,
            LINES_MAX as u64 + 100
        );
    }
}
