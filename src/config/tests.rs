//! The file as a whole: what loads, what doesn't, and in which words.

use std::path::Path;
use std::time::Duration;

use super::*;

/// The original's own file, key for key.
const ORIGINAL: &str = r#"{
    "network":
    {
        "port": 8089, "backlog": 512, "disable_100_cont": true, "enable_reuseport": true, "enable_nodelay": true,
        "enable_defer_accept": true, "max_body_size": 16777216, "max_keepalive_requests": 1024, "recv_timeout": 300,
        "send_timeout": 300, "threads": 2, "user": "sync", "passwd": "sync", "access_allow": "127.0.0.1"
    },
    "sync":
    {
        "daemon": true, "logs_path": "/data/hustdbha/logs/", "ngx_path":  "/data/hustdbha/",
        "auth_path": "/data/hustdbha/conf/htpasswd", "threads": 4, "release_interval": 5000, "checkdb_interval": 5000,
        "checklog_interval": 60000
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
fn the_defaults_are_those_of_the_specification() {
    let Config {
        network,
        sync,
        path,
        ..
    } = load("{}");
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
        access_allow: "127.0.0.1".parse().unwrap(),
    };
    assert_eq!(network, specified);
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
        head_bytes_max: 4000,
        requests_per_connection: 80_000,
        memory_budget: 64 * 1024 * 1024,
        in_flight_per_backend: 65_536,
        max_rate_per_backend: 0,
        attempts_max: 10,
        outcomes: Vec::new(),
        probe_interval_down: Duration::from_millis(500),
        ttl_hold: Duration::from_secs(2),
        checkpoint_interval: Duration::from_millis(1000),
        drain_timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(5),
        pin_workers: true,
        rejected_max_bytes: 1024 * 1024 * 1024,
        rescan_interval: Duration::from_secs(30),
        log_level: LogLevel::Info,
    };
    assert_eq!(sync, specified);
    assert_eq!(path, Path::new("/opt/sync/sync_server.json"));
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
        assert_eq!(there, key.origin == Origin::Original, "{}", key.path());
    }
}

#[test]
fn values_with_units_and_plain_numbers_mean_the_same() {
    let units = r#"{"network": {"recv_timeout": "5min"}, "sync": {"release_interval": "2 s", "ttl_hold": "1500ms",
        "memory_budget": "1GiB", "rejected_max_bytes": "5MB", "burst_bytes": "2KiB", "rescan_interval": 45.0}}"#;
    let plain = r#"{"network": {"recv_timeout": 300}, "sync": {"release_interval": 2000, "ttl_hold": "1500 ms",
        "memory_budget": 1073741824, "rejected_max_bytes": 5000000, "burst_bytes": 2048, "rescan_interval": 45}}"#;
    assert_eq!(load(units), load(plain));
    assert_eq!(load(units).sync.ttl_hold, Duration::from_millis(1500));
    assert_eq!(load(units).sync.rescan_interval, Duration::from_secs(45));
}

#[test]
fn outcomes_keep_the_order_of_the_file() {
    let config =
        load(r#"{"sync": {"outcomes": {"503": "retry", "404 put": "rejected", "403": "retry"}}}"#);
    let expected = [("503", "retry"), ("404 put", "rejected"), ("403", "retry")];
    assert_eq!(
        config.sync.outcomes,
        expected.map(|(answer, outcome)| (answer.to_owned(), outcome.to_owned()))
    );
}

#[test]
fn an_unknown_key_is_a_warning_that_names_the_nearest_one() {
    check(
        r#"{"network": {"prot": 1, "logs_path": "x"}, "sync": {"connection_per_backend": 1, "Threads": 2, "//note": 3}, "snyc": {}, "port": 9, "//": 0}"#,
        &[
            "network.prot is no setting and has no effect; the nearest one is network.port. Rename or remove it",
            "network.logs_path is no setting and has no effect; the nearest one is sync.logs_path. Rename or remove it",
            "sync.connection_per_backend is no setting and has no effect; the nearest one is sync.connections_per_backend. Rename or remove it",
            "sync.Threads is no setting and has no effect; the nearest one is sync.threads. Rename or remove it",
            "snyc is no setting and has no effect; the nearest one is sync. Rename or remove it",
            "port is no setting and has no effect; the nearest one is network.port. Rename or remove it",
        ],
    );
}

#[test]
fn all_faults_are_told_at_once_and_passwords_are_not() {
    check(
        r#"{"network": {"port": 70000, "passwd": 4711, "user": "a:b", "access_allow": "127.0.0.1 10.0.0.1", "bind": "localhost"},
            "sync": {"threads": 0, "checkdb_interval": "5", "memory_budget": 64, "pin_workers": "yes", "log_level": "loud", "ngx_path": ""}}"#,
        &[
            "network.port: 70000 is too large: the most is 65535; write a whole number from 0 to 65535, or leave it out for the default 8089",
            "network.bind: \"localhost\" is no IP address; write an IP address as a string, or leave it out",
            "network.user: \"a:b\" has a colon, at which basic authentication would end the name; write a string without a colon, or leave it out for the default \"sync\"",
            "network.passwd: *** is a number; write a string, or leave it out for the default \"sync\"",
            "network.access_allow: \"127.0.0.1 10.0.0.1\" is no access list: \"127.0.0.1 10.0.0.1\" is neither an address, nor a range such as 10.0.0.1-10.0.0.9, nor a network such as 10.0.0.0/8; write addresses, a-b ranges and networks as one string, separated by commas; an empty one admits everyone, or leave it out for the default \"127.0.0.1\"",
            "sync.ngx_path: \"\" is empty; write a path as a string, or leave it out for the default \"/data/hustdbha/\"",
            "sync.threads: 0 is too small: the least is 1; write a whole number from 1 to 256, or leave it out for the default 4",
            "sync.checkdb_interval: \"5\" has no unit that is known: ms, s, min, h, d; write milliseconds, or a string such as \"5s\" or \"500ms\", from 1ms to 1d, or leave it out for the default 5000",
            "sync.memory_budget: 64 is too small: the least is 48MiB; write bytes, or a string such as \"64MiB\", from 48MiB to 1TiB, or leave it out for the default \"64MiB\"",
            "sync.pin_workers: \"yes\" is a string; write true or false, or leave it out for the default true",
            "sync.log_level: \"loud\" is none of the words that it can be; write one of \"error\", \"warn\", \"info\", \"debug\", \"trace\", or leave it out for the default \"info\"",
        ],
    );
}

/// One key of `sync` with one bad value: the reason, without the advice after it.
fn check_reason(key: &str, value: &str, expected: &str) {
    let error = parse(&format!(r#"{{"sync": {{"{key}": {value}}}}}"#)).expect_err(value);
    match error.faults() {
        [
            ConfigError::Setting {
                setting, reason, ..
            },
        ] => {
            assert_eq!(
                (setting.as_str(), reason.as_str()),
                (format!("sync.{key}").as_str(), expected)
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn numbers_that_are_none_or_too_far_say_so() {
    check_reason("threads", "-1", "is negative");
    check_reason("threads", "2.5", "is no whole number");
    check_reason("threads", "\"4\"", "is a string");
    check_reason("threads", "null", "is null");
    check_reason("threads", "1e300", "is too large");
    check_reason("threads", "18446744073709551616", "is too large");
    check_reason("threads", "257", "is too large: the most is 256");
    check_reason(
        "memory_budget",
        "\"99999999999999999999GiB\"",
        "is too large",
    );
    check_reason("memory_budget", "\"99999999999TiB\"", "is too large");
    check_reason(
        "memory_budget",
        "\"1.5GiB\"",
        "has no unit that is known: B, KiB, MiB, GiB, TiB, kB, MB, GB, TB",
    );
    check_reason(
        "memory_budget",
        "\"GiB\"",
        "doesn't begin with a whole number",
    );
    check_reason(
        "memory_budget",
        "\"47MiB\"",
        "is too small: the least is 48MiB",
    );
    check_reason("burst_bytes", "4097", "is too large: the most is 4KiB");
    check_reason(
        "requests_per_connection",
        "81920",
        "is too large: the most is 81919",
    );
    check_reason("checkdb_interval", "0", "is too small: the least is 1ms");
    check_reason(
        "checkdb_interval",
        "\"25h\"",
        "is too large: the most is 1d",
    );
    check_reason(
        "checkdb_interval",
        "18446744073709551615",
        "is too large: the most is 1d",
    );
    check_reason("rescan_interval", "18446744073709551615", "is too large");
    check_reason("checkdb_interval", "[5]", "is a list");
    check_reason("logs_path", "\"a\\u0000b\"", "has a control character");
    check_reason("logs_path", "7", "is a number");
    check_reason(
        "outcomes",
        "{\"503\": 1}",
        "has a number at \"503\", where a string is wanted",
    );
    check_reason("outcomes", "[]", "is a list");
}

#[test]
fn a_long_value_is_not_repeated_whole() {
    let error = parse(&format!(
        r#"{{"sync": {{"log_level": "{}"}}}}"#,
        "ä".repeat(5000)
    ))
    .unwrap_err();
    assert!(error.to_string().len() < 500, "{error}");
}

#[test]
fn a_key_that_stands_twice_is_a_fault() {
    check(
        r#"{"sync": {"threads": 1, "threads": 2, "threads": 3}, "network": {}, "network": {}}"#,
        &[
            "network: the key stands there more than once; leave one of them",
            "sync.threads: the key stands there more than once; leave one of them",
        ],
    );
}

#[test]
fn syntax_errors_have_line_and_column() {
    const MEND: &str =
        "mend the JSON there (a comma or quote too many or missing is the usual cause)";
    let cases = [
        (
            "",
            "line 1, column 0: the file is empty: it takes {} at least",
        ),
        (
            "{\n  \"sync\": {\n    \"threads\": 4,\n  }\n}",
            "line 4, column 3: trailing comma",
        ),
        (
            "{\"sync\": {\"threads\": 4}",
            "line 1, column 23: EOF while parsing an object",
        ),
        ("{} x", "line 1, column 4: trailing characters"),
        (
            "[]",
            "line 1, column 0: invalid type: sequence, expected an object with \"network\" and \"sync\"",
        ),
        (
            "{\"sync\": {\"threads\": 1e999}}",
            "line 1, column 26: number out of range",
        ),
    ];
    for (text, expected) in cases {
        check(text, &[&format!("{expected}; {MEND}")]);
    }
}

#[test]
fn a_section_that_is_no_object_is_told_with_the_other_faults() {
    check(
        r#"{"network": [1, {"a": 2}], "sync": {"threads": 0}}"#,
        &[
            "network: a list is no object; write \"network\": { … }, or leave it out for the defaults",
            "sync.threads: 0 is too small: the least is 1; write a whole number from 1 to 256, or leave it out for the default 4",
        ],
    );
}

#[test]
fn the_state_folder_can_not_be_the_log_folder() {
    check(
        r#"{"sync": {"ngx_path": "/data/ha/", "logs_path": "/data/ha/./status//"}}"#,
        &[
            "sync.logs_path: \"/data/ha/./status//\" is the folder of our own state (<sync.ngx_path>/status); give HA's log folder, which is another one",
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
    let packaged = include_str!("../../packaging/sync_server.json");
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
        "the configuration {} has 1 fault:\n  it can't be read: No such file or directory (os error 2); give the right path with --config, or put the file there",
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
        r#"{"network": {"port": 9, "passwd": "new"}, "sync": {"threads": 8, "max_rate_per_backend": 5, "checkdb_interval": "1s", "memory_budget": "1GiB", "log_level": "debug", "nothing": 1}}"#,
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
        r#"{"network": {"passwd": "new"}, "sync": {"max_rate_per_backend": 5, "checkdb_interval": 1000, "log_level": "debug"}}"#,
    );
    expected.warnings = merged.warnings.clone();
    assert_eq!(merged, expected);
}

#[test]
fn a_reload_without_a_change_says_nothing_and_one_with_a_fault_changes_nothing() {
    assert_eq!(check_reload(ORIGINAL, "{}", &[]).unwrap(), load(ORIGINAL));
    assert!(check_reload("{}", "{", &[]).is_err());
    assert!(check_reload("{}", r#"{"sync": {"threads": 0}}"#, &[]).is_err());
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
            "auth_path",
            "release_interval",
            "checkdb_interval",
            "checklog_interval",
            "in_flight_per_backend",
            "max_rate_per_backend",
            "probe_interval_down",
            "ttl_hold",
            "checkpoint_interval",
            "rescan_interval",
            "log_level",
        ]
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
