//! The metrics that each backend has, by its label `backend`.

use std::fmt;

use super::sheet::{Labels, Sheet};
use crate::status::counters::{COUNT_METRICS, Counts};
use crate::status::reconcile::Reconcile;
use crate::status::snapshot::{BackendSnapshot, Snapshot};

/// Every word that a state can be, so that each always has a sample. Another one gets one while it
/// is there.
const STATES: [&str; 6] = ["up", "down", "refused", "unresolved", "paused", "ended"];

pub(super) fn encode(snapshot: &Snapshot, sheet: &mut Sheet<'_>) -> fmt::Result {
    for metric in COUNT_METRICS {
        let samples = each(snapshot.backends(), |backend| {
            (metric.value)(&backend.counts)
        });
        match metric.is_counter {
            true => sheet.counter(metric.name, metric.help, samples)?,
            false => sheet.gauge(metric.name, metric.help, samples)?,
        }
    }
    records(snapshot.backends(), sheet)?;
    backlog(snapshot.backends(), sheet)?;
    states(snapshot.backends(), sheet)?;
    requests(snapshot.backends(), sheet)?;
    keeping(snapshot.backends(), sheet)?;
    comparing(snapshot.backends(), sheet)
}

/// One sample of each backend.
fn each<T>(
    backends: &[BackendSnapshot],
    value: impl Fn(&BackendSnapshot) -> T,
) -> impl Iterator<Item = (Labels<'_>, T)> {
    backends
        .iter()
        .map(move |backend| (Labels::one("backend", &backend.name), value(backend)))
}

/// Some samples of each backend, told apart by the label `name`.
fn parts<'s, P: IntoIterator<Item = (&'s str, u64)>>(
    backends: &'s [BackendSnapshot],
    name: &'static str,
    parts: impl Fn(&'s BackendSnapshot) -> P,
) -> impl Iterator<Item = (Labels<'s>, u64)> {
    backends.iter().flat_map(move |backend| {
        let labels = Labels::one("backend", &backend.name);
        parts(backend)
            .into_iter()
            .map(move |(value, count)| (labels.and(name, value), count))
    })
}

fn records(backends: &[BackendSnapshot], sheet: &mut Sheet<'_>) -> fmt::Result {
    sheet.counter(
        "hustdbsync_records_settled",
        "Records completed, by outcome: applied (the backend took it), superseded (it had a newer \
         version), absent (a delete of what was not there, or an expired member of a set that is \
         not there), rejected (rejected in rejected.jsonl), taken_over (completed by the original \
         sync server). Goes on across restarts and counts each record once: as of the last durable \
         checkpoint, so that a kill does not make it fall.",
        parts(backends, "outcome", |backend| outcomes(&backend.counts)),
    )?;
    sheet.counter(
        "hustdbsync_records_rejected",
        "Lines rejected in rejected.jsonl since this process started, by reason.",
        parts(backends, "reason", |backend| {
            backend.details.rejections.iter().copied()
        }),
    )
}

/// The settled records by how they were settled, as far as that is durable: Prometheus takes a fall
/// for a new beginning, and would count all of a lifetime once more.
fn outcomes(counts: &Counts) -> [(&'static str, u64); 5] {
    [
        ("applied", counts.durable_applied),
        ("superseded", counts.durable_superseded),
        ("absent", counts.durable_absent),
        ("rejected", counts.durable_rejected),
        ("taken_over", counts.durable_taken_over),
    ]
}

fn backlog(backends: &[BackendSnapshot], sheet: &mut Sheet<'_>) -> fmt::Result {
    sheet.gauge(
        "hustdbsync_backlog_bytes",
        "Bytes of log that are not completed: not read yet, or in flight.",
        each(backends, |backend| backend.backlog_bytes),
    )?;
    sheet.gauge(
        "hustdbsync_lag_seconds",
        "Age of the oldest record that is not completed; 0 where there is none.",
        each(backends, |backend| backend.lag_seconds),
    )?;
    sheet.gauge(
        "hustdbsync_time_to_drain_seconds",
        "Time until the backlog is gone at the rate of the last seconds; 0 where there is none, \
         and no sample while nothing moves.",
        backends.iter().filter_map(|backend| {
            let labels = Labels::one("backend", &backend.name);
            Some((labels, backend.drain_seconds?))
        }),
    )
}

fn states(backends: &[BackendSnapshot], sheet: &mut Sheet<'_>) -> fmt::Result {
    sheet.gauge(
        "hustdbsync_backend_up",
        "1 while the backend is replayed to, else 0.",
        each(backends, |backend| u64::from(backend.state == "up")),
    )?;
    sheet.gauge(
        "hustdbsync_backend_state",
        "1 for the state that the backend is in, 0 for every other: up, down, refused (it refuses \
         our user and password), unresolved (its name has no address), paused (by an operator), \
         ended (the server ends). /v1/status says why.",
        backends.iter().flat_map(|backend| {
            let labels = Labels::one("backend", &backend.name);
            let state: &str = &backend.state;
            let other = (!STATES.contains(&state)).then_some(state);
            STATES
                .into_iter()
                .chain(other)
                .map(move |word| (labels.and("state", word), u64::from(word == state)))
        }),
    )?;
    sheet.gauge(
        "hustdbsync_backend_state_changed_timestamp_seconds",
        "When the backend came into the state that it is in, in seconds since 1970.",
        each(backends, |backend| backend.since_unix),
    )?;
    sheet.counter(
        "hustdbsync_backend_down_seconds",
        "Seconds since this process started in which the backend should have been replayed to and \
         was not up (down, refused, unresolved). Pauses do not count.",
        each(backends, |backend| backend.times.down_seconds),
    )?;
    sheet.gauge(
        "hustdbsync_rate_limit",
        "The limit of the backend's rate, in records a second; 0 where there is none.",
        each(backends, |backend| backend.rate_max),
    )?;
    sheet.gauge(
        "hustdbsync_probe_duration_seconds",
        "How long the last probe of the backend took, from its beginning to its result, whatever \
         that was; no sample before the first.",
        backends.iter().filter_map(|backend| {
            let labels = Labels::one("backend", &backend.name);
            Some((labels, backend.probe.probe_ms? / 1e3))
        }),
    )?;
    sheet.counter(
        "hustdbsync_probes",
        "Probes of the backend, by result: good, bad (no answer, or another than it should be), \
         refused (user and password), lost (a connection that had been good was closed).",
        parts(backends, "result", |backend| backend.details.probes),
    )?;
    sheet.counter(
        "hustdbsync_flushes",
        "How often the backend ceased to be replayed to, so that what was on its way to it was \
         taken back.",
        each(backends, |backend| backend.details.flushes),
    )
}

fn requests(backends: &[BackendSnapshot], sheet: &mut Sheet<'_>) -> fmt::Result {
    sheet.histogram(
        "hustdbsync_request_duration_seconds",
        "How long requests that settle records took: from the instant a burst of them was composed \
         until the read that brought the answer, each answer counted. Those of one read count \
         alike.",
        backends.iter().map(|backend| {
            (
                Labels::one("backend", &backend.name),
                backend.details.requests,
            )
        }),
    )?;
    sheet.counter(
        "hustdbsync_lane_failures",
        "Failures on connections to the backend, each of which closes one, by cause: connection \
         (not made, or broken), timeout (no answer within response_timeout), garbage (no HTTP), \
         answer (one that settles nothing), refused (user and password).",
        parts(backends, "cause", |backend| backend.details.failures),
    )
}

fn keeping(backends: &[BackendSnapshot], sheet: &mut Sheet<'_>) -> fmt::Result {
    sheet.gauge(
        "hustdbsync_checkpoint_timestamp_seconds",
        "When the last checkpoint of this run was on disk, in seconds since 1970; no sample \
         before. One is written when there is something new.",
        backends
            .iter()
            .filter(|backend| backend.counts.checkpoint_unix > 0)
            .map(|backend| {
                let labels = Labels::one("backend", &backend.name);
                (labels, backend.counts.checkpoint_unix)
            }),
    )
}

/// One sample of each backend whose keys are, or were, compared.
fn compared(
    backends: &[BackendSnapshot],
    value: impl Fn(&Reconcile) -> u64,
) -> impl Iterator<Item = (Labels<'_>, u64)> {
    backends.iter().filter_map(move |backend| {
        let reconcile = backend.reconcile.as_ref()?;
        let labels = Labels::one("backend", &backend.name);
        Some((labels, value(reconcile)))
    })
}

fn comparing(backends: &[BackendSnapshot], sheet: &mut Sheet<'_>) -> fmt::Result {
    sheet.counter(
        "hustdbsync_reconcile_keys",
        "Keys of finished logs that were compared with the other master's, since this process \
         started, by outcome: equal (as they were found), copied (the other master's value and \
         version were written to the backend), raised (equal but for the version, which was raised \
         on the other master; or the backend had got a newer value meanwhile, which the other \
         master was given), made_anew (the other master's value was written to both with the \
         backend's version), deleted (on the backend, as the other master had it no more, or the \
         other way round), reported (left different, and written to differences.jsonl with the \
         reason). No sample of this and of what else is called hustdbsync_reconcile where \
         sync.reconcile is off, nothing was compared, and no difference is left.",
        parts(backends, "outcome", |backend| {
            backend.reconcile.iter().flat_map(compared_by_outcome)
        }),
    )?;
    sheet.counter(
        "hustdbsync_reconcile_keys_not_compared",
        "Keys of finished logs that were not compared, by reason: peer_unavailable (the other \
         master, or the backend, could not be asked for sync.reconcile_timeout; a key \
         that was known to differ by then is reported as still_differs), no_table (HA's \
         table cannot be read), not_in_table (it does not name the backend), slot_without_row, \
         other_masters (it gives the key, or another spelling of it, to others), \
         no_other_master (it gives the key to this backend alone), declined (a master declines to \
         look it up), log_gone (its log left the folder; counted once a log), no_lookup (hustdb \
         has no lookup for it, or it is too long).",
        parts(backends, "reason", |backend| {
            let reasons = backend.details.not_compared.iter().copied();
            reasons.filter(|_| backend.reconcile.is_some())
        }),
    )?;
    sheet.gauge(
        "hustdbsync_reconcile_differences",
        "Keys in differences.jsonl on which the masters still differ.",
        compared(backends, |reconcile| reconcile.differences_left),
    )?;
    sheet.gauge(
        "hustdbsync_reconcile_logs_waiting",
        "Finished logs that are kept until their keys are compared.",
        compared(backends, |reconcile| reconcile.logs_waiting),
    )?;
    sheet.gauge(
        "hustdbsync_reconcile_lag_seconds",
        "For how long the first of these logs has waited; 0 where there is none.",
        compared(backends, |reconcile| reconcile.lag_seconds),
    )
}

fn compared_by_outcome(reconcile: &Reconcile) -> [(&str, u64); 6] {
    [
        ("equal", reconcile.equal),
        ("copied", reconcile.copied),
        ("raised", reconcile.raised),
        ("made_anew", reconcile.made_anew),
        ("deleted", reconcile.deleted),
        ("reported", reconcile.reported),
    ]
}
