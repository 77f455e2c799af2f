//! What the core asks of a disk. The real one is in `engine`, a simulated one in the tests.
//!
//! Every method is one system call or a plain sequence of reading ones; each sequence whose *order*
//! matters (write, sync, rename, sync the folder) is written out in the core, so that a simulated
//! crash can fall between its steps. One that nobody has to wait for is a [`DurableWrite`].

use std::io;

use crate::ledger::identity::{Identity, LastRead};
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
    /// What tells a file from others without reading it: inode and birth. The device's number is
    /// left out: it changes with a reboot, a remount, a loop device.
    #[must_use]
    pub fn key(&self) -> (u64, u64) {
        (self.inode, self.born_nanos)
    }
}

/// One regular file in a backend's folder, or a symbolic link to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The file's name, without its folder, as text: a byte that is not UTF-8 is written as `\xb0`,
    /// a backslash as two. The disk takes it back so.
    pub name: String,
    /// What it is.
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

/// The disk under the logs and under our state.
///
/// `backend` is a folder's name (`host:port`); a state file is named by the backend it belongs to
/// and its own name.
pub trait Disk {
    /// An open log. Closed when dropped, its claim released.
    type Log;

    /// Names of the folders below the logs' path.
    ///
    /// # Errors
    /// What the system says.
    fn backend_folders(&mut self) -> io::Result<Vec<String>>;

    /// Which folder a backend's name leads to; `None` where that is not known, as on a disk without
    /// links.
    ///
    /// # Errors
    /// What the system says; `NotFound` where there is none.
    fn folder_meta(&mut self, _backend: &str) -> io::Result<Option<FolderMeta>> {
        Ok(None)
    }

    /// Whether something is mounted where a backend's folder is, as far as is known.
    fn is_mount(&mut self, _backend: &str) -> bool {
        false
    }

    /// The logs in a backend's folder, in no order, and under each of their names. A folder that
    /// does not exist has none.
    ///
    /// # Errors
    /// What the system says.
    fn log_entries(&mut self, backend: &str) -> io::Result<Vec<LogEntry>>;

    /// Opens a log for reading.
    ///
    /// # Errors
    /// What the system says; `NotFound` where it has gone.
    fn open_log(&mut self, backend: &str, name: &str) -> io::Result<Self::Log>;

    /// What an open log is now.
    ///
    /// # Errors
    /// What the system says.
    fn log_meta(&mut self, log: &Self::Log) -> io::Result<LogMeta>;

    /// Reads at `offset`; fewer bytes than asked for are no sign of the end, none are.
    ///
    /// # Errors
    /// What the system says.
    fn read_log(&mut self, log: &Self::Log, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Asks whether nobody writes to the log, and holds off new writers until the claim or the log
    /// is dropped.
    ///
    /// # Errors
    /// What the system says, those with a `LogLease` of their own excepted.
    fn lease_log(&mut self, log: &Self::Log) -> io::Result<LogLease>;

    /// Who has the log open for writing, as far as can be seen, for an operator to read.
    fn writers_of(&mut self, _log: &Self::Log) -> Option<String> {
        None
    }

    /// Gives a claim up, if there is one, and lets writers go on.
    ///
    /// # Errors
    /// What the system says.
    fn end_lease(&mut self, log: &Self::Log) -> io::Result<()>;

    /// Deletes a log by its name. Not durable.
    ///
    /// # Errors
    /// What the system says; `NotFound` where it has gone.
    fn delete_log(&mut self, backend: &str, name: &str) -> io::Result<()>;

    /// Makes names in a backend's log folder durable: after a crash, what was deleted does not come
    /// back. A folder that does not exist is no error.
    ///
    /// # Errors
    /// What the system says.
    fn sync_log_folder(&mut self, backend: &str) -> io::Result<()>;

    /// Appends to a log of our own in a backend's folder, under a name that nobody reads; it is
    /// made where it is missing, its folder is not. Not durable.
    ///
    /// # Errors
    /// What the system says; some of the bytes may then stand at the end.
    fn stage_log(&mut self, backend: &str, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Makes a staged log's content durable (fsync).
    ///
    /// # Errors
    /// What the system says.
    fn sync_staged_log(&mut self, backend: &str, name: &str) -> io::Result<()>;

    /// Gives a staged log the name under which it is read. Not durable.
    ///
    /// # Errors
    /// What the system says.
    fn publish_log(&mut self, backend: &str, from: &str, to: &str) -> io::Result<()>;

    /// Folders of the state: backends that have been known before.
    ///
    /// # Errors
    /// What the system says.
    fn state_folders(&mut self) -> io::Result<Vec<String>>;

    /// Names of the files in a backend's state folder. A folder that does not exist has none.
    ///
    /// # Errors
    /// What the system says.
    fn state_files(&mut self, backend: &str) -> io::Result<Vec<String>>;

    /// A whole state file, or none where there is none. At most `bytes_max` are read.
    ///
    /// # Errors
    /// What the system says.
    fn read_state(
        &mut self,
        backend: &str,
        name: &str,
        bytes_max: usize,
    ) -> io::Result<Option<Vec<u8>>>;

    /// Reads a state file at `offset`; fewer bytes than asked for are no sign of the end, none are.
    ///
    /// # Errors
    /// What the system says; `NotFound` where there is none.
    fn read_state_at(
        &mut self,
        backend: &str,
        name: &str,
        offset: u64,
        into: &mut [u8],
    ) -> io::Result<usize>;

    /// Creates or empties a state file and writes `bytes`; its folder is made where it is missing.
    /// Not durable.
    ///
    /// # Errors
    /// What the system says; the file's content is then anything.
    fn write_state(&mut self, backend: &str, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Appends to a state file, which is made where it is missing. Not durable. Gives the length
    /// before.
    ///
    /// # Errors
    /// What the system says; some of the bytes may then stand at the end.
    fn append_state(&mut self, backend: &str, name: &str, bytes: &[u8]) -> io::Result<u64>;

    /// Cuts a state file to `bytes`. Not durable.
    ///
    /// # Errors
    /// What the system says.
    fn truncate_state(&mut self, backend: &str, name: &str, bytes: u64) -> io::Result<()>;

    /// Length of a state file, none where there is none.
    ///
    /// # Errors
    /// What the system says.
    fn state_bytes(&mut self, backend: &str, name: &str) -> io::Result<Option<u64>>;

    /// Makes a state file's content durable (fsync). After an error the content must be held for
    /// lost, not synced again.
    ///
    /// # Errors
    /// What the system says.
    fn sync_state(&mut self, backend: &str, name: &str) -> io::Result<()>;

    /// Gives a state file another name in the same folder, replacing what had it. Not durable.
    ///
    /// # Errors
    /// What the system says.
    fn rename_state(&mut self, backend: &str, from: &str, to: &str) -> io::Result<()>;

    /// Deletes a state file; one that is not there is no error.
    ///
    /// # Errors
    /// What the system says.
    fn remove_state(&mut self, backend: &str, name: &str) -> io::Result<()>;

    /// Removes a backend's state folder where nothing is in it; one that is not there, or not
    /// empty, is no error. Not durable.
    ///
    /// # Errors
    /// What the system says.
    fn remove_state_folder(&mut self, backend: &str) -> io::Result<()>;

    /// Makes names in a backend's state folder durable, and the folder's own (fsync of both
    /// folders).
    ///
    /// # Errors
    /// What the system says.
    fn sync_state_folder(&mut self, backend: &str) -> io::Result<()>;

    /// Keeps at least `bytes` of room aside, beside the state, or has what is kept grow to that.
    /// False: this disk keeps none.
    ///
    /// # Errors
    /// What the system says; then nothing is kept.
    fn take_spare(&mut self, bytes: u64) -> io::Result<bool> {
        let _ = bytes;
        Ok(false)
    }

    /// Makes the room that is kept aside free. False: none was.
    ///
    /// # Errors
    /// What the system says.
    fn give_up_spare(&mut self) -> io::Result<bool> {
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

/// Takes one step of a durable write and waits for it.
pub(crate) fn take_step(
    disk: &mut impl Disk,
    durable_write: &DurableWrite,
    step: Step,
) -> Result<(), StepError> {
    let backend = &*durable_write.backend;
    match step {
        Step::SyncLogFolder => disk.sync_log_folder(backend),
        Step::Write(name) => disk.write_state(backend, name, &durable_write.bytes),
        Step::Sync(name) => disk.sync_state(backend, name),
        Step::Rename { from, to } => disk.rename_state(backend, from, to),
        Step::SyncStateFolder => disk.sync_state_folder(backend),
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
pub(crate) fn read_fully<D: Disk>(
    disk: &mut D,
    log: &D::Log,
    offset: u64,
    into: &mut [u8],
) -> io::Result<usize> {
    let mut read = 0;
    while read < into.len() {
        match disk.read_log(log, offset + read as u64, &mut into[read..]) {
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
pub(crate) fn has_last_read<D: Disk>(
    disk: &mut D,
    log: &D::Log,
    identity: &Identity,
    last_read: &LastRead,
) -> io::Result<bool> {
    let trusts = failpoint!(TrustLastRead) || failpoint!(TrustSettledLines);
    if trusts || last_read.end() <= identity.prefix_bytes.into() {
        return Ok(true);
    }
    let mut bytes = [0; LAST_READ_BYTES_MAX];
    let covered = (last_read.bytes as usize).min(bytes.len());
    let filled = read_fully(disk, log, last_read.byte, &mut bytes[..covered])?;
    Ok(last_read.is_of(&bytes[..filled]))
}

/// The last bytes of a log that ends, or has been read, at byte `end`.
pub(crate) fn last_read_at<D: Disk>(disk: &mut D, log: &D::Log, end: u64) -> io::Result<LastRead> {
    let mut bytes = [0; LAST_READ_BYTES_MAX];
    let first = end.saturating_sub(bytes.len() as u64);
    let covered = (end - first) as usize;
    let filled = read_fully(disk, log, first, &mut bytes[..covered])?;
    Ok(match filled == covered {
        true => LastRead::new(first, &bytes[..filled]),
        false => LastRead::default(),
    })
}
