//! `GET /v1/history`: the last hour of every backend, at even intervals, for the page. It is the
//! server that keeps it, so that a page just opened has it.
//!
//! Bounded: [`HISTORY_SAMPLES`] samples for each backend. It is in memory only: a restart begins
//! anew.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use crate::clock::Now;
use crate::limits::{HISTORY_INTERVAL, HISTORY_SAMPLES};

/// A backend at the end of an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sample {
    /// Records settled a second, over the interval.
    pub(super) rate: f32,
    /// Bytes of log that weren't settled.
    pub(super) backlog: u64,
    /// Age of the oldest unsettled record, in seconds.
    pub(super) lag: u32,
}

/// When samples are taken, for all backends at once.
#[derive(Debug, Default)]
pub(super) struct SampleTimes {
    /// When each was taken, in seconds since 1970. Those of a backend are the last of them.
    unix: VecDeque<u64>,
    /// When the last one was, monotonic.
    last: Option<Duration>,
}

impl SampleTimes {
    /// When the next one is due, monotonic.
    pub(super) fn next_at(&self) -> Duration {
        self.last
            .map_or(Duration::ZERO, |last| last + HISTORY_INTERVAL)
    }

    /// Notes that one is taken now.
    pub(super) fn take(&mut self, now: Now) {
        self.last = Some(now.monotonic);
        push(&mut self.unix, now.unix);
    }

    /// How many there were since this second; of those that are kept.
    pub(super) fn since(&self, unix: u64) -> usize {
        let newer = self.unix.iter().rev().take_while(|&&taken| taken > unix);
        newer.count()
    }
}

/// The samples of one backend.
#[derive(Debug, Default)]
pub(super) struct Samples {
    kept: VecDeque<Sample>,
    /// Records settled when the last one was taken, and when that was; `None` while nothing is
    /// known of what earlier processes had settled.
    before: Option<(u64, Duration)>,
}

impl Samples {
    /// Takes one. `settled` is `None` while nothing is known of what earlier processes had settled.
    pub(super) fn take(&mut self, settled: Option<u64>, backlog: u64, lag: u64, now: Now) {
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "a rate is told to three digits"
        )]
        let rate = match (self.before, settled) {
            (Some((before, at)), Some(settled)) => {
                let seconds = now.monotonic.saturating_sub(at).as_secs_f64();
                (settled.saturating_sub(before) as f64 / seconds.max(1.0)) as f32
            }
            _ => 0.0,
        };
        self.before = settled.map(|settled| (settled, now.monotonic));
        let sample = Sample {
            rate,
            backlog,
            lag: u32::try_from(lag).unwrap_or(u32::MAX),
        };
        push(&mut self.kept, sample);
    }
}

/// Appends, and drops what is too old. Holds no more memory than it needs.
fn push<T>(kept: &mut VecDeque<T>, value: T) {
    if kept.len() == HISTORY_SAMPLES {
        kept.pop_front();
    }
    if kept.capacity() == 0 {
        kept.reserve_exact(HISTORY_SAMPLES);
    }
    kept.push_back(value);
}

/// The answer, as written.
#[derive(Serialize)]
struct View<'a> {
    now_unix: u64,
    interval_seconds: u64,
    times_unix: Vec<u64>,
    backends: Vec<BackendView<'a>>,
}

/// One backend's: its last sample is that of the last time.
#[derive(Serialize)]
struct BackendView<'a> {
    name: &'a str,
    rate_per_second: Vec<f32>,
    backlog_bytes: Vec<u64>,
    lag_seconds: Vec<u32>,
}

/// Appends to `body` what was taken later than `since`, in seconds since 1970.
pub(super) fn write<'a>(
    times: &SampleTimes,
    backends: impl Iterator<Item = (&'a str, &'a Samples)>,
    since: u64,
    now_unix: u64,
    body: &mut Vec<u8>,
) {
    let wanted = times.since(since);
    let backends = backends.map(|(name, samples)| {
        let newest = samples.kept.len().saturating_sub(wanted);
        let newest = || samples.kept.range(newest..);
        BackendView {
            name,
            // To a tenth, or it would be told to nine digits.
            rate_per_second: newest()
                .map(|one| (one.rate * 10.0).round() / 10.0)
                .collect(),
            backlog_bytes: newest().map(|one| one.backlog).collect(),
            lag_seconds: newest().map(|one| one.lag).collect(),
        }
    });
    let view = View {
        now_unix,
        interval_seconds: HISTORY_INTERVAL.as_secs(),
        times_unix: times
            .unix
            .range(times.unix.len() - wanted..)
            .copied()
            .collect(),
        backends: backends.collect(),
    };
    // Numbers and strings into a `Vec`: neither can fail.
    let _ = serde_json::to_writer(&mut *body, &view);
    body.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Now {
        Now::new(Duration::from_secs(second), 1_000_000 + second)
    }

    fn written(times: &SampleTimes, samples: &Samples, since: u64) -> serde_json::Value {
        let mut body = Vec::new();
        let backends = [("a:1", samples)].into_iter();
        write(times, backends, since, 7, &mut body);
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn a_sample_has_the_rate_of_its_interval() {
        let (mut times, mut samples) = (SampleTimes::default(), Samples::default());
        for (second, settled) in [
            (0, None),
            (30, Some(5_000)),
            (60, Some(5_900)),
            (90, Some(0)),
        ] {
            times.take(at(second));
            samples.take(settled, second, 2 * second, at(second));
        }
        let told = written(&times, &samples, 0);
        let backend = &told["backends"][0];
        assert_eq!(
            backend["rate_per_second"].to_string(),
            "[0.0,0.0,30.0,0.0]",
            "what an earlier process had settled is no rate, nor is a count that starts anew"
        );
        assert_eq!(backend["backlog_bytes"].to_string(), "[0,30,60,90]");
        assert_eq!(backend["lag_seconds"].to_string(), "[0,60,120,180]");
        assert_eq!(
            told["times_unix"].to_string(),
            "[1000000,1000030,1000060,1000090]"
        );
    }

    #[test]
    fn who_has_some_of_it_is_told_the_rest() {
        let (mut times, mut samples) = (SampleTimes::default(), Samples::default());
        for second in [0, 30, 60] {
            times.take(at(second));
            // This backend is not as old as the first sample.
            if second > 0 {
                samples.take(Some(0), second, 0, at(second));
            }
        }
        for (since, times_told, samples_told) in [
            (0, 3, 2),
            (1_000_000, 2, 2),
            (1_000_030, 1, 1),
            (1_000_060, 0, 0),
            (u64::MAX, 0, 0),
        ] {
            let told = written(&times, &samples, since);
            let count = |value: &serde_json::Value| value.as_array().unwrap().len();
            assert_eq!(count(&told["times_unix"]), times_told, "{since}");
            let backlogs = &told["backends"][0]["backlog_bytes"];
            assert_eq!(count(backlogs), samples_told, "{since}");
        }
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let (mut times, mut samples) = (SampleTimes::default(), Samples::default());
        for number in 0..HISTORY_SAMPLES as u64 + 9 {
            let now = at(number * HISTORY_INTERVAL.as_secs());
            assert!(times.next_at() <= now.monotonic);
            times.take(now);
            samples.take(Some(0), number, 0, now);
        }
        assert_eq!(samples.kept.len(), HISTORY_SAMPLES);
        assert_eq!(samples.kept.capacity(), HISTORY_SAMPLES);
        assert_eq!(times.unix.len(), HISTORY_SAMPLES);
        assert_eq!(samples.kept.front().unwrap().backlog, 9);
        let kept = HISTORY_INTERVAL * u32::try_from(HISTORY_SAMPLES).unwrap();
        assert_eq!(kept, Duration::from_secs(3600));
    }
}
