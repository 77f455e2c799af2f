//! `fake-hustdb`: an in-memory hustdb on an address, alone, until it is told to end. It does wrong
//! what it is told to, by options and by lines of its stdin.

mod fault;

use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::fault::Fault;
use super::failure::Failure;
use crate::cli::output;
use crate::fake_hustdb::{Counters, FakeHustdb, Manner, Options, Script, THREADS};

/// What `fake-hustdb` takes.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{}\n\n{EXAMPLES}", fault::WORDS))]
pub(super) struct FakeHustdbArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9998")]
    listen: SocketAddr,
    /// User and password that clients need [default: anybody may come]
    #[arg(long, value_name = "USER:PASSWORD", value_parser = parse_login)]
    user_password: Option<(String, String)>,
    /// Threads that serve connections
    #[arg(
        long, value_name = "N", default_value_t = THREADS as u16,
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    threads: u16,
    /// Answer all requests of a read in one write, without the 25 µs of work a request that a real
    /// hustdb takes: for measuring
    #[arg(long)]
    at_once: bool,
    /// Answer mutations and store nothing: a sink for measuring
    #[arg(long)]
    discard: bool,
    /// Have a cache that a restart empties, as a real hustdb has whose l2_cache is not 0
    #[arg(long)]
    l2_cache: bool,
    /// Let each answer wait for so many milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay: u64,
    /// Do this wrong, from the start on; may be given several times, see below
    #[arg(long, value_name = "FAULT")]
    fault: Vec<Fault>,
    /// For so many milliseconds after the start, lose writes with a time to live, as a real hustdb
    /// does (1000)
    #[arg(long, value_name = "MS", default_value_t = 0)]
    clock_zero_for: u64,
}

/// Runs it until SIGINT or SIGTERM.
pub(super) fn fake_hustdb(args: FakeHustdbArgs) -> Result<(), Failure> {
    // First, so that a signal that comes early ends it the same way.
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| format!("signals can't be received: {error}"))?;
    let fake_hustdb = Arc::new(FakeHustdb::start(Options {
        listen: args.listen,
        threads: args.threads.into(),
        manner: if args.at_once {
            Manner::AtOnce
        } else {
            Manner::OneByOne
        },
        credentials: args.user_password,
        discard: args.discard,
        l2_cache: args.l2_cache,
        clock_zero_for: Duration::from_millis(args.clock_zero_for),
        script: Script::default().answer_delay(Duration::from_millis(args.delay)),
        ..Options::default()
    })?);
    for fault in args.fault {
        fault.apply(&fake_hustdb)?;
    }
    output::tell(format_args!(
        "a fake HustDB listens on {}; Ctrl-C ends it",
        fake_hustdb.name()
    ));
    let told = Arc::clone(&fake_hustdb);
    // It waits for a line, and ends with the process.
    std::thread::spawn(move || listen(&told));
    signals.forever().next();
    output::tell(report(&fake_hustdb.counters()).trim_end());
    Ok(())
}

const EXAMPLES: &str = "Examples:
  hustdbsync fake-hustdb --listen 127.0.0.1:9998 --user-password user:password
  hustdbsync fake-hustdb --fault 'slow 50ms' --fault 'status 500 times 3'
  (sleep 10; echo down; sleep 5; echo up; sleep 9) | hustdbsync fake-hustdb";

/// Does what stdin says, line by line, and tells what came of it.
fn listen(fake_hustdb: &FakeHustdb) {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let text = line.trim();
        if text.is_empty() {
            continue;
        }
        match text.parse::<Fault>() {
            Ok(fault) => match fault.apply(fake_hustdb) {
                Ok(()) => output::tell(format_args!("from now on: {text}")),
                Err(error) => output::complain(format_args!("hustdbsync: {text}: {error}")),
            },
            Err(why) => output::complain(format_args!("hustdbsync: {why}")),
        }
    }
}

fn parse_login(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((user, password)) if !user.is_empty() => Ok((user.to_owned(), password.to_owned())),
        _ => Err("write user:password".to_owned()),
    }
}

/// Counters, for people. What a real hustdb can't stand is told only where it happened.
fn report(counters: &Counters) -> String {
    let mut text = format!(
        "{} requests ({} probes), {} in, {} connections\n\
         {} mutations applied, {} of them repeated; {} superseded\n",
        HumanCount(counters.requests),
        HumanCount(counters.probes),
        HumanBytes(counters.bytes_in),
        HumanCount(counters.accepted),
        HumanCount(counters.applied),
        HumanCount(counters.duplicates),
        HumanCount(counters.superseded),
    );
    if counters.cut_targets > 0 {
        text.push_str(&format!(
            "ALARM: {} reads ended inside a request line; a real hustdb may have stored those \
             under wrong keys\n",
            HumanCount(counters.cut_targets)
        ));
    }
    if counters.crashes > 0 {
        text.push_str(&format!(
            "ALARM: {} targets had more than 8 KB; a real hustdb would have crashed\n",
            HumanCount(counters.crashes)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_has_a_colon_and_its_password_may_have_more() {
        let login = |user: &str, password: &str| Ok((user.to_owned(), password.to_owned()));
        assert_eq!(parse_login("u:p:q"), login("u", "p:q"));
        assert_eq!(parse_login("u:"), login("u", ""));
        assert!(parse_login("u").is_err());
        assert!(parse_login(":p").is_err());
    }

    #[test]
    fn alarms_are_told_only_where_there_are_any() {
        let quiet = Counters {
            requests: 1234,
            ..Counters::default()
        };
        assert!(report(&quiet).starts_with("1,234 requests (0 probes), 0 B in, 0 connections\n"));
        assert!(!report(&quiet).contains("ALARM"));
        let loud = Counters {
            cut_targets: 2,
            crashes: 1,
            ..quiet
        };
        assert_eq!(report(&loud).matches("ALARM").count(), 2);
    }
}
