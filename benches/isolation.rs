//! G6: one backend's trouble is its own. Twelve backends are replayed to, first alone, then beside four in trouble, in turn:
//!
//! | backend | trouble |
//! |---|---|
//! | dead | nobody listens |
//! | slow | each read's requests are answered after a second |
//! | resetting | a connection that carries a record is reset; probes are answered, so that it seems to be back again and again |
//! | refusing | wants another password |
//!
//! The twelve must keep [`KEPT_MIN`] of the rate that they have alone, by the median over all rounds: exit code 1 otherwise. The server is
//! the real binary in a process of its own, with one worker for all; the stand-ins are in this process.

mod common;

use std::fs;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use common::server::Server;
use common::{Home, now_unix};
use hustdbsync::standin::{Act, On, Options, Rule, Script, Standin};
use hustdbsync::workload::Workload;
use serde_json::json;

const WELL: usize = 12;
const KEPT_MIN: f64 = 0.95;
/// So long without one more record delivered means that something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Arguments {
    /// Rounds, each of one run alone and one beside the four
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Records for each backend
    #[arg(long, default_value_t = 100_000)]
    records: u64,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut bench = Bench::prepare(arguments.records);
    // The first run of each reads from the disk.
    bench.run(false);
    bench.run(true);
    let mut rounds = Vec::new();
    println!("round      alone       beside the four   rate kept   CPU a record");
    for round in 0..arguments.rounds {
        // Every other round the other way round, so that a machine that gets busier favours neither.
        let beside_first = round % 2 == 1;
        let first = bench.run(beside_first);
        let second = bench.run(!beside_first);
        let (alone, beside) = match beside_first {
            true => (second, first),
            false => (first, second),
        };
        println!(
            "{:>5} {:>9.0}/s {:>14.0}/s {:>13.1} %   {:.2} and {:.2} µs",
            round + 1,
            alone.rate,
            beside.rate,
            100.0 * beside.rate / alone.rate,
            alone.cpu_us,
            beside.cpu_us
        );
        rounds.push((alone, beside));
    }
    bench.check_the_ill();
    let median_of = |of: fn(&(Run, Run)) -> f64| median(rounds.iter().map(of));
    let kept = median_of(|(alone, beside)| beside.rate / alone.rate);
    println!(
        "medians: {:.0} records/s alone, {:.0} beside the four; {:.1} % of the rate is kept, at {:.2} times the CPU a record",
        median_of(|(alone, _)| alone.rate),
        median_of(|(_, beside)| beside.rate),
        100.0 * kept,
        median_of(|(alone, beside)| beside.cpu_us / alone.cpu_us),
    );
    if kept >= KEPT_MIN {
        return ExitCode::SUCCESS;
    }
    println!("MISSED: at least {:.0} % are promised", 100.0 * KEPT_MIN);
    ExitCode::FAILURE
}

/// How the twelve fared.
struct Run {
    /// Records a second, all twelve together, from the server's start to the last one's last record.
    rate: f64,
    /// The server's CPU time, user and system, for each of those records, in microseconds; what the four cost is in it.
    cpu_us: f64,
}

struct Bench {
    home: Home,
    records: u64,
    well: Vec<Standin>,
    /// Dead, slow, resetting, refusing.
    ill: [Standin; 4],
}

impl Bench {
    /// All sixteen with their logs.
    fn prepare(records: u64) -> Self {
        let well: Vec<_> = (0..WELL).map(|_| start(Options::default())).collect();
        let scripted = |script| {
            start(Options {
                script,
                ..Options::default()
            })
        };
        let dead = start(Options::default());
        dead.kill().expect("it can be taken down");
        let slow = scripted(Script::default().burst_delay(Duration::from_secs(1)));
        let resetting = scripted(Script::default().rule(Rule::new(On::Mutations, Act::Reset)));
        let refusing = start(Options {
            credentials: Some(("huststore".to_owned(), "another".to_owned())),
            ..Options::default()
        });
        let ill = [dead, slow, resetting, refusing];

        let home = Home::make();
        let workload = Workload::uniform(records, 100, now_unix());
        for standin in well.iter().chain(&ill) {
            workload
                .write(&home.logs(), &standin.name())
                .expect("the logs can be written");
        }
        let bench = Self {
            home,
            records,
            well,
            ill,
        };
        bench.move_the_ill(false);
        bench
    }

    /// Moves the logs of the four to where the server looks, or away from there.
    fn move_the_ill(&self, within: bool) {
        let aside = self.home.logs().with_file_name("aside");
        fs::create_dir_all(&aside).expect("a folder can be made");
        for standin in &self.ill {
            let (inside, outside) = (
                self.home.logs().join(standin.name()),
                aside.join(standin.name()),
            );
            let (from, to) = if within {
                (outside, inside)
            } else {
                (inside, outside)
            };
            fs::rename(from, to).expect("a folder can be moved");
        }
    }

    /// A bench in which they were no trouble would show nothing.
    fn check_the_ill(&self) {
        let [dead, slow, resetting, refusing] = self.ill.each_ref().map(Standin::counters);
        assert_eq!(dead.accepted, 0, "nobody reaches the dead one");
        assert!(slow.applied > 0, "the slow one is replayed to");
        assert!(resetting.requests > resetting.probes && resetting.applied == 0);
        assert!(refusing.requests > refusing.probes && refusing.applied == 0);
        println!(
            "the four: {} records to the slow one; {} connections to the resetting one, {} to the refusing one",
            slow.applied, resetting.accepted, refusing.accepted
        );
    }

    /// One run from the start of a server that knows of nothing settled.
    fn run(&mut self, beside_the_four: bool) -> Run {
        if beside_the_four {
            self.move_the_ill(true);
        }
        self.home.forget_state();
        let config = self.home.write_config(&[
            ("threads", json!(1)),
            // The logs stay for the next run.
            ("release_interval", json!("1h")),
        ]);
        let before: Vec<u64> = self.well.iter().map(applied).collect();
        let begin = Instant::now();
        let server = Server::start(&config);
        let (mut delivered, mut moved) = (Vec::new(), begin);
        let took = loop {
            let each = self.well.iter().map(applied).zip(&before);
            let each: Vec<u64> = each.map(|(now, before)| now - before).collect();
            if each.iter().all(|&delivered| delivered >= self.records) {
                break begin.elapsed();
            }
            if each != delivered {
                (delivered, moved) = (each, Instant::now());
            }
            assert!(moved.elapsed() < PATIENCE, "stuck at {delivered:?}");
            thread::sleep(Duration::from_millis(1));
        };
        let cpu = server.cpu_time();
        drop(server);
        if beside_the_four {
            self.move_the_ill(false);
        }
        let records = (self.records * WELL as u64) as f64;
        Run {
            rate: records / took.as_secs_f64(),
            cpu_us: cpu.as_secs_f64() * 1e6 / records,
        }
    }
}

fn start(options: Options) -> Standin {
    let options = Options {
        discard: true,
        ..options
    };
    Standin::start(options).expect("a stand-in starts")
}

fn applied(standin: &Standin) -> u64 {
    standin.counters().applied
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
