//! What is wrong or odd in a file, in the exact words.

use super::{check, load, parse};
use crate::config::{BackendName, Config, ConfigError};

#[test]
fn an_unknown_key_is_a_warning_that_names_the_nearest_one() {
    check(
        r#"{"network": {"prot": 1, "logs_path": "x"},
            "sync": {"connection_per_backend": 1, "Threads": 2, "//note": 3},
            "snyc": {}, "port": 9, "//": 0}"#,
        &[
            "network.prot is no setting and has no effect; the nearest one is network.port. Rename \
             or remove it",
            "network.logs_path is no setting and has no effect; the nearest one is sync.logs_path. \
             Rename or remove it",
            "sync.connection_per_backend is no setting and has no effect; the nearest one is \
             sync.connections_per_backend. Rename or remove it",
            "sync.Threads is no setting and has no effect; the nearest one is sync.threads. Rename \
             or remove it",
            "snyc is no setting and has no effect; the nearest one is sync. Rename or remove it",
            "port is no setting and has no effect; the nearest one is network.port. Rename or \
             remove it",
        ],
    );
}

#[test]
fn an_unknown_key_that_is_near_none_names_none_and_words_of_one_name_it() {
    check(
        r#"{"sync": {"max_rate": 1, "rate_max": 1, "timeout": 1, "compression": 1},
            "network": {"password": "x"}}"#,
        &[
            "sync.max_rate is no setting and has no effect; the nearest one is \
             sync.max_rate_per_backend. Rename or remove it",
            "sync.rate_max is no setting and has no effect; the nearest one is \
             sync.max_rate_per_backend. Rename or remove it",
            "sync.timeout is no setting and has no effect. Remove it",
            "sync.compression is no setting and has no effect. Remove it",
            "network.password is no setting and has no effect; the nearest one is network.passwd. \
             Rename or remove it",
        ],
    );
}

#[test]
fn all_faults_are_told_at_once_and_passwords_are_not() {
    check(
        r#"{"network": {"port": 70000, "passwd": 4711, "user": "a:b",
                        "access_allow": "127.0.0.1 10.0.0.1", "bind": "localhost"},
            "sync": {"threads": 0, "checkdb_interval": "5", "memory_budget": 64,
                     "pin_workers": "yes", "log_level": "loud", "ngx_path": ""}}"#,
        &[
            "network.port: 70000 is too large: the most is 65535; write a whole number from 0 to \
             65535, or leave it out for the default 8089",
            "network.bind: \"localhost\" is no IP address; write an IP address as a string, or \
             leave it out",
            "network.user: \"a:b\" has a colon, at which basic authentication would end the name; \
             write a string without a colon, or leave it out for the default \"sync\"",
            "network.passwd: *** is a number; write a string, or leave it out for the default \
             \"sync\"",
            "network.access_allow: \"127.0.0.1 10.0.0.1\" is no access list: \"127.0.0.1 \
             10.0.0.1\" is neither an address, nor a range such as 10.0.0.1-10.0.0.9, nor a \
             network such as 10.0.0.0/8; write addresses, a-b ranges and networks as one string, \
             separated by commas; an empty one admits everyone, or leave it out for the default \
             \"127.0.0.1\"",
            "sync.ngx_path: \"\" is empty; write a path as a string, or leave it out for the \
             default \"/data/hustdbha/\"",
            "sync.threads: 0 is too small: the least is 1; write a whole number from 1 to 256, or \
             leave it out for the default 4",
            "sync.checkdb_interval: \"5\" has no unit that is known: ms, s, min, h, d; write \
             milliseconds, or a string such as \"5s\" or \"500ms\", from 1ms to 1d, or leave it \
             out for the default 5000",
            "sync.memory_budget: 64 is too small: the least is 48MiB; write bytes, or a string \
             such as \"64MiB\", from 48MiB to 1TiB, or leave it out for the default \"64MiB\"",
            "sync.pin_workers: \"yes\" is a string; write true or false, or leave it out for the \
             default true",
            "sync.log_level: \"loud\" is none of the words that it can be; write one of \"error\", \
             \"warn\", \"info\", \"debug\", \"trace\", or leave it out for the default \"info\"",
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
fn of_a_key_that_stands_twice_the_first_counts_and_a_warning_says_so() {
    let text =
        r#"{"sync": {"threads": 1, "threads": 2, "threads": 3}, "network": {}, "network": {}}"#;
    check(
        text,
        &[
            "network stands there more than once, and the first counts. Remove the others",
            "sync.threads stands there more than once, and the first counts. Remove the others",
        ],
    );
    assert_eq!(load(text).sync.threads, 1);
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
            "line 1, column 0: invalid type: sequence, expected an object with \"network\" and \
             \"sync\"",
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
            "network: a list is no object; write \"network\": { … }, or leave it out for the \
             defaults",
            "sync.threads: 0 is too small: the least is 1; write a whole number from 1 to 256, or \
             leave it out for the default 4",
        ],
    );
}

/// Found by fuzzing (fuzz/fuzz_targets/configuration.rs): a fault is one line, and a file's text
/// can't begin another one in the log.
#[test]
fn no_text_of_the_file_begins_a_line_of_its_own() {
    check(
        r#"{"network": {"access_allow": "a\nb, ::1", "a\u001b": 1},
            "sync": {"outcomes": {"5\r\n": 1}}, "x\ny": 1, "x\ny": 2}"#,
        &[
            concat!(
                r#"network.access_allow: "a\nb, ::1" is no access list: "a\nb" is neither an "#,
                r#"address, nor a range such as 10.0.0.1-10.0.0.9, nor a network such as "#,
                r#"10.0.0.0/8; write addresses, a-b ranges and networks as one string, separated "#,
                r#"by commas; an empty one admits everyone, or leave it out for the default "#,
                r#""127.0.0.1""#,
            ),
            concat!(
                r#"sync.outcomes: {"5\r\n":1} has a number at "5\r\n", where a string is wanted; "#,
                "write an object of strings, or leave it out for the default {}",
            ),
        ],
    );
    check(
        r#"{"network": {"a\u001b": 1}, "x\ny": 1, "x\ny": 2}"#,
        &[
            r"x\ny stands there more than once, and the first counts. Remove the others",
            "network.a\\u{1b} is no setting and has no effect. Remove it",
            r"x\ny is no setting and has no effect. Remove it",
            r"x\ny is no setting and has no effect. Remove it",
        ],
    );
    check_reason(
        "log_level",
        "\"\u{7f}\u{85}\"",
        "is none of the words that it can be",
    );
    let error = parse("{\"sync\": {\"log_level\": \"\u{7f}\u{85}\"}}").unwrap_err();
    assert!(
        error
            .faults()
            .iter()
            .all(|fault| !fault.to_string().contains(char::is_control))
    );
    let name = BackendName::parse("a\nb:1").unwrap_err().to_string();
    assert!(name.starts_with(r#""a\nb" is no host name"#), "{name}");
}

#[test]
fn overrides_of_outcomes_are_of_answers_that_there_are() {
    check(
        r#"{"sync": {"outcomes": {"503": "absent", "412 hset": "gone"}}}"#,
        &[
            "sync.outcomes: {\"503\": \"absent\", \"412 hset\": \"gone\"} has \"gone\", which is \
             no outcome; write applied, superseded, absent, rejected or trouble",
        ],
    );
    check(
        r#"{"sync": {"outcomes": {"200 put": "rejected"}}}"#,
        &[
            "sync.outcomes: {\"200 put\": \"rejected\"} has \"200 put\", whose meaning hustdb says \
             itself (VerError); leave it out: a 200 without VerError is no answer of a hustdb, and \
             stays trouble",
        ],
    );
    check(
        r#"{"sync": {"outcomes": {"418 tea": "absent"}}}"#,
        &[
            "sync.outcomes: {\"418 tea\": \"absent\"} has \"418 tea\", which is no answer; write a \
             status from 201 to 599, and after a space a method for which it holds, as in \
             \"412 put\"",
        ],
    );
}

#[test]
fn names_of_hosts_are_names_without_a_port() {
    let names = |text: &str| load(&format!(r#"{{"network": {{"host_names": "{text}"}}}}"#));
    assert_eq!(
        names(" a.example ,b_1,, *").network.host_names,
        ["a.example", "b_1", "*"]
    );
    check(
        r#"{"network": {"host_names": "a, b:8089"}}"#,
        &[
            "network.host_names: \"a, b:8089\" has \"b:8089\", which is no host's name; it takes \
             names without a port; write names of hosts as one string, separated by commas; * \
             stands for any, or leave it out for the default \"\"",
        ],
    );
}

#[test]
fn a_viewer_has_a_password_and_a_name_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sync_server.json");
    let check = |network: &str, expected: Option<&str>| {
        std::fs::write(&path, format!(r#"{{"network": {network}}}"#)).unwrap();
        let fault = Config::load(&path).err().map(|errors| errors.to_string());
        match expected {
            None => assert_eq!(fault, None, "{network}"),
            Some(why) => {
                let begin = "network.viewer_user: \"sync\" ".replace("sync", "v");
                let fault = fault.unwrap_or_else(|| panic!("{network} is taken"));
                assert!(fault.contains(&format!("{begin}{why}")), "{fault}");
            }
        }
    };
    check(r#"{"viewer_user": "v"}"#, Some("has no password"));
    check(
        r#"{"viewer_user": "v", "user": "v", "viewer_password": "p"}"#,
        Some("is network.user too"),
    );
    check(r#"{"viewer_user": "v", "viewer_password": "p"}"#, None);
    check(r#"{"viewer_user": null, "viewer_password": ""}"#, None);
}
