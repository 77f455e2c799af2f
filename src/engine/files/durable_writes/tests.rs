//! Durable writes on real threads and real files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use mio::{Events, Poll, Token};
use tempfile::TempDir;

use super::*;
use crate::engine::files::RealDisk;
use crate::engine::waker::PollWaker;
use crate::replay::checkpointer::replace_checkpoint;
use crate::replay::durable_write::{Step, Submitted};
use crate::status::counters::ServerCounters;

const B: &str = "127.0.0.1:9998";
const LONG: Duration = Duration::from_secs(20);

struct Home {
    folder: TempDir,
    disk: RealDisk,
    counters: Arc<ServerCounters>,
    poll: Poll,
}

fn home() -> Home {
    let folder = tempfile::tempdir().unwrap();
    let poll = Poll::new().unwrap();
    let waker = PollWaker::new(&poll, Token(0)).unwrap();
    let counters = Arc::<ServerCounters>::default();
    let disk = plain(folder.path())
        .with_counters(Arc::clone(&counters))
        .with_threads(Arc::new(waker));
    fs::create_dir_all(folder.path().join("logs").join(B)).unwrap();
    Home {
        folder,
        disk,
        counters,
        poll,
    }
}

fn plain(root: &Path) -> RealDisk {
    RealDisk::new(root.join("logs"), root.join("ngx/status"))
}

fn durable_write(backend: &str, bytes: &[u8]) -> DurableWrite {
    let mut durable_write = DurableWrite::new(backend.into());
    replace_checkpoint(&mut durable_write.steps, true);
    durable_write.bytes.extend_from_slice(bytes);
    durable_write
}

impl Home {
    fn state(&self) -> PathBuf {
        self.folder.path().join("ngx/status")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.state().join(B).join(name)
    }

    fn begin(&mut self, job_id: usize, durable_write: DurableWrite) {
        let begun = self.disk.begin(JobId(job_id), durable_write);
        assert!(matches!(begun, Submitted::UnderWay));
    }

    /// Sleeps until the waker wakes, as often as it takes.
    #[track_caller]
    fn wait(&mut self) -> Completed {
        let mut events = Events::with_capacity(4);
        loop {
            if let Some(completed) = self.disk.completed() {
                return completed;
            }
            match self.poll.poll(&mut events, Some(LONG)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => panic!("{error}"),
                Ok(()) => assert!(!events.is_empty(), "the waker wakes at each end"),
            }
        }
    }

    #[track_caller]
    fn run(&mut self, bytes: &[u8]) -> Completed {
        self.begin(3, durable_write(B, bytes));
        let completed = self.wait();
        assert_eq!(completed.job_id, JobId(3));
        assert_eq!(
            completed.durable_write.bytes, bytes,
            "its memory is returned"
        );
        completed
    }
}

#[test]
fn a_checkpoint_is_replaced_and_its_time_reported() {
    let mut home = home();
    for bytes in [&b"old"[..], b"the new one", b""] {
        home.run(bytes).result.unwrap();
        assert_eq!(fs::read(home.path("checkpoint")).unwrap(), bytes);
        assert!(!home.path("checkpoint.new").exists());
    }
    let mode = fs::metadata(home.path("checkpoint")).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o640);
    assert_eq!(home.counters.checkpoint_times.load().count(), 3);
}

#[test]
fn a_step_that_fails_is_reported_and_none_after_it_is_taken() {
    let mut home = home();
    home.run(b"old").result.unwrap();
    fs::create_dir(home.path("checkpoint.new")).unwrap();
    let error = home.run(b"new").result.unwrap_err();
    assert_eq!(error.step, Step::Write("checkpoint.new"));
    let path = home.path("checkpoint.new");
    assert!(error.cause.to_string().starts_with(path.to_str().unwrap()));
    assert_eq!(fs::read(home.path("checkpoint")).unwrap(), b"old");
    let counted = home.counters.checkpoint_times.load().count();
    assert_eq!(counted, 1, "one that failed has no time");
}

#[test]
fn as_many_as_there_are_backends_are_under_way_and_the_threads_stay_few() {
    let mut home = home();
    for job_id in 0..200 {
        let backend = format!("127.0.0.1:{}", 10_000 + job_id);
        home.begin(job_id, durable_write(&backend, backend.as_bytes()));
        let durable_writes = home.disk.durable_writes.as_ref().unwrap();
        assert_eq!(durable_writes.threads, CHECKPOINT_THREADS.min(job_id + 1));
    }
    for _ in 0..200 {
        let completed = home.wait();
        completed.result.unwrap();
        let backend = &completed.durable_write.backend;
        let checkpoint = home.state().join(&**backend).join("checkpoint");
        assert_eq!(fs::read(checkpoint).unwrap(), backend.as_bytes());
    }
    assert!(home.disk.completed().is_none());
}

#[test]
fn a_backend_alone_has_one_thread() {
    let mut home = home();
    for _ in 0..20 {
        home.run(b"new").result.unwrap();
    }
    assert_eq!(home.disk.durable_writes.as_ref().unwrap().threads, 1);
}

#[test]
fn a_disk_that_is_dropped_takes_no_step_any_more() {
    let mut home = home();
    for job_id in 0..200 {
        let backend = format!("127.0.0.1:{}", 10_000 + job_id);
        home.begin(job_id, durable_write(&backend, b"new"));
    }
    let state = home.state();
    drop(home.disk);
    for folder in fs::read_dir(state).into_iter().flatten() {
        let folder = folder.unwrap().path();
        assert_eq!(fs::read(folder.join("checkpoint")).unwrap(), b"new");
        assert!(!folder.join("checkpoint.new").exists());
    }
}

#[test]
fn a_panic_of_a_thread_is_its_owners() {
    let home = home();
    let mut durable_writes = home.disk.durable_writes.unwrap();
    durable_writes.under_way = 1;
    durable_writes.ends.send(Err(Box::new("why"))).unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| durable_writes.completed())).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"why"));
}
