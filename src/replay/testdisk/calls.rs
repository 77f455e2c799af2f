//! The calls that the core makes.

use std::io;

use crate::replay::disk::{Disk, LogEntry, LogLease, LogMeta};
use crate::replay::durable_write::{Completed, DurableWrite, JobId, Submitted};
use crate::replay::testdisk::world::{Folder, InjectedResult, Naming, Write, gone};
use crate::replay::testdisk::{Op, TestDisk, TestLog};

impl Disk for TestDisk {
    type Log = TestLog;

    fn backend_folders(&mut self) -> io::Result<Vec<String>> {
        self.world().call(Op::ReadLog)?;
        Ok(self.world().logs.keys().cloned().collect())
    }

    fn log_entries(&mut self, backend: &str) -> io::Result<Vec<LogEntry>> {
        self.world().call(Op::ReadLog)?;
        Ok(self.logs_of(backend))
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

    fn lease_log(&mut self, log: &TestLog) -> io::Result<LogLease> {
        let mut world = self.world();
        world.call(Op::LeaseLog)?;
        if let Some(bytes) = world.before_lease.take() {
            let now = world.now_nanos;
            let file = &mut world.inodes[log.0];
            file.write(Write::At(file.seen.len(), bytes), now);
        }
        Ok(match (world.leases, world.inodes[log.0].writers) {
            (false, _) => LogLease::Unknown,
            (true, 0) => LogLease::Alone,
            (true, _) => LogLease::Writers,
        })
    }

    fn end_lease(&mut self, _log: &TestLog) -> io::Result<()> {
        self.world().call(Op::LeaseLog)
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

    fn take_spare(&mut self, bytes: u64) -> io::Result<bool> {
        let Some(spare) = &mut self.world().spare else {
            return Ok(false);
        };
        *spare = bytes;
        Ok(true)
    }

    fn give_up_spare(&mut self) -> io::Result<bool> {
        let mut world = self.world();
        let had_room = world
            .spare
            .as_mut()
            .is_some_and(|spare| std::mem::take(spare) > 0);
        if had_room {
            world
                .faults
                .retain(|fault| fault.kind != io::ErrorKind::StorageFull);
        }
        Ok(had_room)
    }

    fn stage_log(&mut self, backend: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.world().stage_log(backend, name, bytes)
    }

    fn sync_staged_log(&mut self, backend: &str, name: &str) -> io::Result<()> {
        let mut world = self.world();
        let injected = world.enter(Op::SyncStaged)?;
        let inode = world.log_inode(backend, name).ok_or_else(gone)?;
        match injected {
            InjectedResult::Well => world.inodes[inode].sync(),
            InjectedResult::Fails(_) => world.inodes[inode].unsynced.clear(),
            InjectedResult::Dies => {}
        }
        injected.into_result()
    }

    fn publish_log(&mut self, backend: &str, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        world.call(Op::PublishLog)?;
        world.log_inode(backend, from).ok_or_else(gone)?;
        let folder = world.logs.get_mut(backend).ok_or_else(gone)?;
        folder.change(Naming::Rename(from.to_owned(), to.to_owned()));
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
        self.world()
            .write_state(Op::WriteState, backend, name, bytes, true)
            .map(|_| ())
    }

    fn append_state(&mut self, backend: &str, name: &str, bytes: &[u8]) -> io::Result<u64> {
        self.world()
            .write_state(Op::AppendState, backend, name, bytes, false)
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
        let injected = world.enter(Op::SyncState)?;
        let inode = world.state_inode(backend, name).ok_or_else(gone)?;
        match injected {
            InjectedResult::Well => world.inodes[inode].sync(),
            InjectedResult::Fails(_) => world.inodes[inode].unsynced.clear(),
            InjectedResult::Dies => {}
        }
        injected.into_result()
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

    fn remove_state_folder(&mut self, backend: &str) -> io::Result<()> {
        let mut world = self.world();
        world.call(Op::RemoveState)?;
        // What a crash would bring back of it is left to do so.
        let is_empty = |folder: &Folder| folder.seen.is_empty() && folder.durable.is_empty();
        if world.state.get(backend).is_some_and(is_empty) {
            world.state.remove(backend);
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

    fn begin(&mut self, job_id: JobId, durable_write: DurableWrite) -> Submitted {
        self.begin_write(job_id, durable_write)
    }

    fn completed(&mut self) -> Option<Completed> {
        self.completed_write()
    }
}

fn read_at(content: &[u8], offset: u64, into: &mut [u8]) -> usize {
    let offset = usize::try_from(offset).map_or(content.len(), |offset| offset.min(content.len()));
    let bytes = into.len().min(content.len() - offset);
    into[..bytes].copy_from_slice(&content[offset..offset + bytes]);
    bytes
}
