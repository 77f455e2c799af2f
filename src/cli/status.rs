//! `hustdbsync status`: asks a running server how it is, and shows it as a table or as JSON.

mod args;
pub(super) mod client;
mod order;
mod table;
mod target;
mod wait;
mod watch;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use self::table::Place;
use super::paint;
use crate::status::report::Report;

pub use args::StatusArgs;
pub use client::StatusError;
pub(super) use table::plain;
pub use target::StatusTarget;
pub use wait::Waited;

/// Runs the command. With `--watch` it comes back only if it can't begin, if nobody reads what it
/// prints any more, or if it is told to.
///
/// # Errors
/// [`StatusError`], which says what to do.
pub fn run(args: &StatusArgs, target: &StatusTarget) -> Result<Waited, StatusError> {
    let mut out = io::stdout();
    let is_terminal = out.is_terminal();
    // Without a keyboard there, nobody could leave the screen.
    let has_keys = is_terminal && io::stdin().is_terminal();
    let interval = Duration::from_secs(u64::from(args.interval));
    let mut waited = Waited::Whole;
    let result = match (args.watch, has_keys && !args.json) {
        (false, _) => show(args, target, place(is_terminal), &mut out).map(|it| waited = it),
        (true, true) => watch::screen(interval, |width| {
            let place = Place {
                width: Some(width),
                has_colours: paint::allowed(),
            };
            text(args, target, place).map(|(text, _)| text)
        }),
        (true, false) => watch::repeat(interval, || {
            show(args, target, place(is_terminal), &mut out).map(|_| ())
        }),
    };
    match result {
        // Whoever read it has seen enough (`| head`).
        Err(StatusError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(waited),
        result => result.map(|()| waited),
    }
}

/// Where stdout leads to.
fn place(is_terminal: bool) -> Place {
    let width = crossterm::terminal::size().map_or(80, |(width, _)| width.into());
    Place {
        width: is_terminal.then_some(width),
        has_colours: is_terminal && paint::allowed(),
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

/// Asks once and prints what came. Says whether anything waits for a backend, if that is asked for.
fn show(
    args: &StatusArgs,
    target: &StatusTarget,
    place: Place,
    out: &mut dyn Write,
) -> Result<Waited, StatusError> {
    let (text, report) = text(args, target, place)?;
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(StatusError::Output)?;
    match args.fail_if_not_in_sync && !order::is_in_sync(&report) {
        true => Ok(Waited::NotWhole),
        false => Ok(Waited::Whole),
    }
}

/// What there is to show, and of what.
fn text(
    args: &StatusArgs,
    target: &StatusTarget,
    place: Place,
) -> Result<(String, Report), StatusError> {
    let body = client::ask(target, client::ANSWER_TIMEOUT)?;
    let mut report = client::parse(target.addr, &body)?;
    if let Some(pattern) = &args.backend {
        order::only(&mut report, pattern).map_err(|why| StatusError::Refused { why })?;
    }
    if args.json {
        let text = match &args.backend {
            None => String::from_utf8_lossy(&body).into_owned(),
            Some(_) => client::only(&body, &report),
        };
        return Ok((text, report));
    }
    order::sort(&mut report, args.sort);
    let mut text = table::render(&report, target.addr, place);
    if args.verbose {
        table::add_details(&report, &mut text);
    }
    if let Some(width) = place.width {
        text = table::wrapped(&text, width);
    }
    Ok((text, report))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, FromArgMatches};
    use std::io::Read;
    use std::net::{SocketAddr, TcpListener};

    pub(super) fn args(words: &[&str]) -> Result<StatusArgs, clap::Error> {
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
        let result = show(&args(words).unwrap(), &target(addr), Place::PIPE, &mut out);
        let printed = result
            .map(|_| String::from_utf8(out).unwrap())
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
        // Nobody listens there, nor takes that port when it is given any.
        let addr = SocketAddr::from(([127, 0, 0, 1], 1));
        let error = show(
            &args(&[]).unwrap(),
            &target(addr),
            Place::PIPE,
            &mut Vec::new(),
        )
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
    fn wrong_use_is_refused() {
        assert!(args(&["--interval", "0"]).is_err());
        assert!(args(&["--interval", "x"]).is_err());
        assert!(args(&["extra"]).is_err());
        assert!(args(&["-v", "--json"]).is_err());
        assert!(args(&["-v", "--watch"]).is_ok());
        assert!(args(&["--sort", "colour"]).is_err());
        let waits = |words: &[&str]| args(words).unwrap().wait;
        let five_minutes = Some(Duration::from_secs(300));
        assert_eq!(waits(&["--wait", "5m"]), five_minutes);
        assert_eq!(waits(&["--wait=5m"]), five_minutes);
        assert_eq!(waits(&["--wait"]), Some(Duration::from_secs(30)));
        let one_backend = args(&["--wait", "--backend", "a*"]).unwrap();
        assert!(one_backend.wrong_use().is_some());
        assert!(
            args(&["-w", "--interval", "5", "--json"])
                .is_ok_and(|args| args.watch && args.json && args.interval == 5)
        );
    }
}
