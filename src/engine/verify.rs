//! Comparing keys at once, for a command: on the calling thread, whether or not a server runs.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll};

use crate::config::Config;
use crate::engine::clock::Clock;
use crate::engine::connections::{Connections, WAKER};
use crate::engine::resolve::system_resolver;
use crate::engine::settings::{Settings, SettingsError};
use crate::engine::surroundings::RealSurroundings;
use crate::limits::RECONCILE_LOOK;
use crate::reconcile::comparison::{Compared, Comparison, Stalled};
use crate::reconcile::key::{KeyId, Logged};
use crate::reconcile::settings::ReconcileSettings;
use crate::reconcile::table::Table;
use crate::replay::reconciler::{Surroundings, find};

/// Events taken from the system at once.
const EVENTS: usize = 256;

/// A master that does not answer for so long ends the command.
const PATIENCE: Duration = Duration::from_secs(15);

/// A key to be compared with this master.
pub(crate) struct KeyWithPeer {
    /// Which key.
    pub(crate) key: KeyId,
    /// What is known of its records.
    pub(crate) logged: Logged,
    /// The other master.
    pub(crate) peer: Arc<str>,
}

/// See the module.
pub(crate) struct Verifier {
    comparison: Comparison,
    surroundings: RealSurroundings,
    connections: Connections,
    poll: Poll,
    clock: Clock,
}

impl Verifier {
    /// Compares keys of this backend, as `reconcile` says.
    ///
    /// # Errors
    /// The backends' login cannot be read, or the system has no descriptor left.
    pub(crate) fn new(
        config: &Config,
        backend: &str,
        reconcile: ReconcileSettings,
    ) -> Result<Self, VerifyError> {
        let clock = Clock::default();
        let mut settings = Settings::load(config)?.controller.comparison();
        settings.reconcile = reconcile;
        Ok(Self {
            comparison: Comparison::new(backend.into(), settings, Stalled::new(), clock.now()),
            surroundings: RealSurroundings::new(config, system_resolver()),
            connections: Connections::default(),
            poll: Poll::new()?,
            clock,
        })
    }

    /// HA's table.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn table(&mut self) -> Result<Arc<Table>, VerifyError> {
        self.surroundings.table().map_err(VerifyError::Table)
    }

    /// Compares these keys, and gives each outcome to `tell`.
    ///
    /// # Errors
    /// A master does not answer.
    pub(crate) fn compare(
        &mut self,
        keys: Vec<KeyWithPeer>,
        tell: &mut dyn FnMut(&Compared),
    ) -> Result<(), VerifyError> {
        let mut keys = keys.into_iter().peekable();
        let mut events = Events::with_capacity(EVENTS);
        let mut asking_at = self.clock.now().monotonic;
        loop {
            let now = self.clock.now();
            let passed = now.monotonic.saturating_sub(asking_at);
            asking_at = now.monotonic;
            self.comparison.handle_time(passed);
            self.watch_masters()?;
            self.comparison.handle_deadlines(now);
            while self.comparison.has_room()
                && let Some(KeyWithPeer { key, logged, peer }) = keys.next()
            {
                let at = self.comparison.master(&peer, now);
                self.comparison.begin(key, logged, at, true);
            }
            while let Some(compared) = self.comparison.poll_compared() {
                tell(&compared);
            }
            if self.comparison.is_idle() && keys.peek().is_none() {
                return Ok(());
            }
            self.connections
                .act_all(&mut self.comparison, &self.poll, now);
            let until = self.comparison.deadline().min(now.after(RECONCILE_LOOK));
            let timeout = until.saturating_sub(self.clock.now().monotonic);
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
            let now = self.clock.now();
            for event in events.iter().filter(|event| event.token() != WAKER) {
                self.connections
                    .handle_event(event, &mut self.comparison, now);
            }
        }
    }

    fn watch_masters(&mut self) -> Result<(), VerifyError> {
        for master in self.comparison.masters() {
            find(master, &mut self.surroundings);
            if master.stalled() > PATIENCE {
                return Err(VerifyError::Silent {
                    master: Arc::clone(&master.name),
                    why: master.trouble().unwrap_or("it is too slow").to_owned(),
                });
            }
        }
        Ok(())
    }
}

/// Why keys cannot be compared: a sentence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    /// The backends' login, or an override.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// HA's table.
    #[error("HA's table cannot be read: {0}")]
    Table(String),
    /// A master does not answer.
    #[error("{master} does not answer: {why}; what was compared before has been told")]
    Silent {
        /// Which master.
        master: Arc<str>,
        /// Why.
        why: String,
    },
    /// The system.
    #[error("cannot compare: {0}")]
    System(#[from] io::Error),
}
