//! A disk of log files only, in memory: what HA, an operator or a broken cable does to the logs.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::replay::disk::{Disk, FolderMeta, LogEntry, LogLease, LogMeta};

#[derive(Debug, Default)]
struct World {
    /// Folder to file's name to inode.
    folders: BTreeMap<String, BTreeMap<String, u64>>,
    /// Names that lead to another folder, and whether by a mount.
    links: BTreeMap<String, (String, bool)>,
    files: BTreeMap<u64, (Vec<u8>, LogMeta)>,
    next_inode: u64,
    /// Bytes that one read gives at most; 0: no bound.
    read_bytes_max: usize,
    failing: Option<(String, io::ErrorKind)>,
    /// Reads that go well before every one fails.
    good_reads: Option<usize>,
    unix: u64,
    /// Files that were taken out of their folders.
    aside: Vec<u64>,
    /// How often the device got another number.
    remounts: u64,
    open: Arc<()>,
    listings: usize,
    reads: usize,
    /// Backends of which an earlier process has left state, with their checkpoints.
    states: BTreeMap<String, Vec<u8>>,
}

/// Handles are clones of one disk.
#[derive(Clone, Debug, Default)]
pub(super) struct MemDisk(Arc<Mutex<World>>);

/// An open file, and a share by which open files are counted.
#[derive(Debug)]
pub(super) struct MemLog(
    u64,
    #[expect(dead_code, reason = "held to be counted")] Arc<()>,
);

impl MemDisk {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    pub(super) fn set_unix(&self, unix: u64) {
        self.world().unix = unix;
    }

    /// An earlier process has left state of this backend.
    pub(super) fn add_state(&self, backend: &str, checkpoint: Vec<u8>) {
        self.world().states.insert(backend.to_owned(), checkpoint);
    }

    pub(super) fn make_folder(&self, backend: &str) {
        self.world().folders.entry(backend.to_owned()).or_default();
    }

    /// Has a name lead to another's folder, or to its own again.
    pub(super) fn link_folder(&self, backend: &str, to: Option<&str>) {
        let mut world = self.world();
        match to {
            Some(to) => {
                let link = (to.to_owned(), false);
                world.links.insert(backend.to_owned(), link);
            }
            None => _ = world.links.remove(backend),
        }
    }

    /// Mounts another's folder on a name.
    pub(super) fn mount_folder(&self, backend: &str, from: &str) {
        let mount = (from.to_owned(), true);
        self.world().links.insert(backend.to_owned(), mount);
    }

    /// Appends, as HA does: the file is made where it is missing.
    pub(super) fn append(&self, backend: &str, name: &str, bytes: &[u8]) {
        let mut world = self.world();
        let (unix, next) = (world.unix, world.next_inode + 1);
        let folder = world.folders.entry(backend.to_owned()).or_default();
        let inode = *folder.entry(name.to_owned()).or_insert(next);
        if inode == next {
            world.next_inode = next;
            let meta = LogMeta {
                device: 1,
                inode,
                born_nanos: unix * 1_000_000_000,
                ..LogMeta::default()
            };
            world.files.insert(inode, (Vec::new(), meta));
        }
        let (content, meta) = world.files.get_mut(&inode).unwrap();
        content.extend_from_slice(bytes);
        meta.bytes = content.len() as u64;
        meta.modified_nanos = unix * 1_000_000_000;
    }

    /// Appends to a file that has no name any more.
    pub(super) fn append_unlinked(&self, inode: u64, bytes: &[u8]) {
        let mut world = self.world();
        let (content, meta) = world.files.get_mut(&inode).unwrap();
        content.extend_from_slice(bytes);
        meta.bytes = content.len() as u64;
    }

    pub(super) fn meta(&self, backend: &str, name: &str) -> LogMeta {
        let world = self.world();
        world.meta(world.folders[backend][name])
    }

    pub(super) fn truncate(&self, backend: &str, name: &str, bytes: usize) {
        let mut world = self.world();
        let inode = world.folders[backend][name];
        let (content, meta) = world.files.get_mut(&inode).unwrap();
        content.truncate(bytes);
        meta.bytes = content.len() as u64;
        meta.modified_nanos += 1;
    }

    pub(super) fn remove(&self, backend: &str, name: &str) {
        self.world().folders.get_mut(backend).unwrap().remove(name);
    }

    /// Takes a file out of its folder, and gives it for [`MemDisk::put`].
    pub(super) fn take(&self, backend: &str, name: &str) -> u64 {
        let mut world = self.world();
        let folder = world.folders.get_mut(backend).unwrap();
        let inode = folder.remove(name).unwrap();
        world.aside.push(inode);
        inode
    }

    /// Gives a file a name, beside those that it has in folders.
    pub(super) fn put(&self, backend: &str, name: &str, inode: u64) {
        let mut world = self.world();
        world.aside.retain(|aside| *aside != inode);
        let folder = world.folders.entry(backend.to_owned()).or_default();
        folder.insert(name.to_owned(), inode);
    }

    /// Copies a file under another name.
    pub(super) fn copy(&self, backend: &str, name: &str, to: &str) {
        let content = {
            let world = self.world();
            world.files[&world.folders[backend][name]].0.clone()
        };
        self.world().folders.get_mut(backend).unwrap().remove(to);
        self.append(backend, to, &content);
    }

    /// The device gets another number.
    pub(super) fn remount(&self) {
        self.world().remounts += 1;
    }

    pub(super) fn fail(&self, backend: &str, kind: Option<io::ErrorKind>) {
        self.world().failing = kind.map(|kind| (backend.to_owned(), kind));
    }

    /// After so many more reads each fails; none: no longer.
    pub(super) fn fail_after(&self, reads: Option<usize>) {
        self.world().good_reads = reads;
    }

    pub(super) fn read_at_most(&self, bytes: usize) {
        self.world().read_bytes_max = bytes;
    }

    pub(super) fn open_logs(&self) -> usize {
        Arc::strong_count(&self.world().open) - 1
    }

    pub(super) fn listings(&self) -> usize {
        self.world().listings
    }

    pub(super) fn reads(&self) -> usize {
        self.world().reads
    }
}

impl World {
    fn meta(&self, inode: u64) -> LogMeta {
        let names = self.folders.values().flat_map(BTreeMap::values);
        let links = names.chain(&self.aside).filter(|named| **named == inode);
        LogMeta {
            device: 1 + self.remounts,
            links: links.count() as u64,
            ..self.files[&inode].1
        }
    }

    /// The folder that a name leads to.
    fn led_to<'a>(&'a self, backend: &'a str) -> &'a str {
        self.links.get(backend).map_or(backend, |(to, _)| to)
    }

    fn check(&self, backend: &str) -> io::Result<()> {
        match &self.failing {
            Some((failing, kind)) if failing == backend => Err((*kind).into()),
            _ => Ok(()),
        }
    }
}

fn no_state<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Disk for MemDisk {
    type Log = MemLog;

    fn backend_folders(&mut self) -> io::Result<Vec<String>> {
        Ok(self.world().folders.keys().cloned().collect())
    }

    fn folder_meta(&mut self, backend: &str) -> io::Result<Option<FolderMeta>> {
        let world = self.world();
        let led_to = world.led_to(backend);
        let inode = world.folders.keys().position(|name| name == led_to);
        let inode = inode.ok_or(io::ErrorKind::NotFound)? as u64;
        Ok(Some(FolderMeta {
            device: 1,
            inode,
            is_link: world.links.get(backend).is_some_and(|link| !link.1),
        }))
    }

    fn is_mount(&mut self, backend: &str) -> bool {
        self.world().links.get(backend).is_some_and(|link| link.1)
    }

    fn log_entries(&mut self, backend: &str) -> io::Result<Vec<LogEntry>> {
        let mut world = self.world();
        world.listings += 1;
        let Some(folder) = world.folders.get(world.led_to(backend)) else {
            return Ok(Vec::new());
        };
        let entry = |(name, inode): (&String, &u64)| LogEntry {
            name: name.clone(),
            meta: world.meta(*inode),
        };
        Ok(folder.iter().rev().map(entry).collect())
    }

    fn open_log(&mut self, backend: &str, name: &str) -> io::Result<MemLog> {
        let world = self.world();
        world.check(backend)?;
        let inode = world
            .folders
            .get(world.led_to(backend))
            .and_then(|folder| folder.get(name));
        let inode = inode.ok_or(io::ErrorKind::NotFound)?;
        Ok(MemLog(*inode, Arc::clone(&world.open)))
    }

    fn log_meta(&mut self, log: &MemLog) -> io::Result<LogMeta> {
        Ok(self.world().meta(log.0))
    }

    fn read_log(&mut self, log: &MemLog, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut world = self.world();
        world.reads += 1;
        if let Some(left) = &mut world.good_reads {
            let Some(less) = left.checked_sub(1) else {
                return Err(io::Error::from_raw_os_error(5));
            };
            *left = less;
        }
        if let Some((_, kind)) = world.failing.as_ref().filter(|(backend, _)| {
            world
                .folders
                .get(backend)
                .is_some_and(|folder| folder.values().any(|inode| *inode == log.0))
        }) {
            return Err((*kind).into());
        }
        let content = &world.files[&log.0].0;
        let from = usize::try_from(offset).unwrap().min(content.len());
        let most = if world.read_bytes_max == 0 {
            into.len()
        } else {
            world.read_bytes_max
        };
        let bytes = into.len().min(most).min(content.len() - from);
        into[..bytes].copy_from_slice(&content[from..from + bytes]);
        Ok(bytes)
    }

    fn lease_log(&mut self, _: &MemLog) -> io::Result<LogLease> {
        Ok(LogLease::Unknown)
    }

    fn end_lease(&mut self, _: &MemLog) -> io::Result<()> {
        Ok(())
    }

    fn delete_log(&mut self, backend: &str, name: &str) -> io::Result<()> {
        self.remove(backend, name);
        Ok(())
    }

    fn sync_log_folder(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn stage_log(&mut self, _: &str, _: &str, _: &[u8]) -> io::Result<()> {
        no_state()
    }

    fn sync_staged_log(&mut self, _: &str, _: &str) -> io::Result<()> {
        no_state()
    }

    fn publish_log(&mut self, _: &str, _: &str, _: &str) -> io::Result<()> {
        no_state()
    }

    fn state_folders(&mut self) -> io::Result<Vec<String>> {
        Ok(self.world().states.keys().cloned().collect())
    }

    fn state_files(&mut self, backend: &str) -> io::Result<Vec<String>> {
        let is_known = self.world().states.contains_key(backend);
        Ok(Vec::from_iter(is_known.then(|| "checkpoint".to_owned())))
    }

    fn read_state(&mut self, backend: &str, _: &str, _: usize) -> io::Result<Option<Vec<u8>>> {
        Ok(self.world().states.get(backend).cloned())
    }

    fn read_state_at(&mut self, _: &str, _: &str, _: u64, _: &mut [u8]) -> io::Result<usize> {
        no_state()
    }

    fn write_state(&mut self, _: &str, _: &str, _: &[u8]) -> io::Result<()> {
        no_state()
    }

    fn append_state(&mut self, _: &str, _: &str, _: &[u8]) -> io::Result<u64> {
        no_state()
    }

    fn truncate_state(&mut self, _: &str, _: &str, _: u64) -> io::Result<()> {
        no_state()
    }

    fn state_bytes(&mut self, _: &str, _: &str) -> io::Result<Option<u64>> {
        no_state()
    }

    fn sync_state(&mut self, _: &str, _: &str) -> io::Result<()> {
        no_state()
    }

    fn rename_state(&mut self, _: &str, _: &str, _: &str) -> io::Result<()> {
        no_state()
    }

    fn remove_state(&mut self, _: &str, _: &str) -> io::Result<()> {
        no_state()
    }

    fn remove_state_folder(&mut self, _: &str) -> io::Result<()> {
        no_state()
    }

    fn sync_state_folder(&mut self, _: &str) -> io::Result<()> {
        no_state()
    }
}
