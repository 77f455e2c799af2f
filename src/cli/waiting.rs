//! Tells who compares masters of records that wait to be replayed to them.

use std::time::Duration;

use crate::cli::output;
use crate::cli::status::client;
use crate::cli::status::{StatusTarget, plain};
use crate::config::Config;

/// A server that runs on this host answers in milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Warns where the server that runs with this configuration has records waiting, for whatever
/// backend: each can be a peer. Where none answers, nobody knows.
pub(super) fn warn(config: &Config) {
    let Ok(report) = client::report(&StatusTarget::of(config), ANSWER_TIMEOUT) else {
        return;
    };
    let mut waiting = report
        .backends
        .iter()
        .filter(|backend| backend.backlog_bytes > 0);
    let Some(first) = waiting.next() else {
        return;
    };
    let others = match waiting.count() {
        0 => String::new(),
        1 => " and one other backend".to_owned(),
        count => format!(" and {count} other backends"),
    };
    output::complain(format_args!(
        "hustdbsync: records wait to be replayed to {}{others}: until then their keys differ, and \
         what such a master has is not the newest (status --wait waits)",
        plain(&first.name)
    ));
}
