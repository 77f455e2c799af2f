//! Where the demo's logs come from, and what each backend must hold after them.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use indicatif::{DecimalBytes, HumanCount};

use crate::binlog::Record;
use crate::binlog::line::decode_in_place;
use crate::cli::failure::Failure;
use crate::cli::lines::Lines;
use crate::cli::local_time::now_unix;
use crate::engine::log_timestamp::written_unix;
use crate::fake_hustdb::{Contents, FakeHustdb};
use crate::limits::HUSTDB_READ_BYTES;
use crate::workload::{Replayed, Workload, Written};

/// A request with a longer head is rejected and not sent; the configuration's default, which the
/// demo leaves alone.
const HEAD_BYTES_MAX: usize = HUSTDB_READ_BYTES;

/// A log whose last line has no end has not been written to for so long, whenever it was: the
/// server would wait for the rest, and nobody writes it here.
const OVER_FOR: Duration = Duration::from_secs(3600);

/// Where the logs come from.
pub(super) enum Source {
    /// Made up.
    Made {
        records: u64,
        value_bytes: usize,
        backends: usize,
    },
    /// Files of a folder: those of one backend in each entry, in order.
    Found {
        folder: PathBuf,
        logs: Vec<Vec<PathBuf>>,
    },
}

/// One backend's part.
pub(super) struct Job {
    pub(super) backend: String,
    pub(super) files: usize,
    /// Lines, faulty ones too.
    pub(super) lines: u64,
    /// Lines that no record can be read from, or whose request may not be sent.
    pub(super) faulty: u64,
    pub(super) bytes: u64,
    healthy: Healthy,
}

/// The healthy master.
enum Healthy {
    Made(Written),
    Replayed(Replayed),
}

impl Job {
    /// What the backend must hold at `now_unix` (seconds).
    pub(super) fn expected(&self, now_unix: u64) -> Contents {
        match &self.healthy {
            Healthy::Made(written) => written.expected(now_unix),
            Healthy::Replayed(replayed) => replayed.contents(now_unix),
        }
    }
}

impl Source {
    /// The logs in `folder`, for as many backends as wanted.
    pub(super) fn find(folder: &Path, backends: Option<usize>) -> Result<Self, Failure> {
        let unreadable = |error: io::Error| Failure(format!("{}: {error}", folder.display()));
        let files = logs_in(folder).map_err(unreadable)?;
        let logs = if files.is_empty() {
            let mut logs = Vec::new();
            for folder in folders_in(folder).map_err(unreadable)? {
                let files = logs_in(&folder).map_err(unreadable)?;
                logs.extend((!files.is_empty()).then_some(files));
            }
            if let Some(backends) = backends.filter(|backends| *backends != logs.len()) {
                return Err(format!(
                    "{} has logs of {}; leave --backends {backends} out",
                    folder.display(),
                    plural(logs.len())
                )
                .into());
            }
            logs
        } else {
            vec![files; backends.unwrap_or(2)]
        };
        if logs.is_empty() {
            return Err(format!(
                "{}: neither it nor a folder in it has a file *.log",
                folder.display()
            )
            .into());
        }
        Ok(Self::Found {
            folder: folder.to_owned(),
            logs,
        })
    }

    pub(super) fn backends(&self) -> usize {
        match self {
            Self::Made { backends, .. } => *backends,
            Self::Found { logs, .. } => logs.len(),
        }
    }

    /// Writes each backend's logs below `logs`. `aged`: they look as old as they say.
    pub(super) fn write(
        &self,
        logs: &Path,
        fake_hustdbs: &[FakeHustdb],
        aged: bool,
    ) -> Result<Vec<Job>, Failure> {
        let now_unix = now_unix();
        let jobs = fake_hustdbs.iter().enumerate().map(|(index, fake_hustdb)| {
            let backend = fake_hustdb.name();
            match self {
                Self::Made {
                    records,
                    value_bytes,
                    ..
                } => {
                    let share = share(*records, index, fake_hustdbs.len());
                    let workload = Workload {
                        value_bytes: *value_bytes,
                        seed: index as u64 + 1,
                        aged,
                        ..Workload::mixed(share, now_unix)
                    };
                    make(&workload, logs, backend)
                }
                Self::Found { logs: found, .. } => {
                    copy(&found[index], &logs.join(&backend), aged, backend, now_unix)
                }
            }
        });
        jobs.collect::<io::Result<_>>().map_err(Failure::from)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made {
                records,
                value_bytes,
                backends,
            } => write!(
                f,
                "{} records with values of {}, for {}",
                HumanCount(*records),
                DecimalBytes(*value_bytes as u64),
                plural(*backends)
            ),
            Self::Found { folder, logs } => {
                write!(
                    f,
                    "the logs of {}, for {}",
                    folder.display(),
                    plural(logs.len())
                )
            }
        }
    }
}

fn plural(backends: usize) -> String {
    match backends {
        1 => "1 backend".to_owned(),
        _ => format!("{backends} backends"),
    }
}

/// The records of the backend `index` of `count`, so that all together are `records`.
fn share(records: u64, index: usize, count: usize) -> u64 {
    let (index, count) = (index as u64, count as u64);
    records / count + u64::from(index < records % count)
}

fn make(workload: &Workload, logs: &Path, backend: String) -> io::Result<Job> {
    let written = workload.write(logs, &backend)?;
    Ok(Job {
        backend,
        files: written.files.len(),
        lines: written.records,
        faulty: 0,
        bytes: written.bytes,
        healthy: Healthy::Made(written),
    })
}

/// Copies `files` into `folder`, and replays them to a healthy master on the way.
fn copy(
    files: &[PathBuf],
    folder: &Path,
    aged: bool,
    backend: String,
    now_unix: u64,
) -> io::Result<Job> {
    fs::create_dir_all(folder)?;
    let mut replayed = Replayed::new(&backend, HEAD_BYTES_MAX);
    let (mut all_lines, mut faulty, mut bytes) = (0, 0, 0);
    for path in files {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let target = folder.join(path.file_name().unwrap_or_default());
        let mut source = File::open(path).map_err(named)?;
        let mut copied = File::create_new(&target).map_err(named)?;
        io::copy(&mut source, &mut copied).map_err(named)?;
        if aged {
            copied.set_modified(source.metadata()?.modified()?)?;
        }
        let mut lines = Lines::new(File::open(&target).map_err(named)?);
        let mut is_torn = false;
        while let Some(line) = lines.next().map_err(named)? {
            all_lines += 1;
            is_torn = !line.ended;
            bytes += line.log_bytes;
            let record = line.text.and_then(|text| {
                let range = decode_in_place(text).ok()?;
                let written = written_unix(&text[..range.start]).unwrap_or(0);
                let record = Record::parse(&text[range]).ok()?;
                Some((record, u32::try_from(written).unwrap_or(0)))
            });
            let sent =
                record.is_some_and(|(record, written)| replayed.apply(&record, written, now_unix));
            faulty += u64::from(!sent);
        }
        if is_torn {
            let changed = copied.metadata()?.modified()?;
            copied.set_modified(changed.min(SystemTime::now() - OVER_FOR))?;
        }
    }
    Ok(Job {
        backend,
        files: files.len(),
        lines: all_lines,
        faulty,
        bytes,
        healthy: Healthy::Replayed(replayed),
    })
}

fn logs_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    entries(folder, |path| {
        path.is_file() && path.extension().is_some_and(|extension| extension == "log")
    })
}

fn folders_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    entries(folder, Path::is_dir)
}

/// The paths in `folder` that `wanted` takes, in order.
fn entries(folder: &Path, wanted: impl Fn(&Path) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if wanted(&path) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_differ_by_one_at_most_and_are_all_there_is() {
        for (records, count, shares) in [
            (10, 3, vec![4, 3, 3]),
            (2, 3, vec![1, 1, 0]),
            (6, 2, vec![3, 3]),
        ] {
            let found: Vec<u64> = (0..count)
                .map(|index| share(records, index, count))
                .collect();
            assert_eq!(found, shares);
        }
    }

    /// Finds logs in a folder with these files; gives how many files each backend has.
    fn check(files: &[&str], backends: Option<usize>, expected: Result<&[usize], &str>) {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        match (Source::find(folder.path(), backends), expected) {
            (Ok(Source::Found { logs, .. }), Ok(expected)) => {
                assert_eq!(logs.iter().map(Vec::len).collect::<Vec<_>>(), expected);
            }
            (Err(Failure(said)), Err(expected)) => assert!(said.contains(expected), "{said}"),
            _ => panic!("{files:?}"),
        }
    }

    #[test]
    fn logs_of_a_folder_go_to_each_backend() {
        check(&["a.log", "b.log", "c.txt"], None, Ok(&[2, 2]));
        check(&["a.log", "h:1/b.log"], Some(3), Ok(&[1, 1, 1]));
    }

    #[test]
    fn logs_of_folders_go_to_one_backend_each() {
        check(
            &["h:1/a.log", "h:1/b.log", "h:2/a.log", "x/y"],
            None,
            Ok(&[2, 1]),
        );
        check(&["h:1/a.log"], Some(1), Ok(&[1]));
        check(&["h:1/a.log"], Some(2), Err("has logs of 1 backend;"));
    }

    #[test]
    fn a_folder_without_logs_is_told() {
        check(&["a.txt"], None, Err("has a file *.log"));
        let missing = Source::find(Path::new("/no/such/folder"), None);
        assert!(missing.is_err_and(|failure| failure.0.starts_with("/no/such/folder: ")));
    }

    #[test]
    fn faulty_lines_are_copied_and_counted() {
        let from = tempfile::tempdir().unwrap();
        let to = tempfile::tempdir().unwrap();
        let written = Workload::mixed(20, now_unix())
            .write(from.path(), "h:1")
            .unwrap();
        let extra = from.path().join("h:1/zzz.log");
        fs::write(&extra, "\nno base64!\n").unwrap();
        let files = [&written.files[..], &[extra]].concat();
        let job = copy(
            &files,
            &to.path().join("h:2"),
            true,
            "h:2".to_owned(),
            now_unix(),
        )
        .unwrap();
        assert_eq!((job.lines, job.faulty), (22, 2));
        assert_eq!(job.bytes, written.bytes + 12);
        assert_eq!(job.expected(now_unix()), written.expected(now_unix()));
        assert_eq!(logs_in(&to.path().join("h:2")).unwrap().len(), files.len());
    }
}
