//! How far each backend is: bars on a terminal, else a line each second.

use std::time::{Duration, Instant};

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressStyle};

use crate::cli::output;
use crate::status::snapshot::{BackendSnapshot, Snapshot};

/// Between lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// Shows how far it is.
pub(super) struct Progress {
    backends: Vec<Backend>,
    show: Show,
}

struct Backend {
    name: String,
    lines: u64,
    bar: ProgressBar,
    done: bool,
}

enum Show {
    Bars(MultiProgress),
    Lines { last: Instant },
}

impl Progress {
    /// Of these backends, with as many lines each.
    pub(super) fn new(lines: &[(String, u64)]) -> Self {
        let all = MultiProgress::new();
        let show = if all.is_hidden() {
            Show::Lines {
                last: Instant::now(),
            }
        } else {
            Show::Bars(all)
        };
        let width = lines.iter().map(|(backend, _)| backend.len()).max();
        let width = width.unwrap_or(0);
        let backends = lines.iter().map(|(backend, lines)| {
            let bar = match &show {
                Show::Bars(all) => all.add(ProgressBar::new(*lines).with_style(style())),
                Show::Lines { .. } => ProgressBar::hidden(),
            };
            bar.set_prefix(format!("{backend:width$}"));
            Backend {
                name: backend.clone(),
                lines: *lines,
                bar,
                done: false,
            }
        });
        let backends = backends.collect();
        Self { backends, show }
    }

    /// Shows a snapshot. True once all is settled.
    pub(super) fn handle_snapshot(&mut self, snapshot: &Snapshot) -> bool {
        let mut settled = 0;
        let mut all_done = true;
        for backend in &mut self.backends {
            let found = snapshot
                .backends()
                .iter()
                .find(|found| found.name == backend.name);
            if let Some(found) = found {
                settled += found.counts.settled;
                backend.handle(found);
            }
            all_done &= backend.done;
        }
        if let Show::Lines { last } = &mut self.show
            && (all_done || last.elapsed() >= LINE_INTERVAL)
        {
            *last = Instant::now();
            let lines = self.backends.iter().map(|backend| backend.lines).sum();
            output::tell(format_args!("   {}", line(settled, lines)));
        }
        all_done
    }

    /// Leaves the bars as they are.
    pub(super) fn finish(&self) {
        for backend in &self.backends {
            backend.bar.abandon();
        }
    }
}

impl Backend {
    fn handle(&mut self, found: &BackendSnapshot) {
        let counts = &found.counts;
        if self.done {
            return;
        }
        self.done = counts.settled >= self.lines
            && found.backlog_bytes == 0
            && counts.in_flight_records == 0;
        self.bar.set_position(counts.settled);
        self.bar.set_message(message(found, self.done));
    }
}

fn message(found: &BackendSnapshot, done: bool) -> String {
    let remaining = match found.drain_seconds {
        _ if done => return "done".to_owned(),
        Some(seconds) => format!("done in {seconds} s"),
        None if found.why.is_empty() => found.state.to_string(),
        None => format!("{}: {}", found.state, found.why),
    };
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate for people: never negative, and far below 2⁶⁴"
    )]
    let rate = found.rate_per_second as u64;
    format!("{}/s  {remaining}", HumanCount(rate))
}

fn line(settled: u64, lines: u64) -> String {
    let percent = u128::from(settled) * 100 / u128::from(lines.max(1));
    format!(
        "{} of {} records ({percent} %)",
        HumanCount(settled),
        HumanCount(lines)
    )
}

/// A bar of what room the figures leave: a line that is too long for the terminal would be drawn
/// again and again.
fn style() -> ProgressStyle {
    ProgressStyle::with_template("   {prefix} {wide_bar:.green} {human_pos} of {human_len}  {msg}")
        .expect("our own template is well formed")
        .progress_chars("█▉▊▋▌▍▎▏░")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::counters::Counts;

    fn check(
        settled: u64,
        backlog_bytes: u64,
        rate: f64,
        drain: Option<u64>,
        expected: (bool, &str),
    ) {
        let mut backend = Backend {
            name: "h:1".to_owned(),
            lines: 100,
            bar: ProgressBar::hidden(),
            done: false,
        };
        backend.handle(&BackendSnapshot {
            name: "h:1".to_owned(),
            state: "down".into(),
            why: "refused".to_owned(),
            counts: Counts {
                settled,
                ..Counts::default()
            },
            backlog_bytes,
            rate_per_second: rate,
            drain_seconds: drain,
            ..BackendSnapshot::default()
        });
        assert_eq!((backend.done, backend.bar.message().as_str()), expected);
        assert_eq!(backend.bar.position(), settled);
    }

    #[test]
    fn a_backend_is_done_when_its_lines_are_settled_and_nothing_is_left() {
        check(100, 0, 5000.0, Some(0), (true, "done"));
        check(100, 7, 5000.0, Some(1), (false, "5,000/s  done in 1 s"));
        check(40, 7, 1234.5, Some(3), (false, "1,234/s  done in 3 s"));
        check(0, 0, 0.0, None, (false, "0/s  down: refused"));
    }

    #[test]
    fn a_line_says_how_far_it_is() {
        assert_eq!(line(1500, 200_000), "1,500 of 200,000 records (0 %)");
        assert_eq!(line(0, 0), "0 of 0 records (0 %)");
    }
}
