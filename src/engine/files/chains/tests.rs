//! Chains on a real ring and real files, beside the plain calls that they stand for.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use libc::{ECANCELED, EINTR, EIO, ENOSPC};
use mio::{Events, Poll, Token};
use tempfile::TempDir;

use super::*;
use crate::engine::bell::RingBell;
use crate::engine::files::RealDisk;
use crate::engine::os::ring::interference::{Fate, FileOperation, Interference};
use crate::limits::RING_CHAIN_ENTRIES;
use crate::replay::chain::Begun;
use crate::replay::disk::Disk;
use crate::replay::keeper::replace_checkpoint;

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
struct Fates(Arc<Mutex<VecDeque<Fate>>>);

impl Interference for Fates {
    fn file_fate(&mut self, _: FileOperation) -> Fate {
        let mut fates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fates.pop_front().unwrap_or(Fate::Goes)
    }
}

struct Home {
    folder: TempDir,
    disk: RealDisk,
    counters: Arc<ServerCounters>,
    fates: Fates,
    poll: Poll,
}

/// None where the system gives no rings.
fn home(entries: u32) -> Option<Home> {
    let folder = tempfile::tempdir().unwrap();
    let poll = Poll::new().unwrap();
    let (_, bell) = RingBell::in_poll(&poll, Token(0)).unwrap();
    let ring = FileRing::new(bell, entries)
        .inspect_err(|why| eprintln!("SKIPPED: {why}"))
        .ok()?;
    let (fates, counters) = (Fates::default(), Arc::<ServerCounters>::default());
    let disk = plain(folder.path())
        .with_counters(Arc::clone(&counters))
        .with_ring(ring.interfered(Box::new(fates.clone())));
    fs::create_dir_all(folder.path().join("logs").join(B)).unwrap();
    Some(Home {
        folder,
        disk,
        counters,
        fates,
        poll,
    })
}

fn plain(root: &Path) -> RealDisk {
    RealDisk::new(root.join("logs"), root.join("ngx/status"))
}

fn chain(backend: &str, bytes: &[u8]) -> Chain {
    let mut chain = Chain::new(backend.into());
    replace_checkpoint(&mut chain.steps, true);
    assert_eq!(chain.steps, STEPS);
    chain.bytes.extend_from_slice(bytes);
    chain
}

impl Home {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("ngx/status").join(B).join(name)
    }

    fn begin(&mut self, ticket: usize, chain: Chain) {
        let begun = self.disk.begin(Ticket(ticket), chain);
        assert!(matches!(begun, Begun::UnderWay));
    }

    /// Waits for the bell only.
    #[track_caller]
    fn wait(&mut self) -> Ended {
        loop {
            if let Some(ended) = self.disk.ended() {
                return ended;
            }
            self.hear();
        }
    }

    /// Sleeps until the bell rings.
    #[track_caller]
    fn hear(&mut self) {
        let mut events = Events::with_capacity(4);
        match self.poll.poll(&mut events, Some(LONG)) {
            // The kernel interrupts whoever waits, to complete what is done.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}"),
            Ok(()) => assert!(!events.is_empty(), "the bell rings when there is an end"),
        }
    }

    #[track_caller]
    fn run(&mut self, bytes: &[u8]) -> Ended {
        self.begin(3, chain(B, bytes));
        let ended = self.wait();
        assert_eq!(ended.ticket, Ticket(3));
        assert_eq!(ended.chain.bytes, bytes, "its memory comes back");
        ended
    }

    fn set_fates(&self, fates: &[Fate]) {
        let mut all = self.fates.0.lock().unwrap();
        *all = fates.iter().copied().collect();
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
    let twin = chain(B, b"new")
        .take_at_once(Ticket(0), &mut plain(home.folder.path()))
        .result;
    let twin = twin.unwrap_err();
    assert_eq!(
        (twin.step, twin.cause.to_string()),
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
            let mut fates = vec![Fate::Goes; operation];
            fates.push(Fate::Fails(error));
            home.set_fates(&fates);
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
        let mut fates = vec![Fate::Goes; operation];
        fates.push(Fate::Fails(ECANCELED));
        // Whatever is asked of the ring afterwards would fail.
        fates.extend([Fate::Fails(EIO); 20]);
        home.set_fates(&fates);
        home.run(b"new").result.unwrap();
        assert_eq!(fs::read(home.path("checkpoint")).unwrap(), b"new");
        let begun = home.disk.begin(Ticket(4), chain(B, b"newer"));
        let Begun::Ended(ended) = begun else {
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
    home.set_fates(&[Fate::Goes, Fate::Part, Fate::Part]);
    home.run(b"in three parts").result.unwrap();
    assert_eq!(
        fs::read(home.path("checkpoint")).unwrap(),
        b"in three parts"
    );
    home.set_fates(&[Fate::Goes, Fate::Part, Fate::Fails(ENOSPC)]);
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
    home.set_fates(&[[Fate::Fails(EINTR), Fate::Goes]; 6].concat());
    home.run(b"new").result.unwrap();
    assert_eq!(fs::read(home.path("checkpoint")).unwrap(), b"new");
}

#[test]
fn as_many_chains_as_there_are_backends_are_under_way_whatever_room_there_is() {
    for entries in [1, RING_CHAIN_ENTRIES] {
        let Some(mut home) = home(entries) else {
            return;
        };
        for ticket in 0..200 {
            let backend = format!("127.0.0.1:{}", 10_000 + ticket);
            home.begin(ticket, chain(&backend, backend.as_bytes()));
        }
        for _ in 0..200 {
            let ended = home.wait();
            ended.result.unwrap();
            let mut disk = plain(home.folder.path());
            let backend = &ended.chain.backend;
            let content = disk.read_state(backend, "checkpoint", 100).unwrap();
            assert_eq!(content.as_deref(), Some(backend.as_bytes()));
        }
        assert!(home.disk.ended().is_none());
    }
}

/// The kernel takes nothing.
struct Refuses;

impl Interference for Refuses {
    fn enter_fails(&mut self) -> Option<i32> {
        Some(libc::EAGAIN)
    }
}

#[test]
fn a_ring_that_takes_no_more_calls_is_done_without() {
    let folder = tempfile::tempdir().unwrap();
    let poll = Poll::new().unwrap();
    let (_, bell) = RingBell::in_poll(&poll, Token(0)).unwrap();
    let Ok(ring) = FileRing::new(bell, RING_CHAIN_ENTRIES) else {
        return;
    };
    let ring = ring.interfered(Box::new(Refuses));
    let mut disk = plain(folder.path()).with_ring(ring);
    let Begun::UnderWay = disk.begin(Ticket(1), chain(B, b"lost")) else {
        panic!("it is not known yet");
    };
    let ended = disk.ended().unwrap();
    assert_eq!(ended.result.unwrap_err().step, STEPS[1]);
    let Begun::Ended(ended) = disk.begin(Ticket(1), ended.chain) else {
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
        home.begin(1, chain(B, b"new"));
        for _ in 0..calls {
            home.hear();
            if home.disk.ended().is_some() {
                break;
            }
        }
        let path = home.path("checkpoint");
        drop(home.disk);
        let content = fs::read(path).unwrap();
        assert!(content == b"old" || content == b"new");
    }
}
