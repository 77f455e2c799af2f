//! What HA asks, answered byte for byte, with the numbers of a real replay.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::harness::{DEADLINE, Home, fake_hustdb};

/// `sync:sync`.
const LOGIN: &str = "Authorization: Basic c3luYzpzeW5j\r\n";

/// All that comes back for one request.
pub(crate) fn ask(addr: SocketAddr, request: &str, fields: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}Connection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn with_body(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nContent-Type: text/plain\r\nConnection: \
         close\r\n\r\n{body}",
        body.len()
    )
}

fn counts(processed: u64, synced: u64, indent: &str) -> String {
    format!("{indent}\"processed_items\": {processed},\n{indent}\"synced_items\": {synced}\n")
}

#[test]
fn ha_is_told_what_was_replayed() {
    let home = Home::new();
    let (a, b) = (fake_hustdb(), fake_hustdb());
    for version in 1..=3 {
        home.log(&a.name()).put("k", version, "v");
    }
    home.log(&a.name()).raw("faulty!\n");
    home.log(&b.name()).put("k", 1, "v").put("l", 1, "v");
    let server = home.start();
    server.wait_settled(&a.name(), 4);
    server.wait_settled(&b.name(), 2);
    let addr = server.engine().local_addr();

    assert_eq!(ask(addr, "GET /status.html", ""), with_body("ok\n"));

    let mut backends = [(a.name(), 4), (b.name(), 2)];
    backends.sort();
    let [first, second] = backends.map(|(name, count)| {
        format!(
            "        \"{name}\": {{\n{}        }}",
            counts(count, count, "            ")
        )
    });
    let total = counts(6, 6, "        ");
    let expected = with_body(&format!(
        "{{\n    \"total_status\": {{\n{total}    }},\n    \"status\": {{\n{first},\n{second}\n    \
         }}\n}}"
    ));
    // The page is made of numbers that are some milliseconds old.
    crate::harness::eventually("the counts are told", || {
        ask(addr, "GET /sync_status?backend_count=2", LOGIN) == expected
    });
    let unauthorized = ask(addr, "GET /sync_status?backend_count=2", "");
    assert!(
        unauthorized.starts_with(
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: Basic realm="
        ),
        "{unauthorized}"
    );
}

#[test]
fn ha_is_answered_while_a_backend_is_mute_and_while_there_is_none() {
    use hustdbsync::internals::fake_hustdb::{Act, On, Rule, Script};
    let home = Home::new();
    let server = home.start();
    let addr = server.engine().local_addr();
    let none = with_body(&format!(
        "{{\n    \"total_status\": {{\n{}    }},\n    \"status\": {{}}\n}}",
        counts(0, 0, "        ")
    ));
    assert_eq!(ask(addr, "GET /sync_status?backend_count=5", LOGIN), none);

    let fake_hustdb = fake_hustdb();
    fake_hustdb
        .set_script(Script::default().rule(Rule::new(On::Everything, Act::Silence)))
        .unwrap();
    home.log(&fake_hustdb.name()).put("k", 1, "v");
    crate::harness::eventually("it is probed", || fake_hustdb.counters().probes > 0);
    assert_eq!(ask(addr, "GET /status.html", ""), with_body("ok\n"));
    assert!(
        ask(addr, "GET /sync_status?backend_count=5", LOGIN).contains(&fake_hustdb.name()),
        "a backend that is down is told too"
    );
}
