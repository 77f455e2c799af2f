//! A disk in memory that forgets what was not synced, for tests and simulations.
//!
//! What it models, since the checkpointer's promises hang on it:
//! - A file's content and its name are durable separately: content by a sync of the file, names by
//!   a sync of their folder.
//! - At a crash, unsynced writes are lost, kept, or (at random) kept in part, by sectors and in any
//!   order; unsynced changes of a folder's names survive as a prefix, as in a journal.
//! - A sync that fails throws the unsynced writes away although reading still shows them; the next
//!   sync says "well done" without them.
//! - A full disk takes a part of what is written.
//! - A chain's steps may be taken one by one, at any later time ([`TestDisk::set_chains_wait`]); a
//!   crash takes those that were not.
//! - A deleted file lives on while it is open. A claim is refused while somebody has the file open
//!   for writing.
//!
//! Handles are clones of one disk. Time is what [`TestDisk::set_time`] says.

mod calls;
mod durable_writes;
#[cfg(test)]
mod tests;
mod world;

use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::replay::disk::{Area, LogEntry, LogMeta};
pub use crate::replay::testdisk::world::{Crash, Deletion, Observer, Op};
use crate::replay::testdisk::world::{Fault, Link, World, Write};

/// See the module.
#[derive(Clone, Debug)]
pub struct TestDisk {
    world: Arc<Mutex<World>>,
    /// Whether what this one lists is told to the observer.
    is_observed: bool,
}

/// An open file of a [`TestDisk`].
#[derive(Debug)]
pub struct TestFile {
    inode: usize,
    /// Files are numbered as they are opened.
    number: u64,
    area: Area,
    backend: String,
    disk: TestDisk,
    /// Held to be counted.
    _open: Arc<()>,
}

impl Default for TestDisk {
    fn default() -> Self {
        Self {
            world: Arc::new(Mutex::new(World {
                leases: true,
                ..World::default()
            })),
            is_observed: true,
        }
    }
}

impl TestDisk {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the clock of new files and changes, Unix seconds.
    pub fn set_time(&self, unix: u64) {
        self.world().now_nanos = unix * 1_000_000_000;
    }

    /// The same, in nanoseconds since 1970.
    pub fn set_nanos(&self, nanos: u64) {
        self.world().now_nanos = nanos;
    }

    /// Whether the machine has died and not come back.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        let world = self.world();
        world.dies_at.is_some_and(|step| world.steps >= step)
    }

    /// Whether claims can be had.
    pub fn set_leases(&self, leases: bool) {
        self.world().leases = leases;
    }

    /// Lets calls of `op` fail, `times` of them after the next `spared`; `u32::MAX` is for ever.
    pub fn fail(&self, op: Op, kind: io::ErrorKind, spared: u32, times: u32) {
        self.world().faults.push(Fault {
            op,
            backend: None,
            kind,
            spared,
            failing: times,
        });
    }

    /// From now on the logs of a backend can be neither opened nor read.
    pub fn fail_logs_of(&self, backend: &str, kind: io::ErrorKind) {
        for op in [Op::Open(Area::Logs), Op::Read(Area::Logs)] {
            self.world().faults.push(Fault {
                op,
                backend: Some(backend.to_owned()),
                kind,
                spared: 0,
                failing: u32::MAX,
            });
        }
    }

    /// From now on one read of a log returns so many bytes at most; 0: no bound.
    pub fn read_at_most(&self, bytes: usize) {
        self.world().read_bytes_max = Some(bytes).filter(|bytes| *bytes > 0);
    }

    /// From now on, of a thousand reads of logs, so many return fewer bytes than they could.
    pub fn shorten_reads(&self, seed: u64, of_thousand: u32) {
        self.world().short_reads = Some((fastrand::Rng::with_seed(seed), of_thousand));
    }

    /// The same disk for somebody whose listings are not told.
    #[must_use]
    pub fn unobserved(&self) -> Self {
        Self {
            is_observed: false,
            ..self.clone()
        }
    }

    /// From now on this is told of each listing of logs.
    pub fn observe(&self, observer: impl Observer + 'static) {
        self.world().observer = Some(Box::new(observer));
    }

    /// Logs that the core deleted since this was last asked.
    #[must_use]
    pub fn take_deletions(&self) -> Vec<Deletion> {
        std::mem::take(&mut self.world().deletions)
    }

    /// How often a backend's logs have been listed.
    #[must_use]
    pub fn listings(&self, backend: &str) -> u64 {
        self.world().listings.get(backend).copied().unwrap_or(0)
    }

    /// Reads so far.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.world().reads
    }

    /// Files that are open.
    #[must_use]
    pub fn open_files(&self) -> usize {
        Arc::strong_count(&self.world().open_files) - 1
    }

    /// Makes a folder of logs.
    pub fn make_folder(&self, backend: &str) {
        let mut world = self.world();
        let folder = world.logs.entry(backend.to_owned()).or_default();
        folder.is_durable = true;
    }

    /// Has a name of a folder of logs lead to another's, by a symbolic link or a mount.
    pub fn link_folder(&self, backend: &str, to: &str, is_mount: bool) {
        let to = to.to_owned();
        let link = Link { to, is_mount };
        self.world().links.insert(backend.to_owned(), link);
    }

    /// Has a name of a folder of logs lead to its own again.
    pub fn unlink_folder(&self, backend: &str) {
        self.world().links.remove(backend);
    }

    /// Mounts something empty over a backend's folder of logs, or takes it away; `None`: over the
    /// logs' path. What others do to logs they do beneath.
    pub fn set_covered(&self, backend: Option<&str>, is_covered: bool) {
        let mut world = self.world();
        match (backend, is_covered) {
            (None, _) => world.covered_root = is_covered,
            (Some(backend), true) => _ = world.covered.insert(backend.to_owned()),
            (Some(backend), false) => _ = world.covered.remove(backend),
        }
    }

    /// Whether something is mounted over a backend's logs.
    #[must_use]
    pub fn is_covered(&self, backend: &str) -> bool {
        self.world().is_covered(backend)
    }

    /// From now on room can be kept aside.
    pub fn keep_spare(&self) {
        self.world().spare = Some(0);
    }

    /// Bytes that are kept aside.
    #[must_use]
    pub fn spare_bytes(&self) -> u64 {
        self.world().spare.unwrap_or(0)
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

    /// The machine comes back with what `crash` leaves. Open logs of before must not be used any
    /// more.
    pub fn crash(&self, crash: Crash) {
        self.world().crash(crash);
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
            folder.add_durably(name, inode);
        }
    }

    /// Appends to a file of which only the inode is left, as a writer that had it open does,
    /// durably.
    pub fn append_unlinked(&self, meta: &LogMeta, bytes: &[u8]) {
        let mut world = self.world();
        let now = world.now_nanos;
        let file = &mut world.inodes[meta.inode as usize - 1000];
        file.write(Write::At(file.seen.len(), bytes.to_vec()), now);
        file.sync();
    }

    /// Somebody cuts a log, durably.
    pub fn truncate_log(&self, backend: &str, name: &str, bytes: usize) {
        let mut world = self.world();
        let now = world.now_nanos;
        let inode = world
            .logs
            .get(backend)
            .and_then(|folder| folder.seen.get(name).copied());
        if let Some(inode) = inode {
            world.inodes[inode].write(Write::Cut(bytes), now);
            world.inodes[inode].sync();
        }
    }

    /// The logs in a folder, whatever the disk refuses to others.
    #[must_use]
    pub fn logs_of(&self, backend: &str) -> Vec<LogEntry> {
        let world = self.world();
        let names = world.logs.get(backend).into_iter();
        let names = names.flat_map(|folder| &folder.seen);
        names
            .map(|(name, &inode)| LogEntry {
                name: name.clone(),
                meta: world.meta(inode),
            })
            .collect()
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

    /// When a log is leased next, `bytes` have just been appended to it, by somebody who has closed
    /// it again.
    pub fn append_before_lease(&self, bytes: &[u8]) {
        self.world().before_lease = Some(bytes.to_vec());
    }

    /// Somebody deletes a log, durably.
    pub fn remove_log(&self, backend: &str, name: &str) {
        let mut world = self.world();
        if let Some(folder) = world.logs.get_mut(backend) {
            folder.seen.remove(name);
            folder.durable.remove(name);
        }
    }

    /// All descriptors of a log that are open now fail for good, as those of NFS do once it was
    /// deleted on another host.
    pub fn make_stale(&self, backend: &str, name: &str) {
        let mut world = self.world();
        let (inode, opened) = (world.log_inode(backend, name), world.opened);
        world.stale.extend(inode.map(|inode| (inode, opened)));
    }

    /// A log can't be read from this byte on, by whomever.
    pub fn break_sectors(&self, backend: &str, name: &str, from: u64) {
        let mut world = self.world();
        let inode = world.log_inode(backend, name);
        world.broken.extend(inode.map(|inode| (inode, from)));
    }

    /// All logs can be read again.
    pub fn mend_sectors(&self) {
        self.world().broken.clear();
    }

    /// Somebody gives a log another name in its folder, durably; what had that name is gone.
    pub fn rename_log(&self, backend: &str, from: &str, to: &str) {
        let mut world = self.world();
        let Some(folder) = world.logs.get_mut(backend) else {
            return;
        };
        for names in [&mut folder.seen, &mut folder.durable] {
            if let Some(inode) = names.remove(from) {
                names.insert(to.to_owned(), inode);
            }
        }
    }

    /// Somebody gives a log a second name in its folder, durably.
    pub fn link_log(&self, backend: &str, name: &str, second: &str) {
        let mut world = self.world();
        if let Some(folder) = world.logs.get_mut(backend)
            && let Some(&inode) = folder.seen.get(name)
        {
            folder.seen.insert(second.to_owned(), inode);
            folder.durable.insert(second.to_owned(), inode);
        }
    }

    /// Somebody moves a log out of its folder, durably; gives a number by which it can be moved
    /// back.
    pub fn move_out(&self, backend: &str, name: &str) -> Option<u64> {
        let mut world = self.world();
        let folder = world.logs.get_mut(backend)?;
        let inode = folder.seen.remove(name)?;
        folder.durable.remove(name);
        let number = world.aside.last_key_value().map_or(0, |(last, _)| last + 1);
        world.aside.insert(number, inode);
        Some(number)
    }

    /// Somebody moves a log into a folder, durably, in place of what has this name there.
    ///
    /// # Panics
    /// When nothing was moved out under this number.
    pub fn move_in(&self, backend: &str, name: &str, number: u64) {
        let mut world = self.world();
        let inode = world.aside.remove(&number).expect("it was moved out");
        let folder = world.logs.entry(backend.to_owned()).or_default();
        folder.add_durably(name, inode);
    }

    /// Gives a file a name, durably, beside those that it has: a second link, or the name by which
    /// NFS keeps a file that was deleted while it is open.
    pub fn name_log(&self, backend: &str, name: &str, meta: &LogMeta) {
        let inode = meta.inode as usize - 1000;
        let mut world = self.world();
        let folder = world.logs.entry(backend.to_owned()).or_default();
        folder.add_durably(name, inode);
    }

    /// Somebody copies a log out of its folder, from its line `first_line` on; gives a number by
    /// which the copy can be moved in.
    pub fn copy_out(&self, backend: &str, name: &str, first_line: usize) -> Option<u64> {
        let mut world = self.world();
        let from = world.inode_of(Area::Logs, backend, name)?;
        let lines = world.inodes[from]
            .seen
            .split_inclusive(|byte| *byte == b'\n');
        let bytes = lines.skip(first_line).collect::<Vec<_>>().concat();
        let inode = world.new_inode();
        let now = world.now_nanos;
        world.inodes[inode].write(Write::At(0, bytes), now);
        world.inodes[inode].sync();
        let number = world.aside.last_key_value().map_or(0, |(last, _)| last + 1);
        world.aside.insert(number, inode);
        Some(number)
    }

    /// The device gets another number, as with a remount.
    pub fn remount(&self) {
        self.world().remounts += 1;
    }

    /// A state file's content.
    #[must_use]
    pub fn state(&self, backend: &str, name: &str) -> Option<Vec<u8>> {
        let world = self.world();
        Some(
            world.inodes[world.inode_of(Area::State, backend, name)?]
                .seen
                .clone(),
        )
    }

    /// What of a state file a crash leaves at least.
    #[must_use]
    pub fn durable_state(&self, backend: &str, name: &str) -> Option<Vec<u8>> {
        let world = self.world();
        let inode = *world.state.get(backend)?.durable.get(name)?;
        Some(world.inodes[inode].durable.clone())
    }

    /// Puts a state file there, durably.
    pub fn put_state(&self, backend: &str, name: &str, bytes: &[u8]) {
        let mut world = self.world();
        let inode = world.make_file(Area::State, backend, name);
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
