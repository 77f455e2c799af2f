//! `status --wait`: takes a sync point and waits until it is settled.
//!
//! A server that is restarted meanwhile forgets the point; then another is taken, which covers all
//! that the first did. Where all that is missing is gone from the folders, or the folder of logs
//! itself is, it is given up after [`SYNC_POINT_GONE_FOR`]: nothing would come of waiting longer.

use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount};

use super::args::StatusArgs;
use super::client::{self, ANSWER_TIMEOUT, StatusError, foreign, in_query};
use super::table::{differing, not_compared, plain};
use super::target::StatusTarget;
use crate::cli::output;
use crate::limits::{SYNC_POINT_GONE_FOR, SYNC_POINT_WAIT_MAX};
use crate::status::sync_point::{BackendReport, PointReport, SERVER_ENDS};

/// The longest that one question waits: whoever is in between may think a silent connection dead.
const ASK_MAX: Duration = Duration::from_secs(20);
const _: () = assert!(ASK_MAX.as_secs() < SYNC_POINT_WAIT_MAX.as_secs());

/// The same where all that is missing is gone: whether it is back is to be seen soon.
const ASK_GONE_MAX: Duration = Duration::from_secs(1);

/// What a server answers that ends, or cannot take a point now.
const UNAVAILABLE: u16 = 503;

/// Between two tries to reach a server that is being restarted.
const RETRY: Duration = Duration::from_millis(200);

/// What came of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// Everything is settled.
    Whole,
    /// Not within the time, or what it waits for is gone.
    NotWhole,
}

/// See the module. Says what came of it on `out`.
pub(super) fn wait(
    args: &StatusArgs,
    time: Duration,
    target: &StatusTarget,
    out: &mut dyn Write,
) -> Result<Waited, StatusError> {
    let end = Instant::now() + time;
    let mut point: Option<String> = None;
    // Once it has answered, it may be restarted.
    let mut was_reached = false;
    // Since when all that is missing is gone.
    let mut gone_since: Option<Instant> = None;
    // Since when no point can be taken.
    let mut refused_since: Option<Instant> = None;
    let (body, report, is_given_up) = loop {
        let left = end.saturating_duration_since(Instant::now());
        let is_last = left.is_zero();
        let asked = match &point {
            None if was_reached => take(target, left.clamp(ANSWER_TIMEOUT, ASK_MAX)),
            None => take(target, ANSWER_TIMEOUT),
            Some(id) => {
                let longest = gone_since.map_or(ASK_MAX, |_| ASK_GONE_MAX);
                ask(target, id, args.backend.as_deref(), left.min(longest))
            }
        };
        match asked {
            Ok(Asked::Told(body, report)) => {
                was_reached = true;
                refused_since = None;
                // A new point is told as a whole; who wants one backend asks again.
                let is_whole = point.is_some() || args.backend.is_none();
                gone_since = (is_whole && is_only_gone(&report))
                    .then(|| gone_since.unwrap_or_else(Instant::now));
                let is_given_up =
                    gone_since.is_some_and(|since| since.elapsed() >= SYNC_POINT_GONE_FOR);
                let goes_on = args.ignore_gone && !is_whole_but_gone(&report);
                if is_whole && (report.settled || is_last || is_given_up && !goes_on) {
                    break (body, report, is_given_up);
                }
                point = Some(report.id);
            }
            Ok(Asked::Forgotten) => point = None,
            Err(StatusError::NotNow { why }) => {
                was_reached = true;
                let since = *refused_since.get_or_insert_with(Instant::now);
                if is_last || since.elapsed() >= SYNC_POINT_GONE_FOR {
                    return say_refused(args, &why, out);
                }
                std::thread::sleep(RETRY.min(left));
            }
            // It ends, has ended, or is not all there yet.
            Err(
                StatusError::Unreachable { .. }
                | StatusError::Closed { .. }
                | StatusError::Ends { .. },
            ) if was_reached && !is_last => std::thread::sleep(RETRY.min(left)),
            // It answers, but not in time, as when its disk is slow.
            Err(StatusError::Silent { .. })
                if !is_last && (was_reached || client::report(target, ANSWER_TIMEOUT).is_ok()) =>
            {
                was_reached = true;
            }
            Err(error) => return Err(error),
        }
    };
    let is_left_out = args.ignore_gone && is_given_up && is_whole_but_gone(&report);
    let text = if args.json {
        body
    } else {
        said(&report, time, is_left_out).into_bytes()
    };
    write(&text, out)?;
    let is_equal = sum(&report, |backend| backend.differences_left) == 0;
    Ok(if (report.settled && is_equal) || is_left_out {
        Waited::Whole
    } else {
        Waited::NotWhole
    })
}

/// No point could be taken: nothing is known to be settled.
fn say_refused(args: &StatusArgs, why: &str, out: &mut dyn Write) -> Result<Waited, StatusError> {
    let text = if args.json {
        output::complain(format_args!("hustdbsync: {why}"));
        let report = serde_json::to_string(&PointReport::default());
        report.map_err(|error| StatusError::Output(error.into()))?
    } else {
        format!("not in sync: {why}")
    };
    write(format!("{text}\n").as_bytes(), out)?;
    Ok(Waited::NotWhole)
}

/// What came of it is in the exit code, too, for who reads no more.
fn write(text: &[u8], out: &mut dyn Write) -> Result<(), StatusError> {
    let written = out.write_all(text).and_then(|()| out.flush());
    output::unless_closed(written).map_err(StatusError::Output)
}

/// Whether something is missing, and all that is missing is gone.
fn is_only_gone(report: &PointReport) -> bool {
    let mut missing = report
        .backends
        .iter()
        .filter(|backend| !backend.settled)
        .peekable();
    missing.peek().is_some()
        && missing
            .all(|backend| backend.gone_bytes > 0 && backend.gone_bytes == backend.missing_bytes)
}

/// Whether everything is settled, durably, except for what is gone.
fn is_whole_but_gone(report: &PointReport) -> bool {
    let mut backends = report.backends.iter();
    backends.all(|backend| backend.settled || backend.rest_settled)
}

enum Asked {
    Told(Vec<u8>, PointReport),
    Forgotten,
}

fn take(target: &StatusTarget, timeout: Duration) -> Result<Asked, StatusError> {
    let reply = client::send(target, "POST", "/sync_point", timeout)?;
    told(target, reply)
}

fn ask(
    target: &StatusTarget,
    id: &str,
    backend: Option<&str>,
    wait: Duration,
) -> Result<Asked, StatusError> {
    let mut path = format!(
        "/sync_point?id={}&wait={}ms",
        in_query(id),
        wait.as_millis()
    );
    if let Some(backend) = backend {
        path += &format!("&backend={}", in_query(backend));
    }
    let reply = client::send(target, "GET", &path, wait + ANSWER_TIMEOUT)?;
    let is_forgotten = reply.code == 404
        && reply
            .line()
            .is_some_and(|line| line.contains("no such sync point"));
    if is_forgotten {
        return Ok(Asked::Forgotten);
    }
    told(target, reply)
}

fn told(target: &StatusTarget, reply: client::Reply) -> Result<Asked, StatusError> {
    if reply.code != 200 {
        return Err(match reply.line() {
            Some(why) if reply.code == UNAVAILABLE && why == SERVER_ENDS => {
                StatusError::Ends { why }
            }
            Some(why) if reply.code == UNAVAILABLE => StatusError::NotNow { why },
            Some(why) => StatusError::Refused { why },
            None => foreign(target.addr, &format!("with status {}", reply.code)),
        });
    }
    let report = serde_json::from_slice(&reply.body);
    match report {
        Ok(report) => Ok(Asked::Told(reply.body, report)),
        Err(error) => Err(foreign(
            target.addr,
            &format!("JSON that is no sync point ({error})"),
        )),
    }
}

/// This number of all backends together.
fn sum(report: &PointReport, of: fn(&BackendReport) -> u64) -> u64 {
    report.backends.iter().map(of).sum()
}

/// What came of it, for people. `is_left_out`: what is gone is not asked for.
fn said(report: &PointReport, time: Duration, is_left_out: bool) -> String {
    let aside = match sum(report, |backend| backend.rejected) {
        0 => String::new(),
        1 => "; 1 line was rejected (hustdbsync rejected list)".to_owned(),
        more => format!(
            "; {} lines were rejected (hustdbsync rejected list)",
            HumanCount(more)
        ),
    };
    let aside = match sum(report, |backend| backend.not_compared) {
        0 => aside,
        keys => format!("{aside}; {}", not_compared(keys)),
    };
    let hidden: String = report.backends.iter().map(hidden).collect();
    let differences = sum(report, |backend| backend.differences_left);
    if report.settled && differences > 0 {
        let keys = differing(differences);
        return format!("not in sync: all is completed, and {keys}{aside}\n{hidden}");
    }
    if report.settled {
        let what = match &report.backends[..] {
            [] => "no backend has a log: nothing is to be completed".to_owned(),
            [one] => format!("{} is in sync", plain(&one.name)),
            more => format!("all {} backends are in sync", more.len()),
        };
        return format!("{what}{aside}\n{hidden}");
    }
    let mut text = if is_left_out {
        format!("in sync, except for what is gone from its folders{aside}\n")
    } else if is_only_gone(report) {
        format!("not in sync: what is missing is gone from its folders{aside}\n")
    } else {
        let within = match time.is_zero() {
            true => String::new(),
            false => format!(" within {time:?}"),
        };
        format!("not in sync{within}{aside}\n")
    };
    for backend in report.backends.iter().filter(|backend| !backend.settled) {
        text += &missing(backend);
    }
    text + &hidden
}

/// What is not waited for, since nobody knows what it is.
fn hidden(backend: &BackendReport) -> String {
    let BackendReport {
        name,
        hidden_logs,
        hidden_log,
        ..
    } = backend;
    let others = match hidden_logs {
        0 => return String::new(),
        1 => String::new(),
        logs => format!(" and {} more", logs - 1),
    };
    format!(
        "  {}: not waited for: {}{others}: deleted while somebody has it open; nothing is known of \
         it, so it is not read (docs/operations.md, \"What you may do to HA's logs\")\n",
        plain(name),
        plain(hidden_log)
    )
}

fn missing(backend: &BackendReport) -> String {
    let BackendReport {
        name,
        unreadable,
        missing_logs,
        missing_bytes,
        gone_logs,
        gone_bytes,
        gone_log,
        logs_to_compare,
        state,
        why,
        ..
    } = backend;
    let what = match missing_bytes {
        _ if !unreadable.is_empty() => format!(
            "its folder cannot be read, so nobody knows what waits in it ({})",
            plain(unreadable)
        ),
        0 if *logs_to_compare > 0 => {
            "completed, and its keys are still compared with the other master's".to_owned()
        }
        0 => "completed, but not on disk yet".to_owned(),
        bytes => {
            let logs = if *missing_logs == 1 { "log" } else { "logs" };
            format!("{} in {missing_logs} {logs} to go", HumanBytes(*bytes))
        }
    };
    let others = match gone_logs {
        0 | 1 => String::new(),
        logs => format!(" and {} more", logs - 1),
    };
    let gone = match (gone_bytes, gone_logs) {
        (0, _) => String::new(),
        (bytes, logs) => format!(
            ", {} in {logs} of them not in the folder any more ({}{others}): deleted, moved away, \
             emptied, covered, or replaced by a file that may not have all of it; put it back, or \
             leave it out with --ignore-gone",
            HumanBytes(*bytes),
            plain(gone_log)
        ),
    };
    let is_said = !unreadable.is_empty() && why.contains(&**unreadable);
    let why = if why.is_empty() || is_said {
        String::new()
    } else {
        format!(": {}", plain(why))
    };
    format!(
        "  {}: {what}{gone}; it is {}{why}\n",
        plain(name),
        plain(state)
    )
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    fn backend(name: &str, missing_bytes: u64) -> BackendReport {
        BackendReport {
            name: name.into(),
            settled: missing_bytes == 0,
            missing_logs: u64::from(missing_bytes > 0),
            missing_bytes,
            state: "down".into(),
            why: "no answer".into(),
            ..BackendReport::default()
        }
    }

    /// Answers one connection after another; the first of all with nothing.
    fn serve(listener: &TcpListener, bodies: &[&str]) {
        let silent = listener.accept().unwrap();
        for body in bodies {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.push(byte[0]);
            }
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
            )
            .unwrap();
        }
        drop(silent);
    }

    #[test]
    fn a_server_that_takes_its_time_is_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = StatusTarget {
            addr: listener.local_addr().unwrap(),
            user: "sync".into(),
            passwd: "secret".into(),
        };
        let bodies = ["{}", r#"{"id": "1-1", "settled": true}"#];
        let server = std::thread::spawn(move || serve(&listener, &bodies));
        let mut said = Vec::new();
        let args = crate::cli::status::tests::args(&[]).unwrap();
        let waited = wait(&args, Duration::from_secs(60), &target, &mut said).unwrap();
        assert_eq!(waited, Waited::Whole, "{}", String::from_utf8_lossy(&said));
        server.join().unwrap();
    }

    #[track_caller]
    fn check(backends: Vec<BackendReport>, expected: &str) {
        let report = PointReport {
            settled: backends.iter().all(|backend| backend.settled),
            backends,
            ..PointReport::default()
        };
        assert_eq!(said(&report, Duration::from_secs(30), false), expected);
    }

    #[test]
    fn what_is_gone_is_said_and_not_waited_for() {
        let gone = |missing_bytes| BackendReport {
            gone_logs: 1,
            gone_bytes: 2048,
            gone_log: "16-40.log".into(),
            ..backend("b:1", missing_bytes)
        };
        check(
            vec![backend("a:1", 0), gone(2048)],
            "not in sync: what is missing is gone from its folders\n  b:1: 2.00 KiB in 1 log to \
             go, \
             2.00 KiB in 1 of them not in the \
             folder any more (16-40.log): deleted, moved away, emptied, covered, or replaced by a \
             file that may not have all of it; put it back, or leave it out with --ignore-gone; it \
             is down: no answer\n",
        );
        let report = PointReport {
            backends: vec![gone(2048)],
            ..PointReport::default()
        };
        let left_out = said(&report, Duration::ZERO, true);
        assert!(left_out.starts_with("in sync, except for what is gone from its folders\n  b:1: "));
        let two = BackendReport {
            missing_logs: 2,
            gone_logs: 2,
            ..gone(2048)
        };
        assert!(
            missing(&two)
                .contains("in 2 of them not in the folder any more (16-40.log and 1 more): ")
        );
        let report = |backends| PointReport {
            backends,
            ..PointReport::default()
        };
        for (backends, expected) in [
            (vec![], false),
            (vec![backend("a:1", 0)], false),
            (vec![gone(2048)], true),
            (vec![gone(2049)], false),
            (vec![gone(2048), backend("c:1", 7)], false),
            (vec![gone(2048), backend("c:1", 0)], true),
        ] {
            assert_eq!(
                is_only_gone(&report(backends.clone())),
                expected,
                "{backends:?}"
            );
        }
    }

    #[test]
    fn a_folder_that_cannot_be_read_is_said_to_be() {
        let report = BackendReport {
            settled: false,
            unreadable: "/logs/a:1: Permission denied (os error 13)".into(),
            state: "up".into(),
            why: "its logs cannot be read: /logs/a:1: Permission denied (os error 13)".into(),
            ..backend("a:1", 0)
        };
        check(
            vec![report],
            "not in sync within 30s\n  a:1: its folder cannot be read, so nobody knows what waits \
             in it (/logs/a:1: Permission denied (os error 13)); it is up\n",
        );
    }

    #[test]
    fn what_is_not_waited_for_is_said_whatever_is_settled() {
        let hidden = |missing_bytes| BackendReport {
            hidden_logs: 2,
            hidden_log: ".nfs1".into(),
            ..backend("a:1", missing_bytes)
        };
        for (missing_bytes, begin) in [(0, "a:1 is in sync\n"), (7, "not in sync within 30s\n")] {
            let report = PointReport {
                settled: missing_bytes == 0,
                backends: vec![hidden(missing_bytes)],
                ..PointReport::default()
            };
            let text = said(&report, Duration::from_secs(30), false);
            let is_named = text.contains("\n  a:1: not waited for: .nfs1 and 1 more: ");
            assert!(text.starts_with(begin) && is_named, "{text}");
        }
    }

    #[test]
    fn what_comparing_keys_has_found_is_said() {
        let compared = |differences_left, not_compared| BackendReport {
            differences_left,
            not_compared,
            ..backend("a:1", 0)
        };
        let unknown = "keys that were not compared: 3 (see the guide, HustdbsyncKeysNotCompared)";
        check(
            vec![compared(0, 3)],
            &format!("a:1 is in sync; {unknown}\n"),
        );
        let differ = "not in sync: all is completed, and keys on which the masters differ: 2 \
                      (hustdbsync differences list)";
        check(vec![compared(2, 3)], &format!("{differ}; {unknown}\n"));
        let comparing = BackendReport {
            settled: false,
            logs_to_compare: 1,
            ..backend("a:1", 0)
        };
        let text = missing(&comparing);
        let what = "a:1: completed, and its keys are still compared with the other master's";
        assert!(text.contains(what), "{text}");
    }

    #[test]
    fn what_is_missing_is_said_for_each_backend() {
        check(vec![], "no backend has a log: nothing is to be completed\n");
        check(vec![backend("a:1", 0)], "a:1 is in sync\n");
        let report = PointReport {
            backends: vec![backend("a:1", 7)],
            ..PointReport::default()
        };
        let text = said(&report, Duration::ZERO, false);
        assert!(
            text.starts_with("not in sync\n  a:1: 7 B in 1 log to go"),
            "{text}"
        );
        check(
            vec![
                backend("a:1", 0),
                BackendReport {
                    rejected: 2,
                    ..backend("b:1", 0)
                },
            ],
            "all 2 backends are in sync; 2 lines were rejected (hustdbsync rejected list)\n",
        );
        check(
            vec![backend("a:1", 0), backend("b:1\u{1b}", 2048)],
            "not in sync within 30s\n  b:1\u{fffd}: 2.00 KiB in 1 log to go; it is down: no \
             answer\n",
        );
    }
}
