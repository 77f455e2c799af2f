//! The command line: arguments to a command, a command to an exit code.
//!
//! Exit codes: 0 done, 1 failed (the reason is on stderr), 2 the arguments are wrong, 3 not in sync
//! (`status --wait`, `status --fail-if-not-in-sync`), 78 the configuration has faults (`run`).

mod args;
mod check;
mod completions;
mod configuration;
mod ctl;
mod daemon;
mod demo;
mod differences;
mod failure;
mod fake_hustdb;
mod generate;
mod inspect;
mod lines;
mod local_time;
mod logging;
mod output;
mod paint;
mod pattern;
mod pidfile;
mod port_owner;
mod process;
mod quit;
mod rejected;
mod rotation;
mod run;
mod scope;
mod state_files;
mod state_folder;
pub mod status;
mod tally;
mod values;
mod verify;
mod waiting;
mod wrong_use;

use std::process::ExitCode;
use std::time::Duration;

use crate::config::Config;
use crate::engine::os::process::ignore_file_size_signal;
use crate::engine::signals;

use args::{Command, ServerPlace};
use configuration::load_config;
use failure::Failure;

pub use args::Cli;
pub use wrong_use::parse;

/// Runs what the arguments ask for.
#[must_use]
pub fn execute(cli: Cli) -> ExitCode {
    ignore_file_size_signal();
    let given = cli.place.config.as_deref();
    if !cli.is_server() {
        signals::let_through();
    } else if let Err(error) = signals::hold() {
        output::complain(format_args!(
            "hustdbsync: cannot take over the signals: {error}"
        ));
        return ExitCode::FAILURE;
    }
    let done = match cli.command {
        Some(Command::Run(place)) => match load_config(place.config.as_deref()) {
            Ok(config) => run::run(config, run::Mode::Service).map(|()| true),
            Err(failure) => return fail(&failure, ExitCode::from(FAULTY_CONFIGURATION)),
        },
        Some(Command::Check { sample: true, .. }) => check::print_sample().map(|()| true),
        Some(Command::Check { place, json, .. }) => check::check(place.config.as_deref(), json),
        Some(Command::Status { place, args }) => match args.wrong_use() {
            Some(why) => return wrong_use::refuse(why, "status"),
            None => match ask_status(&place, &args) {
                Ok(status::Waited::NotWhole) => return ExitCode::from(NOT_IN_SYNC),
                done => done.map(|_| true),
            },
        },
        Some(Command::Ctl { place, verb }) => tell(&place, &verb).map(|()| true),
        Some(Command::Rejected { place, verb }) => match verb.wrong_use() {
            Some(why) => return wrong_use::refuse(why, "rejected"),
            None => {
                load_config(place.config.as_deref()).and_then(|config| rejected::run(&verb, config))
            }
        },
        Some(Command::Differences { place, verb }) => match verb.wrong_use() {
            Some(why) => return wrong_use::refuse(why, "differences"),
            None => load_config(place.config.as_deref())
                .and_then(|config| differences::run(&verb, &config)),
        },
        Some(Command::Verify { place, args }) => match args.wrong_use() {
            Some(why) => return wrong_use::refuse(why, "verify"),
            None => load_config(place.config.as_deref())
                .and_then(|config| verify::verify(&args, &config)),
        },
        Some(Command::Demo(args)) => demo::demo(&args),
        Some(Command::Inspect(args)) => match args.fault() {
            Some(fault) => return wrong_use::refuse(fault, "inspect"),
            None => inspect::inspect(&args),
        },
        Some(Command::Completions { shell, place, .. }) => match shell {
            Some(shell) => completions::script(shell),
            None => load_config(place.config.as_deref())
                .and_then(|config| completions::backends(&config)),
        }
        .map(|()| true),
        Some(Command::Man { folder }) => generate::man(&folder).map(|()| true),
        Some(Command::FakeHustdb(args)) => fake_hustdb::fake_hustdb(args).map(|()| true),
        None if cli.quit => quit::quit(given).map(|()| true),
        None => load_config(given).and_then(|config| {
            let mode = match cli.foreground {
                true => run::Mode::Foreground,
                false => run::Mode::Daemon,
            };
            run::run(config, mode).map(|()| true)
        }),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => fail(&failure, ExitCode::FAILURE),
    }
}

fn fail(Failure(reason): &Failure, code: ExitCode) -> ExitCode {
    output::complain(format_args!("hustdbsync: {reason}"));
    code
}

/// Something waits for a backend, as it did when the time was over.
const NOT_IN_SYNC: u8 = 3;

/// `run` can do nothing with this configuration, however often it is started (`EX_CONFIG` of
/// sysexits.h).
const FAULTY_CONFIGURATION: u8 = 78;

/// How long a server elsewhere may take to drain, whose own `sync.drain_timeout` nobody knows.
const DRAINED_ELSEWHERE_WITHIN: Duration = Duration::from_secs(300);

/// Asks a server how it is.
fn ask_status(place: &ServerPlace, args: &status::StatusArgs) -> Result<status::Waited, Failure> {
    let (target, _) = place.find()?;
    Ok(match args.wait {
        Some(time) => status::wait(args, time, &target)?,
        None => status::run(args, &target)?,
    })
}

/// Tells a server what to do.
fn tell(place: &ServerPlace, verb: &ctl::Verb) -> Result<(), Failure> {
    let (target, config) = place.find()?;
    let is_here = place.url.is_none();
    let state = config.as_ref().filter(|_| is_here).map(Config::state_path);
    let drain_timeout = config.map_or(DRAINED_ELSEWHERE_WITHIN, |config| config.sync.drain_timeout);
    ctl::tell(verb, &target, state.as_deref(), drain_timeout)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    /// What the arguments ask for, or clap's exit code.
    fn check(args: &[&str], expected: Result<&str, i32>) {
        let parsed = Cli::try_parse_from(["hustdbsync"].iter().chain(args));
        let said = parsed.map(|cli| match cli {
            Cli {
                command: Some(Command::Run(place)),
                ..
            } => format!("run {:?}", place.config),
            Cli {
                command: Some(Command::Check { place, sample, .. }),
                ..
            } => {
                format!("check {:?} {sample}", place.config)
            }
            Cli {
                command: Some(Command::Status { place, args }),
                ..
            } => format!("status {:?} {}", place.place.config, args.watch),
            Cli {
                foreground,
                quit,
                place,
                ..
            } => {
                format!("foreground={foreground} quit={quit} {:?}", place.config)
            }
        });
        let said = said.map_err(|error| error.exit_code());
        assert_eq!(said, expected.map(str::to_owned), "{args:?}");
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_originals_flags_mean_what_they_meant() {
        check(&[], Ok("foreground=false quit=false None"));
        check(&["-d"], Ok("foreground=true quit=false None"));
        check(&["-q"], Ok("foreground=false quit=true None"));
        check(
            &["-q", "--config", "a"],
            Ok("foreground=false quit=true Some(\"a\")"),
        );
    }

    #[test]
    fn commands_take_their_own_configuration() {
        check(&["run", "--config", "a"], Ok("run Some(\"a\")"));
        check(&["check"], Ok("check None false"));
        check(&["status", "--watch"], Ok("status None true"));
        check(&["check", "--sample"], Ok("check None true"));
    }

    #[test]
    fn wrong_arguments_exit_with_2_and_help_with_0() {
        check(&["-x"], Err(2));
        check(&["-d", "-q"], Err(2));
        check(&["-d", "run"], Err(2));
        check(&["frobnicate"], Err(2));
        check(&["run", "--config"], Err(2));
        check(&["check", "--sample", "--config", "a"], Err(2));
        check(&["--help"], Err(0));
        check(&["--version"], Err(0));
    }
}
