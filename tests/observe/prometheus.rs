//! A real Prometheus scrapes a running server, with the rules that are shipped.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value as Json;

use crate::observe::client::ask_in;
use crate::observe::harness::{Home, eventually, fake_hustdb, free_port};
use crate::observe::rules::{read, values};

/// A Prometheus that ends with this.
struct Prometheus {
    child: Child,
    addr: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes `target` once a second; none, loudly, where it is not installed.
    fn start(target: SocketAddr) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus");
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: [{0}/rules.yml, {0}/alerts.yml]\n\
             scrape_configs:\n\
             - job_name: hustdbsync\n  basic_auth: {{ username: sync, password: sync }}\n  \
             static_configs: [{{ targets: [\"{target}\"] }}]\n",
            rules.display()
        );
        let config_path = folder.path().join("prometheus.yml");
        fs::write(&config_path, config).unwrap();
        // It cannot say which port it was given, so it is told one that stays free.
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let started = Command::new("prometheus")
            .arg(format!("--config.file={}", config_path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={addr}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match started {
            Ok(child) => Some(Self {
                child,
                addr,
                _folder: folder,
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                crate::observe::say_skipped(
                    "prometheus",
                    "prometheus",
                    "nobody has scraped the server",
                );
                None
            }
            Err(error) => panic!("prometheus does not start: {error}"),
        }
    }

    /// What it answers to a question of its API; none while it does not answer well.
    fn asked(&mut self, target: &str) -> Option<Json> {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "prometheus has ended: {ended:?}");
        std::net::TcpStream::connect(self.addr).ok()?;
        let answer = ask_in("HTTP/1.0", self.addr, "GET", target, "");
        let told: Json = serde_json::from_str(&answer.body).ok()?;
        (told["status"] == "success").then(|| told["data"].clone())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn prometheus_takes_every_sample_and_can_work_out_every_rule() {
    let shipped = values(&read("prometheus/rules.yml"), "record").len()
        + values(&read("prometheus/alerts.yml"), "alert").len();
    let home = Home::new();
    let fake_hustdb = fake_hustdb();
    for version in 1..=3 {
        home.log(&fake_hustdb.name()).put("k", version, "v");
    }
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 3);
    let Some(mut prometheus) = Prometheus::start(server.engine().local_addr()) else {
        return;
    };
    let mut told = Json::Null;
    eventually("the server is scraped", || {
        told = prometheus.asked("/api/v1/targets").unwrap_or_default();
        let target = &told["activeTargets"][0];
        assert_eq!(
            target["lastError"].as_str().unwrap_or_default(),
            "",
            "{target}"
        );
        target["health"] == "up"
    });
    let query = "/api/v1/query?query=sum(hustdbsync_records_settled_total)";
    eventually("the records are counted", || {
        let told = prometheus.asked(query).unwrap_or_default();
        told["result"][0]["value"][1] == "3"
    });
    eventually("every rule is worked out", || {
        let told = prometheus.asked("/api/v1/rules").unwrap_or_default();
        let groups = told["groups"].as_array().cloned().unwrap_or_default();
        let rules: Vec<Json> = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default())
            .collect();
        for rule in &rules {
            assert_eq!(rule["lastError"].as_str().unwrap_or_default(), "", "{rule}");
        }
        rules.len() == shipped && rules.iter().all(|rule| rule["health"] == "ok")
    });
}
