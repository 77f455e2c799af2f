//! What the disk is made of: content and names, each as seen and as durable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use crate::replay::disk::{Area, LogEntry, LogMeta};
use crate::replay::durable_write::{Completed, DurableWrite, JobId};

const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug)]
pub(super) enum Write {
    At(usize, Vec<u8>),
    Cut(usize),
}

#[derive(Debug, Default)]
pub(super) struct Inode {
    /// What reading shows.
    pub(super) seen: Vec<u8>,
    /// What a crash leaves at least.
    pub(super) durable: Vec<u8>,
    /// What a sync would add to `durable`.
    pub(super) unsynced: Vec<Write>,
    pub(super) modified_nanos: u64,
    pub(super) born_nanos: u64,
    pub(super) writers: u32,
}

#[derive(Clone, Debug)]
pub(super) enum Naming {
    Link(String, usize),
    Unlink(String),
    Rename(String, String),
}

#[derive(Debug, Default)]
pub(super) struct Folder {
    pub(super) seen: BTreeMap<String, usize>,
    pub(super) durable: BTreeMap<String, usize>,
    pub(super) unsynced: Vec<Naming>,
    /// Whether the folder itself outlives a crash.
    pub(super) is_durable: bool,
}

#[derive(Debug)]
pub(super) struct Fault {
    pub(super) op: Op,
    /// Only calls about this backend fail.
    pub(super) backend: Option<String>,
    pub(super) kind: io::ErrorKind,
    /// Calls that still go well.
    pub(super) spared: u32,
    /// Calls that then fail.
    pub(super) failing: u32,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InjectedResult {
    Well,
    Fails(io::ErrorKind),
    /// The machine dies in the middle of it.
    Dies,
}

impl InjectedResult {
    pub(super) fn into_result(self) -> io::Result<()> {
        match self {
            Self::Well => Ok(()),
            Self::Fails(kind) => Err(io::Error::new(kind, format!("injected: {kind}"))),
            Self::Dies => Err(dead()),
        }
    }
}

/// What a name of a folder of logs leads to.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) to: String,
    /// By a mount; otherwise it is a symbolic link.
    pub(super) is_mount: bool,
}

#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) inodes: Vec<Inode>,
    /// Names of folders of logs that lead to other folders.
    pub(super) links: BTreeMap<String, Link>,
    /// Something empty is mounted over the logs' path.
    pub(super) covered_root: bool,
    /// Something empty is mounted over these folders of logs.
    pub(super) covered: BTreeSet<String>,
    /// How often each folder of logs has been listed.
    pub(super) listings: BTreeMap<String, u64>,
    pub(super) observer: Option<Box<dyn Observer>>,
    /// Logs that were deleted by `remove`, until they are taken.
    pub(super) deletions: Vec<Deletion>,
    /// Reads so far.
    pub(super) reads: u64,
    /// Bytes of a log that one read returns at most.
    pub(super) read_bytes_max: Option<usize>,
    /// Of a thousand reads of logs, so many are short.
    pub(super) short_reads: Option<(fastrand::Rng, u32)>,
    /// Files opened so far.
    pub(super) opened: u64,
    /// By inode, the last file that was opened of those that are stale.
    pub(super) stale: BTreeMap<usize, u64>,
    /// By inode, from which byte on it can't be read.
    pub(super) broken: BTreeMap<usize, u64>,
    /// Cloned for each open file.
    pub(super) open_files: Arc<()>,
    pub(super) logs: BTreeMap<String, Folder>,
    pub(super) state: BTreeMap<String, Folder>,
    /// Files outside of the logs' path, by a number.
    pub(super) aside: BTreeMap<u64, usize>,
    /// How often the device got another number.
    pub(super) remounts: u64,
    pub(super) now_nanos: u64,
    pub(super) leases: bool,
    pub(super) faults: Vec<Fault>,
    /// What somebody appends to the log that is leased next.
    pub(super) before_lease: Option<Vec<u8>>,
    /// Changing calls so far.
    pub(super) steps: u64,
    /// At this step, and ever after, calls fail: the machine is dead until `crash`.
    pub(super) dies_at: Option<u64>,
    pub(super) durable_writes: DurableWrites,
    /// Bytes of room that are kept aside; none where this disk keeps none.
    pub(super) spare: Option<u64>,
}

impl Inode {
    pub(super) fn write(&mut self, write: Write, now_nanos: u64) {
        write.apply(&mut self.seen);
        self.unsynced.push(write);
        self.modified_nanos = now_nanos;
    }

    pub(super) fn sync(&mut self) {
        for write in self.unsynced.drain(..) {
            write.apply(&mut self.durable);
        }
    }

    fn crash(&mut self, crash: Crash, random: &mut fastrand::Rng) {
        match crash {
            Crash::LosesNothing => self.durable.clone_from(&self.seen),
            Crash::LosesAll => {}
            Crash::LosesSome(_) => {
                for write in &self.unsynced {
                    write.apply_in_part(&mut self.durable, random);
                }
            }
        }
        self.unsynced.clear();
        self.writers = 0;
        self.seen.clone_from(&self.durable);
    }
}

impl Write {
    pub(super) fn apply(&self, content: &mut Vec<u8>) {
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
    pub(super) fn apply_in_part(&self, content: &mut Vec<u8>, random: &mut fastrand::Rng) {
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
    pub(super) fn apply(&self, names: &mut BTreeMap<String, usize>) {
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
    pub(super) fn change(&mut self, naming: Naming) {
        naming.apply(&mut self.seen);
        self.unsynced.push(naming);
    }

    /// Somebody else gives a file this name, durably. What is durable already stays so.
    pub(super) fn add_durably(&mut self, name: &str, inode: usize) {
        // A name that is durable again is not taken away by a sync of what was before.
        self.unsynced
            .retain(|naming| !matches!(naming, Naming::Unlink(gone) if gone == name));
        self.seen.insert(name.to_owned(), inode);
        self.durable.insert(name.to_owned(), inode);
        self.is_durable = true;
    }

    pub(super) fn sync(&mut self) {
        for naming in self.unsynced.drain(..) {
            naming.apply(&mut self.durable);
        }
        self.is_durable = true;
    }

    fn crash(&mut self, crash: Crash, random: &mut fastrand::Rng) {
        let kept = match crash {
            Crash::LosesNothing => self.unsynced.len(),
            Crash::LosesAll => 0,
            Crash::LosesSome(_) => random.usize(..=self.unsynced.len()),
        };
        for naming in &self.unsynced[..kept] {
            naming.apply(&mut self.durable);
        }
        self.is_durable |= kept > 0;
        self.unsynced.clear();
        self.seen.clone_from(&self.durable);
    }
}

pub(super) fn dead() -> io::Error {
    io::Error::other("the machine is dead")
}

pub(super) fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "no such file")
}

impl World {
    pub(super) fn log_inode(&self, backend: &str, name: &str) -> Option<usize> {
        self.logs.get(backend)?.seen.get(name).copied()
    }

    /// Fails for an open file that is stale.
    pub(super) fn check_stale(&self, inode: usize, number: u64) -> io::Result<()> {
        match self.stale.get(&inode) {
            Some(last) if number <= *last => Err(io::Error::from_raw_os_error(libc::ESTALE)),
            _ => Ok(()),
        }
    }

    /// Fails where the disk can't be read.
    pub(super) fn check_sectors(&self, inode: usize, offset: u64) -> io::Result<()> {
        match self.broken.get(&inode) {
            Some(from) if offset >= *from => Err(io::Error::from_raw_os_error(libc::EIO)),
            _ => Ok(()),
        }
    }

    pub(super) fn area(&self, area: Area) -> &BTreeMap<String, Folder> {
        match area {
            Area::Logs => &self.logs,
            Area::State => &self.state,
        }
    }

    pub(super) fn area_mut(&mut self, area: Area) -> &mut BTreeMap<String, Folder> {
        match area {
            Area::Logs => &mut self.logs,
            Area::State => &mut self.state,
        }
    }

    /// The folder of logs that a name leads to.
    pub(super) fn led_to<'a>(&'a self, backend: &'a str) -> &'a str {
        self.links.get(backend).map_or(backend, |link| &link.to)
    }

    /// Whether something is mounted over a backend's logs.
    pub(super) fn is_covered(&self, backend: &str) -> bool {
        self.covered_root || self.covered.contains(backend)
    }

    /// The folder that a path leads to.
    pub(super) fn folder(&self, area: Area, backend: &str) -> Option<&Folder> {
        match area {
            Area::Logs if self.is_covered(backend) => None,
            Area::Logs => self.logs.get(self.led_to(backend)),
            Area::State => self.state.get(backend),
        }
    }

    pub(super) fn change(&mut self, area: Area, backend: &str, naming: Naming) -> io::Result<()> {
        let folder = self.area_mut(area).get_mut(backend).ok_or_else(gone)?;
        folder.change(naming);
        Ok(())
    }

    /// How many of the bytes that are asked for a read may return.
    pub(super) fn read_bytes(&mut self, asked: usize) -> usize {
        if let Some((random, of_thousand)) = &mut self.short_reads
            && asked > 1
            && random.u32(..1000) < *of_thousand
        {
            return random.usize(1..asked);
        }
        self.read_bytes_max.map_or(asked, |most| most.min(asked))
    }

    /// What a crash leaves of a folder's files at least.
    pub(super) fn durable_files(&self, area: Area, backend: &str) -> BTreeMap<String, Vec<u8>> {
        let folder = self.area(area).get(backend).into_iter();
        let names = folder.flat_map(|folder| &folder.durable);
        names
            .map(|(name, inode)| (name.clone(), self.inodes[*inode].durable.clone()))
            .collect()
    }

    /// Counts a call, and says what becomes of it.
    ///
    /// # Errors
    /// The machine is dead: nothing may change any more.
    pub(super) fn enter(&mut self, op: Op, backend: &str) -> io::Result<InjectedResult> {
        self.steps += u64::from(op.changes_something());
        match self.dies_at {
            Some(step) if self.steps == step && op.changes_something() => {
                return Ok(InjectedResult::Dies);
            }
            Some(step) if self.steps >= step => return Err(dead()),
            _ => {}
        }
        let hit = |fault: &&mut Fault| {
            let is_about = fault.backend.as_deref().is_none_or(|name| name == backend);
            fault.op == op && is_about && fault.failing > 0
        };
        for fault in self.faults.iter_mut().filter(hit) {
            if fault.spared > 0 {
                fault.spared -= 1;
                continue;
            }
            fault.failing -= u32::from(fault.failing < u32::MAX);
            return Ok(InjectedResult::Fails(fault.kind));
        }
        Ok(InjectedResult::Well)
    }

    /// A call that does something whole or not at all.
    pub(super) fn call(&mut self, op: Op, backend: &str) -> io::Result<()> {
        self.enter(op, backend)?.into_result()
    }

    pub(super) fn new_inode(&mut self) -> usize {
        let now = self.now_nanos;
        self.inodes.push(Inode {
            born_nanos: now + 1,
            modified_nanos: now,
            ..Inode::default()
        });
        self.inodes.len() - 1
    }

    pub(super) fn inode_of(&self, area: Area, backend: &str, name: &str) -> Option<usize> {
        self.area(area).get(backend)?.seen.get(name).copied()
    }

    pub(super) fn make_file(&mut self, area: Area, backend: &str, name: &str) -> usize {
        if let Some(inode) = self.inode_of(area, backend, name) {
            return inode;
        }
        let inode = self.new_inode();
        let folders = self.area_mut(area);
        let folder = folders.entry(backend.to_owned()).or_default();
        folder.change(Naming::Link(name.to_owned(), inode));
        inode
    }

    pub(super) fn meta(&self, inode: usize) -> LogMeta {
        let file = &self.inodes[inode];
        let names = self.logs.values().flat_map(|folder| folder.seen.values());
        let links = names.chain(self.aside.values());
        LogMeta {
            device: 1 + self.remounts,
            links: links.filter(|named| **named == inode).count() as u64,
            inode: inode as u64 + 1000,
            born_nanos: file.born_nanos,
            bytes: file.seen.len() as u64,
            modified_nanos: file.modified_nanos,
        }
    }

    /// Writes bytes at the end of a file, which `Op::Write` empties before; a call that fails takes
    /// half of them.
    pub(super) fn write(
        &mut self,
        op: Op,
        area: Area,
        backend: &str,
        name: &str,
        bytes: &[u8],
    ) -> io::Result<()> {
        let injected = self.enter(op, backend)?;
        if area == Area::Logs && !self.logs.contains_key(backend) {
            return Err(gone());
        }
        let taken = if injected == InjectedResult::Well {
            bytes.len()
        } else {
            bytes.len() / 2
        };
        let inode = self.make_file(area, backend, name);
        let now = self.now_nanos;
        let file = &mut self.inodes[inode];
        if op == Op::Write(area) {
            file.write(Write::Cut(0), now);
        }
        file.write(Write::At(file.seen.len(), bytes[..taken].to_vec()), now);
        injected.into_result()
    }

    /// See `TestDisk::crash`.
    pub(super) fn crash(&mut self, crash: Crash) {
        self.dies_at = None;
        self.durable_writes.drop_all();
        let mut random = fastrand::Rng::with_seed(if let Crash::LosesSome(seed) = crash {
            seed
        } else {
            0
        });
        for file in &mut self.inodes {
            file.crash(crash, &mut random);
        }
        for folder in self.logs.values_mut().chain(self.state.values_mut()) {
            folder.crash(crash, &mut random);
        }
        self.state.retain(|_, folder| folder.is_durable);
    }
}

/// What a fault can hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// Listing folders and files, and what a folder or an open file is.
    Look(Area),
    /// `open`.
    Open(Area),
    /// `read_at`.
    Read(Area),
    /// `lease` and `end_lease`.
    Lease,
    /// `write`.
    Write(Area),
    /// `append`.
    Append(Area),
    /// `truncate`.
    Truncate(Area),
    /// `sync`.
    Sync(Area),
    /// `rename`.
    Rename(Area),
    /// `remove` and `remove_folder`.
    Remove(Area),
    /// `sync_folder`.
    SyncFolder(Area),
}

impl Op {
    fn changes_something(self) -> bool {
        !matches!(
            self,
            Self::Look(_) | Self::Open(_) | Self::Read(_) | Self::Lease
        )
    }
}

/// A log that the core deleted, and what a crash at that instant would leave of the state.
#[derive(Debug)]
pub struct Deletion {
    pub backend: String,
    pub name: String,
    pub meta: LogMeta,
    /// Its content.
    pub bytes: Vec<u8>,
    /// The backend's files of state, as far as they were durable.
    pub state: BTreeMap<String, Vec<u8>>,
}

/// Who is told of listings.
pub trait Observer: Debug + Send {
    /// The logs of a backend were listed.
    fn handle_listed(&mut self, backend: &str, entries: &[LogEntry]);
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

/// All chains of a disk.
#[derive(Debug, Default)]
pub(super) struct DurableWrites {
    /// Whether they wait for the test; otherwise all steps are taken at once.
    pub(super) wait: bool,
    pub(super) under_way: Vec<UnderWay>,
    /// Begun since the test last asked.
    pub(super) begun: Vec<JobId>,
    pub(super) ended: VecDeque<Completed>,
}

#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) job_id: JobId,
    pub(super) durable_write: DurableWrite,
    /// Steps that went well.
    pub(super) taken: usize,
}

impl DurableWrites {
    /// Whoever began them is gone, and with it the steps that were not taken.
    pub(super) fn drop_all(&mut self) {
        self.under_way.clear();
        self.begun.clear();
        self.ended.clear();
    }
}
