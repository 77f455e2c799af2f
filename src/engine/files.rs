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
use std::fs::{self, DirEntry, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

pub use lock::{LockError, Locks, StateLock};
pub(crate) use lock::{is_disk_full, is_other};
pub(crate) use mounts::MOUNTS;
pub use paths::{FILE_MODE, FOLDER_MODE};

use self::durable_writes::{DurableWrites, Job};
use self::names::escape;
use self::paths::{Paths, at};
use self::read_ahead::{Asked, read_ahead_at, read_at};
use crate::engine::os::files::{
    Links, advise_sequential, allocate, end_lease, open_folder, open_regular, take_lease,
};
use crate::engine::os::process::try_lock_shared;
use crate::limits::PASSED_OVER_SAID_MAX;
use crate::replay::disk::{
    Area, Disk, FolderMeta, LogEntry, LogLease, LogMeta, OpenFile, unless_missing,
};
use crate::replay::durable_write::{Completed, DurableWrite, JobId, Submitted};
use crate::replay::mailbox::Wake;
use crate::status::counters::ServerCounters;

/// Entries of a folder that are examined between two calls of `progress`.
const ENTRIES_A_STEP: usize = 64;

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
    /// Called between the calls of a turn, and between the steps of a long one.
    progress: Option<Box<dyn Fn() + Send>>,
}

/// A file that is open for reading.
#[derive(Debug)]
pub struct RealFile {
    file: File,
    path: PathBuf,
    /// It was opened by a symbolic link: the file has a name elsewhere.
    is_linked: bool,
    /// For who reads whole logs.
    asked: Option<Asked>,
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
            progress: None,
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

    /// The same, calling `progress` between the calls of a turn, and between the steps of a long
    /// one: a thread that waits for a slow disk is not stuck.
    #[must_use]
    pub fn with_progress(self, progress: impl Fn() + Send + 'static) -> Self {
        let progress: Option<Box<dyn Fn() + Send>> = Some(Box::new(progress));
        Self { progress, ..self }
    }

    fn note_progress(&self) {
        if let Some(progress) = &self.progress {
            progress();
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
    type File = RealFile;

    fn folders(&mut self, area: Area) -> io::Result<Vec<String>> {
        self.note_progress();
        let path = self.paths.area(area);
        if area == Area::Logs {
            if let Some(locks) = &self.locks {
                locks.renew().map_err(io::Error::other)?;
            }
            // One that is not there is no empty one: it has been moved, or is not mounted.
            fs::metadata(path).map_err(at(path))?;
        }
        let entries = listing(path)?;
        let folders = entries.iter().filter(|entry| is_folder(entry));
        Ok(folders.map(|entry| escape(&entry.file_name())).collect())
    }

    fn folder_meta(&mut self, backend: &str) -> io::Result<Option<FolderMeta>> {
        self.note_progress();
        let path = self.paths.folder(Area::Logs, backend)?;
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
        let Ok(folder) = self.paths.folder(Area::Logs, backend) else {
            return false;
        };
        let resolved = resolve(&folder).map(|logs| logs.join(backend));
        // Where the system does not tell, no mount is known.
        resolved.is_some_and(|folder| mounts::is_mount_point(&folder).unwrap_or(false))
    }

    fn entries(&mut self, area: Area, backend: &str) -> io::Result<Vec<LogEntry>> {
        let folder = self.paths.folder(area, backend)?;
        let mut entries = Vec::new();
        for (nth, entry) in listing(&folder)?.into_iter().enumerate() {
            if nth % ENTRIES_A_STEP == 0 {
                self.note_progress();
            }
            match entry_meta(&entry) {
                Ok(Found::File(meta)) => entries.push(LogEntry {
                    name: escape(&entry.file_name()),
                    meta,
                }),
                Ok(Found::Nothing) => {}
                Ok(Found::Other(what)) if area == Area::Logs => self.pass_over(&entry.path(), what),
                Ok(Found::Other(_)) => {}
                Err(error) => return Err(at(&entry.path())(error)),
            }
        }
        Ok(entries)
    }

    fn sync_folder(&mut self, area: Area, backend: &str) -> io::Result<()> {
        let synced = sync_folder(&self.paths.folder(area, backend)?);
        match area {
            Area::Logs => unless_missing(synced).map(drop),
            Area::State => synced.and_then(|()| sync_folder(&self.paths.state)),
        }
    }

    fn remove_folder(&mut self, area: Area, backend: &str) -> io::Result<()> {
        let folder = self.paths.folder(area, backend)?;
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

    fn open(&mut self, area: Area, backend: &str, name: &str) -> io::Result<RealFile> {
        self.note_progress();
        let path = self.paths.file(area, backend, name)?;
        let open = |links| open_regular(&path, OpenOptions::new().read(true), links);
        let (file, is_linked) = match open(Links::Refused) {
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                (open(Links::Followed), true)
            }
            opened => (opened, false),
        };
        let file = file.map_err(at(&path))?;
        advise_sequential(&file);
        Ok(RealFile {
            file,
            path,
            is_linked,
            asked: self.reads_ahead.then(Asked::default),
        })
    }

    fn write(&mut self, area: Area, backend: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        let options = &mut OpenOptions::new();
        options.write(true).truncate(true);
        self.paths.write_to(area, backend, name, options, bytes)
    }

    fn append(&mut self, area: Area, backend: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.note_progress();
        let options = &mut OpenOptions::new();
        options.append(true);
        self.paths.write_to(area, backend, name, options, bytes)
    }

    fn truncate(&mut self, area: Area, backend: &str, name: &str, bytes: u64) -> io::Result<()> {
        let path = self.paths.file(area, backend, name)?;
        open_regular(&path, OpenOptions::new().write(true), Links::Refused)
            .and_then(|file| file.set_len(bytes))
            .map_err(at(&path))
    }

    fn sync(&mut self, area: Area, backend: &str, name: &str) -> io::Result<()> {
        let path = self.paths.file(area, backend, name)?;
        // Opened anew, as errors of writing back belong to the file and are told to whoever syncs
        // first.
        open_regular(&path, OpenOptions::new().read(true), Links::Followed)
            .and_then(|file| file.sync_all())
            .map_err(at(&path))
    }

    fn rename(&mut self, area: Area, backend: &str, from: &str, to: &str) -> io::Result<()> {
        let from = self.paths.file(area, backend, from)?;
        let to = self.paths.file(area, backend, to)?;
        fs::rename(&from, &to).map_err(at(&from))
    }

    fn remove(&mut self, area: Area, backend: &str, name: &str) -> io::Result<()> {
        let path = self.paths.file(area, backend, name)?;
        fs::remove_file(&path).map_err(at(&path))
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<bool> {
        let path = self.paths.spare();
        if bytes == 0 {
            let removed = unless_missing(fs::remove_file(&path)).map_err(at(&path))?;
            return Ok(removed.is_some());
        }
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

impl OpenFile for RealFile {
    fn meta(&self) -> io::Result<LogMeta> {
        let metadata = self.file.metadata().map_err(at(&self.path))?;
        Ok(log_meta(&metadata, self.is_linked))
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        match &self.asked {
            Some(asked) => read_ahead_at(&self.file, asked, offset, into),
            None => read_at(&self.file, offset, into),
        }
        .map_err(at(&self.path))
    }

    fn lease(&self) -> io::Result<LogLease> {
        take_lease(&self.file).map_err(at(&self.path))
    }

    fn end_lease(&self) -> io::Result<()> {
        end_lease(&self.file).map_err(at(&self.path))
    }

    fn try_lock(&self) -> io::Result<bool> {
        try_lock_shared(&self.file).map_err(at(&self.path))
    }

    fn writers(&self) -> Option<String> {
        writers::writers_of(&self.file)
    }
}

/// What an entry of a backend's folder is.
enum Found {
    File(LogMeta),
    /// It has gone while the folder was listed.
    Nothing,
    /// Something else, and what.
    Other(&'static str),
}

fn entry_meta(entry: &DirEntry) -> io::Result<Found> {
    let Some(metadata) = unless_missing(entry.metadata())? else {
        return Ok(Found::Nothing);
    };
    if metadata.is_file() {
        return Ok(Found::File(log_meta(&metadata, false)));
    }
    if !metadata.is_symlink() {
        let is_folder = metadata.is_dir();
        return Ok(Found::Other(if is_folder {
            "a folder"
        } else {
            "not a regular file"
        }));
    }
    match fs::metadata(entry.path()) {
        Ok(target) if target.is_file() => Ok(Found::File(log_meta(&target, true))),
        Ok(_) => Ok(Found::Other(
            "a symbolic link to something that is not a regular file",
        )),
        Err(error) if leads_nowhere(&error) => {
            Ok(Found::Other("a symbolic link that leads nowhere"))
        }
        // Newer logs wait for it, as for any that cannot be read (G2).
        Err(error) => Err(error),
    }
}

/// Whether an entry is a folder, or a symbolic link to one: an operator may keep a backend's logs
/// elsewhere. One that cannot be examined now is there all the same, and listing it says why.
pub(crate) fn is_folder(entry: &DirEntry) -> bool {
    match entry.file_type() {
        Ok(kind) if !kind.is_symlink() => kind.is_dir(),
        _ => match fs::metadata(entry.path()) {
            Ok(metadata) => metadata.is_dir(),
            Err(error) => !leads_nowhere(&error),
        },
    }
}

/// Whether this error of a path means that nothing is there. Any other may pass, as that of a file
/// server that is away.
fn leads_nowhere(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(libc::ELOOP)
}

/// What is in a folder; nothing where there is none.
fn listing(folder: &Path) -> io::Result<Vec<DirEntry>> {
    let Some(entries) = unless_missing(fs::read_dir(folder)).map_err(at(folder))? else {
        return Ok(Vec::new());
    };
    entries.collect::<io::Result<_>>().map_err(at(folder))
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
