//! What goes wrong in a soak, and how often.

use std::time::Duration;

use hustdbsync::internals::fake_hustdb::{Act, On, Rule, Script};

/// One of them. Those that end the process are few: it is to live for long.
#[derive(Debug)]
pub(super) enum Incident {
    /// A backend is down for so long, its data kept.
    Outage(usize, Duration),
    /// A backend misbehaves so from now on: it is slow, or resets connections.
    Script(usize, Script),
    /// The process is stopped for so long.
    Stop(Duration),
    /// The configuration is read again, with this `sync.max_rate_per_backend`.
    Reload(u64),
    /// SIGTERM, and another process.
    Restart,
    /// SIGKILL, and another process.
    Kill,
}

impl Incident {
    pub(super) fn draw(random: &mut fastrand::Rng, backends: usize) -> Self {
        let index = random.usize(..backends);
        match random.u32(..1000) {
            0..5 => Self::Kill,
            5..10 => Self::Restart,
            10..60 => Self::Stop(Duration::from_millis(random.u64(5..1500))),
            60..260 => Self::Reload(random.choice([0, 0, 2000, 10_000]).expect("there are some")),
            260..460 => {
                // Most are short; some last longer than every timeout.
                let seconds_max = random.choice([0.2, 2.0, 30.0]).expect("there are some");
                Self::Outage(index, Duration::from_secs_f64(random.f64() * seconds_max))
            }
            460..560 => {
                let delay = Duration::from_millis(random.u64(1..20));
                Self::Script(index, Script::default().burst_delay(delay))
            }
            560..700 => {
                let rule = Rule {
                    applied: random.bool(),
                    ..Rule::new(On::Mutations, Act::Reset).times(random.u64(1..8))
                };
                Self::Script(index, Script::default().rule(rule))
            }
            _ => Self::Script(index, Script::default()),
        }
    }
}

/// How many there were.
#[derive(Debug, Default)]
pub(super) struct Figures {
    outages: u64,
    scripts: u64,
    stops: u64,
    reloads: u64,
    restarts: u64,
    kills: u64,
}

impl Figures {
    pub(super) fn count(&mut self, incident: &Incident) {
        let count = match incident {
            Incident::Outage(..) => &mut self.outages,
            Incident::Script(..) => &mut self.scripts,
            Incident::Stop(_) => &mut self.stops,
            Incident::Reload(_) => &mut self.reloads,
            Incident::Restart => &mut self.restarts,
            Incident::Kill => &mut self.kills,
        };
        *count += 1;
    }

    /// How many there were in all.
    pub(super) fn sum(&self) -> u64 {
        self.outages + self.scripts + self.stops + self.reloads + self.restarts + self.kills
    }
}
