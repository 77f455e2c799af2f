//! `ctl`: tells a running server what to do, and says what it answers.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Subcommand;

use super::status::client::{self, ANSWER_TIMEOUT, in_query};
use super::status::{StatusTarget, plain};
use super::values::backend_name;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::state_folder;
use crate::engine::files::StateLock;
use crate::engine::os::files::{Links, open_regular};
use crate::engine::os::process::is_locked;
use crate::limits::{CHECKPOINTER_END_MS, DRAIN_EXTRA_MS, RATE_MAX, SHUTDOWN_GRACE, THREAD_END_MS};
use crate::status::control_request::parse_rate;
use crate::status::snapshot::{BackendSnapshot, LastProbe};

/// How long a probe's result may take: a probe's timeout, and a status that is a second old.
const PROBED_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks whether it has ended, or has probed.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What a server can be told.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Verb {
    /// Replay nothing to a backend, until it is resumed or the server is restarted
    ///
    /// What is in flight to it is taken back, as if it were down; nothing is lost, and its logs
    /// grow. It is not probed meanwhile. Reading the configuration again does not end a pause; a
    /// restart does, so that nobody's forgotten pause outlives the process that shows it.
    Pause {
        /// Whom, host:port
        #[arg(value_parser = backend_name)]
        backend: String,
    },
    /// Go on with a backend that was paused: it is probed at once
    Resume {
        /// Whom, host:port
        #[arg(value_parser = backend_name)]
        backend: String,
    },
    /// Bound the rate of a backend, until the server is restarted
    Rate {
        /// Whom, host:port
        #[arg(value_parser = backend_name)]
        backend: String,
        /// Records a second; 0 is no bound, `default` is sync.max_rate_per_backend
        #[arg(value_parser = rate, value_name = "RATE")]
        rate: String,
    },
    /// Probe a backend now, whatever pause its failures have earned, and say what it answers
    Probe {
        /// Whom, host:port
        #[arg(value_parser = backend_name)]
        backend: String,
    },
    /// Forget a backend whose folder of logs is gone: its numbers, its place among the backends,
    /// its state
    ///
    /// One of which nothing is left is forgotten by itself, a while after its folder. Where
    /// something is left (lines that were rejected, how far logs were delivered that may come
    /// back), this says what, and throws it away with --yes only. HA's totals keep what it had come
    /// to.
    Forget {
        /// Whom, host:port
        #[arg(value_parser = backend_name)]
        backend: String,
        /// Throw away what is left of it
        #[arg(long)]
        yes: bool,
    },
    /// Begin the server's own log file anew, after logrotate or somebody else has moved it
    ///
    /// Of a daemon, which writes logs/YYYY-MM-DD.log beside its configuration; a server in the
    /// foreground has no such file, and says so.
    Rotate,
    /// Finish what is in flight, write what is completed, and end with 0; wait until that is done
    #[command(alias = "drain")]
    Stop,
}

fn rate(text: &str) -> Result<String, String> {
    parse_rate(text)
        .map(|_| text.to_owned())
        .ok_or_else(|| format!("records a second up to {RATE_MAX}, 0 for no bound, or `default`"))
}

impl Verb {
    fn path(&self) -> String {
        let of =
            |verb: &str, backend: &str| format!("/v1/control/{verb}?backend={}", in_query(backend));
        match self {
            Self::Pause { backend } => of("pause", backend),
            Self::Resume { backend } => of("resume", backend),
            Self::Rate { backend, rate } => format!("{}&rate={rate}", of("rate", backend)),
            Self::Probe { backend } => of("probe", backend),
            Self::Forget { backend, yes } => {
                let yes = if *yes { "&yes=true" } else { "" };
                format!("{}{yes}", of("forget", backend))
            }
            Self::Rotate => "/v1/control/rotate".to_owned(),
            Self::Stop => "/v1/control/drain".to_owned(),
        }
    }
}

/// Tells the server. `state`, if the server is on this host, is what must be its own before it
/// forgets, and shows with `drain_timeout` when one that is to stop has exited.
pub(super) fn tell(
    verb: &Verb,
    target: &StatusTarget,
    state: Option<&Path>,
    drain_timeout: Duration,
) -> Result<(), Failure> {
    let before = match verb {
        Verb::Probe { backend } => Some(ask(backend, target)?.probe),
        _ => None,
    };
    if let (Verb::Forget { .. }, Some(state)) = (verb, state) {
        state_folder::must_be_of_server(state, target)?;
    }
    let held = match verb {
        // If it does not answer, the request below fails and says so.
        Verb::Stop => state
            .filter(|state| state_folder::must_be_of_server(state, target).is_ok())
            .and_then(Held::look),
        _ => None,
    };
    let reply = client::send(target, "POST", &verb.path(), ANSWER_TIMEOUT)?;
    let Some(line) = reply.line() else {
        let what = format!("with status {}", reply.code);
        return Err(client::foreign(target.addr, &what).into());
    };
    if reply.code != 200 {
        return Err(line.into());
    }
    output::tell(line);
    match verb {
        Verb::Stop => wait_for_state(held, target, drain_timeout),
        Verb::Probe { backend } => wait_for_probe(backend, before.as_ref(), target),
        _ => Ok(()),
    }
}

/// What a backend's last probe found, and how it is.
fn probed(backend: &BackendSnapshot) -> String {
    let mut said = plain(&backend.probe.probe_answer);
    // Writing to a `String` cannot fail.
    if let Some(ms) = backend.probe.probe_ms {
        let _ = write!(said, ", {ms:.2} ms");
    }
    let _ = write!(said, "; it is {}", plain(&backend.state));
    // A good probe is not all that it takes.
    let answer = &*backend.probe.probe_answer;
    let is_said = backend.why.contains(answer) || answer.contains(&*backend.why);
    if !is_said {
        let _ = write!(said, ": {}", plain(&backend.why));
    }
    said
}

/// How a backend is. One that is not known is refused by the server, in its own words.
fn ask(backend: &str, target: &StatusTarget) -> Result<BackendSnapshot, Failure> {
    let report = client::report(target, ANSWER_TIMEOUT)?;
    let mut known = report.backends.into_iter();
    Ok(known
        .find(|known| known.name == backend)
        .unwrap_or_default())
}

/// Says what came of a probe that was asked for, once it is another one than before.
fn wait_for_probe(
    backend: &str,
    before: Option<&LastProbe>,
    target: &StatusTarget,
) -> Result<(), Failure> {
    let end = Instant::now() + PROBED_WITHIN;
    loop {
        let now = ask(backend, target)?;
        if before != Some(&now.probe) {
            output::tell(format_args!("{backend}: {}", probed(&now)));
            return Ok(());
        }
        if Instant::now() > end {
            return Err(format!(
                "{backend}: no result within {} s; it is {}",
                PROBED_WITHIN.as_secs(),
                now.state
            )
            .into());
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// The lock of the state folder, which a server gives up last of all.
struct Held {
    file: File,
    path: PathBuf,
    /// What stood in it, the server's number.
    holder: String,
}

impl Held {
    /// None where it can't be read.
    fn look(state: &Path) -> Option<Self> {
        let path = StateLock::path(state);
        Some(Self {
            file: open_regular(&path, File::options().read(true), Links::Followed).ok()?,
            holder: fs::read_to_string(&path).ok()?,
            path,
        })
    }

    /// Whether it is still the same server's.
    fn is_held(&self) -> bool {
        let same = fs::read_to_string(&self.path).is_ok_and(|holder| holder == self.holder);
        same && is_locked(&self.file).unwrap_or(true)
    }
}

/// Waits for the end of a server that was told to end, as long as it takes one at most, some time
/// for the last writes included. An error if it still `runs`: the seconds that were waited.
pub(super) fn wait_for_end(drain_timeout: Duration, runs: impl Fn() -> bool) -> Result<(), u64> {
    let allowance = Duration::from_millis(DRAIN_EXTRA_MS + CHECKPOINTER_END_MS + 2 * THREAD_END_MS);
    let patience = drain_timeout + allowance + SHUTDOWN_GRACE;
    let end = Instant::now() + patience;
    while runs() {
        if Instant::now() > end {
            return Err(patience.as_secs());
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    Ok(())
}

/// Returns when the server has given up its state: then another one can start. Where that can't be
/// seen, when nobody listens at its HTTP server any more; that would not do for an HTTP server that
/// systemd holds open.
fn wait_for_state(
    held: Option<Held>,
    target: &StatusTarget,
    drain_timeout: Duration,
) -> Result<(), Failure> {
    let runs = || match &held {
        Some(held) => held.is_held(),
        None => TcpStream::connect_timeout(&target.addr, ANSWER_TIMEOUT).is_ok(),
    };
    wait_for_end(drain_timeout, runs).map_err(|seconds| {
        let addr = target.addr;
        format!(
            "the server at {addr} still runs after {seconds} s; its log tells what it waits for"
        )
        .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_has_its_path() {
        let backend = "[::1]:8085".to_owned();
        let of = |verb: Verb| verb.path();
        for (verb, path) in [
            (
                Verb::Pause {
                    backend: backend.clone(),
                },
                "/v1/control/pause?backend=%5B::1%5D:8085",
            ),
            (
                Verb::Forget {
                    backend: backend.clone(),
                    yes: false,
                },
                "/v1/control/forget?backend=%5B::1%5D:8085",
            ),
            (
                Verb::Forget {
                    backend: backend.clone(),
                    yes: true,
                },
                "/v1/control/forget?backend=%5B::1%5D:8085&yes=true",
            ),
            (
                Verb::Rate {
                    backend,
                    rate: "default".to_owned(),
                },
                "/v1/control/rate?backend=%5B::1%5D:8085&rate=default",
            ),
            (Verb::Stop, "/v1/control/drain"),
        ] {
            assert_eq!(of(verb), path);
        }
    }

    #[test]
    fn a_probe_is_told_in_words() {
        let mut backend = BackendSnapshot {
            probe: LastProbe {
                probe_unix: 7,
                probe_answer: "good".into(),
                probe_ms: Some(0.25),
            },
            state: "up".into(),
            ..BackendSnapshot::default()
        };
        assert_eq!(probed(&backend), "good, 0.25 ms; it is up");
        (backend.state, backend.why) = ("down".into(), "it answers no record".to_owned());
        assert_eq!(
            probed(&backend),
            "good, 0.25 ms; it is down: it answers no record"
        );
        backend.why = "no connection: connection refused".to_owned();
        backend.probe.probe_answer = "connection refused".into();
        (backend.probe.probe_ms, backend.state) = (None, "down".into());
        assert_eq!(probed(&backend), "connection refused; it is down");
    }

    #[test]
    fn a_probe_of_one_without_an_address_says_so_once() {
        let backend = BackendSnapshot {
            probe: LastProbe {
                probe_unix: 7,
                probe_answer: "no address to probe: db7 is unknown".into(),
                probe_ms: None,
            },
            state: "unresolved".into(),
            why: "db7 is unknown".into(),
            ..BackendSnapshot::default()
        };
        let expected = "no address to probe: db7 is unknown; it is unresolved";
        assert_eq!(probed(&backend), expected);
    }

    #[test]
    fn a_rate_is_a_number_or_default() {
        for (text, is_right) in [
            ("0", true),
            ("100000000", true),
            ("default", true),
            ("100000001", false),
            ("-1", false),
            ("+1", false),
            ("fast", false),
            ("", false),
        ] {
            assert_eq!(rate(text).is_ok(), is_right, "{text}");
        }
    }

    #[test]
    fn a_server_runs_until_its_lock_is_free_or_anothers() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("status");
        assert!(Held::look(&state).is_none());
        let lock = StateLock::take(&state).unwrap();
        let held = Held::look(&state).unwrap();
        assert!(held.is_held());
        drop(lock);
        assert!(!held.is_held());
        drop(held);
        let lock = StateLock::take(&state).unwrap();
        let held = Held::look(&state).unwrap();
        fs::write(state.join(".lock"), "4711\n").unwrap();
        assert!(!held.is_held(), "another one has started since");
        drop(lock);
    }
}
