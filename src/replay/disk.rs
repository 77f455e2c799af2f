//! What the core asks of a disk. The real one is in `engine`, a simulated one in `testdisk`.
//!
//! Every method is one system call or a plain sequence of reading ones; each sequence whose *order*
//! matters (write, sync, rename, sync the folder) is written out in the core, so that a simulated
//! crash can fall between its steps. One that nobody has to wait for is a [`DurableWrite`].

use std::io;

use crate::ledger::identity::{Identity, LastRead, LogKey};
use crate::limits::LAST_READ_BYTES_MAX;
use crate::replay::durable_write::{Completed, DurableWrite, JobId, Step, StepError, Submitted};

/// What a directory listing or an open file tells of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogMeta {
    /// Device that holds the file.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Birth time in nanoseconds since 1970; 0 where unknown.
    pub born_nanos: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// Time of the last change in nanoseconds since 1970, by the system's clock.
    pub modified_nanos: u64,
    /// Names that lead to it, as far as is known: 0 once it is deleted and only open.
    pub links: u64,
}

impl LogMeta {
    /// See [`LogKey`].
    #[must_use]
    pub fn key(&self) -> LogKey {
        (self.inode, self.born_nanos)
    }

    /// What the file is that begins with `prefix`.
    #[must_use]
    pub fn identity(&self, prefix: &[u8]) -> Identity {
        Identity::new(self.device, self.inode, self.born_nanos, prefix)
    }
}

/// One regular file in a backend's folder, or a symbolic link to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The file's name, without its folder, as text: a byte that is not UTF-8 is written as `\xb0`,
    /// a backslash as two. The disk takes it back so.
    pub name: String,
    pub meta: LogMeta,
}

impl LogEntry {
    /// Whether it has a name under which NFS or FUSE keep a file that was deleted while somebody
    /// had it open.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        is_hidden(&self.name)
    }
}

/// See [`LogEntry::is_hidden`].
pub(crate) fn is_hidden(name: &str) -> bool {
    name.starts_with(".nfs") || name.starts_with(".fuse_hidden")
}

/// Which folder a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FolderMeta {
    /// Device that holds it.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// The name is a symbolic link.
    pub is_link: bool,
}

impl FolderMeta {
    /// What tells a folder from others at one time: two names with the same are names of one
    /// folder.
    #[must_use]
    pub fn key(&self) -> (u64, u64) {
        (self.device, self.inode)
    }
}

/// Whether a log is ours alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLease {
    /// Nobody has it open for writing, and nobody can begin to without our being told until it is
    /// released.
    Alone,
    /// Somebody has it open for writing.
    Writers,
    /// The file system does not tell (no leases): only the grace period protects.
    Unknown,
    /// This process is not told, as it lacks the right to ask: only the grace period protects.
    NotPermitted,
}

/// Which of a backend's two folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// The one that HA writes its logs to.
    Logs,
    /// The one that our own files are in.
    State,
}

/// The disk under the logs and under our state.
///
/// A file is named by its area, its backend, and its name in that backend's folder; `backend` is
/// the folder's name (`host:port`). Each call that fails returns what the system says.
pub trait Disk {
    /// An open file. It is closed when dropped, its lease released.
    type File: OpenFile;

    /// Names of the backends' folders. An area of state that does not exist has none; one of logs
    /// has been moved, or is not mounted, and is an error.
    fn folders(&mut self, area: Area) -> io::Result<Vec<String>>;

    /// Which folder of logs a backend's name leads to, `NotFound` where there is none. `None` where
    /// that is not known, as on a disk without links.
    fn folder_meta(&mut self, _backend: &str) -> io::Result<Option<FolderMeta>> {
        Ok(None)
    }

    /// Whether something is mounted where a backend's logs are, as far as is known.
    fn is_mount(&mut self, _backend: &str) -> bool {
        false
    }

    /// The files in a folder, in no order, and under each of their names. A folder that does not
    /// exist has none.
    fn entries(&mut self, area: Area, backend: &str) -> io::Result<Vec<LogEntry>>;

    /// Makes names in a folder durable: after a crash, what was deleted does not come back. With a
    /// folder of state, its own name too. A folder of logs that does not exist is no error.
    fn sync_folder(&mut self, area: Area, backend: &str) -> io::Result<()>;

    /// Removes a folder where nothing is in it; one that is not there, or not empty, is no error.
    /// Not durable.
    fn remove_folder(&mut self, area: Area, backend: &str) -> io::Result<()>;

    /// Opens a file for reading; `NotFound` where it has gone.
    fn open(&mut self, area: Area, backend: &str, name: &str) -> io::Result<Self::File>;

    /// Creates or empties a file and writes `bytes`. A missing folder of state is made, one of logs
    /// is not. Not durable. After an error the file's content is anything.
    fn write(&mut self, area: Area, backend: &str, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Appends to a file; it, and its folder, are made as with `write`. Not durable. After an error
    /// some of the bytes may be at the end.
    fn append(&mut self, area: Area, backend: &str, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Cuts a file to `bytes`. Not durable.
    fn truncate(&mut self, area: Area, backend: &str, name: &str, bytes: u64) -> io::Result<()>;

    /// Makes a file's content durable (fsync). After an error the content must be held for lost,
    /// not synced again.
    fn sync(&mut self, area: Area, backend: &str, name: &str) -> io::Result<()>;

    /// Gives a file another name in the same folder, replacing what had it. Not durable.
    fn rename(&mut self, area: Area, backend: &str, from: &str, to: &str) -> io::Result<()>;

    /// Deletes a file by its name; `NotFound` where it has gone. Not durable.
    fn remove(&mut self, area: Area, backend: &str, name: &str) -> io::Result<()>;

    /// Keeps at least `bytes` of room aside, beside the state; 0 frees it. Returns false if this
    /// disk keeps none, or there was none to free. After an error none is kept.
    fn reserve(&mut self, _bytes: u64) -> io::Result<bool> {
        Ok(false)
    }

    /// Begins a durable write. A disk that cannot write in the background takes all its steps here.
    fn begin(&mut self, job_id: JobId, durable_write: DurableWrite) -> Submitted
    where
        Self: Sized,
    {
        Submitted::Completed(take_at_once(self, job_id, durable_write))
    }

    /// A durable write that was under way and has completed since the last call, if there is one.
    /// The driver wakes the disk's owner when there may be.
    fn completed(&mut self) -> Option<Completed> {
        None
    }
}

/// An open file. Each call that fails returns what the system says.
pub trait OpenFile {
    /// What it is now.
    fn meta(&self) -> io::Result<LogMeta>;

    /// Reads at `offset`; fewer bytes than asked for are no sign of the end, none are.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Asks whether nobody writes to the file, and holds off new writers until the lease is ended
    /// or the file dropped. What has a `LogLease` of its own is no error.
    fn lease(&self) -> io::Result<LogLease>;

    /// Gives a lease up, if there is one, and lets writers go on.
    fn end_lease(&self) -> io::Result<()>;

    /// Holds off commands that lock the file, until it is dropped. False where one of them holds
    /// it. A disk that no command sees always can.
    fn try_lock(&self) -> io::Result<bool> {
        Ok(true)
    }

    /// Who has the file open for writing, as far as can be seen, for an operator to read.
    fn writers(&self) -> Option<String> {
        None
    }
}

/// `None` where there was no such file.
///
/// # Errors
/// Any other error.
pub fn unless_missing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// A state file's content, at most `bytes_max` of it; `None` where there is no such file.
pub(crate) fn read_state(
    disk: &mut impl Disk,
    backend: &str,
    name: &str,
    bytes_max: usize,
) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = unless_missing(disk.open(Area::State, backend, name))? else {
        return Ok(None);
    };
    let bytes = usize::try_from(file.meta()?.bytes).unwrap_or(usize::MAX);
    let mut content = vec![0; bytes.min(bytes_max)];
    let filled = read_fully(&file, 0, &mut content)?;
    content.truncate(filled);
    Ok(Some(content))
}

/// Length of a state file, `None` where there is no such file.
pub(crate) fn state_bytes(
    disk: &mut impl Disk,
    backend: &str,
    name: &str,
) -> io::Result<Option<u64>> {
    let file = unless_missing(disk.open(Area::State, backend, name))?;
    file.map(|file| Ok(file.meta()?.bytes)).transpose()
}

/// Takes one step of a durable write and waits for it.
pub(crate) fn take_step(
    disk: &mut impl Disk,
    durable_write: &DurableWrite,
    step: Step,
) -> Result<(), StepError> {
    let backend = &*durable_write.backend;
    match step {
        Step::SyncLogFolder => disk.sync_folder(Area::Logs, backend),
        Step::Write(name) => disk.write(Area::State, backend, name, &durable_write.bytes),
        Step::Sync(name) => disk.sync(Area::State, backend, name),
        Step::Rename { from, to } => disk.rename(Area::State, backend, from, to),
        Step::SyncStateFolder => disk.sync_folder(Area::State, backend),
    }
    .map_err(|cause| StepError { step, cause })
}

/// Takes all steps up to the first that fails, and waits for each.
pub(crate) fn take_at_once(
    disk: &mut impl Disk,
    job_id: JobId,
    durable_write: DurableWrite,
) -> Completed {
    let mut steps = durable_write.steps.iter();
    let result = steps.try_for_each(|step| take_step(disk, &durable_write, *step));
    Completed {
        job_id,
        durable_write,
        result,
    }
}

/// Reads until `into` is full or the file ends; gives how many bytes.
pub(crate) fn read_fully(file: &impl OpenFile, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < into.len() {
        match file.read_at(offset + read as u64, &mut into[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Whether an open log still has the bytes that were last read of it. Where its first bytes, which
/// are compared anyway, are all that was read, it is not read again.
pub(crate) fn has_last_read(
    log: &impl OpenFile,
    identity: &Identity,
    last_read: &LastRead,
) -> io::Result<bool> {
    let trusts = failpoint!(TrustLastRead) || failpoint!(TrustSettledLines);
    if trusts || last_read.end() <= identity.prefix_bytes.into() {
        return Ok(true);
    }
    let mut bytes = [0; LAST_READ_BYTES_MAX];
    let covered = (last_read.bytes as usize).min(bytes.len());
    let filled = read_fully(log, last_read.byte, &mut bytes[..covered])?;
    Ok(last_read.is_of(&bytes[..filled]))
}

/// The last bytes of a log that ends, or has been read, at byte `end`.
pub(crate) fn last_read_at(log: &impl OpenFile, end: u64) -> io::Result<LastRead> {
    let mut bytes = [0; LAST_READ_BYTES_MAX];
    let first = end.saturating_sub(bytes.len() as u64);
    let covered = (end - first) as usize;
    let filled = read_fully(log, first, &mut bytes[..covered])?;
    Ok(match filled == covered {
        true => LastRead::new(first, &bytes[..filled]),
        false => LastRead::default(),
    })
}
