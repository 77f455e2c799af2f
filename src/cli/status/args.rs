//! The arguments of `status`.

use std::time::Duration;

use super::order::Sort;
use crate::cli::values::{backend_name, time};

/// Shows each backend's state, backlog, rate and time to drain, as a running server tells them.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hustdbsync status             one table\n  \
    hustdbsync status --watch     the same, live, until q\n  \
    hustdbsync status --wait 5m   until what is logged by now is completed, or exit with 3\n  \
    hustdbsync status --sort lag  the longest lag first\n  \
    hustdbsync status --url http://ha2:8089 --backend '10.0.0.*'\n  \
    hustdbsync status --json | jq '.backends[] | select(.state != \"up\") | .name'")]
pub struct StatusArgs {
    /// Go on showing it; in a terminal as a screen that scrolls, until `q`
    #[arg(short, long)]
    pub watch: bool,
    /// Say more of each backend: its last probe, times, rate limit, failures, latencies, and what
    /// comparing has found
    #[arg(short, long, conflicts_with_all = ["json", "wait"])]
    pub verbose: bool,
    /// Print what the server says as JSON; with --watch a line each time
    #[arg(long)]
    pub json: bool,
    /// Show these backends only: host:port, where `*` stands for any characters; with --wait, wait
    /// for this one only
    #[arg(long, value_name = "BACKEND")]
    pub backend: Option<String>,
    /// Which backends come first
    #[arg(long, value_enum, default_value_t, conflicts_with_all = ["json", "wait"])]
    pub sort: Sort,
    /// Exit with 3 if anything waits for a backend that is shown, or, where sync.reconcile is on,
    /// if keys are still to be compared or differ
    #[arg(long, conflicts_with_all = ["watch", "wait"])]
    pub fail_if_not_in_sync: bool,
    /// Seconds between looks, for --watch
    #[arg(
        long, value_name = "SECONDS", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=3600)
    )]
    pub interval: u32,
    /// Wait until all that is in the logs now is completed, and say so; exit with 3 if it is not in
    /// time [without a time: 30s]
    ///
    /// It says nothing of a backend's state: one that is down is in sync while its logs are empty.
    /// What comes into the logs later does not count. Completed is what its backend has taken, or
    /// what was rejected; and that is on disk. Where sync.reconcile is on, the keys of these logs
    /// are compared, too, and it exits with 3 if keys differ then.
    #[arg(
        long, value_name = "TIME", num_args = 0..=1,
        default_missing_value = "30s", value_parser = time,
        conflicts_with_all = ["watch", "interval"]
    )]
    pub wait: Option<Duration>,
    /// Count as completed what is gone from the folders, and not back within 5 s; it is still named
    ///
    /// For logs that were deleted, cut, or replaced by shorter ones on purpose.
    #[arg(long, requires = "wait")]
    pub ignore_gone: bool,
}

/// What is wrong with `--wait --backend` and a pattern.
const ONE_BACKEND: &str = "with --wait, --backend is one backend: host:port";

impl StatusArgs {
    /// What is wrong with arguments that are right each by itself.
    #[must_use]
    pub fn wrong_use(&self) -> Option<&'static str> {
        let name = self.backend.as_deref()?;
        let is_one = backend_name(name).is_ok();
        (self.wait.is_some() && !is_one).then_some(ONE_BACKEND)
    }
}
