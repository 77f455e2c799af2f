//! What a real HA wrote, replayed: the backend must end as the master did that had taken the writes
//! live.

use std::env;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use base64_simd::STANDARD;
use flate2::read::GzDecoder;
use hustdbsync::internals::binlog::{Record, line};
use hustdbsync::internals::fake_hustdb::store::Store;
use hustdbsync::internals::fake_hustdb::{Contents, FakeHustdb, Method, Request};
use serde::Deserialize;

use crate::harness::{Home, assert_holds, fake_hustdb, now_unix};

/// Bodies above this many bytes are not in the manifest.
const BODY_SHOWN_MAX: usize = 2048;

/// A client's request to HA, and HA's answer.
#[derive(Deserialize)]
struct Asked {
    t: f64,
    phase: String,
    url: String,
    body_len: Option<usize>,
    body_b64: Option<String>,
    #[serde(rename = "Version")]
    version: String,
}

struct Corpus {
    log: Vec<u8>,
    asked: Vec<Asked>,
}

impl Corpus {
    fn parse(log: Vec<u8>, manifest: &str) -> Self {
        let asked = manifest
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        Self { log, asked }
    }

    /// The values of the log's lines, in order.
    fn values(&self) -> Vec<Vec<u8>> {
        self.log
            .split_inclusive(|byte| *byte == b'\n')
            .map(|text| {
                let mut text = text.strip_suffix(b"\n").unwrap().to_vec();
                let range = line::decode_in_place(&mut text).unwrap();
                Record::parse(&text[range]).unwrap().value.to_vec()
            })
            .collect()
    }

    /// Replays the log against a fake HustDB that was seeded, and compares it with a master that
    /// took everything live.
    #[track_caller]
    fn check(&self) {
        let fake_hustdb = fake_hustdb();
        let mut healthy = Healthy::default();
        for asked in self.asked.iter().filter(|asked| asked.phase == "seed") {
            let body = asked.body().expect("seeds are small");
            healthy.ask(asked, &body);
            let answer = fake_hustdb.apply(&asked.live(&asked.target(), &body));
            assert_eq!(answer.status, 200, "{}", asked.url);
        }
        let mut values = self.values().into_iter();
        for asked in self.asked.iter().filter(|asked| asked.phase == "log") {
            let logged = values.next().expect("a line for each request");
            // What was too large for the manifest is only in the log.
            healthy.ask(asked, &asked.body().unwrap_or(logged));
        }
        assert_eq!(values.next(), None, "a request for each line");
        let records = self
            .asked
            .iter()
            .filter(|asked| asked.phase == "log")
            .count();

        let home = Home::new();
        home.log(&fake_hustdb.name()).raw(&self.log);
        let server = home.start();
        let backend = server.wait_settled(&fake_hustdb.name(), records as u64);
        assert_eq!(
            backend.counts.rejected,
            0,
            "{:?}",
            home.rejected(&fake_hustdb.name())
        );
        server.stop();
        healthy.assert_same(&fake_hustdb);
    }
}

impl Asked {
    fn unix(&self) -> u64 {
        self.t as u64
    }

    fn body(&self) -> Option<Vec<u8>> {
        if self.body_len.is_some_and(|length| length > BODY_SHOWN_MAX) {
            return None;
        }
        let body = self.body_b64.as_deref().unwrap_or_default();
        let body = STANDARD.decode_to_vec(body).unwrap();
        assert_eq!(body.len(), self.body_len.unwrap_or(0));
        Some(body)
    }

    /// HA's paths are hustdb's below `/hustdb`.
    fn target(&self) -> String {
        format!("/hustdb{}", self.url)
    }

    /// What HA sends to a master: a GET, whatever the client's method was, with the client's
    /// arguments and body.
    fn live<'a>(&self, target: &'a str, body: &'a [u8]) -> Request<'a> {
        Request::new(Method::Get, target.as_bytes(), body)
    }
}

/// The master that took all writes live, each at its time.
#[derive(Default)]
struct Healthy {
    store: Store,
}

impl Healthy {
    fn ask(&mut self, asked: &Asked, body: &[u8]) {
        let target = asked.target();
        let answer = self.store.apply(&asked.live(&target, body), asked.unix());
        assert_eq!(answer.status, 200, "{}", asked.url);
        let version = answer.version.map(|version| version.to_string());
        assert_eq!(version.as_ref(), Some(&asked.version), "{}", asked.url);
    }

    /// The fake HustDB holds what this master holds, writes whose time to live was too long for
    /// hustdb among it.
    fn assert_same(&self, fake_hustdb: &FakeHustdb) {
        let now = now_unix();
        let mut expected: Contents = self.store.contents(now);
        assert!(expected.len() > 1000);
        expected.retain(|_, stored| stored.expires_unix == 0 || stored.expires_unix > now);
        assert_holds(fake_hustdb, &expected);
    }
}

fn unpack(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(File::open(path).unwrap())
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

#[test]
fn a_log_of_a_real_ha_leads_the_backend_to_what_the_healthy_master_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let manifest = unpack(&folder.join("manifest.jsonl.gz"));
    let corpus = Corpus::parse(
        unpack(&folder.join("2026-11-22-16-41.log.gz")),
        std::str::from_utf8(&manifest).unwrap(),
    );
    assert_eq!(corpus.values().len(), 1460);
    corpus.check();
}

#[test]
fn the_untouched_log_too_where_it_is_at_hand() {
    let folder = env::var_os("HUSTDBSYNC_CORPUS")
        .map(PathBuf::from)
        .unwrap_or_default();
    let Ok(manifest) = fs::read_to_string(folder.join("manifest.jsonl")) else {
        eprintln!(
            "SKIPPED: {} has no manifest.jsonl. The packed corpus was replayed; for the untouched \
             one set HUSTDBSYNC_CORPUS.",
            folder.display()
        );
        return;
    };
    let log = fs::read(folder.join("127.0.0.1_9998/2026-11-22-16-41.log")).unwrap();
    Corpus::parse(log, &manifest).check();
}
