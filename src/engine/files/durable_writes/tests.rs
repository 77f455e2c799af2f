//! Durable writes on a real ring and real files, compared with plain calls.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use libc::{ECANCELED, EINTR, EIO, ENOSPC};
use mio::{Events, Poll, Token};
use tempfile::TempDir;

use super::*;
use crate::engine::files::RealDisk;
use crate::engine::os::ring::fault_injector::{FaultInjector, FileOperation, InjectedResult};
use crate::engine::waker::EventfdWaker;
use crate::limits::RING_CHAIN_ENTRIES;
use crate::replay::checkpointer::replace_checkpoint;
use crate::replay::disk::Disk;
use crate::replay::durable_write::Submitted;

const B: &str = "127.0.0.1:9998";
const LONG: Duration = Duration::from_secs(20);
const STEPS: [Step; 5] = [
    Step::SyncLogFolder,
    Step::Write("checkpoint.new"),
    Step::Sync("checkpoint.new"),
    Step::Rename {
        from: "checkpoint.new",
        to: "checkpoint",
    },
    Step::SyncStateFolder,
];

/// What becomes of the operations, one after the other; those behind the last go.
#[derive(Clone, Default)]
struct InjectedResults(Arc<Mutex<VecDeque<InjectedResult>>>);

impl FaultInjector for InjectedResults {
    fn file_injected(&mut self, _: FileOperation) -> InjectedResult {
        let mut injected_results = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        injected_results.pop_front().unwrap_or(InjectedResult::Goes)
    }
}

struct Home {
    folder: TempDir,
    disk: RealDisk,
    counters: Arc<ServerCounters>,
    injected_results: InjectedResults,
    poll: Poll,
}

/// None where the system gives no rings.
fn home(entries: u32) -> Option<Home> {
    let folder = tempfile::tempdir().unwrap();
    let poll = Poll::new().unwrap();
    let (_, waker) = EventfdWaker::in_poll(&poll, Token(0)).unwrap();
    let ring = FileRing::new(waker, entries)
        .inspect_err(|why| eprintln!("SKIPPED: {why}"))
        .ok()?;
    let (injected_results, counters) =
        (InjectedResults::default(), Arc::<ServerCounters>::default());
    let disk = plain(folder.path())
        .with_counters(Arc::clone(&counters))
        .with_ring(ring.interfered(Box::new(injected_results.clone())));
    fs::create_dir_all(folder.path().join("logs").join(B)).unwrap();
    Some(Home {
        folder,
        disk,
        counters,
        injected_results,
        poll,
    })
}

fn plain(root: &Path) -> RealDisk {
    RealDisk::new(root.join("logs"), root.join("ngx/status"))
}

fn durable_write(backend: &str, bytes: &[u8]) -> DurableWrite {
    let mut durable_write = DurableWrite::new(backend.into());
    replace_checkpoint(&mut durable_write.steps, true);
    assert_eq!(durable_write.steps, STEPS);
    durable_write.bytes.extend_from_slice(bytes);
    durable_write
}

impl Home {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("ngx/status").join(B).join(name)
    }

    fn begin(&mut self, job_id: usize, durable_write: DurableWrite) {
        let begun = self.disk.begin(JobId(job_id), durable_write);
        assert!(matches!(begun, Submitted::UnderWay));
    }

    /// Waits for the waker only.
    #[track_caller]
    fn wait(&mut self) -> Completed {
        loop {
            if let Some(ended) = self.disk.completed() {
                return ended;
            }
            self.hear();
        }
    }

    /// Sleeps until the waker rings.
    #[track_caller]
    fn hear(&mut self) {
        let mut events = Events::with_capacity(4);
        match self.poll.poll(&mut events, Some(LONG)) {
            // The kernel interrupts whoever waits, to complete what is done.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}"),
            Ok(()) => assert!(!events.is_empty(), "the waker rings when there is an end"),
        }
    }

    #[track_caller]
    fn run(&mut self, bytes: &[u8]) -> Completed {
        self.begin(3, durable_write(B, bytes));
        let ended = self.wait();
        assert_eq!(ended.job_id, JobId(3));
        assert_eq!(ended.durable_write.bytes, bytes, "its memory comes back");
        ended
    }

    fn set_injected_results(&self, injected_results: &[InjectedResult]) {
        let mut all = self.injected_results.0.lock().unwrap();
        *all = injected_results.iter().copied().collect();
    }
}

#[test]
fn a_checkpoint_is_replaced_and_its_time_told() {
    let Some(mut home) = home(RING_CHAIN_ENTRIES) else {
        return;
    };
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
fn a_backend_without_a_log_folder_has_no_names_to_sync() {
    let Some(mut home) = home(RING_CHAIN_ENTRIES) else {
        return;
    };
    fs::remove_dir(home.folder.path().join("logs").join(B)).unwrap();
    home.run(b"new").result.unwrap();
    assert_eq!(fs::read(home.path("checkpoint")).unwrap(), b"new");
}

/// Both disks fail at the same step, with the same text.
#[track_caller]
fn check_same(step: Step, spoil: impl FnOnce(&Home)) {
    let Some(mut home) = home(RING_CHAIN_ENTRIES) else {
        return;
    };
    home.run(b"old").result.unwrap();
    spoil(&home);
    let ended = home.run(b"new");
    let error = ended.result.unwrap_err();
    assert_eq!(error.step, step);
    let model = durable_write(B, b"new")
        .take_at_once(JobId(0), &mut plain(home.folder.path()))
        .result;
    let model = model.unwrap_err();
    assert_eq!(
        (model.step, model.cause.to_string()),
        (error.step, error.cause.to_string())
    );
    assert_eq!(
        home.counters.checkpoint_times.load().count(),
        1,
        "one that failed has no time"
    );
}

#[test]
fn each_step_fails_as_its_plain_call_does() {
    check_same(STEPS[0], |home| {
        let folder = home.folder.path().join("logs").join(B);
        fs::remove_dir(&folder).unwrap();
        symlink(&folder, &folder).unwrap();
    });
    check_same(STEPS[1], |home| {
        fs::create_dir(home.path("checkpoint.new")).unwrap();
    });
    check_same(STEPS[1], |home| {
        symlink("elsewhere", home.path("checkpoint.new")).unwrap();
    });
    check_same(STEPS[1], |home| {
        fs::remove_file(home.path("checkpoint")).unwrap();
        fs::remove_dir(home.path("")).unwrap();
        fs::write(home.path("").to_str().unwrap().trim_end_matches('/'), b"").unwrap();
    });
    check_same(STEPS[3], |home| {
        fs::remove_file(home.path("checkpoint")).unwrap();
        fs::create_dir(home.path("checkpoint")).unwrap();
    });
}

#[test]
fn a_step_that_fails_is_told_and_none_behind_it_is_taken() {
    let Some(mut home) = home(RING_CHAIN_ENTRIES) else {
        return;
    };
    home.run(b"old").result.unwrap();
    // The step of each operation: the last step has two.
    let steps = [0, 1, 2, 3, 4, 4].map(|step| STEPS[step]);
    for (operation, step) in steps.into_iter().enumerate() {
        for error in [EIO, ENOSPC] {
            let mut injected_results = vec![InjectedResult::Goes; operation];
            injected_results.push(InjectedResult::Fails(error));
            home.set_injected_results(&injected_results);
            let failed = home.run(b"new").result.unwrap_err();
            assert_eq!(failed.step, step);
            let said = failed.cause.to_string();
            assert!(said.contains(&format!("os error {error}")), "{said}");
            assert!(said.starts_with(home.folder.path().to_str().unwrap()));
            let is_renamed = operation > 3;
            assert_eq!(
                fs::read(home.path("checkpoint")).unwrap() == b"new",
                is_renamed,
                "operation {operation}"
            );
            home.run(b"old").result.unwrap();
        }
    }
}

#[test]
fn a_step_that_the_kernel_has_no_thread_for_is_taken_all_the_same_and_then_all_are_plain_calls() {
    for operation in 0..6 {
        let Some(mut home) = home(RING_CHAIN_ENTRIES) else {
            return;
        };
        home.run(b"old").result.unwrap();
        let mut injected_results = vec![InjectedResult::Goes; operation];
        injected_results.push(InjectedResult::Fails(ECANCELED));
        // Whatever is asked of the ring afterwards would fail.
        injected_results.extend([InjectedResult::Fails(EIO); 20]);
        home.set_injected_results(&injected_results);
        home.run(b"new").result.unwrap();
        assert_eq!(fs::read(home.path("checkpoint")).unwrap(), b"new");
        let begun = home.disk.begin(JobId(4), durable_write(B, b"newer"));
        let Submitted::Completed(ended) = begun else {
            panic!("the ring is not used any more");
        };
        ended.result.unwrap();
        assert_eq!(fs::read(home.path("checkpoint")).unwrap(), b"newer");
    }
}

#[test]
fn what_was_written_in_part_is_gone_on_with_and_says_how_far_it_came() {
    let Some(mut home) = home(RING_CHAIN_ENTRIES) else {
        return;
    };
    home.set_injected_results(&[
        InjectedResult::Goes,
        InjectedResult::Part,
        InjectedResult::Part,
    ]);
    home.run(b"in three parts").result.unwrap();
    assert_eq!(
        fs::read(home.path("checkpoint")).unwrap(),
        b"in three parts"
    );
    home.set_injected_results(&[
        InjectedResult::Goes,
        InjectedResult::Part,
        InjectedResult::Fails(ENOSPC),
    ]);
    let said = home.run(b"0123456789").result.unwrap_err().cause;
    assert!(said.to_string().contains("after 5 of 10 bytes"), "{said}");
    assert_eq!(
        fs::read(home.path("checkpoint")).unwrap(),
        b"in three parts"
    );
}

#[test]
fn a_call_that_a_signal_interrupted_is_made_again() {
    let Some(mut home) = home(RING_CHAIN_ENTRIES) else {
        return;
    };
    home.set_injected_results(&[[InjectedResult::Fails(EINTR), InjectedResult::Goes]; 6].concat());
    home.run(b"new").result.unwrap();
    assert_eq!(fs::read(home.path("checkpoint")).unwrap(), b"new");
}

#[test]
fn as_many_chains_as_there_are_backends_are_under_way_whatever_room_there_is() {
    for entries in [1, RING_CHAIN_ENTRIES] {
        let Some(mut home) = home(entries) else {
            return;
        };
        for job_id in 0..200 {
            let backend = format!("127.0.0.1:{}", 10_000 + job_id);
            home.begin(job_id, durable_write(&backend, backend.as_bytes()));
        }
        for _ in 0..200 {
            let ended = home.wait();
            ended.result.unwrap();
            let mut disk = plain(home.folder.path());
            let backend = &ended.durable_write.backend;
            let content = disk.read_state(backend, "checkpoint", 100).unwrap();
            assert_eq!(content.as_deref(), Some(backend.as_bytes()));
        }
        assert!(home.disk.completed().is_none());
    }
}

/// The kernel takes nothing.
struct Refuses;

impl FaultInjector for Refuses {
    fn enter_fails(&mut self) -> Option<i32> {
        Some(libc::EAGAIN)
    }
}

#[test]
fn a_ring_that_takes_no_more_calls_is_done_without() {
    let folder = tempfile::tempdir().unwrap();
    let poll = Poll::new().unwrap();
    let (_, waker) = EventfdWaker::in_poll(&poll, Token(0)).unwrap();
    let Ok(ring) = FileRing::new(waker, RING_CHAIN_ENTRIES) else {
        return;
    };
    let ring = ring.interfered(Box::new(Refuses));
    let mut disk = plain(folder.path()).with_ring(ring);
    let Submitted::UnderWay = disk.begin(JobId(1), durable_write(B, b"lost")) else {
        panic!("it is not known yet");
    };
    let ended = disk.completed().unwrap();
    assert_eq!(ended.result.unwrap_err().step, STEPS[1]);
    let Submitted::Completed(ended) = disk.begin(JobId(1), ended.durable_write) else {
        panic!("these are plain calls");
    };
    ended.result.unwrap();
    let content = disk.read_state(B, "checkpoint", 100).unwrap();
    assert_eq!(content.as_deref(), Some(&b"lost"[..]));
}

#[test]
fn a_disk_that_goes_with_chains_under_way_leaves_old_checkpoints_or_new_ones() {
    for calls in 0..7 {
        let Some(mut home) = home(RING_CHAIN_ENTRIES) else {
            return;
        };
        home.run(b"old").result.unwrap();
        home.begin(1, durable_write(B, b"new"));
        for _ in 0..calls {
            home.hear();
            if home.disk.completed().is_some() {
                break;
            }
        }
        let path = home.path("checkpoint");
        drop(home.disk);
        let content = fs::read(path).unwrap();
        assert!(content == b"old" || content == b"new");
    }
}
