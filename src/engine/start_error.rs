//! Why the engine did not start.

use std::io;
use std::path::PathBuf;

use crate::engine::choice::Unavailable;
use crate::engine::control::ControlError;
use crate::engine::files::LockError;
use crate::engine::settings::SettingsError;

/// Why it did not start: a sentence that names the setting or path, the cause, and what to do.
/// Nothing runs then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// HA's logs.
    #[error(
        "sync.logs_path {}: {cause}; it must be HA's folder of logs, readable and writable for \
         this user. Mount it, make it, or correct the setting, and start again (systemd does that \
         each second): without it nothing shows whether another server replays the same logs",
        path.display()
    )]
    Logs {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Another server, or a folder of state that is none.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// What systemd handed over.
    #[error(
        "the socket that systemd handed over cannot be used: {0}; hustdbsync.socket is to have one \
         ListenStream=, the HTTP server"
    )]
    HandedOver(io::Error),
    /// The backends' login, or an override.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The engine that is wanted.
    #[error(transparent)]
    Engine(#[from] Unavailable),
    /// The HTTP server, or the signals.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The system has no descriptor, memory or thread left.
    #[error("the system gives no {what}: {cause}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What it says.
        cause: io::Error,
    },
}

pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |cause| StartError::System { what, cause }
}
