//! The command line: arguments to a command, a command to an exit code.
//!
//! Exit codes: 0 done, 1 failed (the reason is on stderr), 2 the arguments are wrong, 3 not in sync
//! (`status --wait`, `status --fail-if-not-in-sync`), 78 the configuration has faults (`run`).

mod check;
mod completions;
mod ctl;
mod daemon;
mod demo;
mod differences;
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
mod state_files;
pub mod status;
mod values;
mod verify;
mod wrong_use;

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::{BackendName, Config, NotFound, locate};
use crate::engine::os::process::ignore_file_size_signal;
use crate::engine::signals;

pub use logging::LevelHandle;
pub use run::{Host, Server};
pub use wrong_use::parse;

const NAME: &str = "hustdbsync";

const ABOUT: &str = "HustDB's sync server: replays HA's logs to a master that has come back";

const LONG_ABOUT: &str = "\
HustDB's sync server: replays HA's logs to a master that has come back.

When one master of a pair is down, HA keeps that backend's writes in log files. \
This server watches them, waits for the backend, and sends it every write, \
in order and without loss. \
It takes the original hustdbsync's place: same configuration, same flags, same answers to HA.

Without a command it does what the original does: it becomes a daemon, \
with hustdbsync.pid and logs/YYYY-MM-DD.log beside the configuration. \
Under systemd or in a container, use `hustdbsync run`.";

const EXAMPLES: &str = "\
Examples:
  hustdbsync demo                               see the whole job done, on fake HustDBs
  hustdbsync check --config sync_server.json    say everything that is wrong before it runs
  hustdbsync run --config sync_server.json      run in the foreground, log to stderr
  hustdbsync                                    run as a daemon, as the original does
  hustdbsync -q                                 end that daemon
  hustdbsync status --watch                     watch it drain
  hustdbsync status --wait=5m                   wait until all that is logged by now is completed
  hustdbsync ctl pause 10.0.0.7:8085            replay nothing to this backend for now
  hustdbsync rejected list                      see what was rejected, and why
  hustdbsync differences list                   see which keys differ between the masters
  hustdbsync verify 10.0.0.7:8085               compare its logs' keys with the other master
  hustdbsync inspect 2026-11-22-16-41.log       show what stands in a log
  hustdbsync check --sample > sync_server.json  begin a configuration, every setting explained

Configuration: the file of --config, else sync_server.json beside the executable, \
else /etc/hustdbsync/sync_server.json.

Signals: SIGTERM, SIGINT and SIGQUIT end it gracefully; SIGHUP reads the configuration again; \
SIGUSR1 begins a daemon's log file anew, as ctl rotate does.

Environment: RUST_LOG goes before the configuration's log_level; NO_COLOR turns colours off.

Exit codes: 0 done, 1 failed (the reason is on stderr), 2 the arguments are wrong, \
3 not within the time, or what it waits for is gone (status --wait), \
78 the configuration has faults (run).";

/// The arguments.
#[derive(Debug, Parser)]
#[command(name = NAME, version, about = ABOUT, long_about = LONG_ABOUT, after_help = "Use --help \
    for more, with examples.", after_long_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true, max_term_width = 120)]
pub struct Cli {
    /// Run in the foreground and log to stderr (the original's debug mode)
    #[arg(short = 'd', conflicts_with = "quit")]
    foreground: bool,
    /// End the running daemon, found by its pid file, and wait until it has ended
    #[arg(short = 'q')]
    quit: bool,
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct Place {
    /// The configuration [default: sync_server.json beside the executable, else
    /// /etc/hustdbsync/sync_server.json]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The same for commands that have commands of their own: before these or behind.
#[derive(Debug, Args)]
struct SharedPlace {
    /// The configuration [default: sync_server.json beside the executable, else
    /// /etc/hustdbsync/sync_server.json]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

/// A running server: the one of a configuration, or one elsewhere.
#[derive(Debug, Args)]
struct ServerPlace {
    #[command(flatten)]
    place: SharedPlace,
    /// Ask the server there instead, `http://host:port`, as the configuration's user, or as
    /// `HUSTDBSYNC_USER` with `HUSTDBSYNC_PASSWD`
    #[arg(long, value_name = "URL", global = true)]
    url: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run in the foreground, for systemd and containers
    ///
    /// Logs to stderr, writes no pid file. SIGTERM and SIGINT end it: it stops reading, lets what
    /// is in flight finish within sync.drain_timeout, writes its checkpoints, and exits with 0.
    #[command(
        after_long_help = "Example:\n  hustdbsync run --config /etc/hustdbsync/sync_server.json"
    )]
    Run(Place),
    /// Say everything that is wrong, or what would be used
    ///
    /// Looks at all that can be known before running: the configuration, folders and permissions,
    /// the backends' login, the port, the backends' names, and whether a sync server runs already.
    /// Changes nothing. Says all faults at once and exits with 1; without a fault, says what would
    /// be used and exits with 0. Where it should run as another user, check as that user.
    #[command(after_long_help = "Examples:\n  hustdbsync check --config \
            /etc/hustdbsync/sync_server.json\n  hustdbsync check --sample > sync_server.json")]
    Check {
        #[command(flatten)]
        place: Place,
        /// Print a configuration with every setting explained and at its default, and check nothing
        #[arg(long, conflicts_with = "config")]
        sample: bool,
        /// Print JSON: path, good, faults, warnings, facts
        #[arg(long, conflicts_with = "sample")]
        json: bool,
    },
    /// Ask a running server how it is: each backend's state, backlog, rate, lag and time to drain
    Status {
        #[command(flatten)]
        place: ServerPlace,
        #[command(flatten)]
        args: status::StatusArgs,
    },
    /// Tell a running server what to do: pause or resume a backend, bound its rate, probe it,
    /// rotate, stop
    #[command(
        arg_required_else_help = false,
        after_long_help = "Examples:\n  hustdbsync ctl pause 10.0.0.7:8085\n  hustdbsync ctl rate \
            10.0.0.7:8085 2000\n  hustdbsync ctl stop"
    )]
    Ctl {
        #[command(flatten)]
        place: ServerPlace,
        #[command(subcommand)]
        verb: ctl::Verb,
    },
    /// See, replay or throw away the lines that were rejected
    ///
    /// A line that cannot be replayed is rejected with its reason in
    /// <state>/<backend>/rejected.jsonl.
    #[command(arg_required_else_help = false)]
    Rejected {
        #[command(flatten)]
        place: SharedPlace,
        #[command(subcommand)]
        verb: rejected::Verb,
    },
    /// See the keys on which both masters differed and that were not mended, or drop them from the
    /// list
    ///
    /// Where sync.reconcile is on, the keys of a log are compared with the other master's once they
    /// are replayed. What differs and is not mended is written to
    /// <state>/<backend>/differences.jsonl.
    #[command(arg_required_else_help = false)]
    Differences {
        #[command(flatten)]
        place: SharedPlace,
        #[command(subcommand)]
        verb: differences::Verb,
    },
    /// Compare the keys of logs, or of a list, with the other master now, and mend what differs
    ///
    /// HA's table says which master that is. Prints a line for each key that differs. Records that
    /// wait to be replayed make keys differ: wait for them first (status --wait).
    #[command(after_long_help = verify::EXAMPLES)]
    Verify {
        #[command(flatten)]
        place: SharedPlace,
        #[command(flatten)]
        args: verify::VerifyArgs,
    },
    /// See the whole job done on fake HustDBs: logs are made, replayed, and every key is compared
    ///
    /// Starts in-memory backends on loopback, writes logs as HA does, replays them, compares every
    /// key on every backend with what it has to be, and says how fast it was. Needs nothing and
    /// leaves nothing behind. Exits with 1, and says what is wrong, if anything is.
    #[command(
        after_long_help = "Examples:\n  hustdbsync demo\n  hustdbsync demo --records 1000000 \
            --value-bytes 1024 --backends 4\n  hustdbsync demo --reconcile\n  \
            hustdbsync demo --logs /data/hustdbha/logs"
    )]
    Demo(demo::DemoArgs),
    /// Show what stands in logs: a line for each record or fault, and counts at the end
    ///
    /// Reads as a stream, changes nothing. Records and faults go to stdout in the order of the log,
    /// counts to stderr. State files are recognised and shown too: checkpoint, rejected.jsonl, the
    /// original's status files.
    #[command(after_long_help = inspect::EXAMPLES)]
    Inspect(inspect::InspectArgs),
    /// Print the completions of a shell; they offer backends by the folders of the logs
    #[command(after_long_help = "Examples:\n  hustdbsync completions bash > \
            /etc/bash_completion.d/hustdbsync\n  hustdbsync completions fish > \
            ~/.config/fish/completions/hustdbsync.fish")]
    Completions {
        /// The shell
        #[arg(required_unless_present = "backends")]
        shell: Option<clap_complete::Shell>,
        /// Print the names that completions offer for backends, one a line
        #[arg(long, conflicts_with = "shell")]
        backends: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Write the man pages: one for the program, one for each command
    #[command(after_long_help = "Example:\n  hustdbsync man /usr/local/share/man/man8")]
    Man {
        /// The folder, which is made if it is missing
        folder: PathBuf,
    },
    /// Run an in-memory hustdb, to try things out against
    ///
    /// It answers as hustdb 1.9 does and keeps versions as hustdb does. SIGINT or SIGTERM ends it;
    /// it then prints what it has counted.
    #[command(alias = "standin")]
    FakeHustdb(fake_hustdb::FakeHustdbArgs),
}

/// Why a command failed, as a sentence for stderr.
#[derive(Debug)]
struct Failure(String);

impl<T: fmt::Display> From<T> for Failure {
    fn from(reason: T) -> Self {
        Self(reason.to_string())
    }
}

impl Cli {
    /// Whether this process, or what it becomes, serves until it is told to end.
    fn is_server(&self) -> bool {
        match self.command {
            Some(Command::Run(_)) => true,
            Some(_) => false,
            None => !self.quit,
        }
    }
}

/// Runs what the arguments ask for. `S` is the server that `run` starts.
#[must_use]
pub fn execute<S: Server>(cli: Cli) -> ExitCode {
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
    let done =
        match cli.command {
            Some(Command::Run(place)) => match load_config(place.config.as_deref()) {
                Ok(config) => run::run::<S>(config, run::Mode::Service).map(|()| true),
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
                None => load_config(place.config.as_deref())
                    .and_then(|config| rejected::run(&verb, config)),
            },
            Some(Command::Differences { place, verb }) => match verb.wrong_use() {
                Some(why) => return wrong_use::refuse(why, "differences"),
                None => load_config(place.config.as_deref())
                    .and_then(|config| differences::run(&verb, &config)),
            },
            Some(Command::Verify { place, args }) => load_config(place.config.as_deref())
                .and_then(|config| verify::verify(&args, &config)),
            Some(Command::Demo(args)) => demo::demo::<S>(&args),
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
                run::run::<S>(config, mode).map(|()| true)
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

impl ServerPlace {
    /// Where the server is and who asks it; and this host's configuration, which need not exist
    /// where an address is given.
    fn find(&self) -> Result<(status::StatusTarget, Option<Config>), Failure> {
        let Some(url) = &self.url else {
            let config = load_config(self.place.config.as_deref())?;
            return Ok((target(&config), Some(config)));
        };
        let config = match config_path(self.place.config.as_deref()) {
            Ok(path) => Some(Config::load(&path)?),
            Err(_) => None,
        };
        let configured = config.as_ref().map(target);
        let variable = |name: &str| std::env::var(name).ok();
        let target = status::StatusTarget::at(url, configured.as_ref(), variable)?;
        Ok((target, config))
    }
}

/// The server that runs with this configuration, and who may ask it.
fn target(config: &Config) -> status::StatusTarget {
    let mut addr = config.listen_address();
    if addr.ip().is_unspecified() {
        addr.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    status::StatusTarget {
        addr,
        user: config.network.user.clone(),
        passwd: config.network.passwd.expose().to_owned(),
    }
}

/// A backend's name among the arguments.
fn backend_name(text: &str) -> Result<String, String> {
    match BackendName::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(fault) => Err(fault.to_string()),
    }
}

/// The path of the configuration, by the rule of [`locate`].
fn config_path(given: Option<&Path>) -> Result<PathBuf, NotFound> {
    let executable = std::env::current_exe().ok();
    locate(given, executable.as_deref(), Path::exists)
}

fn load_config(given: Option<&Path>) -> Result<Config, Failure> {
    Ok(Config::load(&config_path(given)?)?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

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
