//! What can be written on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::configuration::{config_path, load_config};
use super::failure::Failure;
use super::{ctl, demo, differences, fake_hustdb, inspect, rejected, status, verify};
use crate::config::Config;

pub(super) const NAME: &str = "hustdbsync";

pub(super) const ABOUT: &str =
    "HustDB's sync server: replays HA's logs to a master that has come back";

pub(super) const LONG_ABOUT: &str = "\
HustDB's sync server: replays HA's logs to a master that has come back.

When one master of a pair is down, HA keeps that backend's writes in log files. \
This server watches them, waits for the backend, and sends it every write, \
in order and without loss. \
It takes the original hustdbsync's place: same configuration, same flags, same answers to HA.

Without a command it does what the original does: it becomes a daemon, \
with hustdbsync.pid and logs/YYYY-MM-DD.log beside the configuration. \
Under systemd or in a container, use `hustdbsync run`.";

pub(super) const EXAMPLES: &str = "\
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
    pub(super) foreground: bool,
    /// End the running daemon, found by its pid file, and wait until it has ended
    #[arg(short = 'q')]
    pub(super) quit: bool,
    #[command(flatten)]
    pub(super) place: Place,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Args)]
pub(super) struct Place {
    /// The configuration [default: sync_server.json beside the executable, else
    /// /etc/hustdbsync/sync_server.json]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// The same for commands that have commands of their own: before these or behind.
#[derive(Debug, Args)]
pub(super) struct SharedPlace {
    /// The configuration [default: sync_server.json beside the executable, else
    /// /etc/hustdbsync/sync_server.json]
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) config: Option<PathBuf>,
}

/// A running server: the one of a configuration, or one elsewhere.
#[derive(Debug, Args)]
pub(super) struct ServerPlace {
    #[command(flatten)]
    pub(super) place: SharedPlace,
    /// Ask the server there instead, `http://host:port`, as the configuration's user, or as
    /// `HUSTDBSYNC_USER` with `HUSTDBSYNC_PASSWD`
    #[arg(long, value_name = "URL", global = true)]
    pub(super) url: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
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

impl Cli {
    /// Whether this process, or what it becomes, serves until it is told to end.
    pub(super) fn is_server(&self) -> bool {
        match self.command {
            Some(Command::Run(_)) => true,
            Some(_) => false,
            None => !self.quit,
        }
    }
}

impl ServerPlace {
    /// Where the server is and who asks it; and this host's configuration, which need not exist
    /// where an address is given.
    pub(super) fn find(&self) -> Result<(status::StatusTarget, Option<Config>), Failure> {
        let Some(url) = &self.url else {
            let config = load_config(self.place.config.as_deref())?;
            return Ok((status::StatusTarget::of(&config), Some(config)));
        };
        let config = match config_path(self.place.config.as_deref()) {
            Ok(path) => Some(Config::load(&path)?),
            Err(_) => None,
        };
        let configured = config.as_ref().map(status::StatusTarget::of);
        let variable = |name: &str| std::env::var_os(name);
        let target = status::StatusTarget::at(url, configured.as_ref(), variable)?;
        Ok((target, config))
    }
}
