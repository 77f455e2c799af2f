//! `sync_server.json`, from text to a [`Config`] that is right once it exists.
//!
//! A file that the original reads loads unchanged. Every fault is found before any is reported
//! ([`ConfigErrors`]); what is merely odd is kept in [`Config::warnings`]. One table, in
//! `settings`, drives parsing, the check for unknown keys, the comparison on SIGHUP and the
//! documented sample, so that none of them can disagree with another.

mod access;
mod backend_name;
mod change;
mod document;
mod entries;
mod error;
mod key;
mod kind;
mod locate;
mod login;
mod passwords;
mod reload;
mod sample;
mod secret;
mod settings;
#[cfg(test)]
mod tests;
mod value;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};

pub use access::{AccessError, AccessList};
pub use backend_name::{BackendName, Host};
pub use error::{ConfigError, ConfigErrors, Warning};
#[cfg(feature = "testing")]
pub use key::Effect;
pub use key::Key;
pub use locate::{FILE_NAME, NotFound, locate};
pub use login::Login;
pub use passwords::FromEnvironment;
pub use sample::sample;
#[cfg(feature = "testing")]
pub use secret::Secret;
pub use settings::{NetworkSettings, SyncSettings};
pub use value::{EngineName, LogFormat, LogLevel};

use crate::replay::outcome::Outcomes;
use document::{Document, read_bounded};

/// The whole configuration: every value typed and within its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file that it was read from. The pid file and the daemon's logs stand beside it.
    pub path: PathBuf,
    /// What HA sees.
    pub network: NetworkSettings,
    /// What the replay does.
    pub sync: SyncSettings,
    /// What is odd in the file, yet harmless: to be logged at the start.
    pub warnings: Vec<Warning>,
    /// The passwords that are not the file's: to be logged at the start.
    pub from_environment: Vec<FromEnvironment>,
}

/// A configuration, of which some settings may have faults and are at their defaults.
#[derive(Debug)]
pub(crate) struct Partly {
    pub(crate) config: Config,
    pub(crate) faults: Vec<ConfigError>,
}

impl Partly {
    fn whole(self) -> Result<Config, ConfigErrors> {
        if self.faults.is_empty() {
            Ok(self.config)
        } else {
            Err(ConfigErrors::new(&self.config.path, self.faults))
        }
    }
}

impl Config {
    /// Reads and parses the file at `path`.
    ///
    /// # Errors
    /// All faults at once; that the file can't be read is one.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::load_partly(path)?.whole()
    }

    /// Reads the file at `path`, and takes the default for each setting that has a fault.
    ///
    /// # Errors
    /// The file can't be read, or is no JSON of two sections.
    pub(crate) fn load_partly(path: &Path) -> Result<Partly, ConfigErrors> {
        match read_bounded(path) {
            Ok(text) => {
                let Partly {
                    mut config,
                    mut faults,
                } = Self::parse_partly(text, path)?;
                let variable = |name: &str| std::env::var_os(name);
                config.from_environment =
                    passwords::resolve(&mut config.network, variable, &mut faults);
                config.check_logins(&mut faults);
                Ok(Partly { config, faults })
            }
            Err(error) => Err(ConfigErrors::of_file(path, ConfigError::unreadable(&error))),
        }
    }

    /// Parses the text of a file; `path` is where it came from, for messages and for what stands
    /// beside it.
    ///
    /// # Errors
    /// All faults at once.
    #[cfg(feature = "testing")]
    pub fn parse(text: impl AsRef<[u8]>, path: &Path) -> Result<Self, ConfigErrors> {
        Self::parse_partly(text, path)?.whole()
    }

    fn parse_partly(text: impl AsRef<[u8]>, path: &Path) -> Result<Partly, ConfigErrors> {
        let document =
            Document::parse(text.as_ref()).map_err(|fault| ConfigErrors::of_file(path, fault))?;
        let mut faults = Vec::new();
        let network = NetworkSettings::read(&document.section("network", &mut faults), &mut faults);
        let sync = SyncSettings::read(&document.section("sync", &mut faults), &mut faults);
        let config = Self {
            path: path.to_owned(),
            network,
            sync,
            warnings: document.check_keys(Self::keys()),
            from_environment: Vec::new(),
        };
        config.check_relations(&mut faults);
        Ok(Partly { config, faults })
    }

    /// The folder of our own state: `<ngx_path>/status`.
    #[must_use]
    pub fn state_path(&self) -> PathBuf {
        self.sync.ngx_path.join("status")
    }

    /// Where HA reaches us: `network.bind`, or what its default rule gives, and `network.port`.
    #[must_use]
    pub fn listen_address(&self) -> SocketAddr {
        let network = &self.network;
        let address = network.bind.or_else(|| network.access_allow.loopback());
        SocketAddr::new(
            address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
            network.port,
        )
    }

    /// The folder of the daemon's own log, which stands beside the configuration.
    #[must_use]
    pub(crate) fn log_folder(&self) -> PathBuf {
        self.path.with_file_name("logs")
    }

    /// Every key there is, in the order of the file.
    pub fn keys() -> impl Iterator<Item = &'static Key> + Clone {
        NetworkSettings::KEYS.iter().chain(SyncSettings::KEYS)
    }

    /// Whether the two users can be told apart, once their passwords are known.
    fn check_logins(&self, faults: &mut Vec<ConfigError>) {
        let network = &self.network;
        let Some(viewer) = &network.viewer_user else {
            return;
        };
        let (reason, advice) = if *viewer == network.user {
            (
                "is network.user too, who may control",
                "give the user who may look only another name",
            )
        } else if network.viewer_password.expose().is_empty() {
            (
                "has no password",
                "set network.viewer_password, network.viewer_password_file or \
                 HUSTDBSYNC_VIEWER_PASSWORD",
            )
        } else {
            return;
        };
        faults.push(ConfigError::Setting {
            setting: "network.viewer_user".to_owned(),
            value: format!("{viewer:?}"),
            reason: reason.to_owned(),
            advice: advice.to_owned(),
        });
    }

    /// What no single key can show to be wrong.
    fn check_relations(&self, faults: &mut Vec<ConfigError>) {
        // Folders of the same backend would then be the same: our checkpoints would be read as
        // logs, and deleted when done.
        if plain(&self.state_path()) == plain(&self.sync.logs_path) {
            faults.push(ConfigError::Setting {
                setting: "sync.logs_path".to_owned(),
                value: format!("{:?}", self.sync.logs_path),
                reason: "is the folder of our own state (<sync.ngx_path>/status)".to_owned(),
                advice: "give HA's log folder, which is another one".to_owned(),
            });
        }
        self.check_outcomes(faults);
    }

    /// Whether each override is one: a server that would be refused at its next start is told so by
    /// `check` and by a reload.
    fn check_outcomes(&self, faults: &mut Vec<ConfigError>) {
        let overrides = &self.sync.outcomes;
        let Err(fault) = Outcomes::with_overrides(overrides) else {
            return;
        };
        let pairs: Vec<String> = overrides
            .iter()
            .map(|(answer, outcome)| format!("{answer:?}: {outcome:?}"))
            .collect();
        faults.push(ConfigError::Setting {
            setting: "sync.outcomes".to_owned(),
            value: format!("{{{}}}", pairs.join(", ")),
            reason: format!("has {fault}"),
            advice: fault.advice().to_owned(),
        });
    }
}

impl NetworkSettings {
    /// Whether user and password are those that everybody knows.
    pub(crate) fn has_default_login(&self) -> bool {
        let keys = || Self::KEYS.iter();
        let default = |name: &str| keys().find(|key| key.name == name).map(|key| key.default);
        let is_default = |name: &str, text: &str| default(name) == Some(&*format!("{text:?}"));
        is_default("user", &self.user) && is_default("passwd", self.passwd.expose())
    }
}

/// `path` without `.`, doubled and trailing slashes. Links are not followed: this is about the
/// text.
fn plain(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| !matches!(part, Component::CurDir))
        .collect()
}
