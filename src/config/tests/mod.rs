//! The file as a whole: what loads, what doesn't, and in which words.

mod faults;
mod reload;

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::reconcile::settings::ReconcileMode;

/// The original's own file, key for key.
const ORIGINAL: &str = r#"{
    "network":
    {
        "port": 8089, "backlog": 512, "disable_100_cont": true, "enable_reuseport": true,
        "enable_nodelay": true, "enable_defer_accept": true, "max_body_size": 16777216,
        "max_keepalive_requests": 1024, "recv_timeout": 300, "send_timeout": 300, "threads": 2,
        "user": "sync", "passwd": "sync", "access_allow": "127.0.0.1"
    },
    "sync":
    {
        "daemon": true, "logs_path": "/data/hustdbha/logs/", "ngx_path":  "/data/hustdbha/",
        "auth_path": "/data/hustdbha/conf/htpasswd", "threads": 4, "release_interval": 5000,
        "checkdb_interval": 5000, "checklog_interval": 60000
    }
}"#;

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, Path::new("/opt/sync/sync_server.json"))
}

fn load(text: &str) -> Config {
    parse(text).unwrap_or_else(|error| panic!("{error}"))
}

/// Parses and compares all faults, or all warnings where there is no fault.
fn check(text: &str, expected: &[&str]) {
    let said: Vec<String> = match parse(text) {
        Ok(config) => config.warnings.iter().map(ToString::to_string).collect(),
        Err(errors) => errors.faults().iter().map(ToString::to_string).collect(),
    };
    assert_eq!(said, expected, "{text}");
}

#[test]
fn the_originals_file_loads_without_a_warning_and_means_the_defaults() {
    check(ORIGINAL, &[]);
    assert_eq!(load(ORIGINAL), load("{}"));
}

/// The defaults as the specification's tables state them.
#[test]
fn the_defaults_of_network_are_those_of_the_specification() {
    let Config { network, path, .. } = load("{}");
    let specified = NetworkSettings {
        port: 8089,
        bind: None,
        backlog: 512,
        enable_reuseport: true,
        enable_nodelay: true,
        enable_defer_accept: true,
        disable_100_cont: true,
        max_body_size: 16_777_216,
        max_keepalive_requests: 1024,
        recv_timeout: Duration::from_secs(300),
        send_timeout: Duration::from_secs(300),
        threads: 2,
        user: "sync".to_owned(),
        passwd: Secret::new("sync"),
        passwd_file: None,
        viewer_user: None,
        viewer_password: Secret::new(""),
        viewer_password_file: None,
        host_names: Vec::new(),
        access_allow: "127.0.0.1".parse().unwrap(),
    };
    assert_eq!(network, specified);
    assert_eq!(path, Path::new("/opt/sync/sync_server.json"));
}

#[test]
fn the_defaults_of_sync_are_those_of_the_specification() {
    let specified = SyncSettings {
        daemon: true,
        logs_path: "/data/hustdbha/logs/".into(),
        ngx_path: "/data/hustdbha/".into(),
        auth_path: "/data/hustdbha/conf/htpasswd".into(),
        threads: 4,
        release_interval: Duration::from_millis(5000),
        checkdb_interval: Duration::from_millis(5000),
        checklog_interval: Duration::from_millis(60_000),
        connections_per_backend: 16,
        burst_bytes: 4096,
        head_bytes_max: 4096,
        requests_per_connection: 80_000,
        memory_budget: 64 * 1024 * 1024,
        in_flight_per_backend: 65_536,
        max_rate_per_backend: 0,
        attempts_max: 10,
        outcomes: Vec::new(),
        probe_interval_down: Duration::from_millis(500),
        resolve_interval: Duration::from_secs(30),
        ttl_hold: Duration::from_secs(2),
        ambiguity_window: Duration::from_secs(62),
        checkpoint_interval: Duration::from_millis(1000),
        drain_timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(60),
        keepalive_interval: Duration::from_secs(15),
        engine: EngineName::Auto,
        pin_workers: true,
        rejected_max_bytes: 1024 * 1024 * 1024,
        rescan_interval: Duration::from_secs(30),
        reconcile: ReconcileMode::Off,
        reconcile_values: false,
        reconcile_value_bytes_max: 1 << 20,
        reconcile_rate: 20_000,
        reconcile_deletes: false,
        reconcile_attempts: 5,
        reconcile_delay: Duration::from_secs(45),
        reconcile_timeout: Duration::from_secs(15 * 60),
        log_level: LogLevel::Info,
        log_format: LogFormat::Text,
    };
    assert_eq!(load("{}").sync, specified);
}

#[test]
fn every_key_takes_its_own_default_and_stands_once() {
    let mut paths: Vec<String> = Config::keys().map(Key::path).collect();
    for key in Config::keys() {
        let file = format!(
            "{{\"{}\": {{\"{}\": {}}}}}",
            key.section, key.name, key.default
        );
        assert_eq!(load(&file), load("{}"), "{file}");
    }
    let count = paths.len();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), count);
}

#[test]
fn the_original_knows_exactly_the_keys_that_its_file_has() {
    let file: serde_json::Value = serde_json::from_str(ORIGINAL).unwrap();
    for key in Config::keys() {
        let there = file[key.section].get(key.name).is_some();
        assert_eq!(
            there,
            key.origin == super::key::Origin::Original,
            "{}",
            key.path()
        );
    }
}

#[test]
fn values_with_units_and_plain_numbers_mean_the_same() {
    let units = r#"{"network": {"recv_timeout": "5min"},
        "sync": {"release_interval": "2 s", "ttl_hold": "1500ms", "memory_budget": "1GiB",
                 "rejected_max_bytes": "5MB", "burst_bytes": "2KiB", "rescan_interval": 45.0}}"#;
    let plain = r#"{"network": {"recv_timeout": 300},
        "sync": {"release_interval": 2000, "ttl_hold": "1500 ms", "memory_budget": 1073741824,
                 "rejected_max_bytes": 5000000, "burst_bytes": 2048, "rescan_interval": 45}}"#;
    assert_eq!(load(units), load(plain));
    assert_eq!(load(units).sync.ttl_hold, Duration::from_millis(1500));
    assert_eq!(load(units).sync.rescan_interval, Duration::from_secs(45));
}

#[test]
fn outcomes_keep_the_order_of_the_file() {
    let config = load(
        r#"{"sync": {"outcomes": {"503": "absent", "404 put": "rejected", "403": "absent"}}}"#,
    );
    let expected = [
        ("503", "absent"),
        ("404 put", "rejected"),
        ("403", "absent"),
    ];
    assert_eq!(
        config.sync.outcomes,
        expected.map(|(answer, outcome)| (answer.to_owned(), outcome.to_owned()))
    );
}

#[test]
fn the_state_folder_can_not_be_the_log_folder() {
    check(
        r#"{"sync": {"ngx_path": "/data/ha/", "logs_path": "/data/ha/./status//"}}"#,
        &[
            "sync.logs_path: \"/data/ha/./status//\" is the folder of our own state \
             (<sync.ngx_path>/status); give HA's log folder, which is another one",
        ],
    );
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    check("\u{feff}{}", &[]);
}

#[test]
fn the_listener_is_open_to_the_network_only_when_others_may_connect() {
    let address = |network: &str| {
        load(&format!("{{\"network\": {{{network}}}}}"))
            .listen_address()
            .to_string()
    };
    assert_eq!(address(""), "127.0.0.1:8089");
    assert_eq!(
        address(r#""access_allow": "127.0.0.1,::1""#),
        "127.0.0.1:8089"
    );
    assert_eq!(address(r#""access_allow": "::1""#), "[::1]:8089");
    assert_eq!(
        address(r#""access_allow": "127.0.0.1,10.0.0.1", "port": 1"#),
        "0.0.0.0:1"
    );
    assert_eq!(address(r#""access_allow": """#), "0.0.0.0:8089");
    assert_eq!(
        address(r#""access_allow": "", "bind": "::1""#),
        "[::1]:8089"
    );
}

#[test]
fn what_belongs_to_the_server_stands_where_the_original_has_it() {
    let config = load(r#"{"sync": {"ngx_path": "/data/ha"}}"#);
    assert_eq!(config.state_path(), Path::new("/data/ha/status"));
    assert_eq!(config.log_folder(), Path::new("/opt/sync/logs"));
}

#[test]
fn the_sample_in_packaging_is_the_tables_own_and_loads_without_a_warning() {
    let packaged = include_str!("../../../packaging/sync_server.json");
    assert_eq!(
        packaged,
        sample(),
        "write it anew with: hustdbsync check --sample > packaging/sync_server.json"
    );
    check(packaged, &[]);
    assert_eq!(load(packaged), load("{}"));
}

#[test]
fn a_file_that_can_not_be_read_is_a_fault_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.json");
    let error = Config::load(&path).unwrap_err().to_string();
    let expected = format!(
        "the configuration {} has 1 fault:\n  it can't be read: No such file or directory (os \
         error \
         2); give the right path with --config, or put the file there",
        path.display()
    );
    assert_eq!(error, expected);
    assert!(Config::load(folder.path()).is_err());
    std::fs::write(&path, vec![b' '; 2 << 20]).unwrap();
    assert!(
        Config::load(&path)
            .unwrap_err()
            .to_string()
            .contains("more than 1 MiB")
    );
}

/// JSON values of any shape, to stand where a setting's value stands.
fn any_json() -> impl proptest::strategy::Strategy<Value = serde_json::Value> {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        ".*".prop_map(Value::from),
        "[0-9]{1,21} ?(ms|s|h|d|B|KiB|TiB|TB)?".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((".*", inner), 0..4)
                .prop_map(|pairs| pairs.into_iter().collect()),
        ]
    })
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(text: Vec<u8>) {
        if let Err(error) = Config::parse(text, Path::new("x")) {
            let _ = error.to_string();
        }
    }

    #[test]
    fn no_value_of_any_key_makes_it_panic(place in 0usize..64, value in any_json()) {
        let key = Config::keys().cycle().nth(place).unwrap();
        let text = format!("{{\"{}\": {{\"{}\": {value}}}}}", key.section, key.name);
        match parse(&text) {
            Ok(config) => { let _ = load("{}").differences(&config); }
            Err(error) => proptest::prop_assert!(error.to_string().contains(&key.path())),
        }
    }

    #[test]
    fn no_cut_of_a_good_file_makes_it_panic_or_load(cut in 1usize..ORIGINAL.len()) {
        proptest::prop_assert!(parse(&ORIGINAL[..cut]).is_err());
    }
}
