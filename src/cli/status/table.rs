//! A report as a table for people.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use indicatif::{FormattedDuration, HumanBytes, HumanCount};

use crate::status::report::Report;
use crate::status::snapshot::BackendSnapshot;

/// What there is to say without any backend.
const NO_LOGS: &str = "no logs yet: does HA write them? As shipped, HA 1.4 and later writes none: \
    `hustdbsync check` looks at its configuration (binlog_uri; docs/operations.md, \"Have HA write \
    logs\")";

/// The table and a line of totals, with a newline at the end.
pub(super) fn render(report: &Report, addr: SocketAddr) -> String {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header([
        "Backend", "State", "Backlog", "Rate", "Lag", "ETA", "Settled", "Rejected", "Why",
    ]);
    for backend in &report.backends {
        table.add_row([
            plain(&backend.name),
            plain(&backend.state),
            HumanBytes(backend.backlog_bytes).to_string(),
            rate(backend.rate_per_second),
            seconds(backend.lag_seconds),
            drain(backend),
            HumanCount(backend.counts.settled).to_string(),
            HumanCount(backend.counts.rejected).to_string(),
            plain(&why(backend)),
        ]);
    }
    for column in 2..8 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let up = seconds(report.now_unix.saturating_sub(report.started_unix));
    let totals = format!(
        "hustdbsync {} at {addr}, up {up}: {} of {} records settled, {} to go",
        plain(&report.version),
        HumanCount(report.settled),
        HumanCount(report.processed),
        HumanBytes(report.backlog_bytes),
    );
    let seconds: String = report
        .second_names
        .iter()
        .map(|second| format!("{}: {}\n", plain(&second.name), plain(&second.why())))
        .collect();
    match report.backends.is_empty() {
        true => format!("{totals}\n{NO_LOGS}\n{seconds}"),
        false => format!("{table}\n{totals}\n{seconds}"),
    }
}

/// What the table has no column for, a paragraph for each backend.
pub(super) fn add_details(report: &Report, text: &mut String) {
    for backend in &report.backends {
        let (times, probe) = (&backend.times, &backend.probe);
        let probed = match probe.probe_unix {
            0 => "none yet".to_owned(),
            unix => {
                let ago = seconds_or_none(report.now_unix.saturating_sub(unix));
                let took = probe.probe_ms.map(|_| format!(", {}", ms(probe.probe_ms)));
                let answer = plain(&probe.probe_answer);
                format!("{answer}{}, {ago} ago", took.unwrap_or_default())
            }
        };
        let rate_limit = match backend.rate_max {
            0 => "none".to_owned(),
            limit => format!("{}/s", HumanCount(limit)),
        };
        // Writing to a `String` cannot fail.
        let _ = write!(
            text,
            "\n{}\n  last probe: {probed}\n  {} for {}, down for {} in this run, left up {} \
             times in the last hour\n  rate limit {rate_limit}; {} failures, {} records \
             resent\n  half of the answers within {}, 99 % within {}\n",
            plain(&backend.name),
            plain(&backend.state),
            seconds_or_none(times.state_seconds),
            seconds_or_none(times.down_seconds),
            HumanCount(times.flaps_last_hour),
            HumanCount(times.lane_failures),
            HumanCount(backend.counts.resent),
            ms(times.latency_p50_ms),
            ms(times.latency_p99_ms),
        );
    }
}

fn ms(ms: Option<f64>) -> String {
    ms.map_or_else(|| "- ms".to_owned(), |ms| format!("{ms:.2} ms"))
}

fn seconds_or_none(seconds: u64) -> String {
    FormattedDuration(Duration::from_secs(seconds)).to_string()
}

/// Why it is in its state, and what else there is to say of its logs.
fn why(backend: &BackendSnapshot) -> String {
    let mut parts = vec![backend.why.clone()];
    let counts = &backend.counts;
    if counts.zone_off_seconds > 0 {
        let off = seconds(counts.zone_off_seconds);
        parts.push(format!(
            "HA's lines are of another time zone, {off} from here"
        ));
    }
    if counts.logs_kept > 0 {
        let kept = HumanCount(counts.logs_kept);
        parts.push(format!(
            "finished logs that stay, open or undeletable: {kept}"
        ));
    }
    if counts.rejected_lines > 0 {
        let lines = HumanCount(counts.rejected_lines);
        parts.push(format!("rejected lines that are left: {lines}"));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("; ")
}

/// Records a second.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        ..10.0 => format!("{per_second:.1}/s"),
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "shown rounded; it is above 10"
        )]
        _ => format!("{}/s", HumanCount(per_second.round() as u64)),
    }
}

/// The time in which a backend's backlog is gone.
pub(super) fn drain(backend: &BackendSnapshot) -> String {
    match backend.drain_seconds {
        None => "unknown".to_owned(),
        Some(0) => "done".to_owned(),
        Some(time) => seconds(time),
    }
}

fn seconds(seconds: u64) -> String {
    match seconds {
        0 => "-".to_owned(),
        _ => FormattedDuration(Duration::from_secs(seconds)).to_string(),
    }
}

/// Text without what a terminal could take for a command.
pub(in crate::cli) fn plain(text: &str) -> String {
    text.chars()
        .map(|envelope| {
            if envelope.is_control() {
                '\u{fffd}'
            } else {
                envelope
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::counters::Counts;
    use crate::status::snapshot::{LastProbe, Times};

    #[track_caller]
    fn check(backends: Vec<BackendSnapshot>, words: &[&str]) {
        let report = Report {
            version: "1.2.3".into(),
            started_unix: 100,
            now_unix: 190,
            processed: 12_000,
            settled: 10_000,
            backlog_bytes: 3 << 20,
            backends,
            ..Report::default()
        };
        let text = render(&report, "127.0.0.1:8089".parse().unwrap());
        for word in words {
            assert!(text.contains(word), "no {word:?} in\n{text}");
        }
    }

    #[test]
    fn details_are_a_paragraph_for_each_backend() {
        let backend = BackendSnapshot {
            name: "h:1".into(),
            state: "up".into(),
            rate_max: 2_000,
            probe: LastProbe {
                probe_unix: 185,
                probe_answer: "good".into(),
                probe_ms: Some(0.4),
            },
            times: Times {
                state_seconds: 70,
                down_seconds: 3,
                flaps_last_hour: 1,
                lane_failures: 7,
                latency_p50_ms: Some(0.25),
                latency_p99_ms: None,
            },
            ..BackendSnapshot::default()
        };
        let report = Report {
            now_unix: 190,
            backends: vec![backend],
            ..Report::default()
        };
        let mut text = String::new();
        add_details(&report, &mut text);
        let expected = "\nh:1\n  last probe: good, 0.40 ms, 00:00:05 ago\n  up for 00:01:10, down for \
            00:00:03 in this run, left up 1 times in the last hour\n  rate limit 2,000/s; 7 \
            failures, 0 records resent\n  half of the answers within 0.25 ms, 99 % within - ms\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn every_number_an_operator_looks_for_is_there() {
        let backend = BackendSnapshot {
            name: "h:1".into(),
            state: "down".into(),
            why: "no route".into(),
            counts: Counts {
                settled: 10_000,
                rejected: 1_234,
                zone_off_seconds: 28_800,
                logs_kept: 3,
                ..Counts::default()
            },
            backlog_bytes: 3 << 20,
            rate_per_second: 1_500.4,
            lag_seconds: 90,
            drain_seconds: Some(7200),
            ..BackendSnapshot::default()
        };
        check(
            vec![backend],
            &[
                "h:1",
                "down",
                "no route",
                "08:00:00",
                "undeletable: 3",
                "10,000",
                "1,234",
                "3.00 MiB",
                "1,500/s",
                "00:01:30",
                "02:00:00",
                "up 00:01:30",
                "10,000 of 12,000 records",
            ],
        );
    }

    #[test]
    fn what_is_unknown_or_done_is_said_in_words() {
        check(
            vec![BackendSnapshot {
                drain_seconds: Some(0),
                ..BackendSnapshot::default()
            }],
            &["done", "0.0/s"],
        );
        check(vec![BackendSnapshot::default()], &["unknown"]);
        check(
            vec![],
            &[
                "no logs yet: does HA write them?",
                "`hustdbsync check`",
                "binlog_uri",
            ],
        );
    }

    #[test]
    fn nothing_that_a_backend_says_moves_the_cursor() {
        assert_eq!(
            plain("a\x1b[2Jb\n\u{9b}c"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}c"
        );
    }
}
