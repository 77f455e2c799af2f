//! `hustdbsync status`: asks a running server how it is, and shows it as a table, as progress bars,
//! or as JSON.

pub(super) mod client;
mod table;
mod wait;
mod watch;

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::time::Duration;

pub use client::StatusError;
pub(super) use table::plain;
pub use wait::Waited;

/// Shows each backend's state, backlog, rate and time to drain, as a running server tells them.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hustdbsync status            one table\n  \
    hustdbsync status --watch    a progress bar for each backend, until Ctrl-C\n  \
    hustdbsync status --wait=5m  until all that is logged by now is settled, or exit with 3\n  \
    hustdbsync status --json | jq '.backends[] | select(.state != \"up\") | .name'")]
pub struct StatusArgs {
    /// Go on showing it, with a progress bar for each backend
    #[arg(short, long)]
    pub watch: bool,
    /// Say more of each backend: its last probe, times, rate limit, failures, latencies
    #[arg(short, long, conflicts_with_all = ["watch", "json", "wait"])]
    pub verbose: bool,
    /// Print what the server says as JSON; with --watch a line each time
    #[arg(long)]
    pub json: bool,
    /// Seconds between looks, for --watch
    #[arg(
        long, value_name = "SECONDS", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=3600)
    )]
    pub interval: u32,
    /// Wait until all that is in the logs now is settled, and say so; exit with 3 if it is not in
    /// time [without a time: 30s]
    ///
    /// It says nothing of a backend's state: one that is down is in sync while its logs are empty.
    /// What comes into the logs later does not count. Settled is what its backend has taken, or
    /// what was rejected; and that is on disk.
    #[arg(
        long, value_name = "TIME", num_args = 0..=1, require_equals = true,
        default_missing_value = "30s", value_parser = wait::time,
        conflicts_with_all = ["watch", "interval"]
    )]
    pub wait: Option<Duration>,
    /// Wait for this backend only, host:port
    #[arg(long, value_name = "BACKEND", requires = "wait", value_parser = super::backend_name)]
    pub backend: Option<String>,
    /// Count as settled what is gone from the folders, and not back within 5 s; it is still named
    ///
    /// For logs that were deleted, cut, or replaced by shorter ones on purpose.
    #[arg(long, requires = "wait")]
    pub ignore_gone: bool,
}

/// Which server to ask, and as whom.
#[derive(Clone)]
pub struct StatusTarget {
    /// Where it listens for HA.
    pub addr: SocketAddr,
    /// `network.user`
    pub user: String,
    /// `network.passwd`
    pub passwd: String,
}

/// The password stays out of logs.
impl std::fmt::Debug for StatusTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatusTarget")
            .field("addr", &self.addr)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// How long the server may take for an answer. It answers from memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the command. With `--watch` it comes back only if it can't begin, or if nobody reads what
/// it prints any more.
///
/// # Errors
/// [`StatusError`], which says what to do.
pub fn run(args: &StatusArgs, target: &StatusTarget) -> Result<(), StatusError> {
    let mut out = io::stdout();
    let shows_bars = args.watch && !args.json && out.is_terminal();
    let interval = Duration::from_secs(u64::from(args.interval));
    let result = match (args.watch, shows_bars) {
        (false, _) => show(args, target, &mut out),
        (true, true) => watch::bars(target, interval),
        (true, false) => watch::repeat(interval, || show(args, target, &mut out)),
    };
    match result {
        // Whoever read it has seen enough (`| head`).
        Err(StatusError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Waits until everything that is in the logs now is settled, no longer than `--wait` says.
///
/// # Errors
/// [`StatusError`], which says what to do.
pub fn wait(
    args: &StatusArgs,
    time: Duration,
    target: &StatusTarget,
) -> Result<Waited, StatusError> {
    wait::wait(args, time, target, &mut io::stdout())
}

/// Asks once and prints what came.
fn show(args: &StatusArgs, target: &StatusTarget, out: &mut dyn Write) -> Result<(), StatusError> {
    let body = client::ask(target, ANSWER_TIMEOUT)?;
    let report = client::parse(target.addr, &body)?;
    let text = if args.json {
        body
    } else {
        let mut text = table::render(&report, target.addr);
        if args.verbose {
            table::add_details(&report, &mut text);
        }
        text.into_bytes()
    };
    out.write_all(&text)
        .and_then(|()| out.flush())
        .map_err(StatusError::Output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, FromArgMatches};
    use std::io::Read;
    use std::net::TcpListener;

    fn args(words: &[&str]) -> Result<StatusArgs, clap::Error> {
        let command = StatusArgs::augment_args(clap::Command::new("status"));
        let matches = command.try_get_matches_from(std::iter::once(&"status").chain(words))?;
        StatusArgs::from_arg_matches(&matches)
    }

    fn target(addr: SocketAddr) -> StatusTarget {
        StatusTarget {
            addr,
            user: "sync".into(),
            passwd: "secret".into(),
        }
    }

    /// Asks a server that answers one connection with `answer`; gives what is printed and what it
    /// was asked.
    fn ask(words: &[&str], answer: &'static str) -> (Result<String, String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked).unwrap()
        });
        let mut out = Vec::new();
        let result = show(&args(words).unwrap(), &target(addr), &mut out);
        let printed = result
            .map(|()| String::from_utf8(out).unwrap())
            .map_err(|error| error.to_string());
        (printed, server.join().unwrap())
    }

    #[test]
    fn it_asks_with_credentials_and_shows_a_table() {
        let body = concat!(
            r#"{"version":"9","backends":[{"name":"127.0.0.1:9998","state":"down","#,
            r#""why":"connection refused","rejected":3}]}"#,
        );
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .leak();
        let (printed, asked) = ask(&[], answer);
        let printed = printed.unwrap();
        for word in [
            "127.0.0.1:9998",
            "down",
            "connection refused",
            "hustdbsync 9 at 127.0.0.1:",
        ] {
            assert!(printed.contains(word), "{printed}");
        }
        assert!(asked.starts_with("GET /v1/status HTTP/1.1\r\n"), "{asked}");
        assert!(
            asked.contains("\r\nAuthorization: Basic c3luYzpzZWNyZXQ=\r\n"),
            "{asked}"
        );
        assert_eq!(ask(&["--json"], answer).0.unwrap(), body);
        let verbose = ask(&["-v"], answer).0.unwrap();
        assert!(
            verbose.contains("\n127.0.0.1:9998\n  last probe: none yet\n"),
            "{verbose}"
        );
    }

    #[track_caller]
    fn check_error(answer: &'static str, words: &[&str]) {
        let error = ask(&[], answer).0.unwrap_err();
        for word in words {
            assert!(error.contains(word), "{error}");
        }
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn what_is_no_report_is_said_to_be_none() {
        check_error(
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
            &["network.user", "network.passwd"],
        );
        check_error(
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            &["404", "another program"],
        );
        check_error("", &["closed", "network.access_allow"]);
        check_error("SSH-2.0-OpenSSH\r\n", &["no HTTP"]);
        check_error("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", &["cut off"]);
        check_error("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[[", &["JSON"]);
        check_error(
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            &["too large"],
        );
        check_error(
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
            &["length"],
        );
    }

    #[test]
    fn a_server_that_is_not_there_is_named() {
        let addr = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let error = show(&args(&[]).unwrap(), &target(addr), &mut Vec::new())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&addr.to_string()) && error.contains("running"),
            "{error}"
        );
    }

    #[test]
    fn a_server_that_says_nothing_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = target(listener.local_addr().unwrap());
        let error = client::ask(&target, Duration::from_millis(50))
            .unwrap_err()
            .to_string();
        assert!(error.contains("no answer"), "{error}");
    }

    #[test]
    fn wrong_use_is_refused_and_the_password_is_not_shown() {
        assert!(args(&["--interval", "0"]).is_err());
        assert!(args(&["--interval", "x"]).is_err());
        assert!(args(&["extra"]).is_err());
        assert!(args(&["-v", "--json"]).is_err());
        assert!(
            args(&["-w", "--interval", "5", "--json"])
                .is_ok_and(|args| args.watch && args.json && args.interval == 5)
        );
        assert!(!format!("{:?}", target("127.0.0.1:1".parse().unwrap())).contains("secret"));
    }
}
