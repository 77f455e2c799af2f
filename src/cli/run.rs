//! `run`, `-d` and the daemon: the configuration to a running server, and its end.

use std::path::Path;
use std::sync::Arc;

use super::daemon::{self, Role};
use super::failure::Failure;
use super::logging::{self, Destination, LevelHandle, Logging};
use super::pidfile::{self, PidFile};
use super::process::PROC;
use super::rotation;
use crate::config::Config;
use crate::engine::os::process::is_root;
use crate::engine::os::socket::take_handed_over;
use crate::engine::{Engine, EngineOptions, LockedLogs, Service, StartError};

/// Starts every thread and returns once HA can be answered. `level` is changed by a reload.
/// `under_systemd`: systemd may have started this process, wants to be told how it is, and may hand
/// the HTTP server over.
///
/// # Errors
/// It can't run. Nothing goes on running then.
pub(super) fn start(
    config: Config,
    level: LevelHandle,
    under_systemd: bool,
) -> Result<Engine, StartError> {
    let locked = LockedLogs::take(&config)?;
    start_locked(config, locked, level, under_systemd)
}

fn start_locked(
    config: Config,
    locked: LockedLogs,
    level: LevelHandle,
    under_systemd: bool,
) -> Result<Engine, StartError> {
    let (mut handed_over, mut service) = (None, None);
    if under_systemd {
        handed_over = take_handed_over().map_err(StartError::HandedOver)?;
        service = Service::from_environment();
    }
    let options = EngineOptions {
        handed_over,
        service,
        on_reload: Box::new(move |config| level.set(config.sync.log_level)),
        rotate: Arc::new(rotation::ask),
        ..EngineOptions::default()
    };
    Engine::start_locked(config, locked, options)
}

/// Returns when the server has drained, after SIGTERM, SIGINT or [`Engine::stop`]: how it ended, as
/// a sentence for the log.
///
/// # Errors
/// It ended because a part of it failed: how, as a sentence.
pub(super) fn wait(engine: Engine) -> Result<String, String> {
    let report = engine.wait();
    match report.is_success() {
        true => Ok(report.to_string()),
        false => Err(report.to_string()),
    }
}

/// The three ways to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// No argument: in the background, with pid file and log file.
    Daemon,
    /// `-d`: in the foreground, with pid file.
    Foreground,
    /// `run`: in the foreground, nothing written beside the configuration, which may be read-only.
    Service,
}

/// Runs until the server ends.
pub(super) fn run(config: Config, mode: Mode) -> Result<(), Failure> {
    let proc = Path::new(PROC);
    pidfile::refuse_if_running(&pidfile::beside(&config.path), proc)?;
    if mode != Mode::Daemon {
        return Running::start(config, mode)?.wait();
    }
    match daemon::become_daemon().map_err(|error| format!("could not become a daemon: {error}"))? {
        Role::Starter(outcome) => Ok(outcome?),
        Role::Daemon(report) => match Running::start(config, mode) {
            Ok(running) => {
                report.started();
                running.wait()
            }
            Err(failure) => {
                report.failed(&failure.0);
                Err(failure)
            }
        },
    }
}

/// A server that runs, with what goes with it.
struct Running {
    engine: Engine,
    pid_file: Option<PidFile>,
    /// Last, so that the others' last lines are written.
    _logging: Logging,
}

impl Running {
    fn start(config: Config, mode: Mode) -> Result<Self, Failure> {
        let folder = config.log_folder();
        let destination = if mode == Mode::Daemon {
            Destination::Folder(&folder)
        } else {
            Destination::Stderr
        };
        let logging = logging::start(destination, config.sync.log_level, config.sync.log_format)?;
        log_oddities(&config);
        let mut pid_file = None;
        match Self::start_engine(config, mode, logging.level.clone(), &mut pid_file) {
            Ok(engine) => Ok(Self {
                engine,
                pid_file,
                _logging: logging,
            }),
            Err(Failure(reason)) => {
                let reason = format!("could not start: {reason}");
                // In the foreground the reason reaches stderr by the failure itself; saying it
                // twice would look like two faults.
                if mode == Mode::Daemon {
                    tracing::error!("{reason}");
                }
                if let Some(file) = pid_file {
                    file.remove();
                }
                Err(Failure(reason))
            }
        }
    }

    /// The pid file is written between the locks and the rest, as [`PidFile::write`] wants it.
    fn start_engine(
        config: Config,
        mode: Mode,
        level: LevelHandle,
        pid_file: &mut Option<PidFile>,
    ) -> Result<Engine, Failure> {
        let locked = LockedLogs::take(&config)?;
        if mode != Mode::Service {
            *pid_file = PidFile::write(pidfile::beside(&config.path), Path::new(PROC))?;
        }
        // A daemon of the original's kind has left whoever started it.
        let under_systemd = mode != Mode::Daemon;
        Ok(start_locked(config, locked, level, under_systemd)?)
    }

    fn wait(self) -> Result<(), Failure> {
        let ended = wait(self.engine);
        match &ended {
            Ok(report) => tracing::info!("{report}"),
            Err(report) => tracing::error!("{report}"),
        }
        if let Some(file) = self.pid_file {
            file.remove();
        }
        ended.map(|_| ()).map_err(Failure)
    }
}

fn log_oddities(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    for setting in &config.from_environment {
        tracing::info!("{setting}");
    }
    if is_root() {
        tracing::warn!(
            "this runs as root, which it does not need; run it as HA's user, whose logs it reads \
             and deletes (systemd: User= and Group=)"
        );
    }
    tracing::debug!(
        "network.threads and sync.daemon are read for compatibility and have no effect"
    );
}
