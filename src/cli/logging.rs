//! Where log lines go: people at a terminal read stderr, a daemon writes `logs/YYYY-MM-DD.log` beside the configuration.
//!
//! Lines are handed to a thread of their own, so that no other thread waits for a disk or a terminal.

use std::fs::{DirBuilder, File};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Zoned;
use jiff::civil::Date;
use tracing::Subscriber;
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use super::rotation::Followed;
use crate::config::LogLevel;
use crate::engine::files::{FILE_MODE, FOLDER_MODE};

/// Goes before the configuration's level, in the form that `EnvFilter` documents: `debug`, or `info,hustdbsync::engine=trace`.
const LEVEL_VARIABLE: &str = "RUST_LOG";

/// Where lines go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Destination<'a> {
    /// stderr, in colour where it is a terminal and `NO_COLOR` is unset.
    Terminal,
    /// A file a day in this folder, which is made if it is missing.
    Folder(&'a Path),
}

/// Logging while it runs. What is still on its way is written when this goes.
pub(super) struct Logging {
    /// For the configuration's changes.
    pub(super) level: LevelHandle,
    _writer: WorkerGuard,
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
/// The folder or today's file can't be made, or logging began before.
pub(super) fn start(destination: Destination<'_>, level: LogLevel) -> io::Result<Logging> {
    let (writer, colour, guard) = match destination {
        Destination::Terminal => {
            // By convention an empty NO_COLOR is none.
            let allowed = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            let (writer, guard) = tracing_appender::non_blocking(io::stderr());
            (writer, allowed && io::stderr().is_terminal(), guard)
        }
        Destination::Folder(folder) => {
            let file = DailyFile::open(folder.to_owned(), || Zoned::now().date())?;
            let (writer, guard) = tracing_appender::non_blocking(file);
            (writer, false, guard)
        }
    };
    let variable = std::env::var(LEVEL_VARIABLE)
        .ok()
        .filter(|text| !text.trim().is_empty());
    let (filter, fault) = choose_filter(variable.as_deref(), level);
    let overridden = variable.is_some() && fault.is_none();
    let (subscriber, level) = subscriber::<NonBlocking>(writer, colour, filter, overridden);
    tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)?;
    if let Some(fault) = fault {
        tracing::warn!("{LEVEL_VARIABLE} is not understood and has no effect: {fault}");
    }
    Ok(Logging {
        level,
        _writer: guard,
    })
}

/// The environment's filter, or else the configuration's, with what is wrong with the first.
fn choose_filter(variable: Option<&str>, level: LogLevel) -> (EnvFilter, Option<String>) {
    match variable.map(EnvFilter::try_new) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(fault)) => (EnvFilter::new(level.as_str()), Some(fault.to_string())),
        None => (EnvFilter::new(level.as_str()), None),
    }
}

fn subscriber<W>(
    writer: W,
    colour: bool,
    filter: EnvFilter,
    overridden: bool,
) -> (impl Subscriber + Send + Sync, LevelHandle)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(colour)
        .with_target(false)
        .with_timer(LocalTime);
    let subscriber = Registry::default().with(filter).with(lines);
    (
        subscriber,
        LevelHandle {
            filter: Some(handle),
            overridden,
        },
    )
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

/// A file a day, by local time as the original names them. (tracing-appender's own goes by UTC.)
struct DailyFile<F> {
    folder: PathBuf,
    today: F,
    date: Date,
    file: File,
    rotation: Followed,
}

impl<F: FnMut() -> Date> DailyFile<F> {
    fn open(folder: PathBuf, mut today: F) -> io::Result<Self> {
        let named = |error: io::Error| {
            let text = format!(
                "the log folder {}: {error}; it must be writable",
                folder.display()
            );
            io::Error::new(error.kind(), text)
        };
        DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(&folder)
            .map_err(named)?;
        let date = today();
        let file = append(&folder, date).map_err(named)?;
        Ok(Self {
            folder,
            today,
            date,
            file,
            rotation: Followed::new(),
        })
    }
}

fn append(folder: &Path, date: Date) -> io::Result<File> {
    File::options()
        .create(true)
        .append(true)
        .mode(FILE_MODE)
        .open(folder.join(format!("{date}.log")))
}

impl<F: FnMut() -> Date> Write for DailyFile<F> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let date = (self.today)();
        let rotates = self.rotation.take();
        // Yesterday's file goes on where today's can't be made: a line in the wrong file is better than none.
        if (date != self.date || rotates)
            && let Ok(file) = append(&self.folder, date)
        {
            self.file = file;
            self.date = date;
        }
        self.file.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Logs at info and debug, changes the level to debug, and does so again: the messages that came through.
    fn check(variable: Option<&str>, level: LogLevel, expected: &[&str]) {
        let lines = Lines::default();
        let (filter, fault) = choose_filter(variable, level);
        let overridden = variable.is_some() && fault.is_none();
        let writer = lines.clone();
        let (subscriber, handle) = subscriber(move || writer.clone(), false, filter, overridden);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("first info");
            tracing::debug!("first debug");
            handle.set(LogLevel::Debug);
            tracing::debug!("second debug");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
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
    fn a_new_day_gets_a_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("logs");
        let mut days = ["2026-11-22", "2026-11-22", "2026-11-23"]
            .iter()
            .map(|day| day.parse().unwrap());
        let mut file = DailyFile::open(logs.clone(), move || days.next().unwrap()).unwrap();
        file.write_all(b"one\n").unwrap();
        file.write_all(b"two\n").unwrap();
        assert_eq!(
            std::fs::read_to_string(logs.join("2026-11-22.log")).unwrap(),
            "one\n"
        );
        assert_eq!(
            std::fs::read_to_string(logs.join("2026-11-23.log")).unwrap(),
            "two\n"
        );
    }

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew_when_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let (name, moved) = (
            folder.path().join("2026-11-22.log"),
            folder.path().join("1"),
        );
        let mut file =
            DailyFile::open(folder.path().to_owned(), || "2026-11-22".parse().unwrap()).unwrap();
        file.write_all(b"one\n").unwrap();
        std::fs::rename(&name, &moved).unwrap();
        crate::cli::rotation::ask().unwrap();
        file.write_all(b"two\n").unwrap();
        assert_eq!(std::fs::read_to_string(moved).unwrap(), "one\n");
        assert_eq!(std::fs::read_to_string(name).unwrap(), "two\n");
    }

    #[test]
    fn others_than_the_group_read_no_log() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("logs");
        let day = "2026-11-22";
        drop(DailyFile::open(logs.clone(), || day.parse().unwrap()).unwrap());
        for (path, mode) in [
            (logs.clone(), 0o750),
            (logs.join(format!("{day}.log")), 0o640),
        ] {
            let has = std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            assert_eq!(has & !mode, 0, "{} is {has:o}", path.display());
        }
    }

    #[test]
    fn a_file_of_the_day_is_continued() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let mut file =
                DailyFile::open(folder.path().to_owned(), || "2026-11-22".parse().unwrap())
                    .unwrap();
            file.write_all(b"line\n").unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(folder.path().join("2026-11-22.log")).unwrap(),
            "line\nline\n"
        );
    }

    #[test]
    fn a_folder_that_can_not_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let folder = file.path().join("logs");
        let error = DailyFile::open(folder.clone(), || Date::MIN)
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.starts_with(&format!("the log folder {}: ", folder.display())),
            "{error}"
        );
    }
}
