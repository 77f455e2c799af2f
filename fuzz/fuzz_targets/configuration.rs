//! Any bytes as sync_server.json, as the file of the backends' password and as a folder's name: a
//! value in its bounds, or sentences that name what is wrong; and no password in what is logged.
#![no_main]

use std::path::Path;

use hustdbsync::internals::config::{BackendName, Config, Login, Secret};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check_configuration(bytes);
    check_login(bytes);
    match BackendName::parse(bytes) {
        Ok(name) => {
            assert_eq!(name.as_str().as_bytes(), bytes);
            assert!(
                bytes
                    .iter()
                    .all(|octet| octet.is_ascii_graphic() && *octet != b'/')
            );
        }
        Err(error) => assert_one_line(&error.to_string()),
    }
});

fn check_configuration(bytes: &[u8]) {
    let json = serde_json::from_slice::<serde_json::Value>(
        bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes),
    );
    // A password that can be told from all the other text: it stands there once, and has what no
    // default has.
    let password = json
        .as_ref()
        .ok()
        .and_then(|json| json.get("network")?.get("passwd")?.as_str());
    let password = password.filter(|text| {
        text.contains("QZ")
            && bytes
                .windows(text.len())
                .filter(|part| *part == text.as_bytes())
                .count()
                == 1
    });
    let said = match Config::parse(bytes, Path::new("x")) {
        Ok(config) => {
            assert!(json.as_ref().map_or(true, serde_json::Value::is_object));
            check_bounds(&config);
            assert_eq!(config.differences(&config), []);
            let mut other = config.clone();
            other.network.passwd = Secret::new("q");
            let changes = config.differences(&other);
            let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
            warnings.iter().for_each(|text| assert_one_line(text));
            format!(
                "{config:?}{warnings:?}{changes:?}{}",
                changes.iter().map(ToString::to_string).collect::<String>()
            )
        }
        Err(errors) => {
            assert!(!errors.faults().is_empty());
            errors
                .faults()
                .iter()
                .for_each(|fault| assert_one_line(&fault.to_string()));
            format!("{errors}{errors:?}")
        }
    };
    if let Some(password) = password {
        assert!(!said.contains(password), "the password is told");
    }
}

fn check_bounds(config: &Config) {
    let sync = &config.sync;
    assert!((1..=256).contains(&sync.threads));
    assert!((1..=1024).contains(&sync.connections_per_backend));
    assert!(sync.burst_bytes <= 4096 && (256..=4096).contains(&sync.head_bytes_max));
    assert!((48 << 20..=1 << 40).contains(&sync.memory_budget));
    assert!((1..81_920).contains(&sync.requests_per_connection) && sync.attempts_max >= 1);
    for time in [
        sync.release_interval,
        sync.checkdb_interval,
        sync.probe_interval_down,
        sync.checkpoint_interval,
        sync.connect_timeout,
    ] {
        assert!((1..=86_400_000).contains(&time.as_millis()));
    }
    assert!(config.network.backlog >= 1 && config.network.max_body_size < 2 << 30);
    assert!(!config.network.user.is_empty() && !config.network.user.contains(':'));
    assert_ne!(config.state_path(), sync.logs_path);
}

fn check_login(bytes: &[u8]) {
    match Login::parse(bytes) {
        Ok(login) => {
            let credentials = login.credentials();
            assert!(bytes.starts_with(credentials) && credentials.len() <= 512);
            assert!(
                credentials
                    .iter()
                    .position(|octet| *octet == b':')
                    .is_some_and(|at| at > 0)
            );
            // It goes into each request's head, base64 or not.
            assert!(!credentials.iter().any(u8::is_ascii_control));
            assert!(
                credentials.starts_with(login.user().as_bytes())
                    || std::str::from_utf8(credentials).is_err()
            );
        }
        Err(error) => assert_one_line(&error.to_string()),
    }
}

/// Text from outside can't end a line of the log, nor move a terminal's cursor.
fn assert_one_line(text: &str) {
    assert!(
        !text.is_empty() && !text.contains(char::is_control),
        "{text:?}"
    );
}
