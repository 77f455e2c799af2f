//! Log lines as entries of systemd's journal, each field of an event a field of the entry.
//!
//! Under systemd, stderr is a stream of the journal: `JOURNAL_STREAM` then names its device and
//! inode. Lines that were written there would be text and nothing else; so entries are sent to the
//! journal's own socket instead, in its native protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>): `NAME=value` and a newline, or where a value
//! has newlines, the name, its length as a little-endian `u64`, and the value.
//!
//! `MESSAGE` holds what a terminal would show, fields too, so that `journalctl -u hustdbsync` says
//! everything; the same fields stand in `HUSTDBSYNC_BACKEND`, `HUSTDBSYNC_FILE`, `HUSTDBSYNC_LINE`
//! and so on, for `journalctl HUSTDBSYNC_BACKEND=10.0.0.7:8085`.
//!
//! Entries leave by the thread that writes the log: sending to the journal waits where it is
//! behind, and nobody else may.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::writer::Lines;

/// The journal's socket.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// Bytes of one value. A datagram has room for some more than ten of them.
const VALUE_BYTES_MAX: usize = 16 * 1024;

const PREFIX: &str = "HUSTDBSYNC_";

/// Whether `stream`, the value of `JOURNAL_STREAM`, means this very file: `device:inode`, both
/// decimal.
pub(super) fn is_stream(stream: &str, file: impl AsFd) -> bool {
    let Ok(metadata) = file
        .as_fd()
        .try_clone_to_owned()
        .and_then(|file| File::from(file).metadata())
    else {
        return false;
    };
    stream == format!("{}:{}", metadata.dev(), metadata.ino())
}

/// Where entries go: by its path, as the journal makes its socket anew when it is started again.
pub(super) struct Socket {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Socket {
    /// # Errors
    /// There is no journal.
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        UnixDatagram::unbound()?.connect(path)?;
        Ok(Self {
            socket: UnixDatagram::unbound()?,
            path: path.to_owned(),
        })
    }
}

/// One call is one entry.
impl Write for Socket {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        self.socket.send_to(entry, &self.path)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes entries of events.
pub(super) struct Journal(pub(super) Lines);

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut entry = Vec::with_capacity(512);
        put(&mut entry, "MESSAGE", &(fields.message + &fields.behind));
        put(&mut entry, "PRIORITY", priority(*metadata.level()));
        put(&mut entry, "SYSLOG_IDENTIFIER", "hustdbsync");
        if let (Some(file), Some(line)) = (metadata.file(), metadata.line()) {
            put(&mut entry, "CODE_FILE", file);
            put(&mut entry, "CODE_LINE", &line.to_string());
        }
        entry.extend_from_slice(&fields.own);
        // It takes every line, or counts that it could not.
        let _ = self.0.clone().write(&entry);
    }
}

/// syslog's numbers.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

/// An event's fields, twice: as text behind its message, and as fields of an entry.
#[derive(Default)]
struct Fields {
    message: String,
    behind: String,
    own: Vec<u8>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
            return;
        }
        // Writing to a string can't fail.
        let _ = write!(self.behind, " {}={value}", field.name());
        let name = field.name().chars().map(|c| match c {
            'a'..='z' => c.to_ascii_uppercase(),
            'A'..='Z' | '0'..='9' => c,
            _ => '_',
        });
        put(
            &mut self.own,
            &PREFIX.chars().chain(name).collect::<String>(),
            value,
        );
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format!("{value:?}"));
    }
}

/// Appends a field.
fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    let mut end = value.len().min(VALUE_BYTES_MAX);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    let value = &value.as_bytes()[..end];
    entry.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value);
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::cli::logging::writer;

    /// The entry that a journal gets for what is logged in `log`.
    fn entry(log: impl FnOnce()) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let (lines, guard) = writer::start(Socket::connect(&path).unwrap(), || {}).unwrap();
        tracing::subscriber::with_default(Registry::default().with(Journal(lines)), log);
        drop(guard);
        let mut bytes = vec![0; 1 << 16];
        journal.set_nonblocking(true).unwrap();
        let length = journal.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn fields_are_fields_and_the_message_says_everything() {
        let entry = entry(
            || tracing::warn!(backend = "h:1", line = 12_u64, cause = %"refused", "rejected"),
        );
        for field in [
            "MESSAGE=rejected backend=h:1 line=12 cause=refused\n",
            "PRIORITY=4\n",
            "SYSLOG_IDENTIFIER=hustdbsync\n",
            "HUSTDBSYNC_BACKEND=h:1\n",
            "HUSTDBSYNC_LINE=12\n",
            "HUSTDBSYNC_CAUSE=refused\n",
        ] {
            assert!(entry.contains(field), "{field:?} in {entry}");
        }
        assert!(entry.contains("CODE_FILE=") && entry.contains("/journal.rs\nCODE_LINE="));
    }

    #[test]
    fn a_journal_that_is_started_again_gets_what_follows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let mut socket = Socket::connect(&path).unwrap();
        drop(journal);
        assert!(socket.write(b"A=1\n").is_err());
        std::fs::remove_file(&path).unwrap();
        let journal = UnixDatagram::bind(&path).unwrap();
        socket.write_all(b"A=2\n").unwrap();
        journal.set_nonblocking(true).unwrap();
        assert_eq!(journal.recv(&mut [0; 8]).unwrap(), 4);
    }

    #[test]
    fn a_value_with_newlines_adds_no_field_of_its_own() {
        let entry = entry(|| tracing::info!(why = "a\nPRIORITY=0", "{}", "two\nlines"));
        assert!(
            entry.starts_with(
                "MESSAGE\n\u{1a}\0\0\0\0\0\0\0two\nlines why=a\nPRIORITY=0\nPRIORITY=6\n"
            ),
            "{entry:?}"
        );
        assert!(
            entry.contains("HUSTDBSYNC_WHY\n\u{c}\0\0\0\0\0\0\0a\nPRIORITY=0\n"),
            "{entry:?}"
        );
    }

    #[test]
    fn a_value_is_cut_where_a_datagram_would_not_hold_it() {
        let mut entry = Vec::new();
        put(&mut entry, "M", &"é".repeat(VALUE_BYTES_MAX));
        assert!(entry.len() <= VALUE_BYTES_MAX + 3);
        assert!(std::str::from_utf8(&entry).is_ok());
    }

    #[test]
    fn only_the_very_stream_counts() {
        let file = tempfile::tempfile().unwrap();
        let metadata = file.metadata().unwrap();
        let (device, inode) = (metadata.dev(), metadata.ino());
        assert!(is_stream(&format!("{device}:{inode}"), &file));
        for other in [
            format!("{device}:{}", inode + 1),
            String::new(),
            "x".to_owned(),
            format!("{device}:{inode}:1"),
        ] {
            assert!(!is_stream(&other, &file), "{other}");
        }
    }
}
