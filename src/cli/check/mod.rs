//! `check`: all that can be known to be wrong before running, at once; or what would be used.
//!
//! Contract: changes nothing on disk. A fault is what would stop the start or the replay of some
//! backend; a warning is what would not.

mod answers;
mod backends;
mod conflicts;
mod exposure;
mod findings;
mod ha;
mod includes;
mod places;
mod server;
mod table;

use std::fmt::Write as _;
use std::path::Path;

use super::configuration::config_path;
use super::failure::Failure;
use super::output;
use serde_json::{Value, json};

use crate::config::{self, Config, ConfigError, ConfigErrors, Partly};
use crate::engine::choice::{KernelRings, choose};
use crate::engine::listen_options::{connections_max, few_open_files};
use crate::engine::os::open_files;
use crate::limits::HA_LOG_INTERVAL;
use findings::Findings;

/// Checks and prints, for people or as JSON. False where there is a fault.
pub(super) fn check(given: Option<&Path>, as_json: bool) -> Result<bool, Failure> {
    let path = config_path(given)?;
    let findings = match Config::load_partly(&path) {
        Ok(read) => examine_partly(&read, Path::new(super::process::PROC)),
        Err(errors) => faulty(&errors),
    };
    let good = findings.faults.is_empty();
    if as_json {
        let text = format!("{}\n", json(&path, &findings));
        output::print("result", text.as_bytes())?;
    } else if good {
        output::print("result", render(&path, &findings).as_bytes())?;
    } else {
        output::complain(render(&path, &findings).trim_end());
    }
    Ok(good)
}

/// Prints the documented sample.
pub(super) fn print_sample() -> Result<(), Failure> {
    output::print("sample", config::sample().as_bytes())
}

/// A file that doesn't load: its faults are all that can be known.
fn faulty(errors: &ConfigErrors) -> Findings {
    Findings {
        faults: errors.faults().iter().map(ToString::to_string).collect(),
        ..Findings::default()
    }
}

/// The faults of the file, and what is wrong around it. Of a setting that has a fault itself, only
/// that is said: what follows from its default is not what is meant.
fn examine_partly(read: &Partly, proc: &Path) -> Findings {
    let mut findings = examine(&read.config, proc);
    let is_faulty = |text: &String| {
        read.faults.iter().any(|fault| match fault {
            ConfigError::Setting { setting, .. } => {
                let rest = text.strip_prefix(setting.as_str());
                rest.is_some_and(|rest| rest.starts_with(':'))
            }
            ConfigError::Unreadable { .. } | ConfigError::Syntax { .. } => false,
        })
    };
    findings.faults.retain(|text| !is_faulty(text));
    let faults = read.faults.iter().map(ToString::to_string);
    findings.faults.splice(0..0, faults);
    findings
}

fn examine(config: &Config, proc: &Path) -> Findings {
    let mut findings = Findings {
        warnings: config.warnings.iter().map(ToString::to_string).collect(),
        ..Findings::default()
    };
    places::logs(config, &mut findings);
    ha::logs(config, &mut findings);
    places::state(config, &mut findings);
    places::login(config, &mut findings);
    places::passwords(config, &mut findings);
    places::beside_configuration(config, &mut findings);
    for setting in &config.from_environment {
        findings.fact("password", setting.to_string());
    }
    let backends = backends::all(config, &mut findings);
    table::masters(config, &backends, &mut findings);
    if conflicts::others(config, proc, &mut findings) {
        server::running(config, &mut findings);
    }
    exposure::listener(config, &mut findings);
    exposure::state(config, &mut findings);
    answers::all(config, &mut findings);
    settings(config, &mut findings);
    engine(config, &mut findings);
    open_files(config, &mut findings);
    findings
}

/// What the numbers come to.
fn settings(config: &Config, findings: &mut Findings) {
    let sync = &config.sync;
    if sync.checklog_interval < HA_LOG_INTERVAL {
        findings.warning(format!(
            "sync.checklog_interval: {} ms is less than the minute for which HA writes to one log: \
             give at least that, or one that HA still writes to can count as finished",
            sync.checklog_interval.as_millis()
        ));
    }
    let rate = match sync.max_rate_per_backend {
        0 => "no bound on the rate".to_owned(),
        rate => format!("{rate} records/s at most to each"),
    };
    findings.fact(
        "replay",
        format!(
            "{} workers, {} connections to each backend, {rate}, {} MiB for lines",
            sync.threads,
            sync.connections_per_backend,
            sync.memory_budget >> 20
        ),
    );
    let (probe, down) = (
        sync.checkdb_interval.as_millis(),
        sync.probe_interval_down.as_millis(),
    );
    findings.fact(
        "probes",
        format!("each {probe} ms, and each {down} ms where a backend is down and has a backlog"),
    );
}

/// What the workers would run on.
fn engine(config: &Config, findings: &mut Findings) {
    match choose(
        config.sync.engine,
        config.sync.max_rate_per_backend,
        &KernelRings,
    ) {
        Ok(choice) => findings.fact("engine", choice.to_string()),
        Err(unavailable) => findings.fault(unavailable.to_string()),
    }
}

/// How the files that may be open are shared.
fn open_files(config: &Config, findings: &mut Findings) {
    let Ok(bound) = open_files::highest_bound() else {
        return findings.warning("open files: the system does not tell how many there may be");
    };
    let http_server = connections_max(config, bound);
    if let Some(few) = few_open_files(config, bound) {
        findings.warning(format!("open files: {few}"));
    }
    findings.fact(
        "files",
        format!("{bound} may be open, of which the HTTP server takes {http_server} at most"),
    );
}

/// For programs. A label of facts may be there more than once.
fn json(path: &Path, findings: &Findings) -> Value {
    let facts = findings
        .facts
        .iter()
        .map(|(label, fact)| json!({"label": label, "text": fact}));
    json!({
        "path": path.display().to_string(),
        "good": findings.faults.is_empty(),
        "faults": findings.faults,
        "warnings": findings.warnings,
        "facts": facts.collect::<Vec<_>>(),
    })
}

fn render(path: &Path, findings: &Findings) -> String {
    let mut text = String::new();
    let path = path.display();
    // Writing to a string can't fail.
    let _ = match findings.faults.len() {
        0 => writeln!(text, "{path}: no fault found"),
        1 => writeln!(text, "{path}: 1 fault"),
        count => writeln!(text, "{path}: {count} faults"),
    };
    for fault in &findings.faults {
        let _ = writeln!(text, "  fault    {fault}");
    }
    for warning in &findings.warnings {
        let _ = writeln!(text, "  warning  {warning}");
    }
    if findings.faults.is_empty() {
        for (label, fact) in &findings.facts {
            let _ = writeln!(text, "  {label:<9}{fact}");
        }
    }
    text
}

/// What the checks' tests share.
#[cfg(test)]
mod harness {
    use std::fs;
    use std::net::TcpListener;
    use std::path::{Path, PathBuf};

    use super::{Findings, examine};
    use crate::config::Config;

    /// How the warning of such a port begins.
    pub(super) const PORT_0: &str = "network.port: 0 is any free port, which HA can't know";

    /// HA's home in a folder of its own, with everything right: one backend, no log yet.
    pub(super) struct Home {
        pub(super) folder: tempfile::TempDir,
        pub(super) config: Config,
    }

    impl Home {
        pub(super) fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path();
            fs::create_dir_all(root.join("logs/127.0.0.1:9998")).unwrap();
            fs::create_dir(root.join("status")).unwrap();
            fs::create_dir(root.join("proc")).unwrap();
            fs::create_dir(root.join("conf")).unwrap();
            fs::write(root.join("htpasswd"), "user:password\n").unwrap();
            set_mode(&root.join("htpasswd"), 0o600);
            let mut config = Config::parse("{}", &root.join("conf/sync_server.json")).unwrap();
            // The system's choice, so that tests don't meet.
            config.network.port = 0;
            config.sync.logs_path = root.join("logs");
            config.sync.ngx_path = root.to_owned();
            config.sync.auth_path = root.join("htpasswd");
            Self { folder, config }
        }

        pub(super) fn path(&self, below: &str) -> PathBuf {
            self.folder.path().join(below)
        }

        /// Examines it; that its port is the system's choice is no news.
        pub(super) fn examine(&self) -> Findings {
            let mut findings = examine(&self.config, &self.path("proc"));
            findings.warnings.retain(|it| !it.starts_with(PORT_0));
            findings
        }

        /// Examines, and compares the faults and warnings; `~` stands for the home's path.
        pub(super) fn check(&self, faults: &[&str], warnings: &[&str]) {
            let findings = self.examine();
            let short = |texts: &[String]| -> Vec<String> {
                texts
                    .iter()
                    .map(|text| text.replace(self.folder.path().to_str().unwrap(), "~"))
                    .collect()
            };
            assert_eq!(short(&findings.faults), faults);
            assert_eq!(short(&findings.warnings), warnings);
        }
    }

    pub(super) fn set_mode(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(super) fn any_listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::harness::{Home, PORT_0};
    use super::*;

    #[test]
    fn values_and_what_is_around_them_are_told_together() {
        let home = Home::new();
        let text = format!(
            r#"{{"network": {{"port": 0}}, "sync": {{"threads": 0, "auth_path": 7,
                "logs_path": {:?}, "ngx_path": {:?}, "outcomes": {{"418 tea": "gone"}}}}}}"#,
            home.path("none"),
            home.path("")
        );
        let path = home.path("conf/sync_server.json");
        fs::write(&path, text).unwrap();
        let read = Config::load_partly(&path).unwrap();
        let faults = examine_partly(&read, &home.path("proc")).faults;
        let about: Vec<&str> = faults
            .iter()
            .map(|fault| fault.split_once(':').unwrap().0)
            .collect();
        let all = [
            "sync.threads",
            "sync.auth_path",
            "sync.logs_path",
            "sync.outcomes",
        ];
        assert_eq!(about.len(), 4, "{faults:#?}");
        assert!(
            all.iter().all(|setting| about.contains(setting)),
            "{faults:#?}"
        );
    }

    #[test]
    fn json_has_the_same() {
        let mut home = Home::new();
        home.config.sync.outcomes = vec![("x".into(), "y".into())];
        let json = json(Path::new("x.json"), &home.examine());
        assert_eq!(
            (&json["path"], &json["good"]),
            (&"x.json".into(), &false.into())
        );
        assert!(
            json["faults"][0]
                .as_str()
                .unwrap()
                .starts_with("sync.outcomes: ")
        );
        assert_eq!(json["facts"][0]["label"], "logs");
    }

    #[test]
    fn a_home_in_which_everything_is_right_has_no_fault_and_says_what_would_be_used() {
        let home = Home::new();
        home.check(&[], &[]);
        let text = render(Path::new("x.json"), &home.examine());
        assert!(
            text.starts_with("x.json: no fault found\n  logs     "),
            "{text}"
        );
        for label in [
            "HA", "state", "login", "backends", "listen", "replay", "probes", "engine", "files",
        ] {
            assert!(
                text.contains(&format!("\n  {label:<9}")),
                "{label} in {text}"
            );
        }
    }

    #[test]
    fn settings_that_no_ha_can_go_with_are_warnings() {
        let mut home = Home::new();
        home.config.sync.checklog_interval = Duration::from_millis(1);
        home.check(
            &[],
            &[
                "sync.checklog_interval: 1 ms is less than the minute for which HA writes to one \
                 log: give at least that, or one that HA still writes to can count as finished",
            ],
        );
        let warnings = examine(&home.config, &home.path("proc")).warnings;
        assert!(
            warnings.iter().any(|it| it.starts_with(PORT_0)),
            "{warnings:?}"
        );
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let mut home = Home::new();
        std::fs::remove_file(home.path("htpasswd")).unwrap();
        std::fs::create_dir(home.path("logs/nobody")).unwrap();
        home.config.sync.ngx_path = home.path("conf/none");
        std::fs::write(home.path("conf/none"), "").unwrap();
        let text = render(Path::new("x.json"), &home.examine());
        assert!(text.starts_with("x.json: 3 faults\n"), "{text}");
        assert_eq!(text.matches("\n  fault    ").count(), 3, "{text}");
        assert!(
            !text.contains("\n  replay"),
            "what would be used is not told with faults: {text}"
        );
    }

    #[test]
    fn a_configuration_with_faults_is_told_like_the_rest() {
        let errors = Config::parse(
            r#"{"sync": {"threads": 0, "burst_bytes": -1}}"#,
            Path::new("x"),
        )
        .unwrap_err();
        let text = render(Path::new("x.json"), &faulty(&errors));
        assert!(
            text.starts_with("x.json: 2 faults\n  fault    sync.threads: 0 is too small"),
            "{text}"
        );
    }
}
