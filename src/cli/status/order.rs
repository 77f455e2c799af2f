//! Which backends are shown, and which one first.

use std::cmp::Reverse;

use crate::cli::pattern::Pattern;
use crate::status::agreement::Agreement;
use crate::status::report::Report;
use crate::status::snapshot::BackendSnapshot;

/// What backends are sorted by, the greatest first; equals by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// Who is in trouble first, then who has a backlog
    #[default]
    Trouble,
    /// By name
    Name,
    /// By backlog
    Backlog,
    /// By rate
    Rate,
    /// By lag
    Lag,
    /// By rejected lines that are left
    Rejected,
}

/// How bad it is with a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// Nothing is wrong, and nothing waits.
    None,
    /// Nothing is wrong, and records wait, or keys to be compared.
    Backlog,
    /// Somebody should know: it is paused, fails while it is up, has rejected lines, or keys that
    /// differ.
    Warn,
    /// It is not replayed to, or some of its logs have gone undelivered.
    Bad,
    /// Its logs cannot be read or its state not be written.
    Faulty,
}

impl Trouble {
    pub(super) fn of(backend: &BackendSnapshot) -> Self {
        let counts = &backend.counts;
        if counts.state_faulty > 0 || counts.logs_faulty > 0 {
            return Self::Faulty;
        }
        let is_failing = backend.state == "up" && !backend.why.is_empty();
        let agreement = Agreement::of(backend);
        let differs = matches!(agreement, Agreement::Differ(_));
        let has_news = counts.rejected_lines > 0 || counts.zone_off_seconds > 0 || differs;
        match &*backend.state {
            "down" | "refused" | "unresolved" => Self::Bad,
            _ if counts.away_logs > 0 => Self::Bad,
            "paused" => Self::Warn,
            _ if is_failing || has_news => Self::Warn,
            _ if backend.backlog_bytes > 0 || agreement == Agreement::Comparing => Self::Backlog,
            _ => Self::None,
        }
    }
}

/// Sorts a report's backends.
pub(super) fn sort(report: &mut Report, by: Sort) {
    let backends = &mut report.backends;
    backends.sort_by(|one, other| one.name.cmp(&other.name));
    match by {
        Sort::Name => {}
        Sort::Trouble => {
            backends.sort_by_key(|backend| Reverse((Trouble::of(backend), backend.backlog_bytes)))
        }
        Sort::Backlog => backends.sort_by_key(|backend| Reverse(backend.backlog_bytes)),
        Sort::Rate => {
            backends.sort_by(|one, other| other.rate_per_second.total_cmp(&one.rate_per_second))
        }
        Sort::Lag => backends.sort_by_key(|backend| Reverse(backend.lag_seconds)),
        Sort::Rejected => backends.sort_by_key(|backend| Reverse(backend.counts.rejected_lines)),
    }
}

/// Leaves the backends whose names match. An error says which there are where none does.
pub(super) fn only(report: &mut Report, pattern: &str) -> Result<(), String> {
    let matching: Pattern = pattern.parse()?;
    let is_shown = |backend: &BackendSnapshot| matching.matches(backend.name.as_bytes());
    if !report.backends.iter().any(is_shown) {
        let names: Vec<_> = report
            .backends
            .iter()
            .map(|backend| &*backend.name)
            .collect();
        let there_are = match names.is_empty() {
            true => "it has none".to_owned(),
            false => format!("it has {}", names.join(", ")),
        };
        return Err(format!("the server has no backend {pattern}; {there_are}"));
    }
    report.backends.retain(is_shown);
    Ok(())
}

/// Whether nothing waits for any backend of the report, its logs can be read and are there, and its
/// keys agree with the other master's, where they are compared. False while the folder of logs
/// cannot be listed.
pub(super) fn is_in_sync(report: &Report) -> bool {
    let mut backends = report.backends.iter();
    !report.logs_unlisted
        && backends.all(|backend| {
            let counts = &backend.counts;
            let is_known = counts.are_logs_known() && counts.away_logs == 0;
            let is_drained = backend.backlog_bytes == 0 && counts.in_flight_records == 0;
            is_known && is_drained && Agreement::of(backend) == Agreement::Equal
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::counters::Counts;
    use crate::status::reconcile::Reconcile;

    fn backend(name: &str, state: &'static str, backlog_bytes: u64) -> BackendSnapshot {
        BackendSnapshot {
            name: name.to_owned(),
            state: state.into(),
            backlog_bytes,
            ..BackendSnapshot::default()
        }
    }

    fn with(backend: BackendSnapshot, counts: Counts) -> BackendSnapshot {
        BackendSnapshot { counts, ..backend }
    }

    /// Ten backends, each of its own kind.
    fn report() -> Report {
        let rejected = Counts {
            rejected_lines: 2,
            ..Counts::default()
        };
        let faulty = Counts {
            state_faulty: 1,
            ..Counts::default()
        };
        let fast = BackendSnapshot {
            rate_per_second: 20.5,
            lag_seconds: 7,
            ..backend("e", "up", 500)
        };
        let failing = BackendSnapshot {
            why: "it answers 500".to_owned(),
            ..backend("d", "up", 0)
        };
        Report {
            backends: vec![
                backend("a", "up", 0),
                with(backend("b", "up", 0), rejected),
                backend("c", "paused", 9),
                failing,
                fast,
                backend("f", "down", 0),
                backend("g", "unresolved", 3),
                with(backend("h", "up", 1), faulty),
            ],
            ..Report::default()
        }
    }

    #[track_caller]
    fn check(by: Sort, expected: &str) {
        let mut report = report();
        sort(&mut report, by);
        let names: String = report.backends.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, expected, "{by:?}");
    }

    #[test]
    fn what_is_wanted_comes_first() {
        check(Sort::Trouble, "hgfcbdea");
        check(Sort::Name, "abcdefgh");
        check(Sort::Backlog, "ecghabdf");
        check(Sort::Rate, "eabcdfgh");
        check(Sort::Lag, "eabcdfgh");
        check(Sort::Rejected, "bacdefgh");
    }

    #[test]
    fn who_is_not_asked_for_is_left_out_and_who_is_not_there_is_said() {
        let mut all = report();
        all.backends[0].name = "10.0.0.7:8085".to_owned();
        let shown = |pattern: &str| {
            let mut report = all.clone();
            only(&mut report, pattern).map(|()| report.backends.len())
        };
        assert_eq!(shown("10.0.0.7:8085"), Ok(1));
        assert_eq!(shown("10.*"), Ok(1));
        assert_eq!(shown("?"), Ok(7));
        let error = shown("10.0.0.8:8085").unwrap_err();
        assert!(
            error.contains("no backend 10.0.0.8:8085; it has 10.0.0.7:8085, b, "),
            "{error}"
        );
        assert!(
            only(&mut Report::default(), "x")
                .unwrap_err()
                .ends_with("it has none")
        );
    }

    #[test]
    fn what_is_in_flight_is_not_in_sync() {
        let of = |backend| {
            is_in_sync(&Report {
                backends: vec![backend],
                ..Report::default()
            })
        };
        assert!(of(backend("a", "down", 0)));
        assert!(!of(backend("a", "up", 1)));
        let is_in_sync_with = |counts| of(with(backend("a", "up", 0), counts));
        assert!(!is_in_sync_with(Counts {
            in_flight_records: 1,
            ..Counts::default()
        }));
        assert!(!is_in_sync_with(Counts {
            logs_faulty: 1,
            ..Counts::default()
        }));
        assert!(!is_in_sync_with(Counts {
            logs_unlisted: 1,
            ..Counts::default()
        }));
        assert!(!is_in_sync(&Report {
            logs_unlisted: true,
            ..Report::default()
        }));
        assert!(!is_in_sync_with(Counts {
            away_logs: 1,
            ..Counts::default()
        }));
    }

    #[test]
    fn what_is_to_be_compared_or_differs_is_not_in_sync() {
        let check = |log_files, differences_left, trouble| {
            let mut backend = backend("a", "up", 0);
            backend.counts.log_files = log_files;
            backend.reconcile = Some(Reconcile {
                mode: "repair".into(),
                differences_left,
                ..Reconcile::default()
            });
            assert_eq!(Trouble::of(&backend), trouble);
            let backends = vec![backend];
            is_in_sync(&Report {
                backends,
                ..Report::default()
            })
        };
        assert!(check(0, 0, Trouble::None));
        assert!(!check(1, 0, Trouble::Backlog));
        assert!(!check(0, 3, Trouble::Warn));
    }
}
