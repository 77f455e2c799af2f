//! HA's own configuration: whether HA writes the logs that are replayed here.
//!
//! Since HA 1.4 a write that one master missed goes to the binlog of the healthy one first
//! (`binlog_uri`), and to a log only where that request fails. As HA is shipped, a plain outage so
//! writes no log at all. `nginx.conf` is what HA runs with; HA's `genconf.py` makes it from
//! `nginx.json`, so both are looked at.

use std::io::ErrorKind;
use std::path::Path;

use super::Findings;
use crate::config::Config;
use crate::engine::os::files::read_regular;

/// HA's configuration has a few kilobytes. No more than this is read of it.
const HA_CONFIG_BYTES_MAX: u64 = 1 << 20;
/// The setting.
const SETTING: &str = "binlog_uri";
/// What the guide tells of it.
const GUIDE: &str = "docs/operations.md, \"Have HA write logs\"";

/// What a file of HA's says.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// It is none of HA's.
    NotHa,
    /// It is HA's, and leaves the setting out.
    Nothing,
    /// The setting's value.
    Uri(String),
}

/// `<ngx_path>/conf/nginx.conf` and `nginx.json`.
pub(super) fn logs(config: &Config, findings: &mut Findings) {
    let folder = config.sync.ngx_path.join("conf");
    let conf = look(&folder.join("nginx.conf"), in_nginx_conf, findings);
    let json = look(&folder.join("nginx.json"), in_nginx_json, findings);
    let fact = match (conf, json) {
        // The warnings say it.
        (None, _) | (_, None) => return,
        (Some(Said::Uri(uri)), _) => format!(
            "writes a log for each missed write, provided that hustdb answers {uri} (binlog_uri) \
             with 404"
        ),
        (Some(Said::Nothing), _) => format!(
            "binlog_uri is not set: HA up to 1.3 always writes logs; HA from 1.4 on crashes so, \
             and wants `binlog_uri /nobinlog;` ({GUIDE})"
        ),
        (Some(Said::NotHa), _) => format!(
            "no configuration of HA's at {}: see there that binlog_uri is not /hustdb/binlog, or \
             HA (1.4 and later) writes no log ({GUIDE})",
            folder.join("nginx.conf").display()
        ),
    };
    findings.fact("HA", fact);
}

/// What a file says; `None` where that was a warning.
fn look(path: &Path, setting: impl FnOnce(&str) -> Said, findings: &mut Findings) -> Option<Said> {
    let shown = path.display();
    let text = match read_regular(path, HA_CONFIG_BYTES_MAX) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Some(Said::NotHa);
        }
        Err(error) => {
            findings.warning(format!(
                "{shown}: {error}; whether HA writes logs is told there: see that {SETTING} is not \
                 /hustdb/binlog ({GUIDE})"
            ));
            return None;
        }
    };
    match setting(&text) {
        Said::Uri(uri) if is_answered(&uri) => {
            findings.warning(format!(
                "{shown}: {SETTING} is {uri}, so HA (1.4 and later) leaves a missed write to the \
                 healthy master, writes no log, and there is nothing to replay. Set it to a path \
                 that hustdb answers with 404 (/nobinlog), in nginx.conf and in nginx.json, and \
                 restart HA. Don't leave it out: HA's workers would crash ({GUIDE})"
            ));
            None
        }
        said => Some(said),
    }
}

/// Whether hustdb itself has something at this path, as far as that is known: then HA takes the
/// write for kept.
fn is_answered(uri: &str) -> bool {
    let path = uri.split('?').next().unwrap_or_default();
    [
        "/hustdb",
        "/husttb",
        "/hustmq",
        "/hustcache",
        "/status.html",
    ]
    .iter()
    .any(|own| {
        path.strip_prefix(own)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// The setting in nginx's own syntax: words, a semicolon behind each directive, `#` before what
/// does not count. Of several, the last.
fn in_nginx_conf(text: &str) -> Said {
    let mut words: Vec<String> = Vec::new();
    let mut said = Said::NotHa;
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '#' => while rest.next_if(|&next| next != '\n').is_some() {},
            ';' | '{' | '}' => {
                match (words.first().map(String::as_str), words.get(1)) {
                    (Some(SETTING), Some(uri)) => said = Said::Uri(uri.clone()),
                    (Some("hustdb_ha" | "hustdbtable_file"), _) if said == Said::NotHa => {
                        said = Said::Nothing;
                    }
                    _ => {}
                }
                words.clear();
            }
            quote @ ('"' | '\'') => {
                let mut word = String::new();
                while let Some(next) = rest.next_if(|&next| next != quote) {
                    word.push(next);
                }
                rest.next();
                words.push(word);
            }
            space if space.is_whitespace() => {}
            first => {
                let mut word = String::from(first);
                while let Some(next) =
                    rest.next_if(|&next| !next.is_whitespace() && !matches!(next, ';' | '{' | '}'))
                {
                    word.push(next);
                }
                words.push(word);
            }
        }
    }
    said
}

/// The setting in the file that HA's `genconf.py` reads: a pair of `main_conf`.
fn in_nginx_json(text: &str) -> Said {
    let json: Result<serde_json::Value, _> = serde_json::from_str(text);
    let Some(pairs) = json
        .as_ref()
        .ok()
        .and_then(|json| json["main_conf"].as_array())
    else {
        return Said::NotHa;
    };
    let pairs = pairs.iter().rev();
    let mut uris = pairs.filter(|pair| pair[0] == SETTING);
    match uris.next().and_then(|pair| pair[1].as_str()) {
        Some(uri) => Said::Uri(uri.to_owned()),
        None => Said::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cli::check::harness::Home;

    const SHIPPED_CONF: &str = "\
http {
    server {
        hustdbtable_file          hustdbtable.json;
        sync_passwd               sync;
        binlog_uri                /hustdb/binlog;

        location /put {
            hustdb_ha;
        }
    }
}
";
    const SHIPPED_JSON: &str = r#"{"module": "hustdb_ha", "main_conf": [
        ["sync_port", "8089"], ["identifier_cache_size", 128], ["binlog_uri", "/hustdb/binlog"]
    ]}"#;

    /// What HA's two files say, and what is told of it: warnings, and the fact.
    #[track_caller]
    fn check(conf: Option<&str>, json: Option<&str>, warns_of: &[&str], fact: &str) {
        let home = Home::new();
        for (name, text) in [("conf/nginx.conf", conf), ("conf/nginx.json", json)] {
            if let Some(text) = text {
                fs::write(home.path(name), text).unwrap();
            }
        }
        let findings = home.examine();
        assert_eq!(findings.faults, [""; 0]);
        assert_eq!(
            findings.warnings.len(),
            warns_of.len(),
            "{:?}",
            findings.warnings
        );
        for (warning, name) in findings.warnings.iter().zip(warns_of) {
            let path = home.path(name);
            let begin = format!("{}: binlog_uri is ", path.display());
            assert!(
                warning.starts_with(&begin) && warning.contains("/nobinlog"),
                "{warning}"
            );
        }
        let told = findings.facts.iter().find(|(label, _)| *label == "HA");
        let told = told.map_or("", |(_, told)| told);
        assert!(
            if fact.is_empty() {
                told.is_empty()
            } else {
                told.contains(fact)
            },
            "{told}"
        );
    }

    #[test]
    fn ha_as_it_is_shipped_writes_no_log_and_both_its_files_are_named() {
        let both = ["conf/nginx.conf", "conf/nginx.json"];
        check(Some(SHIPPED_CONF), Some(SHIPPED_JSON), &both, "");
        check(Some(SHIPPED_CONF), None, &both[..1], "");
    }

    #[test]
    fn one_file_that_was_forgotten_is_found() {
        let conf = SHIPPED_CONF.replace("/hustdb/binlog", "/nobinlog");
        let json = SHIPPED_JSON.replace("/hustdb/binlog", "/nobinlog");
        check(Some(&conf), Some(SHIPPED_JSON), &["conf/nginx.json"], "");
        check(Some(SHIPPED_CONF), Some(&json), &["conf/nginx.conf"], "");
        check(
            Some(&conf),
            Some(&json),
            &[],
            "answers /nobinlog (binlog_uri) with 404",
        );
    }

    #[test]
    fn a_file_without_the_setting_is_of_an_older_ha_or_of_one_that_crashes() {
        let conf = SHIPPED_CONF.replace("binlog_uri", "#binlog_uri");
        check(Some(&conf), None, &[], "HA up to 1.3");
        check(
            Some("http { server { listen 80; } }"),
            None,
            &[],
            "no configuration of HA's",
        );
        check(None, None, &[], "no configuration of HA's");
    }

    #[test]
    fn the_setting_is_found_as_nginx_finds_it() {
        for (text, expected) in [
            ("binlog_uri /a;", Some("/a")),
            ("x;binlog_uri\n\t\"/a b\" ;", Some("/a b")),
            ("binlog_uri '/a'; # binlog_uri /b;", Some("/a")),
            ("# binlog_uri /a;\nlisten 80;", None),
            ("binlog_uri_x /a; x binlog_uri /a;", None),
            ("binlog_uri /a; binlog_uri /b;", Some("/b")),
            ("binlog_uri /a", None),
            ("binlog_uri \"/a", None),
            ("{{}};;\u{0}", None),
        ] {
            let expected = expected.map_or(Said::NotHa, |uri| Said::Uri(uri.to_owned()));
            assert_eq!(in_nginx_conf(text), expected, "{text}");
        }
        assert_eq!(in_nginx_json("{"), Said::NotHa);
        assert_eq!(
            in_nginx_json(r#"{"main_conf": [1, [], ["binlog_uri"]]}"#),
            Said::Nothing
        );
    }

    #[test]
    fn what_hustdb_answers_itself_is_no_place_without_a_binlog() {
        for (uri, expected) in [
            ("/hustdb/binlog", true),
            ("/hustdb/binlog?x=1", true),
            ("/hustdb", true),
            ("/status.html", true),
            ("/nobinlog", false),
            ("/hustdbless", false),
        ] {
            assert_eq!(is_answered(uri), expected, "{uri}");
        }
    }
}
