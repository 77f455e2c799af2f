//! SIGHUP: what changes, what stays, and what is said.

use std::time::Duration;

use super::{ORIGINAL, load};
use crate::config::{Config, ConfigErrors, Effect};
use crate::reconcile::settings::{Deletes, ReconcileMode, ReconcileSettings};

#[test]
fn passwords_are_in_no_debug_output_and_no_change() {
    let old = load(r#"{"network": {"passwd": "s3cret"}}"#);
    let changes = old.differences(&load("{}"));
    assert_eq!(
        changes[0].to_string(),
        "network.passwd changes from *** to *** now"
    );
    assert!(!format!("{old:?} {changes:?}").contains("s3cret"));
}

/// Loads `old`, reloads with `new`: the changes in words, and the configuration that then holds.
fn check_reload(old: &str, new: &str, expected: &[&str]) -> Result<Config, ConfigErrors> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sync_server.json");
    std::fs::write(&path, new).unwrap();
    let (merged, changes) = load(old).reload(&path)?;
    let said: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(said, expected);
    Ok(merged)
}

#[test]
fn a_reload_takes_what_can_change_and_keeps_the_rest() {
    let merged = check_reload(
        "{}",
        r#"{"network": {"port": 9, "passwd": "new"},
            "sync": {"threads": 8, "max_rate_per_backend": 5, "checkdb_interval": "1s",
                     "memory_budget": "1GiB", "log_level": "debug", "nothing": 1}}"#,
        &[
            "network.port stays at 8089: the new value 9 takes a restart",
            "network.passwd changes from *** to *** now",
            "sync.threads stays at 4: the new value 8 takes a restart",
            "sync.checkdb_interval changes from 5s to 1s now",
            "sync.memory_budget stays at 64MiB: the new value 1GiB takes a restart",
            "sync.max_rate_per_backend changes from 0 to 5 now",
            "sync.log_level changes from info to debug now",
        ],
    )
    .unwrap();
    assert_eq!(merged.warnings.len(), 1);
    let mut expected = load(
        r#"{"network": {"passwd": "new"},
            "sync": {"max_rate_per_backend": 5, "checkdb_interval": 1000, "log_level": "debug"}}"#,
    );
    expected.warnings = merged.warnings.clone();
    assert_eq!(merged, expected);
}

#[test]
fn a_reload_without_a_change_says_nothing_and_one_with_a_fault_changes_nothing() {
    assert_eq!(check_reload(ORIGINAL, "{}", &[]).unwrap(), load(ORIGINAL));
    assert!(check_reload("{}", "{", &[]).is_err());
    assert!(check_reload("{}", r#"{"sync": {"threads": 0}}"#, &[]).is_err());
    let outcomes = r#"{"sync": {"outcomes": {"412": "gone"}}}"#;
    assert!(check_reload("{}", outcomes, &[]).is_err());
}

#[test]
fn every_interval_rate_credit_and_password_takes_effect_at_once() {
    let immediate: Vec<&str> = Config::keys()
        .filter(|key| key.effect == Effect::Immediate)
        .map(|key| key.name)
        .collect();
    assert_eq!(
        immediate,
        [
            "user",
            "passwd",
            "passwd_file",
            "viewer_user",
            "viewer_password",
            "viewer_password_file",
            "host_names",
            "auth_path",
            "release_interval",
            "checkdb_interval",
            "checklog_interval",
            "in_flight_per_backend",
            "max_rate_per_backend",
            "probe_interval_down",
            "resolve_interval",
            "ttl_hold",
            "ambiguity_window",
            "checkpoint_interval",
            "idle_timeout",
            "keepalive_interval",
            "rescan_interval",
            "reconcile",
            "reconcile_values",
            "reconcile_value_bytes_max",
            "reconcile_rate",
            "reconcile_deletes",
            "reconcile_attempts",
            "reconcile_delay",
            "reconcile_timeout",
            "log_level",
        ]
    );
}

#[test]
fn comparing_is_switched_on_and_off_by_a_reload() {
    let merged = check_reload(
        "{}",
        r#"{"sync": {"reconcile": "repair", "reconcile_values": true,
                     "reconcile_value_bytes_max": "64KiB", "reconcile_rate": 0,
                     "reconcile_deletes": true, "reconcile_attempts": 2,
                     "reconcile_delay": 60, "reconcile_timeout": "1min"}}"#,
        &[
            "sync.reconcile changes from off to repair now",
            "sync.reconcile_values changes from false to true now",
            "sync.reconcile_value_bytes_max changes from 1MiB to 64KiB now",
            "sync.reconcile_rate changes from 20000 to 0 now",
            "sync.reconcile_deletes changes from false to true now",
            "sync.reconcile_attempts changes from 5 to 2 now",
            "sync.reconcile_delay changes from 45s to 1min now",
            "sync.reconcile_timeout changes from 15min to 1min now",
        ],
    )
    .unwrap();
    let expected = ReconcileSettings {
        mode: ReconcileMode::Repair,
        values: true,
        value_bytes_max: 64 << 10,
        rate: 0,
        deletes: Deletes::Bounded,
        attempts: 2,
        delay: Duration::from_secs(60),
        timeout: Duration::from_secs(60),
    };
    assert_eq!(merged.sync.reconcile_settings(), expected);
    assert_eq!(
        load("{}").sync.reconcile_settings().mode,
        ReconcileMode::Off
    );
}
