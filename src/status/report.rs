//! `GET /v1/status`: everything there is to tell, as JSON, for `hustdbsync status` and for whoever
//! scripts it.
//!
//! Numbers keep their names for good; new ones may come. Who reads it takes what is missing as 0 or
//! empty, and what is unknown not at all, so a client and a server of different versions understand
//! each other.

use serde::{Deserialize, Serialize};

use super::snapshot::{BackendSnapshot, SecondName, Snapshot};

/// The report, as read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The server's version.
    pub version: String,
    /// The name of its host.
    pub host: String,
    /// The folder of its state, an absolute path; empty where the server does not tell.
    pub state_path: String,
    /// What its workers wait for their connections with: `io_uring` or `mio`.
    pub engine: String,
    /// When it started, in seconds since 1970.
    pub started_unix: u64,
    /// When it answered, in seconds since 1970.
    pub now_unix: u64,
    /// Records read from logs, over all backends.
    pub processed: u64,
    /// Records settled, over all backends.
    pub settled: u64,
    /// Bytes of log not settled, over all backends.
    pub backlog_bytes: u64,
    /// The folder of logs has not been listed yet, or cannot be listed any more: there may be
    /// backends that are not known.
    pub logs_unlisted: bool,
    /// Sync points that are known.
    pub sync_points: u64,
    /// Questions that wait until a sync point is settled.
    pub sync_point_waiters: u64,
    /// The backends, in the order of their names.
    pub backends: Vec<BackendSnapshot>,
    /// Names below the logs' path that are not backends, as each leads to a backend's folder.
    pub second_names: Vec<SecondName>,
}

/// The same, as written.
#[derive(Serialize)]
struct ReportView<'a> {
    version: &'a str,
    host: &'a str,
    state_path: &'a str,
    engine: &'a str,
    started_unix: u64,
    now_unix: u64,
    processed: u64,
    settled: u64,
    backlog_bytes: u64,
    logs_unlisted: bool,
    sync_points: u64,
    sync_point_waiters: u64,
    backends: &'a [BackendSnapshot],
    second_names: &'a [SecondName],
}

/// Appends the report to `body`.
pub fn write(snapshot: &Snapshot, body: &mut Vec<u8>) {
    let (processed, settled) = snapshot.totals();
    let view = ReportView {
        version: env!("CARGO_PKG_VERSION"),
        host: &snapshot.server.host,
        state_path: &snapshot.server.state_path,
        engine: snapshot.server.engine,
        started_unix: snapshot.started_unix,
        now_unix: snapshot.now_unix,
        processed,
        settled,
        backlog_bytes: snapshot.backends().iter().fold(0, |sum: u64, backend| {
            sum.saturating_add(backend.backlog_bytes)
        }),
        logs_unlisted: !snapshot.server.logs_listed,
        sync_points: snapshot.sync_points,
        sync_point_waiters: snapshot.sync_point_waiters,
        backends: snapshot.backends(),
        second_names: &snapshot.second_names,
    };
    // Numbers and strings into a `Vec`: neither can fail.
    let _ = serde_json::to_writer(&mut *body, &view);
    body.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::counters::Counts;
    use crate::status::reconcile::Reconcile;
    use crate::status::snapshot::{LastProbe, Times};

    #[test]
    fn a_report_reads_back_as_it_was() {
        let backend = BackendSnapshot {
            name: "127.0.0.1:9998".into(),
            state: "down".into(),
            why: "connection \"refused\"".into(),
            since_unix: 5,
            counts: Counts {
                processed: 12,
                settled: 10,
                unread_bytes: 99,
                ..Counts::default()
            },
            backlog_bytes: 99,
            rate_per_second: 1.5,
            bytes_per_second: 2.5,
            lag_seconds: 3,
            drain_seconds: None,
            rate_max: 0,
            cleared_bytes: 4,
            folder_gone: true,
            away_log: "16-40.log".into(),
            reconcile: Some(Reconcile {
                mode: "report".into(),
                compared: 5,
                ..Reconcile::default()
            }),
            probe: LastProbe {
                probe_unix: 6,
                probe_answer: "good".into(),
                probe_ms: Some(0.5),
            },
            times: Times {
                state_seconds: 2,
                retry_seconds: Some(3),
                down_seconds: 3,
                flaps_last_hour: 1,
                lane_failures: 7,
                latency_p50_ms: Some(0.25),
                latency_p99_ms: None,
            },
            ..BackendSnapshot::default()
        };
        let mut snapshot = Snapshot::new(1, 7, vec![backend.clone()]);
        let second_name = SecondName {
            name: "127.0.0.1:9999".into(),
            first: "127.0.0.1:9998".into(),
        };
        snapshot.second_names.push(second_name.clone());
        snapshot.server.host = "db7".into();
        snapshot.server.state_path = "/data/status".into();
        snapshot.server.engine = "mio";
        let mut body = Vec::new();
        write(&snapshot, &mut body);
        let report: Report = serde_json::from_slice(&body).unwrap();
        let expected = Report {
            version: env!("CARGO_PKG_VERSION").into(),
            host: "db7".into(),
            state_path: "/data/status".into(),
            engine: "mio".into(),
            started_unix: 1,
            now_unix: 7,
            processed: 12,
            settled: 10,
            backlog_bytes: 99,
            logs_unlisted: true,
            sync_points: 0,
            sync_point_waiters: 0,
            backends: vec![backend],
            second_names: vec![second_name],
        };
        assert_eq!(report, expected);
    }

    #[test]
    fn a_report_of_another_version_is_understood() {
        let report: Report = serde_json::from_str(
            r#"{"new": [1], "backends": [{"name": "a:1", "settled": 3, "newer": null}]}"#,
        )
        .unwrap();
        assert_eq!(report.backends[0].counts.settled, 3);
        assert_eq!(report.backends[0].drain_seconds, None);
        assert_eq!(report.backends[0].reconcile, None);
    }
}
