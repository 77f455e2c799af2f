//! The comparison: the product beside wrk, beside a tokio + hyper replayer and beside its own
//! parts, on the same bytes, the same sink, in turns.
//!
//! ```text
//! cargo bench --bench compare                         all of it: the goal table at the end
//! cargo bench --bench compare -- --only 100b,peer     some of it
//! cargo bench --bench compare -- --rounds 9 --json    more rounds; the table as JSON on stdout
//! ```
//!
//! Exit codes: 0 every goal is met, 1 one is missed or could not be measured, 2 nginx or wrk is
//! missing, or the arguments are wrong.

mod backlog;
#[path = "../common/mod.rs"]
mod common;
mod figure;
mod floor;
mod peer;
mod process;
mod reference;
mod report;
mod rows;
mod server;
mod sink;
mod tools;
mod wrk;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::{Parser, ValueEnum};

use figure::{Figure, Runs};
use report::Row;
use rows::{checkpoint, engines, idle, manner, methods, polls, reader, scaling, trickle, wire};

/// An error is a sentence.
type Outcome<T> = Result<T, String>;

/// The product, as cargo built it for this bench.
const BINARY: &str = env!("CARGO_BIN_EXE_hustdbsync");
/// Connections of everybody who is compared.
const CONNECTIONS: u32 = 32;
/// What the server's workers run on, where a part does not say.
static ENGINE: OnceLock<String> = OnceLock::new();
/// The backends' login, and what it is in a request.
const LOGIN: &str = "huststore:huststore\n";
const AUTHORIZATION: &str = "aHVzdHN0b3JlOmh1c3RzdG9yZQ==";

/// Parts of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// End to end against wrk, values of 100 bytes
    #[value(name = "100b")]
    Small,
    /// End to end against wrk, values of 1 KB
    #[value(name = "1kb")]
    Kilobyte,
    /// End to end against wrk, values of 64 KB
    #[value(name = "64kb")]
    Large,
    /// In hustdb's manner, and beside an earlier commit
    Manner,
    /// Lines that come one by one
    Trickle,
    /// Increments, deletes, hashes, sets, and all of them, beside puts
    Methods,
    /// Beside what nobody can avoid
    Floor,
    /// Beside a tokio + hyper replayer
    Peer,
    /// The reader beside base64-simd alone
    LogReader,
    /// What checkpoints cost
    Checkpoint,
    /// HA's polls while it replays
    Polls,
    /// io_uring beside mio, 64 connections
    Engines,
    /// From 1 to 64 backends
    Backends,
    /// 1,000 backends, of which few have a backlog or none
    Idle,
    /// From 1 MB of backlog up
    Backlog,
}

/// Compares the product with its goals.
#[derive(Debug, Parser)]
#[command(name = "compare")]
struct Options {
    /// Measure these only
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,
    /// Rounds, in each of which everybody runs once
    #[arg(
        long, value_name = "N", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    rounds: u32,
    /// The largest backlog: 10GB is what the goal names, and needs that much room in the temporary
    /// folder
    #[arg(long, value_name = "SIZE", default_value = "1GB", value_parser = parse_bytes)]
    backlog_max: u64,
    /// What the server's workers run on, in all parts but `engines`: auto, mio or io_uring
    #[arg(
        long, value_name = "ENGINE", default_value = "auto",
        value_parser = ["auto", "mio", "io_uring"]
    )]
    engine: String,
    /// The binary of an earlier commit, to be run beside this one's in `manner` and `trickle`
    #[arg(long, value_name = "FILE")]
    before: Option<PathBuf>,
    /// Print the table as JSON
    #[arg(long)]
    json: bool,
    /// Cargo adds this
    #[arg(long, hide = true)]
    bench: bool,
    #[command(flatten)]
    peer: peer::PeerArgs,
    #[command(flatten)]
    floor: floor::FloorArgs,
}

/// `500MB` or `10GB`, in decimal units.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let units = [("GB", 1_000_000_000), ("MB", 1_000_000)];
    units
        .iter()
        .find_map(|(unit, bytes)| {
            let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
            (count > 0).then(|| count.checked_mul(*bytes)).flatten()
        })
        .ok_or_else(|| "write it as in 500MB or 10GB".to_owned())
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        eprintln!("compare: nothing is measured without `cargo bench`");
        return ExitCode::SUCCESS;
    }
    if let Some(address) = &options.peer.peer {
        return match peer::be(&options.peer, address) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("the peer: {why}");
                ExitCode::FAILURE
            }
        };
    }
    if let Some(address) = &options.floor.floor {
        return match floor::be(&options.floor, address) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("the floor: {why}");
                ExitCode::FAILURE
            }
        };
    }
    if let Some(missing) = tools::missing() {
        eprintln!("compare: {missing}");
        return ExitCode::from(2);
    }
    ENGINE.get_or_init(|| options.engine.clone());
    let machine = tools::machine();
    eprintln!("{machine}");
    match watched(&options) {
        Ok((rows, others)) => {
            let machine = format!("{machine}. {others}");
            if options.json {
                println!("{}", report::json(&rows, &machine));
            } else {
                println!("\n{machine}\n\n{}", report::table(&rows));
            }
            if rows.iter().any(|row| row.passed == Some(false)) {
                return ExitCode::FAILURE;
            }
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("compare: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Every part that was asked for, and what others did meanwhile.
fn watched(options: &Options) -> Outcome<(Vec<Row>, String)> {
    let bystanders = tools::Bystanders::watch()?;
    let rows = measure(options);
    Ok((rows, bystanders.told()?))
}

/// Every part that was asked for.
fn measure(options: &Options) -> Vec<Row> {
    let mut rows = Vec::new();
    for part in Part::value_variants() {
        if !options.only.is_empty() && !options.only.contains(part) {
            continue;
        }
        let found = match part {
            Part::Small => wire::compare(wire::SMALL, options),
            Part::Kilobyte => wire::compare(wire::KILOBYTE, options),
            Part::Large => wire::compare(wire::LARGE, options),
            Part::Manner => manner::compare(options),
            Part::Trickle => trickle::compare(options),
            Part::Methods => methods::compare(options),
            Part::Floor => rows::floor::compare(options),
            Part::Peer => rows::peer::compare(options),
            Part::LogReader => reader::compare(options),
            Part::Checkpoint => checkpoint::compare(options),
            Part::Polls => polls::compare(options),
            Part::Engines => engines::compare(options),
            Part::Backends => scaling::backends(options),
            Part::Idle => idle::compare(options),
            Part::Backlog => scaling::backlogs(options),
        };
        match found {
            Ok(found) => rows.extend(found),
            // The others are worth their minutes all the same.
            Err(why) => {
                eprintln!("compare: {why}");
                rows.push(Row::unmeasured(*part));
            }
        }
    }
    rows
}

/// Lets everybody run once a round, forth and back, and says what came of it on stderr.
fn turns<C, S: std::fmt::Display>(
    title: &str,
    rounds: u32,
    contenders: &[(S, C)],
    mut run: impl FnMut(&C) -> Outcome<Figure>,
) -> Outcome<Vec<Runs>> {
    let mut runs = vec![Runs::default(); contenders.len()];
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for place in order {
            let (name, contender) = &contenders[place];
            let figure = run(contender).map_err(|why| format!("{title}, {name}: {why}"))?;
            runs[place].0.push(figure);
        }
    }
    eprintln!("\n{title}, medians of {rounds} rounds");
    for ((name, _), runs) in contenders.iter().zip(&runs) {
        eprintln!("  {:32} {}", name.to_string(), runs.line());
    }
    Ok(runs)
}
