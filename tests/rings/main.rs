//! The whole server on rings whose operations fail: each kind of operation with each error, a few times and for a while, the workers' and those of
//! the keeper's checkpoints; rings too small for what is asked of them; rings that the system does not give.
//!
//! ```text
//! logs ─▶ server, its rings made to fail (`Interference`) ─▶ stand-in, restarted now and then, so that there are new connections
//! ```
//!
//! Contract: whatever fails, nothing is lost, no burst is cut inside a target, nothing turns in circles, and all goes on when the fault goes.
//! `tests/faults` makes system calls fail; what goes through a ring is none.

mod rig;
#[path = "../support/mod.rs"]
mod support;
mod tasks;

use std::time::Duration;

use hustdbsync::config::EngineName;
use hustdbsync::engine::os::ring::interference::{Fate, FileOperation, Operation};
use hustdbsync::engine::os::ring::setup::Sizes;
use libc::{
    EACCES, EADDRNOTAVAIL, EAGAIN, EALREADY, EBUSY, ECANCELED, ECONNREFUSED, ECONNRESET, EINTR,
    EINVAL, EIO, ENETUNREACH, ENOBUFS, ENOENT, ENOMEM, ENOSPC, EPIPE, ETIMEDOUT,
};

use rig::{Fault, Given, Rig, What, has_rings};

/// How long a fault lasts that does not go by itself.
const STICKY: Duration = Duration::from_millis(400);
/// Operations that may fail meanwhile, over all lanes: each waits before it tries again. A circle would make a hundred times as many.
const FAILURES_MAX: u32 = 2000;

/// These a few times, and then for a while.
const BOTH: [(Operation, &[i32]); 3] = [
    (
        Operation::Connect,
        &[
            ECONNREFUSED,
            EADDRNOTAVAIL,
            ENETUNREACH,
            EACCES,
            EAGAIN,
            ENOMEM,
            ECANCELED,
        ],
    ),
    (
        Operation::Send,
        &[EPIPE, ECONNRESET, ENOBUFS, EAGAIN, ENOMEM, ECANCELED],
    ),
    (
        Operation::Receive,
        &[ECONNRESET, ETIMEDOUT, EIO, EAGAIN, ENOMEM, ECANCELED],
    ),
];

/// These a few times only: a kernel never goes on with them.
const ONCE: [(Operation, &[i32]); 5] = [
    (Operation::Connect, &[EINTR]),
    (Operation::Send, &[EINTR]),
    (Operation::Receive, &[EINTR, ENOBUFS]),
    (Operation::Cancel, &[ENOENT, EALREADY]),
    (Operation::Bell, &[EINTR, ECANCELED, EAGAIN]),
];

/// Works under the fault, and then without it.
#[track_caller]
fn check(value_bytes: usize, what: What, times: Option<u32>) {
    if !has_rings() {
        return;
    }
    let fault = Fault::new(what, times);
    let name = format!("{what:?}, {times:?} times, {value_bytes} B");
    // A ring listens to its bell from the start.
    let is_of_bell = matches!(what, What::Operation(Operation::Bell, _));
    if is_of_bell {
        fault.arm();
    }
    let rig = Rig::start(
        &name,
        value_bytes,
        Given::interfered(&fault),
        EngineName::IoUring,
    );
    rig.wait_applied(10);
    fault.arm();
    match times {
        Some(_) if matches!(what, What::Operation(Operation::Cancel, _)) => {
            rig.mute_until(|| fault.is_spent());
        }
        Some(_) => rig.restart_until(|| fault.is_spent()),
        None => {
            rig.work(STICKY);
            assert!(fault.hits() > 0, "{name}: it never strikes");
            assert!(
                fault.hits() < FAILURES_MAX,
                "{name}: it struck {} times",
                fault.hits()
            );
        }
    }
    fault.disarm();
    rig.finish();
}

#[test]
fn whatever_operation_fails_a_few_times_nothing_is_lost() {
    for (operation, errors) in BOTH.into_iter().chain(ONCE) {
        for error in errors {
            check(60, What::Operation(operation, Fate::Fails(*error)), Some(3));
        }
    }
}

#[test]
fn whatever_operation_fails_for_a_while_nothing_turns_in_circles() {
    for (operation, errors) in BOTH {
        for error in errors {
            check(60, What::Operation(operation, Fate::Fails(*error)), None);
        }
    }
}

#[test]
fn a_send_that_is_cut_short_is_gone_on_with_or_closes_its_connection() {
    // Half of a small request ends inside a target or a head, half of a large one inside its body.
    for value_bytes in [60, 3000, 40_000] {
        check(
            value_bytes,
            What::Operation(Operation::Send, Fate::Part),
            Some(5),
        );
    }
    check(
        40_000,
        What::Operation(Operation::Send, Fate::Fails(ECONNRESET)),
        Some(3),
    );
}

#[test]
fn a_receive_that_ends_by_itself_is_begun_again() {
    check(
        60,
        What::Operation(Operation::Receive, Fate::Part),
        Some(20),
    );
    check(60, What::Operation(Operation::Receive, Fate::Part), None);
}

#[test]
fn a_bell_that_is_heard_once_is_listened_to_again() {
    check(60, What::Operation(Operation::Bell, Fate::Part), Some(20));
}

#[test]
fn a_call_to_the_kernel_that_fails_is_made_again() {
    for error in [EINTR, EBUSY, EAGAIN, ENOMEM] {
        check(60, What::Enter(error), Some(20));
    }
    for error in [EBUSY, EAGAIN, ENOMEM] {
        check(60, What::Enter(error), None);
    }
}

/// A checkpoint's calls, and how they may fail.
const FILES: [(FileOperation, &[i32]); 3] = [
    (FileOperation::Write, &[EIO, ENOSPC]),
    (FileOperation::Sync, &[EIO, ENOSPC]),
    (FileOperation::Rename, &[EIO, ENOSPC, EACCES]),
];

fn start_with_files(what: What, times: Option<u32>) -> (Rig, std::sync::Arc<Fault>) {
    let fault = Fault::new(what, times);
    let name = format!("{what:?}, {times:?} times");
    let rig = Rig::start(&name, 60, Given::interfered(&fault), EngineName::IoUring);
    rig.wait_checkpoints(2);
    fault.arm();
    (rig, fault)
}

#[test]
fn whatever_call_of_a_checkpoint_fails_a_few_times_nothing_is_lost() {
    if !has_rings() {
        return;
    }
    let interrupted = FILES.map(|(operation, _)| (operation, &[EINTR][..]));
    for (operation, errors) in FILES.into_iter().chain(interrupted) {
        for error in errors {
            let what = What::File(operation, Fate::Fails(*error));
            let (rig, fault) = start_with_files(what, Some(3));
            rig.wait("the fault has struck", || fault.is_spent());
            rig.finish();
        }
    }
}

#[test]
fn a_checkpoint_that_fails_for_a_while_is_told_and_none_is_durable_before_it_goes_well() {
    if !has_rings() {
        return;
    }
    for (operation, errors) in FILES {
        for error in errors {
            let what = What::File(operation, Fate::Fails(*error));
            let (rig, fault) = start_with_files(what, None);
            rig.wait("the fault is told", || rig.is_faulty());
            let checkpoints = rig.checkpoints();
            rig.work(STICKY);
            assert!(rig.is_faulty(), "{what:?}: it is not over");
            assert_eq!(rig.checkpoints(), checkpoints, "{what:?}");
            assert!(fault.hits() < 30, "{what:?} struck {} times", fault.hits());
            fault.disarm();
            rig.wait("the fault is over", || !rig.is_faulty());
            rig.wait_checkpoints(checkpoints + 1);
            rig.finish();
        }
    }
}

#[test]
fn checkpoints_go_on_where_the_kernel_has_no_thread_for_their_calls() {
    if !has_rings() {
        return;
    }
    for (operation, _) in FILES {
        for error in [ECANCELED, EAGAIN] {
            let what = What::File(operation, Fate::Fails(error));
            let (rig, fault) = start_with_files(what, None);
            rig.wait("the fault has struck", || fault.hits() > 0);
            rig.wait_checkpoints(rig.checkpoints() + 3);
            assert!(!rig.is_faulty(), "{what:?}");
            // The ring is not asked again; several calls may have been under way.
            assert!(fault.hits() < 10, "{what:?} struck {} times", fault.hits());
            rig.finish();
        }
    }
}

#[test]
fn a_checkpoint_that_is_written_in_part_is_gone_on_with() {
    if !has_rings() {
        return;
    }
    let what = What::File(FileOperation::Write, Fate::Part);
    let (rig, fault) = start_with_files(what, None);
    rig.wait_checkpoints(rig.checkpoints() + 3);
    assert!(fault.hits() > 6 && !rig.is_faulty());
    rig.finish();
}

#[test]
fn a_ring_of_the_keepers_that_takes_no_more_calls_is_done_without() {
    if !has_rings() {
        return;
    }
    for error in [EBUSY, EAGAIN, ENOMEM, EINTR] {
        let (rig, fault) = start_with_files(What::EnterOfFiles(error), Some(3));
        let was_tried = || fault.hits() > 0;
        rig.wait("a call was refused", was_tried);
        rig.wait_checkpoints(rig.checkpoints() + 3);
        rig.finish();
    }
}

#[test]
fn a_keeper_without_a_ring_writes_by_plain_calls_and_the_workers_keep_theirs() {
    if !has_rings() {
        return;
    }
    let given = Given::none_for_files(EINVAL);
    let rig = Rig::start("no ring for files", 60, given, EngineName::IoUring);
    rig.wait_checkpoints(3);
    rig.finish();
}

#[test]
fn rings_without_room_lose_nothing() {
    if !has_rings() {
        return;
    }
    for (entries, completions, buffers) in [(1, 2, 1), (2, 2, 64), (64, 64, 1), (4, 4, 2)] {
        let sizes = Sizes {
            entries,
            completions,
            buffers,
        };
        let rig = Rig::start(
            &format!("{sizes:?}"),
            2000,
            Given::sized(sizes),
            EngineName::IoUring,
        );
        rig.wait_applied(10);
        rig.work(Duration::from_millis(50));
        rig.finish();
    }
}

#[test]
fn a_ring_that_the_system_does_not_give_is_done_without_or_is_an_error() {
    if !has_rings() {
        return;
    }
    let given = || Given::only(1, ENOMEM);
    let rig = Rig::start("the second ring fails", 60, given(), EngineName::Auto);
    rig.finish();
    let error = Rig::start_error(given(), EngineName::IoUring);
    assert!(
        error.starts_with(
            "sync.engine is io_uring, which can't be had: there is no memory for a ring"
        ),
        "{error}"
    );
}
