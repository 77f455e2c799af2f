//! Where log lines go, and in which form.
//!
//! | where | when | form |
//! |---|---|---|
//! | stderr | `run` and `-d` | lines for people, in colour on a terminal; or JSON |
//! | the journal | the same, where stderr is it | entries with fields ([`journal`]); or JSON |
//! | `logs/YYYY-MM-DD.log` | the daemon, as the original | as on stderr, never in colour |
//!
//! The daemon's file is beside the configuration. `sync.log_format` asks for JSON.
//!
//! Lines are handed to a thread of their own ([`writer`]), so that no other thread waits for a
//! disk, a terminal or the journal. What is said again and again is counted instead ([`repeated`]).

mod daily;
mod journal;
mod repeated;
mod writer;

use std::io::{self, IsTerminal};
use std::path::Path;

use jiff::Zoned;
use tracing::Subscriber;
use tracing::field::Field;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::paint;
use crate::config::{LogFormat, LogLevel};
use crate::text::without_controls;
use daily::DailyFile;
use journal::{Journal, Socket};
use repeated::Limit;
use writer::{Guard, Lines};

/// Goes before the configuration's level, in the form that `EnvFilter` documents: `debug`, or
/// `info,hustdbsync::engine=trace`.
const LEVEL_VARIABLE: &str = "RUST_LOG";

/// Where systemd says what stderr is.
const JOURNAL_VARIABLE: &str = "JOURNAL_STREAM";

/// Where lines go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Destination<'a> {
    /// stderr: a terminal, a file, a pipe, or the journal.
    Stderr,
    /// A file a day in this folder, which is made if it is missing.
    Folder(&'a Path),
}

/// Logging while it runs. What is still on its way is written when this goes.
pub(super) struct Logging {
    /// For the configuration's changes.
    pub(super) level: LevelHandle,
    limit: Limit,
    _writer: Guard,
}

/// What was left out is told at the end too.
impl Drop for Logging {
    fn drop(&mut self) {
        self.limit.tell_all();
    }
}

/// Changes the level while the server runs.
#[derive(Clone, Debug)]
pub struct LevelHandle {
    /// None where there is no log of ours.
    filter: Option<reload::Handle<EnvFilter, Registry>>,
    /// The environment decided, and goes on to.
    overridden: bool,
}

impl LevelHandle {
    /// For a server whose lines go nowhere, or somewhere of its host's choice: changes nothing.
    #[must_use]
    pub fn fixed() -> Self {
        Self {
            filter: None,
            overridden: false,
        }
    }

    /// Takes the configuration's new level, unless the environment's variable goes before it.
    pub fn set(&self, level: LogLevel) {
        if self.overridden {
            tracing::info!("sync.log_level has no effect while {LEVEL_VARIABLE} is set");
        } else if let Some(filter) = &self.filter
            && let Err(error) = filter.reload(EnvFilter::new(level.as_str()))
        {
            tracing::warn!(%error, "the log level stays as it is");
        }
    }
}

/// Begins to log, for the whole process. To be called once, after becoming a daemon.
///
/// # Errors
/// The folder or today's file can't be made, the system gives no thread, or logging began before.
pub(super) fn start(
    destination: Destination<'_>,
    level: LogLevel,
    format: LogFormat,
) -> io::Result<Logging> {
    let limit = Limit::new();
    let notifier = limit.clone();
    let idle = move || notifier.tell();
    let (form, guard) = match destination {
        Destination::Stderr => match journal_socket(format) {
            Some(socket) => {
                let (lines, guard) = writer::start(socket, idle)?;
                (Form::Journal(lines), guard)
            }
            None => {
                let colour = paint::allowed() && io::stderr().is_terminal();
                let (lines, guard) = writer::start(io::stderr(), idle)?;
                (Form::lines(format, lines, colour), guard)
            }
        },
        Destination::Folder(folder) => {
            let file = DailyFile::open(folder.to_owned(), || Zoned::now().date())?;
            let (lines, guard) = writer::start(file, idle)?;
            (Form::lines(format, lines, false), guard)
        }
    };
    // What is no text is not understood, and said to be so.
    let variable = std::env::var_os(LEVEL_VARIABLE)
        .map(|text| text.to_string_lossy().into_owned())
        .filter(|text| !text.trim().is_empty());
    let (filter, fault) = choose_filter(variable.as_deref(), level);
    let overridden = variable.is_some() && fault.is_none();
    let (subscriber, level) = subscriber(form, filter, overridden, limit.clone());
    tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)?;
    if let Some(fault) = fault {
        tracing::warn!(
            "{LEVEL_VARIABLE} is not understood and has no effect, sync.log_level holds: {fault}"
        );
    }
    Ok(Logging {
        level,
        limit,
        _writer: guard,
    })
}

/// The journal, where stderr is its stream and it answers. JSON lines are text of its own, and go
/// to the stream as they are.
fn journal_socket(format: LogFormat) -> Option<Socket> {
    let stream = std::env::var(JOURNAL_VARIABLE).ok()?;
    if format == LogFormat::Json || !journal::is_stream(&stream, io::stderr()) {
        return None;
    }
    Socket::connect(Path::new(journal::SOCKET)).ok()
}

/// The environment's filter, or else the configuration's, with what is wrong with the first.
fn choose_filter(variable: Option<&str>, level: LogLevel) -> (EnvFilter, Option<String>) {
    match variable.map(EnvFilter::try_new) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(fault)) => (EnvFilter::new(level.as_str()), Some(fault.to_string())),
        None => (EnvFilter::new(level.as_str()), None),
    }
}

/// What a line looks like, and where it is handed over.
enum Form {
    Text { lines: Lines, colour: bool },
    Json(Lines),
    Journal(Lines),
}

impl Form {
    fn lines(format: LogFormat, lines: Lines, colour: bool) -> Self {
        match format {
            LogFormat::Text => Self::Text { lines, colour },
            LogFormat::Json => Self::Json(lines),
        }
    }
}

/// All that is below the lines: levels, and what is left out.
type Below = Layered<Limit, Layered<reload::Layer<EnvFilter, Registry>, Registry>>;

fn subscriber(
    form: Form,
    filter: EnvFilter,
    overridden: bool,
    limit: Limit,
) -> (impl Subscriber + Send + Sync, LevelHandle) {
    let (filter, handle) = reload::Layer::new(filter);
    let lines: Box<dyn Layer<Below> + Send + Sync> = match form {
        Form::Text { lines, colour } => tracing_subscriber::fmt::layer()
            .fmt_fields(debug_fn(write_field).delimited(" "))
            .with_writer(move || lines.clone())
            .with_ansi(colour)
            .with_target(false)
            .with_timer(LocalTime)
            .boxed(),
        Form::Json(lines) => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(move || lines.clone())
            .with_target(false)
            .with_timer(Rfc3339)
            .boxed(),
        Form::Journal(lines) => Journal(lines).boxed(),
    };
    let subscriber = Registry::default().with(filter).with(limit).with(lines);
    (
        subscriber,
        LevelHandle {
            filter: Some(handle),
            overridden,
        },
    )
}

/// Writes a field of a line of text. A word has no quotes, however it was logged, so that one
/// search finds a backend in all lines. Control characters are escaped, as others choose names of
/// files and what backends answer; a message goes on in lines that are indented, and in no others.
fn write_field(
    line: &mut Writer<'_>,
    field: &Field,
    value: &dyn std::fmt::Debug,
) -> std::fmt::Result {
    if field.name() == "message" {
        let text = format!("{value:?}");
        for (nth, part) in text.split("\n  ").enumerate() {
            let indent = if nth > 0 { "\n  " } else { "" };
            write!(line, "{indent}{}", without_controls(part))?;
        }
        return Ok(());
    }
    let text = format!("{value:?}");
    let text = without_controls(&text);
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let is_word = |inner: &&str| {
        let is_of_words = |byte: u8| byte.is_ascii_graphic() && !b"\"\\=".contains(&byte);
        !inner.is_empty() && inner.bytes().all(is_of_words)
    };
    let value = inner.filter(is_word).unwrap_or(&text);
    if line.has_ansi_escapes() {
        let name = field.name();
        return write!(line, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{value}");
    }
    write!(line, "{}={value}", field.name())
}

/// `2026-11-22 16:40:38.123 +01:00`
struct LocalTime;

impl FormatTime for LocalTime {
    fn format_time(&self, line: &mut Writer<'_>) -> std::fmt::Result {
        write!(
            line,
            "{}",
            Zoned::now().strftime("%Y-%m-%d %H:%M:%S%.3f %:z")
        )
    }
}

/// `2026-11-22T16:40:38.123+01:00`
struct Rfc3339;

impl FormatTime for Rfc3339 {
    fn format_time(&self, line: &mut Writer<'_>) -> std::fmt::Result {
        write!(
            line,
            "{}",
            Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%.3f%:z")
        )
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written while `log` runs with a subscriber of this form.
    fn written(
        format: LogFormat,
        filter: EnvFilter,
        overridden: bool,
        log: impl FnOnce(&LevelHandle),
    ) -> String {
        let sink = Sink::default();
        let (lines, guard) = writer::start(sink.clone(), || {}).unwrap();
        let form = Form::lines(format, lines, false);
        let (subscriber, handle) = subscriber(form, filter, overridden, Limit::new());
        tracing::subscriber::with_default(subscriber, || log(&handle));
        drop(guard);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// Logs at info and debug, changes the level to debug, and does so again: the messages that
    /// came through.
    fn check(variable: Option<&str>, level: LogLevel, expected: &[&str]) {
        let (filter, fault) = choose_filter(variable, level);
        let overridden = variable.is_some() && fault.is_none();
        let text = written(LogFormat::Text, filter, overridden, |handle| {
            tracing::info!("first info");
            tracing::debug!("first debug");
            handle.set(LogLevel::Debug);
            tracing::debug!("second debug");
        });
        let said: Vec<&str> = text
            .lines()
            .map(|line| line.splitn(4, ' ').nth(3).unwrap().trim_start())
            .collect();
        assert_eq!(said, expected, "{text}");
    }

    #[test]
    fn the_level_of_the_configuration_holds_and_can_change() {
        check(
            None,
            LogLevel::Info,
            &["INFO first info", "DEBUG second debug"],
        );
        check(None, LogLevel::Error, &["DEBUG second debug"]);
        check(
            Some("no=such=filter"),
            LogLevel::Info,
            &["INFO first info", "DEBUG second debug"],
        );
    }

    #[test]
    fn the_environment_goes_before_the_configuration() {
        check(
            Some("info"),
            LogLevel::Error,
            &[
                "INFO first info",
                "INFO sync.log_level has no effect while RUST_LOG is set",
            ],
        );
    }

    #[test]
    fn a_backend_is_written_in_one_way_however_it_is_logged() {
        let text = written(LogFormat::Text, EnvFilter::new("info"), false, |_| {
            let name = String::from("h:1");
            tracing::warn!(backend = "h:1", why = "no route", "one");
            tracing::warn!(backend = %name, empty = "", "two");
            tracing::warn!(backend = name.as_str(), quoted = "a\"b", "three");
        });
        let said: Vec<&str> = text
            .lines()
            .map(|line| line.splitn(4, ' ').nth(3).unwrap().trim_start())
            .collect();
        let expected = [
            r#"WARN one backend=h:1 why="no route""#,
            r#"WARN two backend=h:1 empty="""#,
            r#"WARN three backend=h:1 quoted="a\"b""#,
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn what_others_name_begins_no_line_and_colours_none() {
        let text = written(LogFormat::Text, EnvFilter::new("info"), false, |_| {
            let path = "a\nb\x1b[31m\u{9b}m.log";
            tracing::warn!(file = %path, "{path}");
            tracing::error!("the configuration has 1 fault:\n  sync.threads");
        });
        let expected = r"WARN a\nb\u{1b}[31m\u{9b}m.log file=a\nb\u{1b}[31m\u{9b}m.log";
        let mut lines = text.lines();
        assert!(lines.next().unwrap().ends_with(expected), "{text}");
        assert!(lines.next().unwrap().ends_with("has 1 fault:"), "{text}");
        assert_eq!(lines.next(), Some("  sync.threads"));
    }

    #[test]
    fn json_is_an_object_a_line_with_the_fields_beside_the_message() {
        let text = written(LogFormat::Json, EnvFilter::new("info"), false, |_| {
            tracing::warn!(backend = "h:1", line = 12, cause = %"\"x\"", "rejected");
        });
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["message"], "rejected");
        assert_eq!(line["backend"], "h:1");
        assert_eq!(line["line"], 12);
        assert_eq!(line["cause"], "\"x\"");
        let time: jiff::Timestamp = line["timestamp"].as_str().unwrap().parse().unwrap();
        assert!(time.as_second() > 0);
    }

    #[test]
    fn the_same_line_is_written_a_few_times_only() {
        let text = written(LogFormat::Text, EnvFilter::new("info"), false, |_| {
            for nth in 0..50 {
                tracing::warn!(backend = "h:1", "cannot be deleted, try {nth}");
            }
            tracing::warn!(backend = "h:2", "cannot be deleted, try 1");
        });
        assert_eq!(text.lines().count(), 6, "{text}");
        assert!(text.contains("backend=h:2"), "{text}");
    }
}
