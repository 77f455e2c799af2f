//! The whole server on rings whose operations fail: each kind of operation with each error, a few
//! times and for a while; rings too small for what is asked of them; rings that the system does not
//! give.
//!
//! ```text
//! logs ─▶ server, its rings made to fail (`FaultInjector`) ─▶ fake HustDB, restarted now and then
//!                                                             so that there are new connections
//! ```
//!
//! Contract: whatever fails, nothing is lost, no burst is cut inside a target, nothing turns in
//! circles, and all goes on when the fault goes. `tests/faults` makes system calls fail; what goes
//! through a ring is none.

mod fixture;

use std::time::Duration;

use hustdbsync::internals::config::EngineName;
use hustdbsync::internals::engine::os::ring::fault_injector::{InjectedResult, Operation};
use hustdbsync::internals::engine::os::ring::setup::Sizes;
use libc::{
    EACCES, EADDRNOTAVAIL, EAGAIN, EALREADY, EBUSY, ECANCELED, ECONNREFUSED, ECONNRESET, EINTR,
    EIO, ENETUNREACH, ENOBUFS, ENOENT, ENOMEM, EPIPE, ETIMEDOUT,
};

use fixture::{Fault, Fixture, Given, What, has_rings};

/// How long a fault lasts that does not go by itself.
const STICKY: Duration = Duration::from_millis(400);
/// Operations that may fail meanwhile, over all lanes: each waits before it tries again. A circle
/// would make a hundred times as many.
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
    (Operation::Wake, &[EINTR, ECANCELED, EAGAIN]),
];

/// Works under the fault, and then without it.
#[track_caller]
fn check(value_bytes: usize, what: What, times: Option<u32>) {
    if !has_rings() {
        return;
    }
    let fault = Fault::new(what, times);
    let name = format!("{what:?}, {times:?} times, {value_bytes} B");
    // A ring listens to its waker from the start.
    let is_of_waker = matches!(what, What::Operation(Operation::Wake, _));
    if is_of_waker {
        fault.arm();
    }
    let fixture = Fixture::start(
        &name,
        value_bytes,
        Given::interfered(&fault),
        EngineName::IoUring,
    );
    fixture.wait_applied(10);
    fault.arm();
    match times {
        Some(_) if matches!(what, What::Operation(Operation::Cancel, _)) => {
            fixture.mute_until(|| fault.is_spent());
        }
        Some(_) => fixture.restart_until(|| fault.is_spent()),
        None => {
            fixture.work(STICKY);
            fixture.restart_until(|| fault.hits() > 0);
            assert!(
                fault.hits() < FAILURES_MAX,
                "{name}: it struck {} times",
                fault.hits()
            );
        }
    }
    fault.disarm();
    fixture.finish();
}

#[test]
fn whatever_operation_fails_a_few_times_nothing_is_lost() {
    for (operation, errors) in BOTH.into_iter().chain(ONCE) {
        for error in errors {
            check(
                60,
                What::Operation(operation, InjectedResult::Fails(*error)),
                Some(3),
            );
        }
    }
}

#[test]
fn whatever_operation_fails_for_a_while_nothing_turns_in_circles() {
    for (operation, errors) in BOTH {
        for error in errors {
            check(
                60,
                What::Operation(operation, InjectedResult::Fails(*error)),
                None,
            );
        }
    }
}

#[test]
fn a_send_that_is_cut_short_is_gone_on_with_or_closes_its_connection() {
    // Half of a small request ends inside a target or a head, half of a large one inside its body.
    for value_bytes in [60, 3000, 40_000] {
        check(
            value_bytes,
            What::Operation(Operation::Send, InjectedResult::Part),
            Some(5),
        );
    }
    check(
        40_000,
        What::Operation(Operation::Send, InjectedResult::Fails(ECONNRESET)),
        Some(3),
    );
}

#[test]
fn a_receive_that_ends_by_itself_is_begun_again() {
    check(
        60,
        What::Operation(Operation::Receive, InjectedResult::Part),
        Some(20),
    );
    check(
        60,
        What::Operation(Operation::Receive, InjectedResult::Part),
        None,
    );
}

#[test]
fn a_waker_that_is_heard_once_is_listened_to_again() {
    check(
        60,
        What::Operation(Operation::Wake, InjectedResult::Part),
        Some(20),
    );
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
        let fixture = Fixture::start(
            &format!("{sizes:?}"),
            2000,
            Given::sized(sizes),
            EngineName::IoUring,
        );
        fixture.wait_applied(10);
        fixture.work(Duration::from_millis(50));
        fixture.finish();
    }
}

#[test]
fn a_ring_that_the_system_does_not_give_is_done_without_or_is_an_error() {
    if !has_rings() {
        return;
    }
    let given = || Given::only(1, ENOMEM);
    let fixture = Fixture::start("the second ring fails", 60, given(), EngineName::Auto);
    fixture.finish();
    let error = Fixture::start_error(given(), EngineName::IoUring);
    assert!(
        error.starts_with(
            "sync.engine is io_uring, which can't be had: there is no memory for a ring"
        ),
        "{error}"
    );
}
