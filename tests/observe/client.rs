//! One request to a server, and the samples of a scrape.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::observe::harness::DEADLINE;

/// `sync:sync`.
pub(crate) const LOGIN: &str = "Authorization: Basic c3luYzpzeW5j\r\n";

/// An answer, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Asks for `target` with these further fields, each with its line end.
pub(crate) fn ask(addr: SocketAddr, method: &str, target: &str, fields: &str) -> Answered {
    ask_in("HTTP/1.1", addr, method, target, fields)
}

/// The same, calling the server by this name.
pub(crate) fn ask_named(
    host: &str,
    addr: SocketAddr,
    method: &str,
    target: &str,
    fields: &str,
) -> Answered {
    send(
        addr,
        &format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}"),
    )
}

/// The same in another version of HTTP: in 1.0 nobody answers in chunks.
pub(crate) fn ask_in(
    version: &str,
    addr: SocketAddr,
    method: &str,
    target: &str,
    fields: &str,
) -> Answered {
    send(
        addr,
        &format!("{method} {target} {version}\r\nHost: {addr}\r\n{fields}"),
    )
}

/// Sends a request's head but for its end.
fn send(addr: SocketAddr, head: &str) -> Answered {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let request = format!("{head}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answered {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// All metrics, in OpenMetrics or, asked for as such, in the older form.
pub(crate) fn scrape(addr: SocketAddr, accept: &str) -> String {
    let answer = ask(
        addr,
        "GET",
        "/metrics",
        &format!("{LOGIN}Accept: {accept}\r\n"),
    );
    assert_eq!(answer.status, 200, "{}", answer.head);
    answer.body
}

/// Every sample of a scrape: name and labels as they stand, with the value.
pub(crate) fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}
