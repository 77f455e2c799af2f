//! What comparing costs (`sync.reconcile`), beside the replay of the same log.
//!
//! - **Lookups**: a log's keys are compared at [`RATE_MIN`] times the rate at which its records
//!   were replayed, in lookups a second on each master.
//! - **Others**: a backend keeps [`KEPT_MIN`] of its replay's rate, at its own pace, while another
//!   backend's log is compared as fast as the shipped settings have it.
//! - **Off**: not one lookup is sent, and nobody speaks to the other master.
//!
//! Exit code 1 says that one of these is not as promised, by the median over all rounds. The server
//! is the real binary in a process of its own, with one worker; the fake HustDBs are in this
//! process.

mod common;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use common::server::Server;
use common::{Home, now_unix};
use hustdbsync::internals::fake_hustdb::{self, FakeHustdb, Options, Request, Script, Value};
use hustdbsync::internals::workload::{Workload, Written};
use serde_json::json;

const RATE_MIN: f64 = 0.9;
const KEPT_MIN: f64 = 0.97;
/// Records of the log that is compared.
const RECORDS: u64 = 200_000;
/// Records of the backend that is replayed to beside it, and its pace for the requests of one read.
const RECORDS_AT_PACE: u64 = 25_000;
const PACE: Duration = Duration::from_millis(20);
/// So long without one more request means that something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Arguments {
    /// Rounds of each part
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let rounds = 0..arguments.rounds;
    println!("a log of {RECORDS} puts of 100 B, replayed and then compared");
    let rates = rounds.clone().map(|_| {
        let (replay, lookups) = compare_own_log();
        println!("  {replay:.0} records/s, {lookups:.0} lookups/s on each master");
        lookups / replay
    });
    let rate = median(rates.collect());
    println!("beside the comparison of another backend's log, {PACE:?} a read");
    let kept = rounds.map(|round| {
        // Every other round the other way round, so that a machine that gets busier favours
        // neither.
        let beside_first = round % 2 == 1;
        let first = replay_beside(beside_first);
        let second = replay_beside(!beside_first);
        let (alone, beside) = match beside_first {
            true => (second, first),
            false => (first, second),
        };
        println!("  {alone:.0} records/s alone, {beside:.0} beside it");
        beside / alone
    });
    let kept = median(kept.collect());
    let requests = requests_while_off();
    let verdict = |is_good| if is_good { "pass" } else { "MISSED" };
    let results = [rate >= RATE_MIN, kept >= KEPT_MIN, requests == 0];
    println!(
        "lookups on each master: {rate:.2} × the replay's rate (goal: ≥ {RATE_MIN}): {}",
        verdict(results[0])
    );
    println!(
        "another backend's replay keeps {:.1} % of its rate (goal: ≥ {:.0} %): {}",
        100.0 * kept,
        100.0 * KEPT_MIN,
        verdict(results[1])
    );
    println!(
        "requests of it while it is off: {requests} (goal: 0): {}",
        verdict(results[2])
    );
    match results {
        [true, true, true] => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Two masters, of which the second has what the first has missed.
struct Masters {
    home: Home,
    backend: FakeHustdb,
    peer: FakeHustdb,
}

impl Masters {
    fn prepare(records: u64) -> Self {
        let masters = Self {
            home: Home::make(),
            backend: start(Script::default()),
            peer: start(Script::default()),
        };
        let written = write_log(&masters.home.logs(), &masters.backend, records);
        for (item, stored) in written.expected(now_unix()) {
            let Value::Bytes(value) = stored.value else {
                panic!("all are puts");
            };
            let key = String::from_utf8(item.key).expect("keys are plain");
            let version = stored.version;
            let target = format!("/hustdb/put?key={key}&ver={version}&is_dup=true");
            let method = fake_hustdb::Method::Post;
            let request = Request::new(method, target.as_bytes(), &value);
            assert_eq!(masters.peer.apply(&request).status, 200);
        }
        let conf = masters.home.logs().with_file_name("conf");
        fs::create_dir_all(&conf).expect("a folder can be made");
        let names = [masters.backend.name(), masters.peer.name()];
        let table = json!({"table": [{"item": {"key": [0, 1024], "val": names}}]});
        fs::write(conf.join("hustdbtable.json"), table.to_string()).expect("it can be written");
        masters
    }

    fn start(&self, mode: &str, rate: u32) -> Server {
        Server::start(&self.home.write_config(&[
            ("threads", json!(1)),
            ("reconcile", json!(mode)),
            ("reconcile_delay", json!(0)),
            ("reconcile_rate", json!(rate)),
            ("release_interval", json!("100ms")),
            ("ttl_hold", json!("0s")),
        ]))
    }

    fn has_logs(&self) -> bool {
        let folder = self.home.logs().join(self.backend.name());
        let mut files = fs::read_dir(folder).expect("HA's folders stay");
        files.next().is_some()
    }
}

fn start(script: Script) -> FakeHustdb {
    FakeHustdb::start(Options {
        script,
        ..Options::at_once()
    })
    .expect("a fake HustDB starts")
}

fn write_log(logs: &Path, backend: &FakeHustdb, records: u64) -> Written {
    Workload::uniform(records, 100, now_unix())
        .write(logs, &backend.name())
        .expect("the log can be written")
}

fn lookups(master: &FakeHustdb) -> u64 {
    let counters = master.counters();
    counters.beside_probes() - counters.mutations
}

fn mutations(master: &FakeHustdb) -> u64 {
    master.counters().mutations
}

/// How many a second: from the first to the last of so many.
fn rate(total: u64, count: impl Fn() -> u64) -> f64 {
    wait(|| count() > 0, &count);
    let (begin, first) = (Instant::now(), count());
    wait(|| count() >= total, &count);
    (total - first) as f64 / begin.elapsed().as_secs_f64()
}

fn wait(condition: impl Fn() -> bool, count: impl Fn() -> u64) {
    let (mut last, mut moved) = (count(), Instant::now());
    while !condition() {
        if count() != last {
            (last, moved) = (count(), Instant::now());
        }
        assert!(moved.elapsed() < PATIENCE, "stuck at {last}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Records a second of the replay, and lookups a second of the comparison on the slower master.
fn compare_own_log() -> (f64, f64) {
    let masters = Masters::prepare(RECORDS);
    let server = masters.start("repair", 0);
    let replay = rate(RECORDS, || mutations(&masters.backend));
    let compared = || lookups(&masters.backend).min(lookups(&masters.peer));
    let compared = rate(RECORDS, compared);
    wait(|| !masters.has_logs(), || 0);
    assert_eq!(mutations(&masters.peer), 0, "all keys are equal");
    drop(server);
    (replay, compared)
}

/// Records a second of a backend's replay, beside the comparison of another one's log or alone.
fn replay_beside(compares: bool) -> f64 {
    let masters = Masters::prepare(RECORDS);
    let other = start(Script::default().burst_delay(PACE));
    let aside = masters.home.logs().with_file_name("aside");
    write_log(&aside, &other, RECORDS_AT_PACE);
    let shipped = 20_000;
    let server = masters.start(if compares { "report" } else { "off" }, shipped);
    wait(
        || mutations(&masters.backend) >= RECORDS && (lookups(&masters.peer) > 0 || !compares),
        || mutations(&masters.backend),
    );
    let folder = masters.home.logs().join(other.name());
    fs::rename(aside.join(other.name()), folder).expect("a folder can be moved");
    let rate = rate(RECORDS_AT_PACE, || mutations(&other));
    let looked = lookups(&masters.peer);
    assert!(looked < RECORDS, "it was compared all the while: {looked}");
    drop(server);
    rate
}

/// Requests that a comparison would have sent.
fn requests_while_off() -> u64 {
    let masters = Masters::prepare(RECORDS / 10);
    let server = masters.start("off", 0);
    wait(|| !masters.has_logs(), || mutations(&masters.backend));
    drop(server);
    lookups(&masters.backend) + masters.peer.counters().requests
}
