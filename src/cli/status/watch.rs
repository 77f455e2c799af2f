//! The status, again and again: a progress bar for each backend, or a table each time.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::client::{self, StatusError};
use super::{ANSWER_TIMEOUT, StatusTarget, table};
use crate::status::report::Report;
use crate::status::snapshot::BackendSnapshot;

/// Runs `step` each `interval`, until it fails.
pub(super) fn repeat(
    interval: Duration,
    mut step: impl FnMut() -> Result<(), StatusError>,
) -> Result<(), StatusError> {
    loop {
        step()?;
        std::thread::sleep(interval);
    }
}

/// Shows bars. Fails if the first look does; later ones may, and it goes on looking.
pub(super) fn bars(target: &StatusTarget, interval: Duration) -> Result<(), StatusError> {
    let mut bars = Bars::new(ProgressDrawTarget::stdout());
    let mut first = true;
    repeat(interval, || {
        let report =
            client::ask(target, ANSWER_TIMEOUT).and_then(|body| client::parse(target.addr, &body));
        match report {
            Ok(report) => bars.handle_report(&report),
            Err(error) if first => return Err(error),
            Err(error) => bars.handle_error(&error),
        }
        first = false;
        Ok(())
    })
}

/// A headline, and one bar for each backend: of all bytes of log that were to be settled since we
/// look, how many are.
struct Bars {
    all: MultiProgress,
    headline: ProgressBar,
    backends: BTreeMap<String, Bar>,
}

struct Bar {
    bar: ProgressBar,
    /// `settled_bytes` at the first look.
    settled_bytes_before: u64,
}

impl Bars {
    fn new(draw: ProgressDrawTarget) -> Self {
        let all = MultiProgress::with_draw_target(draw);
        let headline = all.add(ProgressBar::new_spinner().with_style(style("{msg}")));
        Self {
            all,
            headline,
            backends: BTreeMap::new(),
        }
    }

    fn handle_report(&mut self, report: &Report) {
        self.headline.set_message(format!(
            "hustdbsync {}: {} to go on {} backends (Ctrl-C ends the watch, not the server)",
            table::plain(&report.version),
            HumanBytes(report.backlog_bytes),
            report.backends.len()
        ));
        let all = &self.all;
        self.backends.retain(|name, bar| {
            let stays = report.backends.iter().any(|backend| backend.name == *name);
            if !stays {
                all.remove(&bar.bar);
            }
            stays
        });
        let name_width = report
            .backends
            .iter()
            .map(|backend| backend.name.chars().count())
            .max()
            .unwrap_or(0);
        for (place, backend) in report.backends.iter().enumerate() {
            self.backends
                .entry(backend.name.clone())
                .or_insert_with(|| Bar {
                    bar: all.insert(
                        place + 1,
                        ProgressBar::new(1)
                            .with_style(style("{prefix} {bar:24} {percent:>3}%  {msg}")),
                    ),
                    settled_bytes_before: backend.counts.settled_bytes,
                })
                .show(backend, name_width);
        }
    }

    fn handle_error(&mut self, error: &StatusError) {
        self.headline.set_message(error.to_string());
    }
}

impl Bar {
    fn show(&mut self, backend: &BackendSnapshot, name_width: usize) {
        // Fewer than at the first look: the server has begun anew.
        self.settled_bytes_before = self.settled_bytes_before.min(backend.counts.settled_bytes);
        let done = backend.counts.settled_bytes - self.settled_bytes_before;
        let all = done.saturating_add(backend.backlog_bytes);
        // A bar of length 0 would show as empty; nothing to do is all done.
        self.bar.set_length(all.max(1));
        self.bar.set_position(if all == 0 { 1 } else { done });
        self.bar
            .set_prefix(format!("{:name_width$}", table::plain(&backend.name)));
        let mut message = format!(
            "{}  {} to go  {}  {}",
            table::plain(&backend.state),
            HumanBytes(backend.backlog_bytes),
            table::rate(backend.rate_per_second),
            match backend.drain_seconds {
                Some(0) | None => table::drain(backend),
                Some(_) => format!("ETA {}", table::drain(backend)),
            },
        );
        if !backend.why.is_empty() {
            message.push_str("  ");
            message.push_str(&table::plain(&backend.why));
        }
        self.bar.set_message(message);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("our own templates are well formed")
        .progress_chars("█▉▊▋▌▍▎▏░")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::counters::Counts;

    fn report(backends: &[(&str, u64, u64)]) -> Report {
        let backend = |&(name, settled_bytes, backlog_bytes): &(&str, u64, u64)| BackendSnapshot {
            name: name.into(),
            counts: Counts {
                settled_bytes,
                ..Counts::default()
            },
            backlog_bytes,
            drain_seconds: Some(60),
            ..BackendSnapshot::default()
        };
        Report {
            backends: backends.iter().map(backend).collect(),
            ..Report::default()
        }
    }

    /// Name, position and length of each bar after `reports`.
    #[track_caller]
    fn check(reports: &[Report], expected: &[(&str, u64, u64)]) {
        let mut bars = Bars::new(ProgressDrawTarget::hidden());
        for report in reports {
            bars.handle_report(report);
        }
        let got: Vec<_> = bars
            .backends
            .iter()
            .map(|(name, bar)| (name.as_str(), bar.bar.position(), bar.bar.length().unwrap()))
            .collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn a_bar_shows_what_is_settled_of_all_there_was_since_the_first_look() {
        check(&[report(&[("a", 1000, 500)])], &[("a", 0, 500)]);
        check(
            &[report(&[("a", 1000, 500)]), report(&[("a", 1200, 300)])],
            &[("a", 200, 500)],
        );
        // New lines make it longer.
        check(
            &[report(&[("a", 1000, 500)]), report(&[("a", 1500, 100)])],
            &[("a", 500, 600)],
        );
        check(
            &[report(&[("a", 1000, 500)]), report(&[("a", 1500, 0)])],
            &[("a", 500, 500)],
        );
        check(&[report(&[("a", 1000, 0)])], &[("a", 1, 1)]);
        check(
            &[report(&[("a", 1000, 500)]), report(&[("a", 10, 90)])],
            &[("a", 0, 90)],
        );
    }

    #[test]
    fn backends_come_and_go() {
        check(
            &[report(&[("a", 0, 1)]), report(&[("a", 0, 1), ("b", 0, 2)])],
            &[("a", 0, 1), ("b", 0, 2)],
        );
        check(
            &[report(&[("a", 0, 1), ("b", 0, 2)]), report(&[("b", 0, 2)])],
            &[("b", 0, 2)],
        );
    }

    #[test]
    fn a_bar_says_rate_and_time_and_the_headline_says_what_went_wrong() {
        let mut bars = Bars::new(ProgressDrawTarget::hidden());
        bars.handle_report(&report(&[("a", 0, 2048)]));
        let message = bars.backends["a"].bar.message();
        assert!(
            message.contains("2.00 KiB to go")
                && message.contains("0.0/s")
                && message.contains("ETA 00:01:00"),
            "{message}"
        );
        bars.handle_error(&StatusError::Closed {
            addr: "127.0.0.1:1".parse().unwrap(),
        });
        assert!(bars.headline.message().contains("127.0.0.1:1 closed"));
    }
}
