//! The calls that the core makes.

use std::io;

use crate::replay::disk::{Area, Disk, FolderMeta, LogEntry, LogLease, LogMeta, OpenFile};
use crate::replay::durable_write::{Completed, DurableWrite, JobId, Submitted};
use crate::replay::testdisk::world::{Folder, InjectedResult, Naming, Write, gone};
use crate::replay::testdisk::{Deletion, Op, TestDisk, TestFile};

impl Disk for TestDisk {
    type File = TestFile;

    fn folders(&mut self, area: Area) -> io::Result<Vec<String>> {
        let mut world = self.world();
        world.call(Op::Look(area), "")?;
        if area == Area::Logs && world.covered_root {
            return Ok(Vec::new());
        }
        Ok(world.area(area).keys().cloned().collect())
    }

    fn folder_meta(&mut self, backend: &str) -> io::Result<Option<FolderMeta>> {
        let mut world = self.world();
        world.call(Op::Look(Area::Logs), backend)?;
        if world.covered_root {
            return Err(gone());
        }
        let led_to = world.led_to(backend);
        if !world.logs.contains_key(led_to) {
            return Err(gone());
        }
        // By its name, as a folder never gets another.
        let bytes = led_to.bytes().map(u64::from);
        let inode = bytes.fold(1, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte)) << 1;
        Ok(Some(FolderMeta {
            device: 1 + world.remounts,
            inode: inode | u64::from(world.is_covered(backend)),
            is_link: world.links.get(backend).is_some_and(|link| !link.is_mount),
        }))
    }

    fn is_mount(&mut self, backend: &str) -> bool {
        let world = self.world();
        world.links.get(backend).is_some_and(|link| link.is_mount)
    }

    fn entries(&mut self, area: Area, backend: &str) -> io::Result<Vec<LogEntry>> {
        let mut world = self.world();
        world.call(Op::Look(area), backend)?;
        let folder = world.folder(area, backend).into_iter();
        let names = folder.flat_map(|folder| &folder.seen);
        // In no order.
        let entries = names.rev().map(|(name, &inode)| LogEntry {
            name: name.clone(),
            meta: world.meta(inode),
        });
        let entries: Vec<LogEntry> = entries.collect();
        if area == Area::Logs && self.is_observed {
            *world.listings.entry(backend.to_owned()).or_insert(0) += 1;
            if let Some(observer) = &mut world.observer {
                observer.handle_listed(backend, &entries);
            }
        }
        Ok(entries)
    }

    fn sync_folder(&mut self, area: Area, backend: &str) -> io::Result<()> {
        let mut world = self.world();
        world.call(Op::SyncFolder(area), backend)?;
        if let Some(folder) = world.area_mut(area).get_mut(backend) {
            folder.sync();
        }
        Ok(())
    }

    fn remove_folder(&mut self, area: Area, backend: &str) -> io::Result<()> {
        let mut world = self.world();
        world.call(Op::Remove(area), backend)?;
        // What a crash would bring back of it is left to do so.
        let is_empty = |folder: &Folder| folder.seen.is_empty() && folder.durable.is_empty();
        if world.area(area).get(backend).is_some_and(is_empty) {
            world.area_mut(area).remove(backend);
        }
        Ok(())
    }

    fn open(&mut self, area: Area, backend: &str, name: &str) -> io::Result<TestFile> {
        let mut world = self.world();
        world.call(Op::Open(area), backend)?;
        let folder = world.folder(area, backend).ok_or_else(gone)?;
        let inode = *folder.seen.get(name).ok_or_else(gone)?;
        world.opened += 1;
        Ok(TestFile {
            inode,
            number: world.opened,
            area,
            backend: backend.to_owned(),
            disk: self.clone(),
            _open: world.open_files.clone(),
        })
    }

    fn write(&mut self, area: Area, backend: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        let op = Op::Write(area);
        self.world().write(op, area, backend, name, bytes)
    }

    fn append(&mut self, area: Area, backend: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        let op = Op::Append(area);
        self.world().write(op, area, backend, name, bytes)
    }

    fn truncate(&mut self, area: Area, backend: &str, name: &str, bytes: u64) -> io::Result<()> {
        let mut world = self.world();
        world.call(Op::Truncate(area), backend)?;
        let inode = world.inode_of(area, backend, name).ok_or_else(gone)?;
        let now = world.now_nanos;
        let bytes = usize::try_from(bytes).expect("test files are small");
        world.inodes[inode].write(Write::Cut(bytes), now);
        Ok(())
    }

    fn sync(&mut self, area: Area, backend: &str, name: &str) -> io::Result<()> {
        let mut world = self.world();
        let injected = world.enter(Op::Sync(area), backend)?;
        let inode = world.inode_of(area, backend, name).ok_or_else(gone)?;
        match injected {
            InjectedResult::Well => world.inodes[inode].sync(),
            InjectedResult::Fails(_) => world.inodes[inode].unsynced.clear(),
            InjectedResult::Dies => {}
        }
        injected.into_result()
    }

    fn rename(&mut self, area: Area, backend: &str, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        world.call(Op::Rename(area), backend)?;
        world.inode_of(area, backend, from).ok_or_else(gone)?;
        let naming = Naming::Rename(from.to_owned(), to.to_owned());
        world.change(area, backend, naming)
    }

    fn remove(&mut self, area: Area, backend: &str, name: &str) -> io::Result<()> {
        let mut world = self.world();
        world.call(Op::Remove(area), backend)?;
        let folder = world.folder(area, backend).ok_or_else(gone)?;
        let inode = *folder.seen.get(name).ok_or_else(gone)?;
        if area == Area::Logs {
            let deletion = Deletion {
                backend: backend.to_owned(),
                name: name.to_owned(),
                meta: world.meta(inode),
                state: world.durable_files(Area::State, backend),
                bytes: world.inodes[inode].seen.clone(),
            };
            world.deletions.push(deletion);
        }
        world.change(area, backend, Naming::Unlink(name.to_owned()))
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<bool> {
        let mut world = self.world();
        let Some(spare) = &mut world.spare else {
            return Ok(false);
        };
        let before = std::mem::replace(spare, bytes);
        let frees = bytes == 0 && before > 0;
        if frees {
            world
                .faults
                .retain(|fault| fault.kind != io::ErrorKind::StorageFull);
        }
        Ok(frees || bytes > 0)
    }

    fn begin(&mut self, job_id: JobId, durable_write: DurableWrite) -> Submitted {
        self.begin_write(job_id, durable_write)
    }

    fn completed(&mut self) -> Option<Completed> {
        self.completed_write()
    }
}

impl OpenFile for TestFile {
    fn meta(&self) -> io::Result<LogMeta> {
        let mut world = self.disk.world();
        world.call(Op::Look(self.area), &self.backend)?;
        world.check_stale(self.inode, self.number)?;
        Ok(world.meta(self.inode))
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut world = self.disk.world();
        world.reads += 1;
        world.call(Op::Read(self.area), &self.backend)?;
        world.check_stale(self.inode, self.number)?;
        world.check_sectors(self.inode, offset)?;
        let most = match self.area {
            Area::Logs => world.read_bytes(into.len()),
            Area::State => into.len(),
        };
        let content = &world.inodes[self.inode].seen;
        let offset = usize::try_from(offset).map_or(content.len(), |at| at.min(content.len()));
        let bytes = most.min(content.len() - offset);
        into[..bytes].copy_from_slice(&content[offset..offset + bytes]);
        Ok(bytes)
    }

    fn lease(&self) -> io::Result<LogLease> {
        let mut world = self.disk.world();
        world.call(Op::Lease, &self.backend)?;
        if let Some(bytes) = world.before_lease.take() {
            let now = world.now_nanos;
            let file = &mut world.inodes[self.inode];
            file.write(Write::At(file.seen.len(), bytes), now);
        }
        Ok(match (world.leases, world.inodes[self.inode].writers) {
            (false, _) => LogLease::Unknown,
            (true, 0) => LogLease::Alone,
            (true, _) => LogLease::Writers,
        })
    }

    fn end_lease(&self) -> io::Result<()> {
        self.disk.world().call(Op::Lease, &self.backend)
    }
}
