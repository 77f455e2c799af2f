//! A measured run, and many of them.

use crate::process::Cpu;

/// What one run came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    /// Records (or requests) a second.
    pub(crate) rate: f64,
    /// CPU seconds of the measured process a record.
    pub(crate) cpu: Cpu,
    /// How often a thread of it slept, a record; nothing for who is not asked.
    pub(crate) sleeps: f64,
}

/// The runs of one contender, one a round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs(pub(crate) Vec<Figure>);

impl Runs {
    fn rates(&self) -> Vec<f64> {
        self.0.iter().map(|figure| figure.rate).collect()
    }

    fn cpus(&self) -> Vec<f64> {
        self.0.iter().map(|figure| figure.cpu.total()).collect()
    }

    /// Median sleeps a record.
    pub(crate) fn sleeps(&self) -> f64 {
        median(self.0.iter().map(|figure| figure.sleeps).collect())
    }

    /// Median records a second.
    pub(crate) fn rate(&self) -> f64 {
        median(self.rates())
    }

    /// Median CPU a record, in µs, of which user.
    pub(crate) fn cpu_us(&self) -> (f64, f64) {
        let user = self.0.iter().map(|figure| figure.cpu.user).collect();
        (median(self.cpus()) * 1e6, median(user) * 1e6)
    }

    /// Our rate as a multiple of another's in the same rounds.
    pub(crate) fn rate_over(&self, other: &Self) -> f64 {
        ratio(&self.rates(), &other.rates())
    }

    /// Our CPU a record as a multiple of another's in the same rounds.
    pub(crate) fn cpu_over(&self, other: &Self) -> f64 {
        ratio(&self.cpus(), &other.cpus())
    }

    /// The run in the middle: rate and CPU each for itself. Short runs are too short for the ticks
    /// that tell user from system.
    pub(crate) fn median(&self) -> Figure {
        Figure {
            rate: self.rate(),
            cpu: Cpu {
                user: median(self.cpus()),
                system: 0.0,
            },
            sleeps: self.sleeps(),
        }
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let (cpu, user) = self.cpu_us();
        format!(
            "{:>9}/s  {cpu:6.2} µs of CPU ({user:.2} user, {:.2} system)",
            thousands(self.rate()),
            cpu - user
        )
    }
}

/// Median of what the rounds' ratios are: a machine that is slower for a minute is so for both
/// sides of a round.
pub(crate) fn ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    median(ours.iter().zip(theirs).map(|(a, b)| a / b).collect())
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty(), "something was measured");
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 {
        values[half]
    } else {
        f64::midpoint(values[half - 1], values[half])
    }
}

/// The value that `share` (0 to 1) of the values don't exceed.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    assert!(!values.is_empty(), "something was measured");
    values.sort_by(f64::total_cmp);
    let place = (values.len() as f64 * share).ceil() as usize;
    values[place.clamp(1, values.len()) - 1]
}

/// 186041.2 as `186,041`.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
