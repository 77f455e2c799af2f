//! A report as a table for people.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use comfy_table::presets::{NOTHING, UTF8_FULL_CONDENSED};
use comfy_table::{Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, Width};
use indicatif::{FormattedDuration, HumanBytes, HumanCount};

use super::order::Trouble;
use crate::status::agreement::Agreement;
use crate::status::reconcile::Reconcile;
use crate::status::report::Report;
use crate::status::snapshot::BackendSnapshot;

/// What there is to say without any backend.
const NO_LOGS: &str = "no logs yet: does HA write them?";

/// The same where there are backends, and never was a line for any.
const NO_LINES: &str = "no line has come for any backend yet: does HA write logs?";

/// What there is to say while the server does not know all backends.
const NO_LISTING: &str = "the folder of logs (sync.logs_path) has not been listed yet, or cannot \
    be listed any more: there may be backends that the server does not know; its log says why";

/// What follows the first two.
const SEE_HA: &str = "As shipped, HA 1.4 and later writes none: `hustdbsync check` looks at its \
    configuration (binlog_uri; docs/operations.md, \"Have HA write logs\")";

/// A backend that has been down for so long, in seconds, has missed writes, or has no users.
const SILENT_AFTER_S: u64 = 60;

/// Space that is kept for why a backend is in its state, where that has a column.
const WHY_WIDTH: usize = 24;

/// What is between two columns of a table in a terminal.
const BORDER_WIDTH: usize = 3;

/// Where a table goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Columns of the terminal; none where it is no terminal, and lines may be as long as they are.
    pub(super) width: Option<usize>,
    /// Whether it shows colours.
    pub(super) has_colours: bool,
}

impl Place {
    /// A pipe or a file.
    #[cfg(test)]
    pub(super) const PIPE: Self = Self {
        width: None,
        has_colours: false,
    };
}

/// One column: its title and a cell for each backend.
struct Column {
    title: &'static str,
    cells: Vec<String>,
    is_number: bool,
    /// Which is left out first where there is no room: the greatest. 0: never.
    left_out: u8,
}

impl Column {
    fn new(
        title: &'static str,
        left_out: u8,
        backends: &[BackendSnapshot],
        cell: impl Fn(&BackendSnapshot) -> String,
    ) -> Self {
        Self {
            title,
            cells: backends
                .iter()
                .map(|backend| plain(&cell(backend)))
                .collect(),
            is_number: !["Backend", "State", WHY].contains(&title),
            left_out,
        }
    }

    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| cell.chars().count());
        let widest = cells.max().unwrap_or(0).max(self.title.len());
        match self.title {
            WHY => widest.min(WHY_WIDTH),
            _ => widest,
        }
    }
}

const WHY: &str = "Why";

/// All columns that fit. A name is never broken: what does not fit is left out, and a reason goes
/// below the table.
fn columns(backends: &[BackendSnapshot], width: Option<usize>) -> Vec<Column> {
    let column = |title, left_out, cell: fn(&BackendSnapshot) -> String| {
        Column::new(title, left_out, backends, cell)
    };
    let mut columns = vec![
        column("Backend", 0, |backend| backend.name.clone()),
        column("State", 0, state),
        column("Backlog", 0, backlog),
        column("Rate", 2, |backend| rate(backend.rate_per_second)),
        column("Lag", 3, |backend| seconds(backend.lag_seconds)),
        column("ETA", 1, drain),
        column("Completed", 6, |backend| {
            HumanCount(backend.counts.settled).to_string()
        }),
        column("Rejected", 5, |backend| {
            HumanCount(backend.counts.rejected).to_string()
        }),
        column(WHY, 4, why),
    ];
    if columns
        .last()
        .is_some_and(|why| why.cells.iter().all(String::is_empty))
    {
        columns.pop();
    }
    let taken = |columns: &[Column]| -> usize {
        let widths = columns.iter().map(|column| column.width() + BORDER_WIDTH);
        widths.sum::<usize>() + 1
    };
    while width.is_some_and(|width| taken(&columns) > width) {
        let last = columns
            .iter()
            .enumerate()
            .max_by_key(|(_, column)| column.left_out);
        match last {
            Some((at, column)) if column.left_out > 0 => drop(columns.remove(at)),
            _ => break,
        }
    }
    columns
}

/// The backends' table, and the reasons that have no column in it; each line with its newline.
fn backends_table(backends: &[BackendSnapshot], place: Place) -> String {
    let columns = columns(backends, place.width);
    let mut table = Table::new();
    match place.width {
        Some(width) => table
            .load_style(UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(u16::try_from(width).unwrap_or(u16::MAX)),
        None => table
            .load_style(NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled),
    };
    if place.has_colours {
        table.enforce_styling();
    }
    table.set_header(columns.iter().map(|column| column.title));
    for (row, backend) in backends.iter().enumerate() {
        table.add_row(columns.iter().map(|column| {
            let cell = Cell::new(&column.cells[row]);
            match (column.title, place.has_colours) {
                ("State", true) => cell.fg(colour(backend)),
                _ => cell,
            }
        }));
    }
    for (at, column) in columns.iter().enumerate() {
        let Some(of_table) = table.column_mut(at) else {
            continue;
        };
        if column.is_number {
            of_table.set_cell_alignment(CellAlignment::Right);
        }
        if column.title != WHY && place.width.is_some() {
            let width = column.width() + BORDER_WIDTH - 1;
            let width = Width::Fixed(u16::try_from(width).unwrap_or(u16::MAX));
            of_table.set_constraint(ColumnConstraint::LowerBoundary(width));
        }
    }
    let mut text: String = table
        .lines()
        .flat_map(|line| [line.trim_end().to_owned(), "\n".to_owned()])
        .collect();
    if !columns.iter().any(|column| column.title == WHY) {
        for backend in backends {
            let why = plain(&why(backend));
            if !why.is_empty() {
                // Writing to a `String` cannot fail.
                let _ = writeln!(text, "{}: {why}", plain(&backend.name));
            }
        }
    }
    text
}

/// The colour of a backend's state.
fn colour(backend: &BackendSnapshot) -> Color {
    match Trouble::of(backend) {
        Trouble::Faulty | Trouble::Bad => Color::Red,
        Trouble::Warn => Color::Yellow,
        _ if backend.state == "up" => Color::Green,
        _ => Color::Reset,
    }
}

/// The table and a line of totals, with a newline at the end.
pub(super) fn render(report: &Report, addr: SocketAddr, place: Place) -> String {
    let seconds: String = report
        .second_names
        .iter()
        .map(|second| format!("{}: {}\n", plain(&second.name), plain(&second.why())))
        .collect();
    let totals = totals(report, addr);
    let hint = match report.backends.is_empty() {
        _ if report.logs_unlisted => format!("{NO_LISTING}\n"),
        true => format!("{NO_LOGS} {SEE_HA}\n"),
        false if nothing_has_come(report) => format!("{NO_LINES} {SEE_HA}\n"),
        false => String::new(),
    };
    let table = match report.backends.is_empty() {
        true => String::new(),
        false => backends_table(&report.backends, place),
    };
    format!("{table}{totals}\n{hint}{seconds}")
}

/// Whether no line was ever logged for any of the backends, as far as is known.
fn nothing_has_come(report: &Report) -> bool {
    let is_known = |backend: &BackendSnapshot| {
        backend.counts.state_read > 0 && backend.counts.are_logs_known()
    };
    report.processed == 0 && report.backlog_bytes == 0 && report.backends.iter().all(is_known)
}

/// Whether a backend is down and nothing was logged for it since, which is so where HA keeps missed
/// writes elsewhere.
fn is_silent(backend: &BackendSnapshot) -> bool {
    let is_down = matches!(&*backend.state, "down" | "unresolved");
    let counts = &backend.counts;
    let is_nothing_known = !counts.are_logs_known() || counts.away_logs > 0 || backend.folder_gone;
    is_down
        && backend.times.state_seconds >= SILENT_AFTER_S
        && backend.backlog_bytes == 0
        && !is_nothing_known
}

/// The whole server in one line, without its newline.
fn totals(report: &Report, addr: SocketAddr) -> String {
    let up = seconds(report.now_unix.saturating_sub(report.started_unix));
    format!(
        "hustdbsync {} at {addr}, up {up}: {} of {} records completed, {} to go",
        plain(&report.version),
        HumanCount(report.settled),
        HumanCount(report.processed),
        HumanBytes(report.backlog_bytes),
    )
}

/// What the table has no column for, a paragraph for each backend.
pub(super) fn add_details(report: &Report, text: &mut String) {
    for backend in &report.backends {
        let (times, probe) = (&backend.times, &backend.probe);
        let probed = match probe.probe_unix {
            0 => "none yet".to_owned(),
            unix => {
                let ago = seconds_or_none(report.now_unix.saturating_sub(unix));
                let took = probe.probe_ms.map(|ms| format!(", {ms:.2} ms"));
                let answer = plain(&probe.probe_answer);
                format!("{answer}{}, {ago} ago", took.unwrap_or_default())
            }
        };
        let rate_limit = match backend.rate_max {
            0 => "none".to_owned(),
            limit => format!("{}/s", HumanCount(limit)),
        };
        let latencies = match (times.latency_p50_ms, times.latency_p99_ms) {
            (Some(half), Some(most)) => {
                format!("half of the answers within {half:.2} ms, 99 % within {most:.2} ms")
            }
            _ => "no answers in the last minutes".to_owned(),
        };
        // Writing to a `String` cannot fail.
        let _ = write!(
            text,
            "\n{}\n  last probe: {probed}\n  {} for {}; not up for {} in this run; ceased to be up \
             {} in the last hour\n  rate limit {rate_limit}; {} tried again, {} resent\n  \
             {latencies}\n",
            plain(&backend.name),
            plain(&backend.state),
            seconds_or_none(times.state_seconds),
            seconds_or_none(times.down_seconds),
            many(times.flaps_last_hour, "time"),
            many(times.lane_failures, "failure"),
            many(backend.counts.resent, "record"),
        );
        if let Some(reconcile) = &backend.reconcile {
            add_compared(reconcile, text);
        }
    }
}

/// What comparing with the other master has found, in two lines.
fn add_compared(reconcile: &Reconcile, text: &mut String) {
    // Writing to a `String` cannot fail.
    let _ = writeln!(
        text,
        "  reconcile {}: {} compared, {} equal, {} mended ({} copied, {} raised, {} made anew, {} \
         deleted), {} reported, {} not compared\n  {} left; {} to be compared",
        plain(&reconcile.mode),
        many(reconcile.compared, "key"),
        HumanCount(reconcile.equal),
        HumanCount(reconcile.mended()),
        HumanCount(reconcile.copied),
        HumanCount(reconcile.raised),
        HumanCount(reconcile.made_anew),
        HumanCount(reconcile.deleted),
        HumanCount(reconcile.reported),
        HumanCount(reconcile.not_compared),
        many(reconcile.differences_left, "difference"),
        many(reconcile.logs_waiting, "finished log"),
    );
}

fn many(count: u64, one: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {one}{s}", HumanCount(count))
}

fn seconds_or_none(seconds: u64) -> String {
    FormattedDuration(Duration::from_secs(seconds)).to_string()
}

/// The state, and what of it the word does not say.
fn state(backend: &BackendSnapshot) -> String {
    let counts = &backend.counts;
    let parts = [
        (true, &*backend.state),
        (counts.state_faulty > 0, "state faulty"),
        (counts.logs_faulty > 0, "logs faulty"),
        (counts.logs_unlisted > 0, "logs not listed"),
        (counts.away_logs > 0, "logs gone"),
    ];
    let parts = parts.iter().filter(|(is, _)| *is).map(|(_, word)| *word);
    parts.collect::<Vec<_>>().join(", ")
}

/// Nothing is known of what is in a folder that cannot be read, or was not yet.
fn backlog(backend: &BackendSnapshot) -> String {
    match backend.backlog_bytes {
        0 if !backend.counts.are_logs_known() => "unknown".to_owned(),
        bytes => HumanBytes(bytes).to_string(),
    }
}

/// Why it is in its state, and what else there is to say of its logs.
fn why(backend: &BackendSnapshot) -> String {
    let mut parts = Vec::new();
    let counts = &backend.counts;
    // What is missing comes first: the rest is mended sooner or later.
    if counts.away_logs > 0 {
        parts.push(away(counts.away_logs, counts.away_bytes, &backend.away_log));
    }
    if backend.folder_gone {
        parts.push("its log folder is gone".to_owned());
    }
    parts.push(backend.why.clone());
    if let Some(retry) = backend.times.retry_seconds {
        parts.push(format!("next try in {retry} s"));
    }
    if is_silent(backend) {
        parts.push("nothing is logged for it: does HA write logs (hustdbsync check)?".to_owned());
    }
    if backend.rate_max > 0 {
        let limit = HumanCount(backend.rate_max);
        parts.push(format!("limited to {limit} records/s"));
    }
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
    let reconcile = backend.reconcile.as_ref();
    if let Some(reconcile) = reconcile.filter(|reconcile| reconcile.is_on()) {
        if reconcile.logs_waiting > 0 {
            let logs = HumanCount(reconcile.logs_waiting);
            let lag = seconds_or_none(reconcile.lag_seconds);
            let why = match &*reconcile.waits_for {
                "" => String::new(),
                why => format!(", as {why}"),
            };
            parts.push(format!(
                "finished logs whose keys are to be compared: {logs}, for {lag}{why}"
            ));
        }
        if reconcile.differences_left > 0 {
            parts.push(differing(reconcile.differences_left));
        }
        if reconcile.not_compared > 0 {
            parts.push(not_compared(reconcile.not_compared));
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.join("; ")
}

/// So many keys are left different.
pub(super) fn differing(keys: u64) -> String {
    let keys = HumanCount(keys);
    format!("keys on which the masters differ: {keys} (hustdbsync differences list)")
}

/// Of so many keys nobody knows whether the masters agree.
pub(super) fn not_compared(keys: u64) -> String {
    let keys = HumanCount(keys);
    format!("keys that were not compared: {keys} (see the guide, HustdbsyncKeysNotCompared)")
}

/// What has left the folder.
fn away(logs: u64, bytes: u64, first: &str) -> String {
    let what = match logs {
        1 => format!("a log has left its folder ({first})"),
        logs => {
            let others = HumanCount(logs - 1);
            format!("logs have left their folder ({first} and {others} more)")
        }
    };
    let bytes = HumanBytes(bytes);
    format!("{what} with {bytes} not delivered: put it back, or see the guide, HustdbsyncLogsGone")
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
        Some(0) => match Agreement::of(backend) {
            Agreement::Equal => "done".to_owned(),
            Agreement::Comparing => "comparing".to_owned(),
            Agreement::Differ(1) => "1 key differs".to_owned(),
            Agreement::Differ(keys) => format!("{} keys differ", HumanCount(keys)),
        },
        Some(time) => seconds(time),
    }
}

fn seconds(seconds: u64) -> String {
    match seconds {
        0 => "-".to_owned(),
        _ => FormattedDuration(Duration::from_secs(seconds)).to_string(),
    }
}

/// Text for a terminal of so many columns: what is longer and not part of a table goes on in the
/// next line, indented.
pub(super) fn wrapped(text: &str, width: usize) -> String {
    const INDENT: &str = "    ";
    let mut all = String::new();
    for line in text.lines() {
        if line.starts_with(['│', '┌', '├', '╞', '└']) || line.chars().count() <= width {
            all.push_str(line);
            all.push('\n');
            continue;
        }
        let mut columns = 0;
        let indent = &line[..line.len() - line.trim_start().len()];
        all.push_str(indent);
        columns += indent.len();
        for (nth, word) in line.split_whitespace().enumerate() {
            let length = word.chars().count();
            let fits = columns + 1 + length <= width || columns <= INDENT.len();
            match (nth, fits) {
                (0, _) => {}
                (_, true) => {
                    all.push(' ');
                    columns += 1;
                }
                (_, false) => {
                    all.push('\n');
                    all.push_str(INDENT);
                    columns = INDENT.len();
                }
            }
            all.push_str(word);
            columns += length;
        }
        all.push('\n');
    }
    all
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
        let text = render(&report, "127.0.0.1:8089".parse().unwrap(), Place::PIPE);
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
                retry_seconds: Some(4),
                down_seconds: 3,
                flaps_last_hour: 1,
                lane_failures: 7,
                latency_p50_ms: Some(0.25),
                latency_p99_ms: Some(1.5),
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
        let expected = concat!(
            "\nh:1\n  last probe: good, 0.40 ms, 00:00:05 ago\n",
            "  up for 00:01:10; not up for 00:00:03 in this run; ceased to be up 1 time in the ",
            "last hour\n  rate limit 2,000/s; 7 failures tried again, 0 records resent\n",
            "  half of the answers within 0.25 ms, 99 % within 1.50 ms\n",
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn what_was_compared_is_a_line_of_the_details_and_done_is_what_is_equal() {
        let compared = |log_files, differences_left, logs_waiting| {
            let mut backend = BackendSnapshot {
                name: "h:1".into(),
                state: "up".into(),
                drain_seconds: Some(0),
                reconcile: Some(Reconcile {
                    mode: "repair".into(),
                    compared: 1_234,
                    equal: 1_200,
                    copied: 20,
                    raised: 5,
                    made_anew: 3,
                    deleted: 2,
                    reported: 4,
                    not_compared: 6,
                    differences_left,
                    logs_waiting,
                    lag_seconds: 90,
                    waits_for: "h:2 cannot be asked: it answers 500".into(),
                }),
                ..BackendSnapshot::default()
            };
            backend.counts.log_files = log_files;
            backend
        };
        check(vec![compared(0, 0, 0)], &[" done "]);
        check(vec![compared(0, 1, 0)], &[" 1 key differs "]);
        check(
            vec![compared(0, 1_500, 0)],
            &[
                " 1,500 keys differ ",
                "keys on which the masters differ: 1,500 (hustdbsync differences list)",
                "keys that were not compared: 6 (see the guide, HustdbsyncKeysNotCompared)",
            ],
        );
        check(
            vec![compared(2, 0, 2)],
            &[
                " comparing ",
                "finished logs whose keys are to be compared: 2, for 00:01:30, as h:2 cannot be \
                 asked: it answers 500",
            ],
        );
        let report = Report {
            backends: vec![compared(1, 4, 1)],
            ..Report::default()
        };
        let mut text = String::new();
        add_details(&report, &mut text);
        let expected = concat!(
            "\n  reconcile repair: 1,234 keys compared, 1,200 equal, 30 mended (20 copied, 5 ",
            "raised, 3 made anew, 2 deleted), 4 reported, 6 not compared\n  4 differences left; 1 ",
            "finished log to be compared\n",
        );
        assert!(text.ends_with(expected), "{text}");
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
            rate_max: 2_000,
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
                "limited to 2,000 records/s",
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

    fn backend(name: &str, why: &str) -> BackendSnapshot {
        BackendSnapshot {
            name: name.into(),
            state: if why.is_empty() { "up" } else { "down" }.into(),
            why: why.into(),
            backlog_bytes: 123 << 20,
            rate_per_second: 12_345.0,
            lag_seconds: 3_723,
            drain_seconds: Some(60),
            counts: Counts {
                settled: 123_456_789,
                rejected: 1_234,
                ..Counts::default()
            },
            ..BackendSnapshot::default()
        }
    }

    fn table(width: usize, backends: &[BackendSnapshot]) -> String {
        let place = Place {
            width: Some(width),
            has_colours: false,
        };
        backends_table(backends, place)
    }

    #[test]
    fn a_narrow_terminal_has_fewer_columns_and_no_broken_names() {
        let name = "a-host-with-a-name.example:8085";
        let refused = "connection refused; 3 lines are rejected and are left in rejected.jsonl";
        for (width, titles) in [
            (60, "Backend State Backlog"),
            (80, "Backend State Backlog Rate ETA"),
            (100, "Backend State Backlog Rate Lag ETA"),
            (
                200,
                "Backend State Backlog Rate Lag ETA Completed Rejected Why",
            ),
        ] {
            let text = table(width, &[backend(name, refused), backend("b:1", "")]);
            let header = text.lines().nth(1).unwrap().replace(['│', '┆'], " ");
            let shown: Vec<_> = header.split_whitespace().collect();
            assert_eq!(shown.join(" "), titles, "{width}\n{text}");
            assert_eq!(
                text.matches(name).count(),
                if width == 200 { 1 } else { 2 },
                "{text}"
            );
            assert!(text.contains(refused), "{text}");
            let rows = text
                .lines()
                .filter(|line| line.starts_with(['│', '┌', '└']));
            assert!(rows.clone().count() >= 4);
            assert!(
                rows.map(|row| row.chars().count()).all(|row| row <= width),
                "{text}"
            );
        }
    }

    #[test]
    fn logs_that_are_gone_or_unreadable_are_not_said_to_be_done() {
        let unreadable = BackendSnapshot {
            counts: Counts {
                logs_faulty: 1,
                ..Counts::default()
            },
            state: "up".into(),
            why: "its logs cannot be read: no rights".into(),
            ..BackendSnapshot::default()
        };
        check(vec![unreadable], &["up, logs faulty", " unknown "]);
        let unlisted = BackendSnapshot {
            counts: Counts {
                logs_unlisted: 1,
                ..Counts::default()
            },
            state: "up".into(),
            ..BackendSnapshot::default()
        };
        check(vec![unlisted], &["up, logs not listed", " unknown "]);
        let gone = |away_logs| BackendSnapshot {
            counts: Counts {
                away_logs,
                away_bytes: 2048,
                ..Counts::default()
            },
            away_log: "16-40.log".into(),
            folder_gone: true,
            ..backend("a:1", "")
        };
        check(
            vec![gone(1)],
            &[
                "up, logs gone",
                "a log has left its folder (16-40.log) with 2.00 KiB not delivered: put it back, \
                 or see the guide, HustdbsyncLogsGone; its log folder is gone",
            ],
        );
        check(vec![gone(3)], &["(16-40.log and 2 more)"]);
    }

    #[test]
    fn where_nothing_ever_comes_ha_is_asked_about() {
        let read = |settled| BackendSnapshot {
            counts: Counts {
                state_read: 1,
                settled,
                ..Counts::default()
            },
            name: "a:1".into(),
            state: "up".into(),
            ..BackendSnapshot::default()
        };
        let shown = |processed, backend| {
            let report = Report {
                processed,
                backends: vec![backend],
                ..Report::default()
            };
            render(&report, "127.0.0.1:8089".parse().unwrap(), Place::PIPE)
        };
        let hint = "no line has come for any backend yet: does HA write logs? As shipped, HA 1.4";
        assert!(shown(0, read(0)).contains(hint));
        assert!(!shown(1, read(1)).contains("HA"));
        assert!(
            !shown(0, BackendSnapshot::default()).contains("HA"),
            "its state is not read"
        );

        let down = |state_seconds, backlog_bytes| BackendSnapshot {
            state: "down".into(),
            why: "no connection".into(),
            backlog_bytes,
            times: Times {
                state_seconds,
                ..Times::default()
            },
            ..read(1)
        };
        let asks = |backend| shown(1, backend).contains("nothing is logged for it: does HA write");
        assert!(asks(down(60, 0)));
        assert!(!asks(down(59, 0)) && !asks(down(60, 1)));
    }

    #[test]
    fn what_is_longer_than_the_terminal_is_wide_goes_on_in_the_next_line() {
        let text = wrapped("│ a  table │\na:1: no connection to it\n  half of it\n", 14);
        assert_eq!(
            text,
            "│ a  table │\na:1: no\n    connection\n    to it\n  half of it\n"
        );
        for width in [80, 100] {
            let why = "connection refused ".repeat(20);
            let place = Place {
                width: Some(width),
                has_colours: false,
            };
            let report = Report {
                backends: vec![backend("a:1", why.trim()), backend("b:1", "")],
                ..Report::default()
            };
            let addr = "127.0.0.1:8089".parse().unwrap();
            let text = wrapped(&render(&report, addr, place), width);
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(width), "{text}");
            assert_eq!(text.matches("refused").count(), 20, "{text}");
        }
    }

    #[test]
    fn a_pipe_gets_a_line_for_each_backend_with_all_columns_and_no_borders() {
        let why = "connection refused ".repeat(20);
        let text = backends_table(
            &[backend("a:1", why.trim()), backend("b:1", "")],
            Place::PIPE,
        );
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].trim_start().starts_with("Backend "), "{text}");
        assert!(lines[1].ends_with(why.trim()), "{text}");
        assert!(!text.contains(['│', '─', '\u{1b}']), "{text}");
    }

    #[test]
    fn a_terminal_shows_states_in_colours() {
        let place = Place {
            width: Some(120),
            has_colours: true,
        };
        let text = backends_table(&[backend("a:1", "gone"), backend("b:1", "")], place);
        assert!(
            text.contains("\u{1b}[38;5;9m") && text.contains("\u{1b}[38;5;10m"),
            "{text:?}"
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
