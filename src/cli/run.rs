//! `run`, `-d` and the daemon: the configuration to a running server, and its end.

use std::net::SocketAddr;
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
use crate::engine::{Engine, EngineOptions, Service, StartError};
use crate::status::snapshot::Snapshot;

/// What the process is in that a server starts in.
pub struct Host {
    /// For SIGHUP, when `sync.log_level` has changed.
    pub level: LevelHandle,
    /// systemd may have started it: to be told how it is, and to hand the HTTP server over.
    pub under_systemd: bool,
}

/// What these commands need of the engine.
pub trait Server: Sized {
    /// Why it didn't start: a sentence that names the setting or path, the cause, and what to do.
    type StartError: std::error::Error;

    /// Starts every thread and returns once HA can be answered.
    ///
    /// # Errors
    /// It can't run. Nothing goes on running then.
    fn start(config: Config, host: Host) -> Result<Self, Self::StartError>;

    /// Where HA reaches it.
    fn local_addr(&self) -> SocketAddr;

    /// How every backend is at this moment.
    fn snapshot(&self) -> Snapshot;

    /// Begins the graceful end, as SIGTERM does.
    fn stop(&self);

    /// Returns when SIGTERM, SIGINT or [`Server::stop`] has come and the server has drained: how it
    /// ended, as a sentence for the log.
    ///
    /// # Errors
    /// It ended because a part of it failed: how, as a sentence.
    fn wait(self) -> Result<String, String>;
}

impl Server for Engine {
    type StartError = StartError;

    fn start(config: Config, host: Host) -> Result<Self, StartError> {
        let (mut handed_over, mut service) = (None, None);
        if host.under_systemd {
            handed_over = take_handed_over().map_err(StartError::HandedOver)?;
            service = Service::from_environment();
        }
        let options = EngineOptions {
            handed_over,
            service,
            on_reload: Box::new(move |config| host.level.set(config.sync.log_level)),
            rotate: Arc::new(rotation::ask),
            ..EngineOptions::default()
        };
        Self::start_with(config, options)
    }

    fn local_addr(&self) -> SocketAddr {
        self.local_addr()
    }

    fn snapshot(&self) -> Snapshot {
        self.snapshot()
    }

    fn stop(&self) {
        self.stop();
    }

    fn wait(self) -> Result<String, String> {
        let report = self.wait();
        if report.is_success() {
            Ok(report.to_string())
        } else {
            Err(report.to_string())
        }
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
pub(super) fn run<S: Server>(config: Config, mode: Mode) -> Result<(), Failure> {
    let proc = Path::new(PROC);
    pidfile::refuse_if_running(&pidfile::beside(&config.path), proc)?;
    if mode != Mode::Daemon {
        return Running::<S>::start(config, mode)?.wait();
    }
    match daemon::become_daemon().map_err(|error| format!("could not become a daemon: {error}"))? {
        Role::Starter(outcome) => Ok(outcome?),
        Role::Daemon(report) => match Running::<S>::start(config, mode) {
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
struct Running<S> {
    server: S,
    pid_file: Option<PidFile>,
    /// Last, so that the others' last lines are written.
    _logging: Logging,
}

impl<S: Server> Running<S> {
    fn start(config: Config, mode: Mode) -> Result<Self, Failure> {
        let folder = config.log_folder();
        let destination = if mode == Mode::Daemon {
            Destination::Folder(&folder)
        } else {
            Destination::Stderr
        };
        let logging = logging::start(destination, config.sync.log_level, config.sync.log_format)?;
        let pid_file = match mode {
            Mode::Daemon | Mode::Foreground => Some(PidFile::write(
                pidfile::beside(&config.path),
                Path::new(PROC),
            )?),
            Mode::Service => None,
        };
        log_warnings(&config);
        let host = Host {
            level: logging.level.clone(),
            // A daemon of the original's kind has left whoever started it.
            under_systemd: mode != Mode::Daemon,
        };
        match S::start(config, host) {
            Ok(server) => Ok(Self {
                server,
                pid_file,
                _logging: logging,
            }),
            Err(error) => {
                let reason = format!("could not start: {error}");
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

    fn wait(self) -> Result<(), Failure> {
        let ended = self.server.wait();
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

fn log_warnings(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
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
