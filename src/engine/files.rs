//! The real disk: HA's logs and our state, by std and a few calls of `os`.
//!
//! - Names never leave their folder: one with `/`, `.` or `..` is refused before the system is
//!   asked.
//! - What an error says names the path.
//! - State files are made with mode 0640, folders with 0750.
//! - A log is a regular file, or a symbolic link to one; not a pipe or a device. Deleting one that
//!   is a link takes the link away.
//! - Names of logs are text without loss (`names`).

mod durable_writes;
mod lock;
mod mounts;
mod names;
mod paths;
mod read_ahead;
#[cfg(test)]
mod tests;
mod writers;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, DirEntry, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

pub use lock::{LockError, Locks, StateLock};
pub(crate) use mounts::MOUNTS;
pub use paths::{FILE_MODE, FOLDER_MODE};

use self::durable_writes::{DurableWrites, Job};
use self::names::escape;
use self::paths::{Paths, at};
use self::read_ahead::{Asked, read_ahead_at, read_at};
use crate::engine::os::files::{
    Lease, Links, advise_sequential, allocate, end_lease, open_folder, open_regular, take_lease,
};
use crate::limits::PASSED_OVER_SAID_MAX;
use crate::replay::disk::{Disk, FolderMeta, LogEntry, LogLease, LogMeta};
use crate::replay::durable_write::{Completed, DurableWrite, JobId, Submitted};
use crate::replay::mailbox::Wake;
use crate::status::counters::ServerCounters;

/// The disk under a folder of logs and a folder of state. Each thread has its own; they share
/// nothing but the files.
pub struct RealDisk {
    paths: Paths,
    counters: Arc<ServerCounters>,
    /// For who lists the folders of logs: they are ours as long as the locks are.
    locks: Option<Arc<Locks>>,
    /// For who reads whole logs.
    reads_ahead: bool,
    /// What was passed over in the logs' folders, and said: only one of all disks says it.
    passed_over: Option<HashSet<PathBuf>>,
    /// Takes durable writes in the background; `None` means that they are taken at once.
    durable_writes: Option<DurableWrites>,
}

/// A log that is open for reading.
#[derive(Debug)]
pub struct RealLog {
    file: File,
    path: PathBuf,
    /// It was opened by a symbolic link: the file has a name elsewhere.
    is_linked: bool,
    asked: Asked,
}

impl RealDisk {
    /// Works on HA's logs below `logs` and on our state below `state`, which is made when something
    /// is written there.
    #[must_use]
    pub fn new(logs: PathBuf, state: PathBuf) -> Self {
        Self {
            paths: Paths { logs, state },
            counters: Arc::default(),
            locks: None,
            reads_ahead: false,
            passed_over: None,
            durable_writes: None,
        }
    }

    /// The same, telling there how long checkpoints take.
    #[must_use]
    pub fn with_counters(self, counters: Arc<ServerCounters>) -> Self {
        Self { counters, ..self }
    }

    /// The same, looking at each listing of the folders whether the locks still hold.
    #[must_use]
    pub fn with_locks(self, locks: Arc<Locks>) -> Self {
        let locks = Some(locks);
        Self { locks, ..self }
    }

    /// The same, for who reads logs from front to back.
    #[must_use]
    pub fn with_read_ahead(self) -> Self {
        Self {
            reads_ahead: true,
            passed_over: Some(HashSet::new()),
            ..self
        }
    }

    /// The same, with threads for durable writes. `waker` wakes its owner when [`Disk::completed`]
    /// may return one.
    #[must_use]
    pub fn with_threads(self, waker: Arc<dyn Wake>) -> Self {
        let Paths { logs, state } = self.paths.clone();
        let work = move |job: Job| job.take(&mut Self::new(logs.clone(), state.clone()));
        let durable_writes = Some(DurableWrites::new(Arc::new(work), waker));
        Self {
            durable_writes,
            ..self
        }
    }

    fn note_time(&self, completed: Completed, took: Duration) -> Completed {
        if completed.result.is_ok() {
            self.counters.checkpoint_times.observe(took, 1);
        }
        completed
    }

    /// Says once of something in a backend's folder that it is not taken for a log.
    fn pass_over(&mut self, path: &Path, what: &str) {
        if let Some(said) = &mut self.passed_over
            && said.len() < PASSED_OVER_SAID_MAX
            && said.insert(path.to_owned())
        {
            tracing::warn!(path = %path.display(), what, "not a log: it is passed over, and not \
                replayed");
        }
    }
}

impl Disk for RealDisk {
    type Log = RealLog;

    fn backend_folders(&mut self) -> io::Result<Vec<String>> {
        if let Some(locks) = &self.locks {
            locks.renew().map_err(io::Error::other)?;
        }
        // One that is not there is no empty one: it has been moved, or is not mounted.
        let logs = &self.paths.logs;
        std::fs::metadata(logs).map_err(at(logs))?;
        folders(logs, |name| Some(escape(name)))
    }

    fn folder_meta(&mut self, backend: &str) -> io::Result<Option<FolderMeta>> {
        let path = self.paths.log_folder(backend)?;
        let metadata = fs::metadata(&path).map_err(at(&path))?;
        let is_link = fs::symlink_metadata(&path).map_err(at(&path))?.is_symlink();
        Ok(Some(FolderMeta {
            device: metadata.dev(),
            inode: metadata.ino(),
            is_link,
        }))
    }

    fn is_mount(&mut self, backend: &str) -> bool {
        let resolve = |folder: &Path| fs::canonicalize(folder.parent()?).ok();
        let Ok(folder) = self.paths.log_folder(backend) else {
            return false;
        };
        let resolved = resolve(&folder).map(|logs| logs.join(backend));
        // Where the system does not tell, no mount is known.
        resolved.is_some_and(|folder| mounts::is_mount_point(&folder).unwrap_or(false))
    }

    fn log_entries(&mut self, backend: &str) -> io::Result<Vec<LogEntry>> {
        let folder = self.paths.log_folder(backend)?;
        let mut entries = Vec::new();
        for entry in listing(&folder)? {
            match entry_meta(&entry) {
                Ok(Found::Log(meta)) => entries.push(LogEntry {
                    name: escape(&entry.file_name()),
                    meta,
                }),
                Ok(Found::Nothing) => {}
                Ok(Found::Other(what)) => self.pass_over(&entry.path(), what),
                Err(error) => return Err(at(&entry.path())(error)),
            }
        }
        Ok(entries)
    }

    fn open_log(&mut self, backend: &str, name: &str) -> io::Result<RealLog> {
        let path = self.paths.log(backend, name)?;
        let open = |links| {
            let mut options = OpenOptions::new();
            open_regular(&path, options.read(true), links)
        };
        let (file, is_linked) = match open(Links::Refused) {
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                (open(Links::Followed), true)
            }
            opened => (opened, false),
        };
        let file = file.map_err(at(&path))?;
        advise_sequential(&file);
        Ok(RealLog {
            file,
            path,
            is_linked,
            asked: Asked::default(),
        })
    }

    fn log_meta(&mut self, log: &RealLog) -> io::Result<LogMeta> {
        log.file
            .metadata()
            .map(|metadata| log_meta(&metadata, log.is_linked))
            .map_err(at(&log.path))
    }

    fn read_log(&mut self, log: &RealLog, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let read = if self.reads_ahead {
            read_ahead_at(&log.file, &log.asked, offset, into)
        } else {
            read_at(&log.file, offset, into)
        };
        read.map_err(at(&log.path))
    }

    fn lease_log(&mut self, log: &RealLog) -> io::Result<LogLease> {
        Ok(match take_lease(&log.file).map_err(at(&log.path))? {
            Lease::Given => LogLease::Alone,
            Lease::Writers => LogLease::Writers,
            Lease::NotPermitted => LogLease::NotPermitted,
            Lease::Unavailable => LogLease::Unknown,
        })
    }

    fn writers_of(&mut self, log: &RealLog) -> Option<String> {
        writers::writers_of(&log.file)
    }

    fn end_lease(&mut self, log: &RealLog) -> io::Result<()> {
        end_lease(&log.file).map_err(at(&log.path))
    }

    fn delete_log(&mut self, backend: &str, name: &str) -> io::Result<()> {
        let path = self.paths.log(backend, name)?;
        fs::remove_file(&path).map_err(at(&path))
    }

    fn sync_log_folder(&mut self, backend: &str) -> io::Result<()> {
        let folder = self.paths.log_folder(backend)?;
        match sync_folder(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }

    fn stage_log(&mut self, backend: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.paths.log(backend, name)?;
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(FILE_MODE);
        open_regular(&path, &mut options, Links::Refused)
            .and_then(|mut file| file.write_all(bytes))
            .map_err(at(&path))
    }

    fn sync_staged_log(&mut self, backend: &str, name: &str) -> io::Result<()> {
        let path = self.paths.log(backend, name)?;
        read_only(&path)
            .and_then(|file| file.sync_all())
            .map_err(at(&path))
    }

    fn publish_log(&mut self, backend: &str, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.paths.log(backend, from)?, self.paths.log(backend, to)?);
        fs::rename(&from, &to).map_err(at(&from))
    }

    fn state_folders(&mut self) -> io::Result<Vec<String>> {
        folders(&self.paths.state, |name| name.to_str().map(str::to_owned))
    }

    fn state_files(&mut self, backend: &str) -> io::Result<Vec<String>> {
        let folder = self.paths.state_folder(backend)?;
        let mut names = Vec::new();
        for entry in listing(&folder)? {
            if entry.file_type().map_err(at(&entry.path()))?.is_file() {
                names.extend(utf8_name(&entry));
            }
        }
        Ok(names)
    }

    fn read_state(
        &mut self,
        backend: &str,
        name: &str,
        bytes_max: usize,
    ) -> io::Result<Option<Vec<u8>>> {
        let path = self.paths.state(backend, name)?;
        let Some(file) = none_if_missing(read_only(&path)).map_err(at(&path))? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(bytes_max as u64)
            .read_to_end(&mut bytes)
            .map_err(at(&path))?;
        Ok(Some(bytes))
    }

    fn read_state_at(
        &mut self,
        backend: &str,
        name: &str,
        offset: u64,
        into: &mut [u8],
    ) -> io::Result<usize> {
        let path = self.paths.state(backend, name)?;
        read_only(&path)
            .and_then(|file| read_at(&file, offset, into))
            .map_err(at(&path))
    }

    fn write_state(&mut self, backend: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (mut file, path) =
            self.paths
                .open_state(backend, name, OpenOptions::new().write(true).truncate(true))?;
        file.write_all(bytes).map_err(at(&path))
    }

    fn append_state(&mut self, backend: &str, name: &str, bytes: &[u8]) -> io::Result<u64> {
        let (mut file, path) =
            self.paths
                .open_state(backend, name, OpenOptions::new().append(true))?;
        let before = file.metadata().map_err(at(&path))?.len();
        file.write_all(bytes).map_err(at(&path))?;
        Ok(before)
    }

    fn truncate_state(&mut self, backend: &str, name: &str, bytes: u64) -> io::Result<()> {
        let path = self.paths.state(backend, name)?;
        open_regular(&path, OpenOptions::new().write(true), Links::Refused)
            .and_then(|file| file.set_len(bytes))
            .map_err(at(&path))
    }

    fn state_bytes(&mut self, backend: &str, name: &str) -> io::Result<Option<u64>> {
        let path = self.paths.state(backend, name)?;
        let metadata = none_if_missing(fs::metadata(&path)).map_err(at(&path))?;
        Ok(metadata.map(|metadata| metadata.len()))
    }

    fn sync_state(&mut self, backend: &str, name: &str) -> io::Result<()> {
        let path = self.paths.state(backend, name)?;
        // Opened anew, as errors of writing back belong to the file and are told to whoever syncs
        // first.
        read_only(&path)
            .and_then(|file| file.sync_all())
            .map_err(at(&path))
    }

    fn rename_state(&mut self, backend: &str, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (
            self.paths.state(backend, from)?,
            self.paths.state(backend, to)?,
        );
        fs::rename(&from, &to).map_err(at(&from))
    }

    fn remove_state(&mut self, backend: &str, name: &str) -> io::Result<()> {
        let path = self.paths.state(backend, name)?;
        none_if_missing(fs::remove_file(&path))
            .map(|_| ())
            .map_err(at(&path))
    }

    fn remove_state_folder(&mut self, backend: &str) -> io::Result<()> {
        let folder = self.paths.state_folder(backend)?;
        match fs::remove_dir(&folder) {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty
                ) =>
            {
                Ok(())
            }
            outcome => outcome.map_err(at(&folder)),
        }
    }

    fn sync_state_folder(&mut self, backend: &str) -> io::Result<()> {
        sync_folder(&self.paths.state_folder(backend)?)?;
        sync_folder(&self.paths.state)
    }

    fn take_spare(&mut self, bytes: u64) -> io::Result<bool> {
        let path = self.paths.spare();
        let mut options = OpenOptions::new();
        options.write(true).create(true).mode(FILE_MODE);
        let taken = open_regular(&path, &mut options, Links::Refused)
            .and_then(|file| allocate(&file, bytes));
        if let Err(error) = taken {
            // A part of it would only be in the way.
            let _ = fs::remove_file(&path);
            return Err(at(&path)(error));
        }
        Ok(true)
    }

    fn give_up_spare(&mut self) -> io::Result<bool> {
        let path = self.paths.spare();
        let removed = none_if_missing(fs::remove_file(&path)).map_err(at(&path))?;
        Ok(removed.is_some())
    }

    fn begin(&mut self, job_id: JobId, durable_write: DurableWrite) -> Submitted {
        let job = Job::new(job_id, durable_write);
        let begun = match &mut self.durable_writes {
            Some(durable_writes) => durable_writes.begin(job),
            None => Err(job),
        };
        let Err(job) = begun else {
            return Submitted::UnderWay;
        };
        let (completed, took) = job.take(self);
        Submitted::Completed(self.note_time(completed, took))
    }

    fn completed(&mut self) -> Option<Completed> {
        let (completed, took) = self.durable_writes.as_mut()?.completed()?;
        Some(self.note_time(completed, took))
    }
}

/// Opens a file of ours to read or sync it.
fn read_only(path: &Path) -> io::Result<File> {
    open_regular(path, OpenOptions::new().read(true), Links::Followed)
}

/// What an entry of a backend's folder is.
enum Found {
    Log(LogMeta),
    /// It has gone while the folder was listed.
    Nothing,
    /// Something else, and what.
    Other(&'static str),
}

fn entry_meta(entry: &DirEntry) -> io::Result<Found> {
    let Some(metadata) = none_if_missing(entry.metadata())? else {
        return Ok(Found::Nothing);
    };
    if metadata.is_file() {
        return Ok(Found::Log(log_meta(&metadata, false)));
    }
    if !metadata.is_symlink() {
        let is_folder = metadata.is_dir();
        return Ok(Found::Other(if is_folder {
            "a folder"
        } else {
            "not a regular file"
        }));
    }
    Ok(match fs::metadata(entry.path()) {
        Ok(target) if target.is_file() => Found::Log(log_meta(&target, true)),
        Ok(_) => Found::Other("a symbolic link to something that is not a regular file"),
        Err(_) => Found::Other("a symbolic link that leads nowhere"),
    })
}

fn none_if_missing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is in a folder; nothing where there is none.
fn listing(folder: &Path) -> io::Result<Vec<DirEntry>> {
    let Some(entries) = none_if_missing(fs::read_dir(folder)).map_err(at(folder))? else {
        return Ok(Vec::new());
    };
    entries.collect::<io::Result<_>>().map_err(at(folder))
}

/// Names of the folders in a folder, links to folders among them: an operator may keep a backend's
/// logs elsewhere.
fn folders(folder: &Path, name: impl Fn(&OsStr) -> Option<String>) -> io::Result<Vec<String>> {
    let is_folder =
        |entry: &DirEntry| fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_dir());
    Ok(listing(folder)?
        .iter()
        .filter(|entry| is_folder(entry))
        .filter_map(|entry| name(&entry.file_name()))
        .collect())
}

fn utf8_name(entry: &DirEntry) -> Option<String> {
    entry.file_name().into_string().ok()
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    open_folder(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(at(folder))
}

fn log_meta(metadata: &Metadata, is_linked: bool) -> LogMeta {
    let since_1970 = metadata
        .created()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let modified_nanos =
        i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    LogMeta {
        device: metadata.dev(),
        inode: metadata.ino(),
        born_nanos: since_1970
            .and_then(|since| u64::try_from(since.as_nanos()).ok())
            .unwrap_or(0),
        bytes: metadata.len(),
        // What is before 1970 is old.
        modified_nanos: u64::try_from(modified_nanos.max(0)).unwrap_or(u64::MAX),
        links: metadata.nlink() + u64::from(is_linked),
    }
}
