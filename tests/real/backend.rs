//! A backend that comes and goes, and the HA that writes to its logs meanwhile.

use std::time::{Duration, Instant};

use hustdbsync::internals::fake_hustdb::{FakeHustdb, Script};

use super::Home;
use super::ha::{Ha, Load, Story};

/// See the module.
pub(crate) struct Backend {
    pub(crate) fake_hustdb: FakeHustdb,
    pub(crate) ha: Ha,
    /// When it comes up again.
    down_until: Option<Instant>,
}

impl Backend {
    /// HA begins to write to its logs.
    pub(crate) fn start(home: &Home, fake_hustdb: FakeHustdb, load: Load) -> Self {
        Self {
            ha: Ha::start(&home.logs(), &fake_hustdb.name(), load),
            fake_hustdb,
            down_until: None,
        }
    }

    /// It is down for so long, its data kept.
    pub(crate) fn take_down(&mut self, length: Duration) {
        self.fake_hustdb.kill().unwrap();
        self.down_until = Some(Instant::now() + length);
    }

    /// What goes on beside: it comes up when its time is over, and HA's minutes pass.
    pub(crate) fn tick(&mut self, minute_ends: bool) {
        match minute_ends {
            true => self.ha.pass_minute(),
            false => self.ha.age(),
        }
        let now = Instant::now();
        if self.down_until.take_if(|until| *until <= now).is_some() {
            self.fake_hustdb.restart().unwrap();
        }
    }

    /// It is up and behaves, and HA writes no more.
    pub(crate) fn heal(&mut self) -> Story {
        self.fake_hustdb.set_script(Script::default()).unwrap();
        self.fake_hustdb.restart().unwrap();
        self.ha.finish()
    }

    /// Whether every log has gone.
    pub(crate) fn is_drained(&self, home: &Home) -> bool {
        home.log_names(&self.fake_hustdb.name()).is_empty()
    }

    /// Fails unless everything of the story is as it should be, and nothing was sent that hustdb
    /// can't stand.
    pub(crate) fn assert_replayed(&self, home: &Home, story: &Story) {
        story.assert_replayed(home, &self.fake_hustdb);
        let counters = self.fake_hustdb.counters();
        let name = self.fake_hustdb.name();
        assert_eq!((counters.cut_targets, counters.crashes), (0, 0), "{name}");
    }
}
