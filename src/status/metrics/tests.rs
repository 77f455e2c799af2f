//! What a scrape has, by its samples.

use super::*;
use crate::clock::Now;
use crate::status::counters::BackendCounters;
use crate::status::server::{ProcessFacts, ThreadLiveness};
use crate::status::snapshot::StatusBoard;
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "127.0.0.1:9998";

/// A board with one backend, after `change`, as text.
fn text(form: Form, change: impl FnOnce(&mut StatusBoard, &BackendCounters)) -> String {
    let counters = Arc::new(BackendCounters::default());
    let mut board = StatusBoard::new(Now::default());
    board.add(NAME, Arc::clone(&counters), Now::default());
    change(&mut board, &counters);
    board.refresh(Now::new(Duration::from_secs(1), 1000));
    board.refresh_details();
    let mut text = "from before".to_owned();
    write(board.snapshot(), form, &mut text);
    text
}

#[track_caller]
fn check(change: impl FnOnce(&mut StatusBoard, &BackendCounters), lines: &[&str]) {
    let text = text(Form::OpenMetrics, change);
    for line in lines {
        let line = line.replace("{B", &format!("{{backend=\"{NAME}\""));
        assert!(
            text.lines().any(|told| told == line),
            "no {line:?} in\n{text}"
        );
    }
}

#[test]
fn records_are_told_by_outcome_and_make_up_what_is_settled() {
    check(
        |_, counters| {
            counters.durable_processed.set(20);
            counters.durable_applied.set(5);
            counters.durable_superseded.set(3);
            counters.durable_absent.set(2);
            counters.durable_rejected.set(1);
            counters.durable_taken_over.set(4);
            // A kill takes back what is not durable: it is not told.
            counters.processed.set(21);
            counters.settled.set(17);
            counters.applied.set(7);
            counters.rejections.add("checksum", 1);
        },
        &[
            "# TYPE hustdbsync_records_settled counter",
            "hustdbsync_records_read_total{B} 20",
            "hustdbsync_records_settled_total{B,outcome=\"applied\"} 5",
            "hustdbsync_records_settled_total{B,outcome=\"superseded\"} 3",
            "hustdbsync_records_settled_total{B,outcome=\"absent\"} 2",
            "hustdbsync_records_settled_total{B,outcome=\"rejected\"} 1",
            "hustdbsync_records_settled_total{B,outcome=\"taken_over\"} 4",
            "hustdbsync_records_rejected_total{B,reason=\"checksum\"} 1",
        ],
    );
}

#[test]
fn backlog_lag_and_state_are_told_with_their_units() {
    check(
        |board, counters| {
            counters.unread_bytes.set(70);
            counters.in_flight_bytes.set(30);
            counters.oldest_unread_unix.set(940);
            board.set_state(
                NAME,
                "refused",
                "why",
                Now {
                    unix: 7,
                    ..Now::default()
                },
            );
        },
        &[
            "# UNIT hustdbsync_backlog_bytes bytes",
            "hustdbsync_backlog_bytes{B} 100",
            "hustdbsync_lag_seconds{B} 60",
            "hustdbsync_backend_up{B} 0",
            "hustdbsync_backend_state{B,state=\"refused\"} 1",
            "hustdbsync_backend_state{B,state=\"up\"} 0",
            "hustdbsync_backend_state_changed_timestamp_seconds{B} 7",
            "# EOF",
        ],
    );
}

#[test]
fn a_state_that_nobody_knew_has_a_sample_while_it_is_there() {
    check(
        |board, _| board.set_state(NAME, "new", "", Now::default()),
        &["hustdbsync_backend_state{B,state=\"new\"} 1"],
    );
}

#[test]
fn what_is_unknown_has_no_sample() {
    let text = text(Form::OpenMetrics, |_, counters| {
        counters.unread_bytes.set(1)
    });
    assert!(!text.contains("hustdbsync_time_to_drain_seconds{"));
    assert!(!text.contains("hustdbsync_checkpoint_timestamp_seconds{"));
    assert!(!text.contains("process_"));
    check(|_, _| {}, &["hustdbsync_time_to_drain_seconds{B} 0"]);
}

#[test]
fn durations_are_cumulative_buckets() {
    let text = text(Form::OpenMetrics, |_, counters| {
        counters.requests.observe(Duration::from_micros(200), 3);
        counters.requests.observe(Duration::from_secs(60), 1);
    });
    let bucket = |bound: &str| {
        let of_it = format!("le=\"{bound}\"");
        let line = text.lines().find(|line| {
            line.starts_with("hustdbsync_request_duration_seconds_bucket") && line.contains(&of_it)
        });
        line.and_then(|line| line.rsplit(' ').next())
            .map(str::to_owned)
    };
    for (bound, count) in [
        ("0.0001", "0"),
        ("0.00025", "3"),
        ("10.0", "3"),
        ("+Inf", "4"),
    ] {
        assert_eq!(bucket(bound).as_deref(), Some(count), "{bound} in\n{text}");
    }
}

#[test]
fn the_process_is_told_when_the_system_tells_it() {
    check(
        |board, _| {
            let server = board.server_mut();
            server.threads.push(ThreadLiveness {
                name: "w0".into(),
                stuck: Duration::from_millis(1500),
            });
            server.memory_budget_bytes = 64;
            server.logs_listed = true;
            server.http_server.answered = 9;
            server.process = Some(ProcessFacts {
                start_seconds: 12.5,
                cpu_seconds: 3.25,
                open_fds: 42,
                ..ProcessFacts::default()
            });
        },
        &[
            "hustdbsync_thread_stuck_seconds{thread=\"w0\"} 1.5",
            "hustdbsync_memory_budget_bytes 64",
            "hustdbsync_logs_path_listed 1",
            "hustdbsync_http_requests_total 9",
            "process_start_time_seconds 12.5",
            "process_cpu_seconds_total 3.25",
            "process_open_fds 42",
        ],
    );
}

#[test]
fn the_older_form_has_the_same_samples() {
    let samples = |form| {
        let text = text(form, |_, counters| counters.durable_processed.set(3));
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(samples(Form::Plain), samples(Form::OpenMetrics));
    let plain = text(Form::Plain, |_, _| {});
    assert!(plain.contains("# TYPE hustdbsync_records_read_total counter\n"));
    assert!(!plain.contains("# UNIT") && !plain.contains("# EOF"));
}

#[test]
fn the_form_is_what_is_accepted() {
    let check = |accept: Option<&str>, form| {
        assert_eq!(
            Form::accepted(accept.map(str::as_bytes)),
            form,
            "{accept:?}"
        );
    };
    check(None, Form::OpenMetrics);
    check(Some(""), Form::OpenMetrics);
    check(Some("*/*"), Form::OpenMetrics);
    check(Some("text/plain"), Form::Plain);
    check(Some("Text/Plain;version=0.0.4;q=1,*/*;q=0.1"), Form::Plain);
    check(
        Some("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"),
        Form::OpenMetrics,
    );
}

#[test]
fn no_name_breaks_the_text() {
    let mut board = StatusBoard::new(Now::default());
    board.add("a\"b\\c\nd", Arc::default(), Now::default());
    let mut text = String::new();
    write(board.snapshot(), Form::OpenMetrics, &mut text);
    assert!(
        text.contains(r#"hustdbsync_records_read_total{backend="a\"b\\c\nd"} 0"#),
        "{text}"
    );
}

#[test]
fn what_was_compared_is_told_where_anything_was() {
    let nothing = text(Form::OpenMetrics, |_, _| {});
    assert!(!nothing.contains("hustdbsync_reconcile_keys_total{"));
    assert!(!nothing.contains("reason=\"no_table\""));
    check(
        |board, counters| {
            board.set_reconcile_mode("repair");
            let reconcile = &counters.reconcile;
            reconcile.equal.set(9);
            reconcile.copied.set(4);
            reconcile.raised.set(3);
            reconcile.made_anew.set(2);
            reconcile.deleted.set(1);
            reconcile.reported.set(5);
            reconcile.skipped.add("no_table", 6);
            reconcile.left.set(7);
            reconcile.logs_waiting.set(8);
            reconcile.since_unix.set(990);
        },
        &[
            "hustdbsync_reconcile_keys_total{B,outcome=\"equal\"} 9",
            "hustdbsync_reconcile_keys_total{B,outcome=\"copied\"} 4",
            "hustdbsync_reconcile_keys_total{B,outcome=\"raised\"} 3",
            "hustdbsync_reconcile_keys_total{B,outcome=\"made_anew\"} 2",
            "hustdbsync_reconcile_keys_total{B,outcome=\"deleted\"} 1",
            "hustdbsync_reconcile_keys_total{B,outcome=\"reported\"} 5",
            "hustdbsync_reconcile_keys_not_compared_total{B,reason=\"no_table\"} 6",
            "hustdbsync_reconcile_keys_not_compared_total{B,reason=\"peer_unavailable\"} 0",
            "hustdbsync_reconcile_differences{B} 7",
            "hustdbsync_reconcile_logs_waiting{B} 8",
            "hustdbsync_reconcile_lag_seconds{B} 10",
        ],
    );
}

#[test]
fn the_largest_scrape_fits_what_may_wait_at_the_http_server() {
    let mut board = StatusBoard::new(Now::default());
    board.set_reconcile_mode("repair");
    for number in 0..crate::limits::BACKENDS_MAX {
        let name = format!("backend-{number:04}.hustdb.example.com:8085");
        board.add(&name, Arc::default(), Now::default());
    }
    board.refresh(Now::default());
    board.refresh_details();
    let mut text = String::new();
    write(board.snapshot(), Form::OpenMetrics, &mut text);
    assert!(
        text.len() * 2 <= crate::limits::HTTP_UNSENT_BYTES_MAX,
        "{} bytes",
        text.len()
    );
}
