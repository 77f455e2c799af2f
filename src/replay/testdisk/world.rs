//! What the disk is made of: content and names, each as seen and as durable.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use crate::replay::disk::LogMeta;
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

#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) inodes: Vec<Inode>,
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
    /// Counts a call, and says what becomes of it.
    ///
    /// # Errors
    /// The machine is dead: nothing may change any more.
    pub(super) fn enter(&mut self, op: Op) -> io::Result<InjectedResult> {
        self.steps += u64::from(op.changes_something());
        match self.dies_at {
            Some(step) if self.steps == step && op.changes_something() => {
                return Ok(InjectedResult::Dies);
            }
            Some(step) if self.steps >= step => return Err(dead()),
            _ => {}
        }
        let hit = |fault: &&mut Fault| fault.op == op && fault.failing > 0;
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
    pub(super) fn call(&mut self, op: Op) -> io::Result<()> {
        self.enter(op)?.into_result()
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

    pub(super) fn state_inode(&self, backend: &str, name: &str) -> Option<usize> {
        self.state.get(backend)?.seen.get(name).copied()
    }

    pub(super) fn log_inode(&self, backend: &str, name: &str) -> Option<usize> {
        self.logs.get(backend)?.seen.get(name).copied()
    }

    /// Writes bytes at the end of a log that is being made; a call that fails takes half of them.
    pub(super) fn stage_log(&mut self, backend: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        let injected = self.enter(Op::StageLog)?;
        let taken = if injected == InjectedResult::Well {
            bytes.len()
        } else {
            bytes.len() / 2
        };
        let known = self.log_inode(backend, name);
        let inode = known.unwrap_or_else(|| self.new_inode());
        let folder = self.logs.get_mut(backend).ok_or_else(gone)?;
        if known.is_none() {
            folder.change(Naming::Link(name.to_owned(), inode));
        }
        let now = self.now_nanos;
        let file = &mut self.inodes[inode];
        file.write(Write::At(file.seen.len(), bytes[..taken].to_vec()), now);
        injected.into_result()
    }

    pub(super) fn make_state(&mut self, backend: &str, name: &str) -> usize {
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

    /// Writes bytes at the end of a state file, which `is_emptied` before; a call that fails takes
    /// half of them.
    pub(super) fn write_state(
        &mut self,
        op: Op,
        backend: &str,
        name: &str,
        bytes: &[u8],
        is_emptied: bool,
    ) -> io::Result<u64> {
        let injected = self.enter(op)?;
        let taken = if injected == InjectedResult::Well {
            bytes.len()
        } else {
            bytes.len() / 2
        };
        let inode = self.make_state(backend, name);
        let now = self.now_nanos;
        let file = &mut self.inodes[inode];
        if is_emptied {
            file.write(Write::Cut(0), now);
        }
        let before = file.seen.len();
        file.write(Write::At(before, bytes[..taken].to_vec()), now);
        injected.into_result().map(|()| before as u64)
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
    /// `lease_log` and `end_lease`.
    LeaseLog,
    /// `delete_log`.
    DeleteLog,
    /// `sync_log_folder`.
    SyncLogFolder,
    /// `stage_log`.
    StageLog,
    /// `sync_staged_log`.
    SyncStaged,
    /// `publish_log`.
    PublishLog,
}

impl Op {
    pub(super) fn changes_something(self) -> bool {
        !matches!(
            self,
            Self::ListState | Self::ReadState | Self::ReadLog | Self::LeaseLog
        )
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
