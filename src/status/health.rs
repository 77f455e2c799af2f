//! `/healthz` and `/readyz`: for those who restart and route. No name of a backend and no path
//! stands in them, since anyone may ask.
//!
//! **Healthy** is a process whose threads get on: each sleeps, or has finished a turn within
//! [`THREAD_STUCK_AFTER`]. One that is not will not get well by itself: restart it, nothing is
//! lost.
//!
//! **Ready** is one that has taken in the logs' folder and the state of every backend found there,
//! can read their logs and write their state, and is not about to end. A backend that is down is
//! its own trouble and leaves us ready.

use std::io::Write;

use super::counters::Counts;
use super::snapshot::Snapshot;
use crate::limits::THREAD_STUCK_AFTER;

/// Appends what is wrong with the process, a line each, or `ok`; tells whether it is healthy.
pub(crate) fn write_health(snapshot: &Snapshot, body: &mut Vec<u8>) -> bool {
    let begin = body.len();
    for thread in &snapshot.server.threads {
        if thread.stuck >= THREAD_STUCK_AFTER {
            // Writing to a `Vec` cannot fail, here and below.
            let _ = writeln!(
                body,
                "the thread {} has been at one turn for {} s",
                thread.name,
                thread.stuck.as_secs()
            );
        }
    }
    finish(begin, "ok", body)
}

/// Appends what the process still waits for, a line each, or `ready`; tells whether it is ready.
pub(crate) fn write_readiness(snapshot: &Snapshot, body: &mut Vec<u8>) -> bool {
    let begin = body.len();
    if snapshot.server.is_ending {
        let _ = writeln!(body, "the server ends");
    }
    if !snapshot.server.logs_listed {
        let _ = writeln!(
            body,
            "the folder of logs has not been listed yet, or cannot be listed any more"
        );
    }
    let mut tell = |what: &str, more: &str, is_so: fn(&Counts) -> bool| {
        let backends = snapshot.backends().iter();
        let count = backends.filter(|backend| is_so(&backend.counts)).count();
        if count > 0 {
            let _ = writeln!(body, "{what}: {count}{more}");
        }
    };
    let said = "; /v1/status and the log say why";
    tell("backends whose state has not been read yet", "", |counts| {
        counts.state_read == 0 && counts.state_faulty == 0
    });
    tell(
        "backends whose state cannot be read or written",
        said,
        |counts| counts.state_faulty > 0,
    );
    tell(
        "backends whose logs have not been listed yet",
        "",
        |counts| counts.logs_unlisted > 0 && counts.logs_faulty == 0,
    );
    tell("backends whose logs cannot be read", said, |counts| {
        counts.logs_faulty > 0
    });
    finish(begin, "ready", body)
}

fn finish(begin: usize, well: &str, body: &mut Vec<u8>) -> bool {
    let is_well = body.len() == begin;
    if is_well {
        let _ = writeln!(body, "{well}");
    }
    is_well
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::server::{Server, ThreadLiveness};
    use crate::status::snapshot::BackendSnapshot;
    use std::time::Duration;

    fn backend(state_read: u64, state_faulty: u64) -> BackendSnapshot {
        BackendSnapshot {
            name: "10.0.0.1:8085".into(),
            state: "down".into(),
            why: "secret".into(),
            counts: Counts {
                state_read,
                state_faulty,
                ..Counts::default()
            },
            ..BackendSnapshot::default()
        }
    }

    #[track_caller]
    fn check(
        write: fn(&Snapshot, &mut Vec<u8>) -> bool,
        server: Server,
        backends: Vec<BackendSnapshot>,
        expected: (bool, &[&str]),
    ) {
        let mut snapshot = Snapshot::new(0, 0, backends);
        snapshot.server = server;
        let mut body = Vec::new();
        let is_well = write(&snapshot, &mut body);
        let body = String::from_utf8(body).unwrap();
        assert_eq!(
            (is_well, body.lines().collect::<Vec<_>>()),
            (expected.0, expected.1.to_vec())
        );
    }

    #[test]
    fn a_thread_that_has_been_at_one_turn_for_long_is_not_healthy() {
        let threads = |seconds: [u64; 2]| Server {
            threads: seconds
                .iter()
                .enumerate()
                .map(|(number, &seconds)| ThreadLiveness {
                    name: format!("w{number}"),
                    stuck: Duration::from_secs(seconds),
                })
                .collect(),
            ..Server::default()
        };
        check(
            write_health,
            threads([0, 29]),
            vec![backend(0, 1)],
            (true, &["ok"]),
        );
        check(
            write_health,
            threads([31, 0]),
            vec![],
            (false, &["the thread w0 has been at one turn for 31 s"]),
        );
    }

    #[test]
    fn readiness_is_the_state_of_every_backend_and_names_none() {
        let listed = |is_ending| Server {
            logs_listed: true,
            is_ending,
            ..Server::default()
        };
        check(write_readiness, listed(false), vec![], (true, &["ready"]));
        let mut unlisted = backend(1, 0);
        unlisted.counts.logs_unlisted = 1;
        check(
            write_readiness,
            listed(false),
            vec![unlisted],
            (false, &["backends whose logs have not been listed yet: 1"]),
        );
        let mut unreadable = backend(1, 0);
        unreadable.counts.logs_faulty = 1;
        check(
            write_readiness,
            listed(false),
            vec![unreadable],
            (
                false,
                &["backends whose logs cannot be read: 1; /v1/status and the log say why"],
            ),
        );
        check(
            write_readiness,
            listed(false),
            vec![backend(1, 0)],
            (true, &["ready"]),
        );
        check(
            write_readiness,
            Server::default(),
            vec![],
            (
                false,
                &["the folder of logs has not been listed yet, or cannot be listed any more"],
            ),
        );
        check(
            write_readiness,
            listed(true),
            vec![backend(0, 0), backend(1, 1), backend(0, 0)],
            (
                false,
                &[
                    "the server ends",
                    "backends whose state has not been read yet: 2",
                    "backends whose state cannot be read or written: 1; /v1/status and the log say \
                     why",
                ],
            ),
        );
    }
}
