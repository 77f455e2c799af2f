//! `verify`: compares the keys of logs, or keys that are given, with the other master now.

mod keys;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::failure::Failure;
use crate::cli::differences::{Left, write_difference};
use crate::cli::local_time::now_unix;
use crate::cli::output;
use crate::cli::state_folder;
use crate::cli::tally::Tally;
use crate::cli::waiting;
use crate::config::Config;
use crate::engine::verify::{KeyWithPeer, Verifier};
use crate::limits::RECONCILE_KEY_BYTES_MAX;
use crate::reconcile::comparison::Compared;
use crate::reconcile::keys::{Keys, LoggedKey};
use crate::reconcile::outcome::{Outcome, Skipped, WhyLeft};
use crate::reconcile::settings::{ReconcileMode, ReconcileSettings};
use crate::reconcile::table::Table;
use crate::replay::reconciler::difference_of;

pub(super) const EXAMPLES: &str = "\
Examples:
  hustdbsync verify 10.0.0.7:8085
  hustdbsync verify /data/hustdbha/logs/10.0.0.7:8085/2026-11-22-16-41.log
  hustdbsync verify 10.0.0.7:8085 --repair
  printf 'key\\tuser.1\\nhash\\tsessions\\t4711\\n' | hustdbsync verify 10.0.0.7:8085 --keys -

A line of --keys is `key`, tab, the key; or `hash`, `set` or `sorted_set`, tab, the table, tab, \
the key or member. Keys stand there as in a query. One that stands there twice, in
whatever spelling, is compared once.

Without --repair nothing is written, and the reason of each difference is report_only.

Exit codes: 0 all are equal, 1 some differ, or were not compared.";

/// Why a key is left different that was only to be looked at, whatever `sync.reconcile` is.
const NOT_TO_BE_WRITTEN: &str = "verify writes nothing without --repair";

/// What is compared.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// A backend, host:port, all of whose logs are read; or logs in a backend's folder
    #[arg(value_name = "BACKEND|LOG", required = true)]
    targets: Vec<String>,
    /// Compare the keys in this file with each backend, instead of those of logs; - is stdin
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Mend what differs, as sync.reconcile `repair` does
    #[arg(long)]
    repair: bool,
    /// Print differences as JSON, an object a line, as in differences.jsonl
    #[arg(long)]
    json: bool,
}

impl VerifyArgs {
    /// What of the arguments is wrong together, as a sentence.
    pub(super) fn wrong_use(&self) -> Option<&'static str> {
        if self.targets.iter().any(String::is_empty) {
            return Some("BACKEND|LOG is empty: give host:port, or the path of a log");
        }
        let takes_logs = self.keys.is_none();
        let are_backends = self.targets.iter().all(|target| keys::is_backend(target));
        (!takes_logs && !are_backends).then_some(
            "--keys compares a list in place of logs, so it takes backends only, as host:port",
        )
    }
}

/// Compares, and says how it was. True: all keys are equal.
pub(super) fn verify(args: &VerifyArgs, config: &Config) -> Result<bool, Failure> {
    let reconcile = ReconcileSettings {
        mode: match args.repair {
            true => ReconcileMode::Repair,
            false => ReconcileMode::Report,
        },
        ..config.sync.reconcile_settings()
    };
    // Who writes nothing need not know whom to believe.
    let left = match args.repair {
        true => {
            state_folder::must_not_be_anothers(config)?;
            Left::read(&config.state_path())?
        }
        false => Left::default(),
    };
    let listed = args.keys.as_deref().map(keys::listed).transpose()?;
    waiting::warn(config);
    let mut tally = Tally::default();
    for (backend, sources) in keys::sources(&args.targets, config)? {
        let mut verifier = Verifier::new(config, &backend, reconcile)?;
        let table = verifier.table()?;
        if listed.is_none() && sources.is_empty() && !table.names(&backend) {
            return Err(format!(
                "{backend}: it has no log, and HA's table does not name it: is the name right?"
            )
            .into());
        }
        let mut one = Verification {
            backend,
            table: &table,
            left: &left,
            verifier: &mut verifier,
            json: args.json,
            tally: &mut tally,
        };
        match &listed {
            Some(listed) => one.compare_all(|keys| {
                keys::push(listed, keys);
                Ok(0)
            })?,
            None => one.compare_all(|keys| keys::read(&sources, keys))?,
        }
    }
    output::complain(tally.text());
    Ok(tally.are_equal())
}

/// The comparison of one backend's keys.
struct Verification<'a> {
    backend: String,
    table: &'a Table,
    left: &'a Left,
    verifier: &'a mut Verifier,
    json: bool,
    tally: &'a mut Tally,
}

impl Verification<'_> {
    /// Compares the keys that `read` pushes, as many at a time as fit in memory. It gives how many
    /// records have no lookup, and is called again for those that did not fit.
    fn compare_all(&mut self, read: impl Fn(&mut Keys) -> io::Result<u64>) -> Result<(), Failure> {
        let mut keys = Keys::new(RECONCILE_KEY_BYTES_MAX);
        loop {
            let without_lookup = read(&mut keys)?;
            if keys.is_first_pass() {
                self.tally.skip(Skipped::NoLookup, without_lookup);
            }
            let pass = keys.take();
            self.compare(pass)?;
            if !keys.begin_next() {
                return Ok(());
            }
        }
    }

    fn compare(&mut self, keys: impl ExactSizeIterator<Item = LoggedKey>) -> Result<(), Failure> {
        let bar = progress(keys.len());
        let mut with_peers = Vec::with_capacity(keys.len());
        for LoggedKey {
            key,
            logged,
            other_slots,
        } in keys
        {
            let peer = self.table.peer_of_all(&self.backend, &key, &other_slots);
            match peer.map(Arc::<str>::from) {
                Ok(peer) => with_peers.push(KeyWithPeer {
                    trust: self.left.trust(&peer, &key),
                    key,
                    logged,
                    peer,
                }),
                Err(why) => self.tally.add(Outcome::Skipped(Skipped::NoPeer(why))),
            }
        }
        let (backend, json, tally) = (&self.backend, self.json, &mut *self.tally);
        let mut written = Ok(());
        self.verifier.compare(with_peers, &mut |compared| {
            bar.inc(1);
            tally.add(compared.outcome);
            if written.is_ok() {
                written = bar.suspend(|| tell(backend, compared, json));
            }
        })?;
        bar.finish_and_clear();
        Ok(output::unless_closed(written)?)
    }
}

/// Prints a key that is different.
fn tell(backend: &str, compared: &Compared, json: bool) -> io::Result<()> {
    let Outcome::Reported(left) = compared.outcome else {
        return Ok(());
    };
    let mut difference = difference_of(backend, compared, left, now_unix());
    if left == WhyLeft::ReportOnly {
        difference.detail = NOT_TO_BE_WRITTEN.to_owned();
    }
    let mut out = io::stdout().lock();
    if json {
        let mut line = Vec::new();
        difference.encode(&mut line);
        return out.write_all(&line);
    }
    write_difference(difference.id(), &difference, &mut out)
}

/// A bar for so many keys; hidden where stderr is no terminal.
fn progress(keys: usize) -> ProgressBar {
    let style = "{pos:>9} of {len} keys {wide_bar} {per_sec:>12} {eta:>4}";
    let style = ProgressStyle::with_template(style).expect("the template is right");
    ProgressBar::new(keys as u64).with_style(style)
}
