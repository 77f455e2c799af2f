//! Comparing keys at once, for a command: on the calling thread, whether or not a server runs.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll};

use crate::config::Config;
use crate::engine::clock::Clock;
use crate::engine::connections::{Connections, WAKER};
use crate::engine::resolve::system_resolver;
use crate::engine::settings::{Settings, SettingsError};
use crate::engine::surroundings::RealSurroundings;
use crate::engine::wait::wait;
use crate::limits::RECONCILE_LOOK;
use crate::reconcile::comparison::{Compared, Comparison, Stalled};
use crate::reconcile::decision::Trust;
use crate::reconcile::key::{KeyId, Logged};
use crate::reconcile::settings::ReconcileSettings;
use crate::reconcile::table::Table;
use crate::replay::reconciler::{Surroundings, find};

/// Events taken from the system at once.
const EVENTS: usize = 256;

/// A master that has requests and answers none of them for so long ends the command. Answers that
/// come slowly do not: unlike a log that is kept, somebody waits for this and can end it.
const PATIENCE: Duration = Duration::from_secs(15);

/// A key to be compared with this master.
pub(crate) struct KeyWithPeer {
    pub(crate) key: KeyId,
    /// What is known of its records.
    pub(crate) logged: Logged,
    /// The other master.
    pub(crate) peer: Arc<str>,
    /// How far that counts.
    pub(crate) trust: Trust,
}

/// See the module.
pub(crate) struct Verifier {
    comparison: Comparison,
    surroundings: RealSurroundings,
    connections: Connections,
    poll: Poll,
    clock: Clock,
    patience: Duration,
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
        settings.progress_answers_max = 1;
        Ok(Self {
            comparison: Comparison::new(backend.into(), settings, Stalled::new(), clock.now()),
            surroundings: RealSurroundings::new(config, system_resolver()),
            connections: Connections::default(),
            poll: Poll::new()?,
            clock,
            patience: PATIENCE,
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
                && let Some(next) = keys.next()
            {
                let at = self.comparison.master(&next.peer, now);
                self.comparison.begin(next.key, next.logged, at, next.trust);
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
            wait(&mut self.poll, &mut events, Some(timeout))?;
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
            if master.stalled() > self.patience {
                let silent = || format!("nothing has come for {} s", self.patience.as_secs());
                return Err(VerifyError::Silent {
                    master: Arc::clone(&master.name),
                    why: master.trouble().map_or_else(silent, str::to_owned),
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
    Silent { master: Arc<str>, why: String },
    /// The system.
    #[error("cannot compare: {0}")]
    System(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::path::Path;

    use super::*;
    use crate::fake_hustdb::script::Script;
    use crate::fake_hustdb::{FakeHustdb, Options};
    use crate::reconcile::key::Kind;
    use crate::reconcile::settings::ReconcileMode;

    /// Compares so many keys that neither master has. Gives how many were compared, and why it
    /// ended before the last one.
    fn compare(backend: &str, peer: &str, keys: usize) -> (usize, Option<String>) {
        let mut login = tempfile::NamedTempFile::new().unwrap();
        login.write_all(b"u:p\n").unwrap();
        let text = format!(
            r#"{{"sync": {{"auth_path": {:?}, "burst_bytes": 0, "connections_per_backend": 1}}}}"#,
            login.path()
        );
        let config = Config::parse(text, Path::new("sync_server.json")).unwrap();
        let reconcile = ReconcileSettings {
            mode: ReconcileMode::Report,
            ..config.sync.reconcile_settings()
        };
        let mut verifier = Verifier::new(&config, backend, reconcile).unwrap();
        verifier.patience = Duration::from_millis(600);
        let keys = (0..keys).map(|number| KeyWithPeer {
            key: KeyId {
                kind: Kind::Key,
                table: Box::default(),
                key: format!("k{number}").into_bytes().into(),
                body: None,
            },
            logged: Logged::default(),
            peer: peer.into(),
            trust: Trust::Everything,
        });
        let mut compared = 0;
        let ended = verifier.compare(keys.collect(), &mut |_| compared += 1);
        (compared, ended.err().map(|error| error.to_string()))
    }

    fn fake_hustdb() -> FakeHustdb {
        FakeHustdb::start(Options::default()).unwrap()
    }

    #[test]
    fn a_master_that_answers_is_waited_for_however_slow_it_is() {
        let (backend, peer) = (fake_hustdb(), fake_hustdb());
        let slow = Script::default().answer_delay(Duration::from_millis(40));
        peer.set_script(slow).unwrap();
        let begun = std::time::Instant::now();
        assert_eq!(compare(&backend.name(), &peer.name(), 25), (25, None));
        assert!(begun.elapsed() > Duration::from_millis(600));
    }

    #[test]
    fn a_master_that_is_silent_is_not_waited_for() {
        let backend = fake_hustdb();
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = silent.local_addr().unwrap().to_string();
        let (compared, why) = compare(&backend.name(), &silent, 25);
        let expected = format!("{silent} does not answer: ");
        assert!(why.is_some_and(|why| why.starts_with(&expected)));
        assert_eq!(compared, 0);
    }
}
