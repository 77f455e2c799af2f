//! A disk in memory that forgets what was not synced, for tests and simulations.
//!
//! What it models, since the keeper's promises hang on it:
//! - A file's content and its name are durable separately: content by a sync of the file, names by a sync of their folder.
//! - At a crash, unsynced writes are lost, kept, or (at random) kept in part, by sectors and in any order; unsynced changes of a folder's
//!   names survive as a prefix, as in a journal.
//! - A sync that fails throws the unsynced writes away although reading still shows them; the next sync says "well done" without them.
//! - A full disk takes a part of what is written.
//! - A deleted file lives on while it is open. A claim is refused while somebody has the file open for writing.
//!
//! Handles are clones of one disk. Time is what [`TestDisk::set_time`] says.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::replay::disk::{Claim, Disk, LogEntry, LogMeta};

const SECTOR_BYTES: usize = 512;

/// What a fault can hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// `state_folders`, `state_files` and `state_bytes`.
    ListState,
    /// `read_state` and `read_state_at`.
    ReadState,
    /// `write_state`.
    WriteState,
    /// `append_state`.
    AppendState,
    /// `truncate_state`.
    TruncateState,
    /// `sync_state`.
    SyncState,
    /// `rename_state`.
    RenameState,
    /// `remove_state`.
    RemoveState,
    /// `sync_state_folder`.
    SyncStateFolder,
    /// Listing, opening, measuring or reading logs.
    ReadLog,
    /// `claim_log` and `unclaim_log`.
    ClaimLog,
    /// `delete_log`.
    DeleteLog,
    /// `sync_log_folder`.
    SyncLogFolder,
}

impl Op {
    fn changes_something(self) -> bool {
        !matches!(self, Self::ListState | Self::ReadState | Self::ReadLog | Self::ClaimLog)
    }
}

/// What a crash leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Nothing: a power cut at its worst.
    LosesAll,
    /// Everything: the process was killed, the system goes on.
    LosesNothing,
    /// Some of it, chosen by this seed.
    LosesSome(u64),
}

#[derive(Clone, Debug)]
enum Write {
    At(usize, Vec<u8>),
    Cut(usize),
}

#[derive(Debug, Default)]
struct Inode {
    /// What reading shows.
    seen: Vec<u8>,
    /// What a crash leaves at least.
    durable: Vec<u8>,
    /// What a sync would add to `durable`.
    unsynced: Vec<Write>,
    modified_nanos: u64,
    born_nanos: u64,
    writers: u32,
}

#[derive(Clone, Debug)]
enum Naming {
    Link(String, usize),
    Unlink(String),
    Rename(String, String),
}

#[derive(Debug, Default)]
struct Folder {
    seen: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    unsynced: Vec<Naming>,
    /// Whether the folder itself outlives a crash.
    is_durable: bool,
}

#[derive(Debug)]
struct Fault {
    op: Op,
    kind: io::ErrorKind,
    /// Calls that still go well.
    spared: u32,
    /// Calls that then fail.
    failing: u32,
}

#[derive(Debug, Default)]
struct World {
    inodes: Vec<Inode>,
    logs: BTreeMap<String, Folder>,
    state: BTreeMap<String, Folder>,
    now_nanos: u64,
    leases: bool,
    faults: Vec<Fault>,
    /// Changing calls so far.
    steps: u64,
    /// At this step, and ever after, calls fail: the machine is dead until `crash`.
    dies_at: Option<u64>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct TestDisk(Arc<Mutex<World>>);

/// An open log of a [`TestDisk`].
#[derive(Debug)]
pub struct TestLog(usize);

impl Default for TestDisk {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(World {
            leases: true,
            ..World::default()
        })))
    }
}

impl Inode {
    fn write(&mut self, write: Write, now_nanos: u64) {
        write.apply(&mut self.seen);
        self.unsynced.push(write);
        self.modified_nanos = now_nanos;
    }

    fn sync(&mut self) {
        for write in self.unsynced.drain(..) {
            write.apply(&mut self.durable);
        }
    }
}

impl Write {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Cut(bytes) => content.truncate(*bytes),
            Self::At(at, bytes) => {
                let end = at + bytes.len();
                content.resize(content.len().max(end), 0);
                content[*at..end].copy_from_slice(bytes);
            }
        }
    }

    /// Some of its sectors.
    fn apply_in_part(&self, content: &mut Vec<u8>, random: &mut fastrand::Rng) {
        match self {
            Self::Cut(_) => {
                if random.bool() {
                    self.apply(content);
                }
            }
            Self::At(at, bytes) => {
                let mut from = 0;
                while from < bytes.len() {
                    let to = bytes
                        .len()
                        .min((at + from) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES - at);
                    if random.bool() {
                        Self::At(at + from, bytes[from..to].to_vec()).apply(content);
                    }
                    from = to;
                }
            }
        }
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

impl Folder {
    fn change(&mut self, naming: Naming) {
        naming.apply(&mut self.seen);
        self.unsynced.push(naming);
    }

    fn sync(&mut self) {
        for naming in self.unsynced.drain(..) {
            naming.apply(&mut self.durable);
        }
        self.is_durable = true;
    }
}

fn error(kind: io::ErrorKind) -> io::Error {
    io::Error::new(kind, format!("injected: {kind}"))
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "no such file")
}

impl World {
    /// Counts a call and fails it where it shall fail.
    fn call(&mut self, op: Op) -> io::Result<()> {
        if op.changes_something() {
            self.steps += 1;
        }
        if self.dies_at.is_some_and(|step| self.steps >= step) {
            return Err(io::Error::other("the machine is dead"));
        }
        for fault in self
            .faults
            .iter_mut()
            .filter(|fault| fault.op == op && fault.failing > 0)
        {
            if fault.spared > 0 {
                fault.spared -= 1;
                continue;
            }
            fault.failing = fault
                .failing
                .saturating_sub(u32::from(fault.failing < u32::MAX));
            return Err(error(fault.kind));
        }
        Ok(())
    }

    fn new_inode(&mut self) -> usize {
        let now = self.now_nanos;
        self.inodes.push(Inode {
            born_nanos: now + 1,
            modified_nanos: now,
            ..Inode::default()
        });
        self.inodes.len() - 1
    }

    fn state_inode(&self, backend: &str, name: &str) -> Option<usize> {
        self.state.get(backend)?.seen.get(name).copied()
    }

    fn make_state(&mut self, backend: &str, name: &str) -> usize {
        if let Some(inode) = self.state_inode(backend, name) {
            return inode;
        }
        let inode = self.new_inode();
        self.state
            .entry(backend.to_owned())
            .or_default()
            .change(Naming::Link(name.to_owned(), inode));
        inode
    }

    fn meta(&self, inode: usize) -> LogMeta {
        let file = &self.inodes[inode];
        LogMeta {
            device: 1,
            inode: inode as u64 + 1000,
            born_nanos: file.born_nanos,
            bytes: file.seen.len() as u64,
            modified_nanos: file.modified_nanos,
        }
    }

    /// Writes bytes at the end of a state file; a call that fails takes half of them.
    fn write_end(&mut self, op: Op, inode: usize, bytes: &[u8]) -> io::Result<u64> {
        let outcome = self.call(op);
        let taken = if outcome.is_ok() {
            bytes.len()
        } else {
            bytes.len() / 2
        };
        let now = self.now_nanos;
        let file = &mut self.inodes[inode];
        let before = file.seen.len();
        file.write(Write::At(before, bytes[..taken].to_vec()), now);
        outcome.map(|()| before as u64)
    }
}

impl TestDisk {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the clock of new files and changes, Unix seconds.
    pub fn set_time(&self, unix: u64) {
        self.world().now_nanos = unix * 1_000_000_000;
    }

    /// Whether claims can be had.
    pub fn set_leases(&self, leases: bool) {
        self.world().leases = leases;
    }

    /// Lets calls of `op` fail, `times` of them after the next `spared`; `u32::MAX` is for ever.
    pub fn fail(&self, op: Op, kind: io::ErrorKind, spared: u32, times: u32) {
        self.world().faults.push(Fault {
            op,
            kind,
            spared,
            failing: times,
        });
    }

    /// Takes all faults away.
    pub fn mend(&self) {
        self.world().faults.clear();
    }

    /// Changing calls so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.world().steps
    }

    /// At changing call number `step` (from 1) the machine dies.
    pub fn die_at(&self, step: u64) {
        self.world().dies_at = Some(step);
    }

    /// The machine comes back with what `crash` leaves. Open logs of before must not be used any more.
    pub fn crash(&self, crash: Crash) {
        let mut world = self.world();
        world.dies_at = None;
        let World {
            inodes,
            logs,
            state,
            ..
        } = &mut *world;
        let seed = if let Crash::LosesSome(seed) = crash {
            seed
        } else {
            0
        };
        let mut random = fastrand::Rng::with_seed(seed);
        for file in inodes {
            match crash {
                Crash::LosesNothing => file.durable.clone_from(&file.seen),
                Crash::LosesAll => {}
                Crash::LosesSome(_) => {
                    for write in &file.unsynced {
                        write.apply_in_part(&mut file.durable, &mut random);
                    }
                }
            }
            file.unsynced.clear();
            file.writers = 0;
            file.seen.clone_from(&file.durable);
        }
        for folder in logs.values_mut().chain(state.values_mut()) {
            let kept = match crash {
                Crash::LosesNothing => folder.unsynced.len(),
                Crash::LosesAll => 0,
                Crash::LosesSome(_) => random.usize(..=folder.unsynced.len()),
            };
            for naming in &folder.unsynced[..kept] {
                naming.apply(&mut folder.durable);
            }
            folder.is_durable |= kept > 0;
            folder.unsynced.clear();
            folder.seen.clone_from(&folder.durable);
        }
        state.retain(|_, folder| folder.is_durable);
    }

    /// Appends to a log as HA does, durably, and makes it where it is missing.
    pub fn append_log(&self, backend: &str, name: &str, bytes: &[u8]) {
        let mut world = self.world();
        let known = world
            .logs
            .entry(backend.to_owned())
            .or_default()
            .seen
            .get(name)
            .copied();
        let inode = known.unwrap_or_else(|| world.new_inode());
        let now = world.now_nanos;
        let file = &mut world.inodes[inode];
        file.write(Write::At(file.seen.len(), bytes.to_vec()), now);
        file.sync();
        if known.is_none() {
            let folder = world.logs.get_mut(backend).expect("it was made above");
            // What is durable already stays so: only this name is added.
            folder.seen.insert(name.to_owned(), inode);
            folder.durable.insert(name.to_owned(), inode);
            folder.is_durable = true;
        }
    }

    /// Appends to a file of which only the inode is left, as a writer that had it open does.
    pub fn append_unlinked(&self, meta: &LogMeta, bytes: &[u8]) {
        let mut world = self.world();
        let now = world.now_nanos;
        let file = &mut world.inodes[meta.inode as usize - 1000];
        file.write(Write::At(file.seen.len(), bytes.to_vec()), now);
    }

    /// What a log is, none where there is none.
    #[must_use]
    pub fn meta_of(&self, backend: &str, name: &str) -> Option<LogMeta> {
        let world = self.world();
        Some(world.meta(*world.logs.get(backend)?.seen.get(name)?))
    }

    /// A log's content.
    #[must_use]
    pub fn log(&self, backend: &str, name: &str) -> Option<Vec<u8>> {
        let world = self.world();
        Some(
            world.inodes[*world.logs.get(backend)?.seen.get(name)?]
                .seen
                .clone(),
        )
    }

    /// Somebody opens a log for writing (`true`), or closes it.
    ///
    /// # Panics
    /// When there is no such log.
    pub fn set_writer(&self, backend: &str, name: &str, opens: bool) {
        let mut world = self.world();
        let inode = world.logs[backend].seen[name];
        let writers = &mut world.inodes[inode].writers;
        *writers = if opens { *writers + 1 } else { *writers - 1 };
    }

    /// Somebody deletes a log, durably.
    pub fn remove_log(&self, backend: &str, name: &str) {
        let mut world = self.world();
        if let Some(folder) = world.logs.get_mut(backend) {
            folder.seen.remove(name);
            folder.durable.remove(name);
        }
    }

    /// A state file's content.
    #[must_use]
    pub fn state(&self, backend: &str, name: &str) -> Option<Vec<u8>> {
        let world = self.world();
        Some(world.inodes[world.state_inode(backend, name)?].seen.clone())
    }

    /// Puts a state file there, durably.
    pub fn put_state(&self, backend: &str, name: &str, bytes: &[u8]) {
        let mut world = self.world();
        let inode = world.make_state(backend, name);
        let file = &mut world.inodes[inode];
        file.write(Write::Cut(0), 0);
        file.write(Write::At(0, bytes.to_vec()), 0);
        file.sync();
        world
            .state
            .get_mut(backend)
            .expect("it was made above")
            .sync();
    }
}

impl Disk for TestDisk {
    type Log = TestLog;

    fn backend_folders(&mut self) -> io::Result<Vec<String>> {
        self.world().call(Op::ReadLog)?;
        Ok(self.world().logs.keys().cloned().collect())
    }

    fn log_entries(&mut self, backend: &str) -> io::Result<Vec<LogEntry>> {
        let mut world = self.world();
        world.call(Op::ReadLog)?;
        let names = world
            .logs
            .get(backend)
            .into_iter()
            .flat_map(|folder| &folder.seen);
        Ok(names
            .map(|(name, &inode)| LogEntry {
                name: name.clone(),
                meta: world.meta(inode),
            })
            .collect())
    }

    fn open_log(&mut self, backend: &str, name: &str) -> io::Result<TestLog> {
        let mut world = self.world();
        world.call(Op::ReadLog)?;
        let inode = world
            .logs
            .get(backend)
            .and_then(|folder| folder.seen.get(name));
        inode.copied().map(TestLog).ok_or_else(gone)
    }

    fn log_meta(&mut self, log: &TestLog) -> io::Result<LogMeta> {
        let mut world = self.world();
        world.call(Op::ReadLog)?;
        Ok(world.meta(log.0))
    }

    fn read_log(&mut self, log: &TestLog, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut world = self.world();
        world.call(Op::ReadLog)?;
        Ok(read_at(&world.inodes[log.0].seen, offset, into))
    }

    fn claim_log(&mut self, log: &TestLog) -> io::Result<Claim> {
        let mut world = self.world();
        world.call(Op::ClaimLog)?;
        Ok(match (world.leases, world.inodes[log.0].writers) {
            (false, _) => Claim::Unknown,
            (true, 0) => Claim::Alone,
            (true, _) => Claim::Writers,
        })
    }

    fn unclaim_log(&mut self, _log: &TestLog) -> io::Result<()> {
        self.world().call(Op::ClaimLog)
    }

    fn delete_log(&mut self, backend: &str, name: &str) -> io::Result<()> {
        let mut world = self.world();
        world.call(Op::DeleteLog)?;
        let folder = world.logs.get_mut(backend).ok_or_else(gone)?;
        if !folder.seen.contains_key(name) {
            return Err(gone());
        }
        folder.change(Naming::Unlink(name.to_owned()));
        Ok(())
    }

    fn sync_log_folder(&mut self, backend: &str) -> io::Result<()> {
        let mut world = self.world();
        world.call(Op::SyncLogFolder)?;
        if let Some(folder) = world.logs.get_mut(backend) {
            folder.sync();
        }
        Ok(())
    }

    fn state_folders(&mut self) -> io::Result<Vec<String>> {
        self.world().call(Op::ListState)?;
        Ok(self.world().state.keys().cloned().collect())
    }

    fn state_files(&mut self, backend: &str) -> io::Result<Vec<String>> {
        let mut world = self.world();
        world.call(Op::ListState)?;
        let names = world
            .state
            .get(backend)
            .into_iter()
            .flat_map(|folder| folder.seen.keys());
        Ok(names.cloned().collect())
    }

    fn read_state(
        &mut self,
        backend: &str,
        name: &str,
        bytes_max: usize,
    ) -> io::Result<Option<Vec<u8>>> {
        let mut world = self.world();
        world.call(Op::ReadState)?;
        Ok(world.state_inode(backend, name).map(|inode| {
            let content = &world.inodes[inode].seen;
            content[..content.len().min(bytes_max)].to_vec()
        }))
    }

    fn read_state_at(
        &mut self,
        backend: &str,
        name: &str,
        offset: u64,
        into: &mut [u8],
    ) -> io::Result<usize> {
        let mut world = self.world();
        world.call(Op::ReadState)?;
        let inode = world.state_inode(backend, name).ok_or_else(gone)?;
        Ok(read_at(&world.inodes[inode].seen, offset, into))
    }

    fn write_state(&mut self, backend: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.world();
        let inode = world.make_state(backend, name);
        let now = world.now_nanos;
        world.inodes[inode].write(Write::Cut(0), now);
        world.write_end(Op::WriteState, inode, bytes).map(|_| ())
    }

    fn append_state(&mut self, backend: &str, name: &str, bytes: &[u8]) -> io::Result<u64> {
        let mut world = self.world();
        let inode = world.make_state(backend, name);
        world.write_end(Op::AppendState, inode, bytes)
    }

    fn truncate_state(&mut self, backend: &str, name: &str, bytes: u64) -> io::Result<()> {
        let mut world = self.world();
        world.call(Op::TruncateState)?;
        let inode = world.state_inode(backend, name).ok_or_else(gone)?;
        let now = world.now_nanos;
        let bytes = usize::try_from(bytes).expect("test files are small");
        world.inodes[inode].write(Write::Cut(bytes), now);
        Ok(())
    }

    fn state_bytes(&mut self, backend: &str, name: &str) -> io::Result<Option<u64>> {
        let mut world = self.world();
        world.call(Op::ListState)?;
        Ok(world
            .state_inode(backend, name)
            .map(|inode| world.inodes[inode].seen.len() as u64))
    }

    fn sync_state(&mut self, backend: &str, name: &str) -> io::Result<()> {
        let mut world = self.world();
        let inode = world.state_inode(backend, name).ok_or_else(gone)?;
        let outcome = world.call(Op::SyncState);
        match outcome {
            Ok(()) => world.inodes[inode].sync(),
            Err(_) => world.inodes[inode].unsynced.clear(),
        }
        outcome
    }

    fn rename_state(&mut self, backend: &str, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        world.call(Op::RenameState)?;
        world.state_inode(backend, from).ok_or_else(gone)?;
        let folder = world.state.get_mut(backend).ok_or_else(gone)?;
        folder.change(Naming::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove_state(&mut self, backend: &str, name: &str) -> io::Result<()> {
        let mut world = self.world();
        world.call(Op::RemoveState)?;
        if let Some(folder) = world.state.get_mut(backend) {
            folder.change(Naming::Unlink(name.to_owned()));
        }
        Ok(())
    }

    fn sync_state_folder(&mut self, backend: &str) -> io::Result<()> {
        let mut world = self.world();
        world.call(Op::SyncStateFolder)?;
        if let Some(folder) = world.state.get_mut(backend) {
            folder.sync();
        }
        Ok(())
    }
}

fn read_at(content: &[u8], offset: u64, into: &mut [u8]) -> usize {
    let offset = usize::try_from(offset).map_or(content.len(), |offset| offset.min(content.len()));
    let bytes = into.len().min(content.len() - offset);
    into[..bytes].copy_from_slice(&content[offset..offset + bytes]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const B: &str = "h:1";

    fn replaced(disk: &mut TestDisk, bytes: &[u8], sync: bool) {
        disk.write_state(B, "new", bytes).unwrap();
        if sync {
            disk.sync_state(B, "new").unwrap();
        }
        disk.rename_state(B, "new", "kept").unwrap();
    }

    #[test]
    fn a_name_without_a_synced_content_loses_it() {
        let mut disk = TestDisk::default();
        replaced(&mut disk, b"old", true);
        disk.sync_state_folder(B).unwrap();
        replaced(&mut disk, b"new", false);
        disk.sync_state_folder(B).unwrap();
        disk.crash(Crash::LosesAll);
        assert_eq!(disk.state(B, "kept").as_deref(), Some(&b""[..]));
    }

    #[test]
    fn a_rename_without_a_synced_folder_leaves_the_old() {
        let mut disk = TestDisk::default();
        replaced(&mut disk, b"old", true);
        disk.sync_state_folder(B).unwrap();
        replaced(&mut disk, b"new", true);
        assert_eq!(disk.state(B, "kept").as_deref(), Some(&b"new"[..]));
        disk.crash(Crash::LosesAll);
        assert_eq!(disk.state(B, "kept").as_deref(), Some(&b"old"[..]));
    }

    #[test]
    fn a_failed_sync_cannot_be_made_good_by_another() {
        let mut disk = TestDisk::default();
        disk.append_state(B, "log", b"lost").unwrap();
        disk.sync_state_folder(B).unwrap();
        disk.fail(Op::SyncState, io::ErrorKind::Other, 0, 1);
        assert!(disk.sync_state(B, "log").is_err());
        disk.sync_state(B, "log").unwrap();
        assert_eq!(disk.state(B, "log").as_deref(), Some(&b"lost"[..]));
        disk.crash(Crash::LosesAll);
        assert_eq!(disk.state(B, "log").as_deref(), Some(&b""[..]));
    }

    #[test]
    fn a_deleted_log_comes_back_unless_its_folder_was_synced() {
        let mut disk = TestDisk::default();
        disk.append_log(B, "a", b"line\n");
        disk.delete_log(B, "a").unwrap();
        assert_eq!(disk.log(B, "a"), None);
        disk.crash(Crash::LosesAll);
        assert_eq!(disk.log(B, "a").as_deref(), Some(&b"line\n"[..]));
        disk.delete_log(B, "a").unwrap();
        disk.sync_log_folder(B).unwrap();
        disk.crash(Crash::LosesAll);
        assert_eq!(disk.log(B, "a"), None);
    }
}
