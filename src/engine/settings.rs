//! From the configuration to what each thread goes by.

use std::time::Duration;

use crate::binlog::request::Template;
use crate::config::{Config, Login, NetworkSettings};
use crate::engine::os::facts::host_name;
use crate::engine::os::files::read_regular;
use crate::engine::probe::ProbeLimits;
use crate::http::host::HostNames;
use crate::limits::{FILE_CLOSED_EXTRA_MS, LOGIN_FILE_BYTES_MAX, LOOKUP_HOLD};
use crate::reconcile::settings::ReconcileMode;
use crate::replay::controller::ControllerSettings;
use crate::replay::lane::LaneSettings;
use crate::replay::messages::{CheckpointerSettings, ReaderSettings};
use crate::replay::monitor::MonitorSettings;
use crate::replay::outcome::Outcomes;
use crate::status::auth::Auth;

/// Why there are none: a sentence that names the file or setting, the cause, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(String);

/// What all threads go by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The controller, and whom it tells.
    pub controller: ControllerSettings,
    /// Each probe, of a backend that is up.
    pub probe: ProbeLimits,
    /// Who may ask us.
    pub auth: Auth,
}

/// What an answer means: as of hustdb 1.9, with the overrides of `sync.outcomes`.
///
/// # Errors
/// An override is none, which no configuration has that was loaded.
pub(crate) fn outcomes(config: &Config) -> Result<Outcomes, SettingsError> {
    let overrides = &config.sync.outcomes;
    Outcomes::with_overrides(overrides).map_err(|fault| {
        let advice = fault.advice();
        SettingsError(format!("sync.outcomes: it has {fault}; {advice}"))
    })
}

impl Settings {
    /// By this configuration, and the backends' login in the file that it names, which is read.
    ///
    /// # Errors
    /// The login is none, or an override of an outcome.
    pub fn load(config: &Config) -> Result<Self, SettingsError> {
        let path = &config.sync.auth_path;
        let about =
            |cause: String| SettingsError(format!("sync.auth_path {}: {cause}", path.display()));
        let bytes = read_regular(path, LOGIN_FILE_BYTES_MAX).map_err(|error| {
            about(format!(
                "{error}; it is to hold user:password for the backends, readable for this user"
            ))
        })?;
        let login = Login::parse(&bytes).map_err(|fault| about(fault.to_string()))?;
        Self::new(config, &login)
    }

    /// By this configuration and login.
    ///
    /// # Errors
    /// An override of an outcome is none.
    pub fn new(config: &Config, login: &Login) -> Result<Self, SettingsError> {
        let sync = &config.sync;
        let closed_after = sync.checklog_interval + Duration::from_millis(FILE_CLOSED_EXTRA_MS);
        let lanes = u32::try_from(sync.connections_per_backend).unwrap_or(u32::MAX);
        let outcomes = outcomes(config)?;
        let controller = ControllerSettings {
            checkpointer: CheckpointerSettings {
                checkpoint_interval: sync.checkpoint_interval,
                release_interval: sync.release_interval,
                closed_after,
                rejected_bytes_max: sync.rejected_max_bytes,
                compares_keys: sync.reconcile != ReconcileMode::Off,
            },
            reader: ReaderSettings {
                lanes_per_backend: lanes,
                memory_budget_bytes: sync.memory_budget,
                in_flight_per_backend: u32::try_from(sync.in_flight_per_backend)
                    .unwrap_or(u32::MAX),
                rescan_interval: sync.rescan_interval,
                closed_after,
            },
            monitor: MonitorSettings {
                probe_interval: sync.checkdb_interval,
                probe_interval_down: sync.probe_interval_down,
                resolve_interval: sync.resolve_interval,
                ttl_hold: sync.ttl_hold,
                lanes,
            },
            ambiguity_window: sync.ambiguity_window,
            credentials: base64_simd::STANDARD
                .encode_to_string(login.credentials())
                .into(),
            drain_timeout: sync.drain_timeout,
            reconcile: sync.reconcile_settings(),
            lane: LaneSettings {
                template: Template::new("", None),
                outcomes,
                lanes,
                burst_bytes: sync.burst_bytes,
                head_bytes_max: sync.head_bytes_max,
                requests_per_connection: sync.requests_per_connection,
                attempts_max: sync.attempts_max,
                records_per_second_max: u64::from(sync.max_rate_per_backend),
                connect_timeout: sync.connect_timeout,
                response_timeout: sync.response_timeout,
                idle_timeout: sync.idle_timeout,
                keepalive_interval: sync.keepalive_interval,
                lookup_hold: LOOKUP_HOLD,
            },
        };
        Ok(Self {
            controller,
            probe: ProbeLimits {
                connect_timeout: sync.connect_timeout,
                response_timeout: sync.response_timeout,
                requests_per_connection: sync.requests_per_connection,
            },
            auth: auth(&config.network),
        })
    }

    /// How to probe. One that is down is given up before the next probe is due, so that its return
    /// is not waited for.
    #[must_use]
    pub(crate) fn probe_limits(&self, is_up: bool) -> ProbeLimits {
        let mut limits = self.probe;
        if !is_up {
            limits.connect_timeout = limits
                .connect_timeout
                .min(self.controller.monitor.probe_interval_down);
        }
        limits
    }
}

/// Who may ask at the HTTP server; its token is added there.
fn auth(network: &NetworkSettings) -> Auth {
    let hosts = HostNames::new(&host_name(), &network.host_names);
    let auth = Auth::new(&network.user, network.passwd.expose()).with_hosts(hosts);
    match &network.viewer_user {
        Some(user) => auth.with_viewer(user, network.viewer_password.expose()),
        None => auth,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text, Path::new("sync_server.json")).unwrap()
    }

    #[test]
    fn every_thread_gets_its_own() {
        let text = r#"{"sync": {"checklog_interval": 1000, "connections_per_backend": 3,
                                "probe_interval_down": 100, "outcomes": {"412": "absent"}}}"#;
        let login = Login::parse(b"u:p\n").unwrap();
        let settings = Settings::new(&config(text), &login).unwrap();
        assert_eq!(
            settings.controller.checkpointer.closed_after,
            Duration::from_secs(21)
        );
        assert_eq!(settings.controller.reader.lanes_per_backend, 3);
        assert_eq!(settings.controller.monitor.lanes, 3);
        assert_eq!(&*settings.controller.credentials, "dTpw");
        let lane = settings.controller.lane("127.0.0.1:9998");
        let mut head = Vec::new();
        lane.template.compose_lookup(
            &crate::binlog::Record {
                table: b"t",
                score: 1,
                ..crate::binlog::Record::new(crate::binlog::Method::Zadd, b"k", b"")
            },
            &mut head,
        );
        let head = String::from_utf8(head).unwrap();
        assert!(
            head.contains("Host: 127.0.0.1:9998\r\nAuthorization: Basic dTpw\r\n"),
            "{head}"
        );
        let hundred = Duration::from_millis(100);
        assert_eq!(settings.probe_limits(false).connect_timeout, hundred);
        assert_eq!(
            settings.probe_limits(true).connect_timeout,
            Duration::from_secs(1)
        );
    }

    #[test]
    fn what_is_missing_is_named_with_its_setting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("htpasswd");
        let text = format!(r#"{{"sync": {{"auth_path": {path:?}}}}}"#);
        let config = config(&text);
        let why = Settings::load(&config).unwrap_err().to_string();
        assert!(
            why.starts_with("sync.auth_path ") && why.contains("No such file"),
            "{why}"
        );
        std::fs::write(&path, "nobody").unwrap();
        let why = Settings::load(&config).unwrap_err().to_string();
        assert!(why.ends_with("write user:password there"), "{why}");
        std::fs::write(&path, "u:p").unwrap();
        assert!(Settings::load(&config).is_ok());
    }
}
