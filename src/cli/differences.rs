//! `differences`: the keys on which both masters differed and that were not mended; shown, or
//! dropped from the list.
//!
//! All of it reads and appends to the state's files, with or without a server. Whoever appends
//! lines does so in one write, and holds a lock, as a server may replace the file.

mod drop;
mod left;
mod read;
mod repair;
mod selection;
mod settle;
mod show;

pub(super) use show::{write_difference, write_settlement};

use std::io;

use clap::Subcommand;

use super::failure::Failure;
use super::output;
use super::state_folder;
use crate::config::Config;
pub(super) use left::Left;
use selection::Selection;
use show::count;

/// What is to be done with differences that are left.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Verb {
    /// A line for each: id, when, whose, what was seen, the key, what each master had, and why it
    /// was not mended
    #[command(
        after_long_help = "Examples:\n  hustdbsync differences list\n  hustdbsync differences list \
            --backend 10.0.0.7:8085 --why ttl_unknown --since 2h\n  hustdbsync differences list \
            --json | jq -r .why | sort | uniq -c"
    )]
    List {
        #[command(flatten)]
        selection: Selection,
        /// Print JSON, an object a line, as it is in differences.jsonl
        #[arg(long)]
        json: bool,
    },
    /// All that is known of each
    #[command(after_long_help = "Example:\n  hustdbsync differences show --id 1f2e3d4c5b6a7988")]
    Show {
        #[command(flatten)]
        selection: Selection,
    },
    /// Look at them again and mend them, as sync.reconcile `repair` does
    ///
    /// What is equal by then, or is mended, is listed no more. Records that wait to be replayed
    /// make keys differ: wait for them first (status --wait).
    #[command(
        after_long_help = "Examples:\n  hustdbsync differences repair --all\n  hustdbsync \
            differences repair --id 1f2e3d4c5b6a7988 --take peer"
    )]
    Repair {
        #[command(flatten)]
        selection: Selection,
        /// All of them
        #[arg(long)]
        all: bool,
        /// Have this master's state of a key on both, whatever the versions say: also delete it
        #[arg(long, value_enum)]
        take: Option<repair::Take>,
    },
    /// Drop them from the list; the keys stay as they are
    ///
    /// Nothing is written to a master. A key that is compared again and still differs is listed
    /// again.
    #[command(after_long_help = "Examples:\n  hustdbsync differences drop --id \
            1f2e3d4c5b6a7988\n  hustdbsync differences drop --until 2026-11-01 --yes\n  hustdbsync \
            differences drop --all --yes")]
    Drop {
        #[command(flatten)]
        selection: Selection,
        /// All of them
        #[arg(long)]
        all: bool,
        /// Yes, drop them; not asked for where they are given by --id
        #[arg(long)]
        yes: bool,
    },
}

impl Verb {
    fn selection(&self) -> &Selection {
        match self {
            Self::List { selection, .. }
            | Self::Show { selection }
            | Self::Repair { selection, .. }
            | Self::Drop { selection, .. } => selection,
        }
    }

    /// Why the arguments are wrong.
    pub(super) fn wrong_use(&self) -> Option<&'static str> {
        let (selection, all, yes) = match self {
            Self::List { .. } | Self::Show { .. } => return None,
            Self::Repair { selection, all, .. } => (selection, all, true),
            Self::Drop {
                selection,
                all,
                yes,
            } => (selection, all, *yes),
        };
        if (*selection == Selection::default()) != *all {
            return Some(
                "say which differences: by --id, --backend, --seen, --why, --since or --until, or \
                 else --all",
            );
        }
        (!yes && selection.scope.ids.is_empty()).then_some(
            "differences that are dropped are listed no more: give their ids (--id), or say --yes",
        )
    }
}

/// Does what is asked for.
pub(super) fn run(verb: &Verb, config: &Config) -> Result<bool, Failure> {
    let state = config.state_path();
    verb.selection().scope.must_be_here(config)?;
    state_folder::must_exist(config)?;
    if matches!(verb, Verb::Repair { .. } | Verb::Drop { .. }) {
        state_folder::must_not_be_anothers(config)?;
    }
    let mut out = io::stdout().lock();
    let written = match verb {
        Verb::List { selection, json } => show::list(&state, selection, *json, &mut out),
        Verb::Show { selection } => show::show(&state, selection, &mut out),
        Verb::Repair {
            selection, take, ..
        } => {
            let tally = repair::repair(config, selection, *take)?;
            output::tell(tally.text());
            return Ok(selection.scope.has_all_ids(tally.keys()) && tally.are_equal());
        }
        Verb::Drop { selection, .. } => {
            let dropped = drop::drop(&state, selection)?;
            output::tell(format_args!(
                "{} dropped, {} left",
                count(dropped.done),
                dropped.left
            ));
            return Ok(selection.scope.has_all_ids(dropped.done));
        }
    };
    Ok(output::unless_closed_or(written, true)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::scope::Scope;

    #[test]
    fn what_is_dropped_is_said_and_not_all_by_a_slip() {
        let none = Selection::default;
        let some = || Selection {
            why: Some("ttl_unknown".to_owned()),
            ..none()
        };
        let by_id = || Selection {
            scope: Scope {
                ids: vec![1],
                ..Scope::default()
            },
            ..none()
        };
        for (selection, all, yes, is_right) in [
            (none(), false, true, false),
            (none(), true, false, false),
            (none(), true, true, true),
            (some(), false, false, false),
            (some(), false, true, true),
            (some(), true, true, false),
            (by_id(), false, false, true),
        ] {
            let verb = Verb::Drop {
                selection,
                all,
                yes,
            };
            assert_eq!(verb.wrong_use().is_none(), is_right, "{verb:?}");
        }
        for (selection, all, is_right) in [
            (none(), true, true),
            (by_id(), false, true),
            (none(), false, false),
            (by_id(), true, false),
        ] {
            let verb = Verb::Repair {
                selection,
                all,
                take: None,
            };
            assert_eq!(verb.wrong_use().is_none(), is_right, "{verb:?}");
        }
        let list = Verb::List {
            selection: none(),
            json: false,
        };
        assert_eq!(list.wrong_use(), None);
    }
}
