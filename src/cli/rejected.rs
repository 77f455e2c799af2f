//! `rejected`: the lines that were rejected; shown, replayed, or thrown away.
//!
//! What is shown is read from the state's files, with or without a server. To replay and to throw
//! away is the server's, which has these files in its hands; where none runs, this command takes
//! the state's lock and throws away by itself.

mod read;
mod select;
mod show;

use std::io;
use std::time::Duration;

use clap::Subcommand;

use super::failure::Failure;
use super::output;
use super::state_folder;
use super::status;
use super::status::StatusTarget;
use super::status::client::{self, StatusError, foreign};
use crate::config::Config;
use crate::engine::files::{LockError, RealDisk, StateLock};
use crate::limits::REJECTED_IDS_MAX;
use crate::replay::checkpointer::drop_rejected;
use crate::replay::messages::Requeued;
use crate::status::control_request::RejectedReport;

use select::Selection;

/// How long the server may take. It reads and writes the whole of rejected.jsonl, which may be
/// large.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// What is to be done with lines that were rejected.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Verb {
    /// A line for each: id, when, whose, where it stood, and why
    #[command(
        after_long_help = "Examples:\n  hustdbsync rejected list\n  hustdbsync rejected list \
            --backend 10.0.0.7:8085 --reason table_type --since 2h\n  hustdbsync rejected list \
            --json | jq -r .reason | sort | uniq -c"
    )]
    List {
        #[command(flatten)]
        selection: Selection,
        /// Print JSON, an object a line, with all that is known
        #[arg(long)]
        json: bool,
    },
    /// All that is known of each, with its record decoded
    #[command(
        after_long_help = "Example:\n  hustdbsync rejected show --id 1f2e3d4c5b6a7988 --values"
    )]
    Show {
        #[command(flatten)]
        selection: Selection,
        /// Print values too, not only their length
        #[arg(long)]
        values: bool,
    },
    /// Replay them, after the cause is mended: by the running server, each completed once
    ///
    /// The server takes the lines out of rejected.jsonl and reads them again, as a log of their own
    /// in the backend's folder. One that is refused again is rejected again. hustdb's versions keep
    /// an older write from undoing a newer one, but it keeps no version of a key that was deleted:
    /// a write whose key was deleted later brings that key back. Look at what you replay (rejected
    /// show).
    #[command(after_long_help = "Examples:\n  \
            hustdbsync rejected replay --backend 10.0.0.7:8085 --reason table_type\n  \
            hustdbsync rejected replay --id 1f2e3d4c5b6a7988\n  \
            hustdbsync rejected replay --all")]
    Replay {
        #[command(flatten)]
        selection: Selection,
        /// All of them
        #[arg(long)]
        all: bool,
    },
    /// Throw them away, for good; by the running server, or by this command where none runs
    #[command(after_long_help = "Examples:\n  hustdbsync rejected drop --id \
            1f2e3d4c5b6a7988\n  hustdbsync rejected drop --until 2026-11-01 --yes\n  hustdbsync \
            rejected drop --all --yes")]
    Drop {
        #[command(flatten)]
        selection: Selection,
        /// All of them
        #[arg(long)]
        all: bool,
        /// Yes, throw them away; not asked for where they are given by --id
        #[arg(long)]
        yes: bool,
    },
}

impl Verb {
    /// Why the arguments are wrong.
    pub(super) fn wrong_use(&self) -> Option<&'static str> {
        match self {
            Self::List { .. } | Self::Show { .. } => None,
            Self::Replay { selection, all } | Self::Drop { selection, all, .. }
                if (*selection == Selection::default()) != *all =>
            {
                Some(
                    "say which lines: by --id, --backend, --reason, --since or --until, or else \
                     --all",
                )
            }
            Self::Drop { selection, yes, .. } if !yes && selection.scope.ids.is_empty() => Some(
                "lines that are dropped are gone for good: give their ids (--id), or say --yes",
            ),
            Self::Replay { .. } | Self::Drop { .. } => None,
        }
    }
}

/// Does what is asked for. False: it was done in part; why is on stderr.
pub(super) fn run(verb: &Verb, config: Config) -> Result<bool, Failure> {
    let state = config.state_path();
    if let Verb::List { selection, .. } | Verb::Show { selection, .. } = verb {
        selection.scope.must_be_here(&config)?;
        state_folder::must_exist(&config)?;
    }
    let mut out = io::stdout().lock();
    let written = match verb {
        Verb::List { selection, json } => show::list(&state, selection, *json, &mut out),
        Verb::Show { selection, values } => show::show(&state, selection, *values, &mut out),
        Verb::Replay { selection, .. } => {
            let report = ask("replay", selection, &config)?;
            return Ok(tell("replayed", &report, selection));
        }
        Verb::Drop { selection, .. } => {
            let logs = config.sync.logs_path.clone();
            let report = match ask("drop", selection, &config) {
                Err(StatusError::Unreachable { .. }) => {
                    state_folder::must_exist(&config)?;
                    drop_here(RealDisk::new(logs, state.clone()), &state, selection)?
                }
                report => report?,
            };
            return Ok(tell("dropped", &report, selection));
        }
    };
    Ok(output::unless_closed_or(written, true)?)
}

/// Asks the server of this configuration, in as many questions as the ids need.
fn ask(verb: &str, selection: &Selection, config: &Config) -> Result<RejectedReport, StatusError> {
    let target = &StatusTarget::of(config);
    state_folder::must_be_of_server(&config.state_path(), target)?;
    let mut all = RejectedReport::default();
    let ids: Vec<&[u64]> = if selection.scope.ids.is_empty() {
        vec![&[]]
    } else {
        selection.scope.ids.chunks(REJECTED_IDS_MAX).collect()
    };
    for ids in ids {
        let path = format!("/v1/rejected/{verb}?{}", selection.query(ids));
        let reply = client::send(target, "POST", &path, ANSWER_TIMEOUT)?;
        let report: RejectedReport = match (reply.code, serde_json::from_slice(&reply.body)) {
            (200 | 503, Ok(report)) => report,
            (code, _) => {
                return Err(match reply.line() {
                    Some(why) => StatusError::Refused { why },
                    None => foreign(target.addr, &format!("with status {code}")),
                });
            }
        };
        all.done += report.done;
        all.cut += report.cut;
        all.left = report.left;
        all.failed.extend(report.failed);
    }
    Ok(all)
}

/// Throws away where no server runs.
fn drop_here(
    mut disk: RealDisk,
    state: &std::path::Path,
    selection: &Selection,
) -> Result<RejectedReport, Failure> {
    let _lock = StateLock::take(state).map_err(|error| match error {
        LockError::Held { .. } => format!(
            "{error}; it does not answer at network.bind and network.port of this configuration"
        ),
        LockError::Io { .. } => error.to_string(),
    })?;
    let mut report = RejectedReport::default();
    for backend in read::backends(state, selection)? {
        let Requeued { done, left, .. } =
            drop_rejected(&mut disk, &backend, &selection.filter(&selection.scope.ids))?;
        report.done += done;
        report.left += left;
    }
    Ok(report)
}

/// How many became what, and how many are left, which nobody knows of a backend that failed.
fn summary(done: &str, report: &RejectedReport) -> String {
    let told = format!("{} {done}", lines(report.done));
    match report.failed.is_empty() {
        true => format!("{told}, {} left", report.left),
        false => told,
    }
}

fn lines(count: u64) -> String {
    match count {
        1 => "1 line".to_owned(),
        count => format!("{count} lines"),
    }
}

/// Says what became of them. False: some could not be done.
fn tell(done: &str, report: &RejectedReport, selection: &Selection) -> bool {
    output::tell(summary(done, report));
    if report.cut > 0 {
        output::complain(format_args!(
            "hustdbsync: {} stay: only a part of each was kept, since it was longer than any \
             record",
            lines(report.cut)
        ));
    }
    for failed in &report.failed {
        output::complain(format_args!(
            "hustdbsync: {}: {}",
            status::plain(&failed.backend),
            status::plain(&failed.why)
        ));
    }
    // All were asked for, and what is left was read.
    let is_all = *selection == Selection::default() && report.failed.is_empty();
    let unread = report.left.saturating_sub(report.cut);
    if is_all && unread > 0 {
        output::complain(format_args!(
            "hustdbsync: {} stay: they are not this server's (rejected list)",
            lines(unread)
        ));
        return false;
    }
    report.failed.is_empty() && (report.cut > 0 || selection.scope.has_all_ids(report.done))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::scope::Scope;
    use crate::status::control_request::RejectedFailure;

    #[test]
    fn what_is_left_is_told_where_it_is_known() {
        let mut report = RejectedReport {
            done: 1,
            left: 3,
            ..RejectedReport::default()
        };
        assert_eq!(summary("dropped", &report), "1 line dropped, 3 left");
        (report.done, report.left) = (0, 0);
        report.failed.push(RejectedFailure::default());
        assert_eq!(summary("replayed", &report), "0 lines replayed");
    }

    #[test]
    fn what_is_replayed_or_dropped_is_said_and_not_all_by_a_slip() {
        let some = || Selection {
            reason: Some("checksum".to_owned()),
            ..Selection::default()
        };
        let by_id = || Selection {
            scope: Scope {
                ids: vec![1],
                ..Scope::default()
            },
            ..Selection::default()
        };
        let replay = |selection, all| Verb::Replay { selection, all };
        let drop = |selection, all, yes| Verb::Drop {
            selection,
            all,
            yes,
        };
        for (verb, is_right) in [
            (replay(Selection::default(), false), false),
            (replay(Selection::default(), true), true),
            (replay(some(), false), true),
            (replay(some(), true), false),
            (drop(Selection::default(), false, true), false),
            (drop(Selection::default(), true, false), false),
            (drop(Selection::default(), true, true), true),
            (drop(some(), false, false), false),
            (drop(some(), false, true), true),
            (drop(by_id(), false, false), true),
        ] {
            assert_eq!(verb.wrong_use().is_none(), is_right, "{verb:?}");
        }
    }
}
