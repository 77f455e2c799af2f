//! HA's own configuration: whether HA writes the logs that are replayed here.
//!
//! Since HA 1.4 a write that one master missed goes to the binlog of the healthy one first
//! (`binlog_uri`), and to a log only where that request fails. As HA is shipped, a plain outage so
//! writes no log at all. `nginx.conf` is what HA runs with; HA's `genconf.py` makes it from
//! `nginx.json`, so both are looked at, and what `nginx.conf` includes. An include that is not
//! followed is a warning: the setting may be there.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::findings::Findings;
use super::includes;
use crate::config::Config;
use crate::engine::os::files::read_regular;
use crate::limits::{NGINX_INCLUDE_DEPTH_MAX, NGINX_INCLUDES_MAX};

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
    /// The setting's value, and the file that has it, where it is an included one.
    Uri(String, Option<PathBuf>),
}

/// `<ngx_path>/conf/nginx.conf` and `nginx.json`.
pub(super) fn logs(config: &Config, findings: &mut Findings) {
    let folder = config.sync.ngx_path.join("conf");
    let mut unread = Vec::new();
    let in_conf = |text: &str| {
        let mut conf = NginxConf::new(&folder);
        conf.read(text, None, 0);
        unread = conf.unread;
        conf.said
    };
    let path = folder.join("nginx.conf");
    let conf = look(&path, in_conf, findings);
    for (include, why) in &unread {
        findings.warning(format!(
            "{}: `include {include}` is not followed: {why}; see there that {SETTING} is not \
             /hustdb/binlog ({GUIDE})",
            path.display()
        ));
    }
    let json = look(&folder.join("nginx.json"), in_nginx_json, findings);
    let fact = match (conf, json) {
        // The warnings say it.
        (None, _) | (_, None) => return,
        (Some(Said::Uri(uri, _)), _) => format!(
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
            path.display()
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
        Said::Uri(uri, place) if is_answered(&uri) => {
            let shown = place.as_deref().unwrap_or(path).display();
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

/// What nginx reads, from `nginx.conf` on. Of several settings, the last counts.
struct NginxConf<'a> {
    /// Where paths that are not absolute begin.
    folder: &'a Path,
    said: Said,
    /// Files that may still be read.
    files_left: usize,
    /// Includes that were not followed, and why.
    unread: Vec<(String, String)>,
}

impl<'a> NginxConf<'a> {
    fn new(folder: &'a Path) -> Self {
        Self {
            folder,
            said: Said::NotHa,
            files_left: NGINX_INCLUDES_MAX,
            unread: Vec::new(),
        }
    }

    /// Reads what stands in a file, which is included in so many others; `None` is `nginx.conf`.
    fn read(&mut self, text: &str, file: Option<&Path>, depth: usize) {
        directives(text, |name, value| match (name, value) {
            (SETTING, Some(uri)) => {
                self.said = Said::Uri(uri.to_owned(), file.map(Path::to_owned));
            }
            ("hustdb_ha" | "hustdbtable_file", _) if self.said == Said::NotHa => {
                self.said = Said::Nothing;
            }
            ("include", Some(include)) => self.follow(include, depth + 1),
            _ => {}
        });
    }

    fn follow(&mut self, include: &str, depth: usize) {
        if depth > NGINX_INCLUDE_DEPTH_MAX {
            let why = format!("it is more than {NGINX_INCLUDE_DEPTH_MAX} files deep");
            return self.note_unread(include, why);
        }
        let (files, has_more) = includes::files(self.folder, include, self.files_left);
        if has_more || files.len() > self.files_left {
            let why = format!("more than {NGINX_INCLUDES_MAX} files are included");
            self.note_unread(include, why);
        }
        for file in files {
            self.files_left = self.files_left.saturating_sub(1);
            match read_regular(&file, HA_CONFIG_BYTES_MAX) {
                Ok(bytes) => self.read(&String::from_utf8_lossy(&bytes), Some(&file), depth),
                Err(error) => {
                    let why = format!("{}: {error}", file.display());
                    self.note_unread(include, why);
                }
            }
        }
    }

    /// One that stands in several files is noted once.
    fn note_unread(&mut self, include: &str, why: String) {
        let is_new = self.unread.iter().all(|(known, _)| known != include);
        if is_new && self.unread.len() < NGINX_INCLUDES_MAX {
            self.unread.push((include.to_owned(), why));
        }
    }
}

/// Tells each directive's name and first argument, in nginx's own syntax: words, a semicolon or a
/// brace behind each directive, `#` before what does not count.
fn directives(text: &str, mut tell: impl FnMut(&str, Option<&str>)) {
    let mut words: Vec<String> = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '#' => while rest.next_if(|&next| next != '\n').is_some() {},
            ';' | '{' | '}' => {
                if let Some(name) = words.first() {
                    tell(name, words.get(1).map(String::as_str));
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
        Some(uri) => Said::Uri(uri.to_owned(), None),
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
            let expected = expected.map_or(Said::NotHa, |uri| Said::Uri(uri.to_owned(), None));
            let mut conf = NginxConf::new(Path::new("/"));
            conf.read(text, None, 0);
            assert_eq!(conf.said, expected, "{text}");
        }
        assert_eq!(in_nginx_json("{"), Said::NotHa);
        assert_eq!(
            in_nginx_json(r#"{"main_conf": [1, [], ["binlog_uri"]]}"#),
            Said::Nothing
        );
    }

    /// What HA's files below `conf` say: what each warning begins with, and the fact.
    #[track_caller]
    fn check_includes(files: &[(&str, &str)], warnings: &[&str], fact: &str) {
        let home = Home::new();
        for (name, text) in files {
            let path = home.path("conf").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let findings = home.examine();
        let conf = home.path("conf").display().to_string() + "/";
        let said = findings.warnings.iter().map(|said| said.replace(&conf, ""));
        let said: Vec<String> = said.collect();
        assert_eq!(said.len(), warnings.len(), "{said:?}");
        for (said, expected) in said.iter().zip(warnings) {
            assert!(said.starts_with(expected), "{said}");
        }
        let told = findings.facts.iter().find(|(label, _)| *label == "HA");
        assert!(told.map_or("", |(_, told)| told).contains(fact), "{told:?}");
    }

    #[test]
    fn what_nginx_includes_is_read_as_if_it_stood_there() {
        let server = ("conf.d/ha.conf", SHIPPED_CONF);
        check_includes(
            &[("nginx.conf", "http { include conf.d/*.conf; }"), server],
            &["conf.d/ha.conf: binlog_uri is /hustdb/binlog"],
            "",
        );
        check_includes(
            &[
                ("nginx.conf", "include conf.d/ha.conf; include own/x;"),
                server,
                ("own/x", "include own/y;"),
                ("own/y", "binlog_uri /nobinlog;"),
            ],
            &[],
            "answers /nobinlog (binlog_uri) with 404",
        );
        // Of several the last counts.
        check_includes(
            &[
                ("nginx.conf", "include conf.d/*; binlog_uri /nobinlog;"),
                server,
            ],
            &[],
            "answers /nobinlog",
        );
        check_includes(
            &[("nginx.conf", "include none/*; hustdb_ha;")],
            &[],
            "binlog_uri is not set",
        );
    }

    #[test]
    fn an_include_that_is_not_followed_is_said() {
        check_includes(
            &[("nginx.conf", "include none.conf; binlog_uri /nobinlog;")],
            &["nginx.conf: `include none.conf` is not followed: none.conf: No such file"],
            "answers /nobinlog",
        );
        let itself = ("x.conf", "include x.conf;");
        check_includes(
            &[
                ("nginx.conf", "include x.conf; binlog_uri /nobinlog;"),
                itself,
            ],
            &["nginx.conf: `include x.conf` is not followed: it is more than 8 files deep"],
            "answers /nobinlog",
        );
        let names: Vec<String> = (0..=NGINX_INCLUDES_MAX).map(|n| format!("d/{n}")).collect();
        let mut files: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "")).collect();
        files.push(("nginx.conf", "include d/*; binlog_uri /nobinlog;"));
        check_includes(
            &files,
            &["nginx.conf: `include d/*` is not followed: more than 256 files are included"],
            "answers /nobinlog",
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
