//! Writes the seeds: one small file an input, in `seeds/<target>`. Takes a log of HA on its
//! standard input (see README.md).

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use hustdbsync::internals::binlog::method::Ttl;
use hustdbsync::internals::binlog::{Method, Record, line};
use hustdbsync::internals::config;
use hustdbsync::internals::ledger::checkpoint::Checkpoint;
use hustdbsync::internals::ledger::identity::{Identity, LastRead};
use hustdbsync::internals::ledger::plan::{FileResume, LegacyResume, ResumePlan};
use hustdbsync::internals::ledger::runs::LineRuns;
use hustdbsync::internals::ledger::totals::Totals;

/// Lines of the log above this many bytes are left out: a long value says no more than a short one.
const LINE_BYTES_MAX: usize = 700;
/// Lines of each method.
const LINES_MAX: usize = 3;

fn main() -> std::io::Result<()> {
    let mut log = Vec::new();
    std::io::stdin().read_to_end(&mut log)?;
    from_log(&log)?;
    from_records()?;
    bad_lines()?;
    for (name, text) in RESPONSES {
        write("response", name, text.as_bytes())?;
    }
    for (name, text) in HTTP_SERVER {
        write("http_server", name, text.as_bytes())?;
    }
    let long = format!(
        "GET /status.html HTTP/1.1\r\nX: {}\r\n\r\n",
        "y".repeat(17_000)
    );
    write("http_server", "long-head", long.as_bytes())?;
    for (name, text) in CONFIGURATIONS {
        write("configuration", name, text.as_bytes())?;
    }
    write("configuration", "sample", config::sample().as_bytes())?;
    for (name, checkpoint) in checkpoints() {
        let mut bytes = Vec::new();
        checkpoint.encode(&mut bytes);
        write("checkpoint", name, &bytes)?;
    }
    legacy()
}

fn write(target: &str, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), bytes)
}

/// How odd its key is, its text, its record.
type Line<'a> = (usize, &'a [u8], Vec<u8>);

/// Some lines of each method, those whose keys are spelt most oddly first.
fn from_log(log: &[u8]) -> std::io::Result<()> {
    let mut lines: BTreeMap<Method, Vec<Line<'_>>> = BTreeMap::new();
    for text in log
        .split(|byte| *byte == b'\n')
        .filter(|text| (1..LINE_BYTES_MAX).contains(&text.len()))
    {
        let mut decoded = text.to_vec();
        let range = line::decode_in_place(&mut decoded).expect("HA writes good lines");
        let bytes = decoded[range].to_vec();
        let record = Record::parse(&bytes).expect("it was checked");
        let plain = |octet: &&u8| octet.is_ascii_alphanumeric() || **octet == b'_';
        let odd = record.key.len() - record.key.iter().filter(plain).count();
        lines
            .entry(record.method)
            .or_default()
            .push((odd, text, bytes));
    }
    for (method, mut lines) in lines {
        lines.sort_by_key(|line| std::cmp::Reverse(line.0));
        lines.dedup_by_key(|line| line.0);
        for (number, (_, text, record)) in lines.iter().take(LINES_MAX).enumerate() {
            let name = format!("ha-{}-{number}", method.name());
            write("line", &name, text)?;
            write("record", &name, record)?;
            write("composed", &name, record)?;
        }
    }
    Ok(())
}

/// What HA's log has none of: the older methods, what expires, tables that are none, malformed
/// escapes.
fn from_records() -> std::io::Result<()> {
    let record = Record {
        method: Method::Put,
        version: 5,
        key: b"k%20e+y%zz%%41?;%3F",
        expires_unix: 0,
        table: b"t:b.1",
        score: -12,
        opt: 1,
        value: b"v",
    };
    for method in Method::ALL {
        let (name, record) = (method.name(), Record { method, ..record });
        write_record(&format!("{name}-odd-key"), record)?;
        let no_value = Record {
            value: b"",
            expires_unix: u32::MAX,
            ..record
        };
        write_record(&format!("{name}-no-value"), no_value)?;
        if method.row().ttl != Ttl::None {
            let expired = Record {
                expires_unix: 1,
                ..record
            };
            write_record(&format!("{name}-expired"), expired)?;
        }
    }
    let raw_octets = Record {
        key: b"a%\xc3\xa4 \n#&\0%4\xff",
        ..record
    };
    write_record("put-raw-octets", raw_octets)?;
    let empty = Record {
        key: b"",
        table: b"",
        value: b"",
        ..record
    };
    write_record("put-empty", empty)?;
    let escaped_table = Record {
        method: Method::Hset,
        table: b"a%20b c",
        ..record
    };
    write_record("hset-escaped-table", escaped_table)
}

fn write_record(name: &str, record: Record<'_>) -> std::io::Result<()> {
    let (mut bytes, mut text) = (Vec::new(), Vec::new());
    record.encode(&mut bytes);
    write("record", name, &bytes)?;
    write("composed", name, &bytes)?;
    if name.ends_with("-key") {
        line::encode(b"[2026-11-22 16:41:12] [DEBUG] | ", &bytes, &mut text);
        text.pop();
        write("line", name, &text)?;
    }
    Ok(())
}

fn bad_lines() -> std::io::Result<()> {
    let lines: [(&str, &[u8]); 6] = [
        ("no-payload", b"[2026-11-22 16:40:38] [DEBUG] | "),
        ("no-base64", b"| MQ-_"),
        ("no-padding", b"| MQAAAAE"),
        ("too-short", b"| AAAA"),
        ("hole", &[0; 64]),
        ("trailing-bits", b"| MR=="),
    ];
    lines
        .iter()
        .try_for_each(|(name, text)| write("line", name, text))
}

const RESPONSES: [(&str, &str); 17] = [
    (
        "applied",
        "HTTP/1.1 200 OK\r\nVersion: 1\r\nVerError: false\r\nContent-Length: 0\r\nContent-Type: \
         text/plain\r\n\r\n",
    ),
    (
        "two",
        "HTTP/1.1 200 OK\r\nVersion: 4294967295\r\nVerError: false\r\nContent-Length: \
         0\r\nContent-Type: text/plain\r\n\r\nHTTP/1.1 200 OK\r\n",
    ),
    (
        "version-too-large",
        "HTTP/1.1 200 OK\r\nVersion: 4294967296\r\nVerError: false\r\nContent-Length: \
         0\r\nContent-Type: text/plain\r\n\r\n",
    ),
    (
        "superseded",
        "HTTP/1.1 200 OK\r\nVersion: 4\r\nVerError: true\r\nContent-Length: 2\r\nContent-Type: \
         text/plain\r\n\r\n42HTTP",
    ),
    (
        "unauthorized",
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: Basic \
         realm=\"libevhtp\"\r\nContent-Type: text/plain\r\n\r\n",
    ),
    (
        "unauthorized-version",
        "HTTP/1.1 401 Unauthorized\r\nVersion: 3\r\nVerError: true\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        "absent",
        "HTTP/1.1 404 Not Found\r\nVersion: 2\r\nContent-Length: 0\r\nContent-Type: \
         text/plain\r\n\r\n",
    ),
    (
        "table",
        "HTTP/1.1 412 Precondition Failed\r\nVersion: 2\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        "unavailable",
        "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno\n",
    ),
    ("old", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    (
        "no-content",
        "HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n",
    ),
    ("no-length", "HTTP/1.1 200 OK\r\n\r\n"),
    (
        "two-lengths",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ),
    (
        "chunked",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    ),
    ("interim", "HTTP/1.1 100 Continue\r\n\r\n"),
    ("other-protocol", "SSH-2.0-OpenSSH\r\n"),
    (
        "too-large",
        "HTTP/1.1 200 OK\r\nContent-Length: 3221225472\r\n\r\n",
    ),
];

const HTTP_SERVER: [(&str, &str); 32] = [
    ("alive", "GET /status.html HTTP/1.1\r\nHost: h\r\n\r\n"),
    (
        "alive-head",
        "HEAD /status.html HTTP/1.1\r\n\r\nHEAD /v1/status HTTP/1.1\r\n\r\n",
    ),
    (
        "status",
        "GET /sync_status?backend_count=2 HTTP/1.1\r\nAuthorization: Basic dTpw\r\n\r\n",
    ),
    (
        "status-wrong-login",
        "GET /sync_status?backend_count=2 HTTP/1.1\r\nAuthorization: Basic dTpx\r\n\r\n",
    ),
    (
        "status-no-count",
        "GET /sync_status?backend_count HTTP/1.1\r\nAuthorization: Basic dTpw\r\n\r\n",
    ),
    (
        "report",
        "GET /v1/status HTTP/1.1\r\nauthorization: basic   dTpw \r\nConnection: close\r\n\r\n",
    ),
    (
        "report-post",
        "POST /v1/status HTTP/1.1\r\nAuthorization: Basic dTpw\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        "pipelined",
        "GET /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyzGET /c?d \
         HTTP/1.1\r\nHost: h\r\n\r\n",
    ),
    (
        "chunked",
        "POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: \
         x\r\n\r\nGET /a HTTP/1.1\r\n\r\n",
    ),
    (
        "chunks-too-large",
        "POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\nhello",
    ),
    (
        "continue",
        "POST /d HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
    ),
    (
        "expectation",
        "POST /d HTTP/1.1\r\nExpect: 200\r\nContent-Length: 2\r\n\r\nhi",
    ),
    (
        "old",
        "GET /status.html HTTP/1.0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    ),
    (
        "old-kept",
        "GET /status.html HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /a HTTP/1.0\r\n\r\n",
    ),
    (
        "four",
        "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    ),
    (
        "absolute",
        "GET http://h:1/status.html?x HTTP/1.1\r\nHost: h\r\n\r\n",
    ),
    (
        "body-too-large",
        "POST / HTTP/1.1\r\nContent-Length: 16777217\r\n\r\n",
    ),
    (
        "empty-lines",
        "\r\n\r\nGET / HTTP/1.1\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n\r\n",
    ),
    (
        "nonsense-behind",
        "GET / HTTP/1.1\r\n\r\nnonsense\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    ),
    (
        "gzip",
        "GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    ),
    ("version", "GET / HTTP/2.0\r\n\r\n"),
    (
        "smuggle-bare-lf",
        "GET / HTTP/1.1\nHost: a\n\nGET /smuggled HTTP/1.1\r\n\r\n",
    ),
    (
        "smuggle-one-bare-lf",
        "GET / HTTP/1.1\r\nHost: a\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    ),
    (
        "smuggle-bare-lf-end",
        "GET / HTTP/1.1\r\nHost: a\r\n\nGET /smuggled HTTP/1.1\r\n\r\n",
    ),
    (
        "smuggle-two-lengths",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nGET /smuggled \
         HTTP/1.1\r\n\r\n",
    ),
    (
        "smuggle-length-and-chunked",
        "GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET \
         /smuggled HTTP/1.1\r\n\r\n",
    ),
    (
        "smuggle-space-before-colon",
        "GET / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\nGET /smuggled \
         HTTP/1.1\r\n\r\n",
    ),
    (
        "smuggle-folded",
        "GET / HTTP/1.1\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\nGET /smuggled \
         HTTP/1.1\r\n\r\n",
    ),
    (
        "smuggle-chunk-size",
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na0\r\n\r\nGET /smuggled \
         HTTP/1.1\r\n\r\n",
    ),
    (
        "smuggle-chunk-bare-lf",
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\na\n0\n\nGET /smuggled \
         HTTP/1.1\r\n\r\n",
    ),
    (
        "smuggle-signed-length",
        "POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\nabcGET /smuggled HTTP/1.1\r\n\r\n",
    ),
    (
        "smuggle-list-of-lengths",
        "POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\nabcGET /smuggled HTTP/1.1\r\n\r\n",
    ),
];

const CONFIGURATIONS: [(&str, &str); 17] = [
    (
        "original",
        concat!(
            r#"{"network": {"port": 8089, "backlog": 512, "disable_100_cont": true, "#,
            r#""enable_reuseport": true, "enable_nodelay": true,"#,
            "\n",
            r#""enable_defer_accept": true, "max_body_size": 16777216, "#,
            r#""max_keepalive_requests": 1024, "recv_timeout": 300, "send_timeout": 300,"#,
            "\n",
            r#""threads": 2, "user": "sync", "passwd": "sync", "access_allow": "127.0.0.1"}, "#,
            r#""sync": {"daemon": true, "logs_path": "/data/hustdbha/logs/","#,
            "\n",
            r#""ngx_path": "/data/hustdbha/", "auth_path": "/data/hustdbha/conf/htpasswd", "#,
            r#""threads": 4, "release_interval": 5000,"#,
            "\n",
            r#""checkdb_interval": 5000, "checklog_interval": 60000}}"#,
        ),
    ),
    ("empty", "{}"),
    (
        "units",
        concat!(
            r#"{"sync": {"memory_budget": "48MiB", "checkdb_interval": "5s", "#,
            r#""ttl_hold": "500ms", "rescan_interval": "1min", "rejected_max_bytes": "1GB"}}"#,
        ),
    ),
    (
        "access",
        concat!(
            r#"{"network": {"bind": "::1", "access_allow": "#,
            r#""127.0.0.1, 10.0.0.1-10.0.0.9,192.168.0.0/16, fe80::/10"}}"#,
        ),
    ),
    (
        "outcomes",
        concat!(
            r#"{"sync": {"outcomes": {"412 put": "rejected", "503": "trouble", "404": "absent"}, "#,
            r#""pin_workers": false, "log_level": "debug"}}"#,
        ),
    ),
    (
        "password",
        r#"{"network": {"user": "u", "passwd": "QZSECRET"}, "sync": {"threads": 0}}"#,
    ),
    ("password-good", r#"{"network": {"passwd": "QZSECRET"}}"#),
    (
        "unknown",
        concat!(
            r#"{"network": {"prot": 1, "logs_path": "x"}, "sync": {"Threads": 2, "//note": 3}, "#,
            r#""snyc": {}, "port": 9, "//": 0}"#,
        ),
    ),
    (
        "faults",
        concat!(
            r#"{"network": {"port": 70000, "passwd": 4711, "user": "a:b", "#,
            r#""access_allow": "127.0.0.1 10.0.0.1", "bind": "localhost"},"#,
            "\n",
            r#""sync": {"threads": 0, "checkdb_interval": "5", "memory_budget": 64, "#,
            r#""pin_workers": "yes", "log_level": "loud", "ngx_path": ""}}"#,
        ),
    ),
    (
        "twice",
        r#"{"sync": {"threads": 1, "threads": 2}, "network": {}, "network": {}}"#,
    ),
    (
        "same-folder",
        r#"{"sync": {"ngx_path": "/a", "logs_path": "/a/./status/"}}"#,
    ),
    (
        "numbers",
        concat!(
            r#"{"sync": {"threads": 2.0, "memory_budget": 18446744073709551616, "#,
            r#""attempts_max": 1e300, "burst_bytes": -1}}"#,
        ),
    ),
    ("cut", "{\"sync\": {\"threads\": 4}"),
    ("login", "user:password\n"),
    ("login-hashed", "user:$apr1$abc$def\r\nsecond:line\n"),
    ("backend", "127.0.0.1:9998"),
    ("backend-ipv6", "[::1]:9998"),
];

fn checkpoints() -> Vec<(&'static str, Checkpoint)> {
    let mut settled = LineRuns::default();
    settled.push(12, 3);
    settled.push(400, 1);
    settled.push(100_000, 70_000);
    let file = FileResume {
        name: "2026-11-22-16-40.log".into(),
        identity: Identity::new(1, 2, 3, b"[2026-11-22 16:40:38]"),
        line: 10,
        byte: 1000,
        settled,
        lines_read: 200_000,
        away_unix: 0,
        sent: LineRuns::default(),
        last_read: LastRead::new(900, b"the last bytes that were read of it\n"),
    };
    let fresh = FileResume {
        line: 0,
        byte: 0,
        settled: LineRuns::default(),
        lines_read: 0,
        ..file.clone()
    };
    let mut begun = LineRuns::default();
    begun.push(0, 4);
    let taken_over = FileResume {
        line: 0,
        byte: 0,
        settled: begun,
        lines_read: 9,
        ..file.clone()
    };
    let legacy = LegacyResume {
        name: "2026-11-22-16-41.log".into(),
        line: 4,
        lines_read: 9,
        bytes_read: 300,
        away_unix: 1_764_000_000,
    };
    let totals = Totals {
        processed: 500,
        settled: 14,
        applied: 11,
        superseded: 1,
        absent: 1,
        rejected: 1,
    };
    let whole = |files: Vec<FileResume>, legacy| Checkpoint {
        totals,
        resume: ResumePlan { files, legacy },
    };
    vec![
        ("empty", Checkpoint::default()),
        ("file", whole(vec![file.clone()], vec![])),
        ("legacy", whole(vec![], vec![legacy.clone()])),
        ("taken-over", whole(vec![taken_over], vec![])),
        (
            "all",
            whole(
                vec![file.clone(), fresh.clone(), file],
                vec![legacy.clone(), legacy],
            ),
        ),
        ("many", whole(vec![fresh; 20], vec![])),
    ]
}

/// The small form that the target takes: twelve bytes of head, then the digits of the first lines.
fn legacy() -> std::io::Result<()> {
    let status = |lines_read: u32, digits: &[u8]| {
        let numbers = [777_u32, lines_read, 5].map(u32::to_le_bytes);
        [&numbers.concat(), digits].concat()
    };
    write("legacy", "none-synced", &status(0, b""))?;
    write("legacy", "some-synced", &status(9, b"111101011"))?;
    write("legacy", "all-synced", &status(4, b"1111"))?;
    write(
        "legacy",
        "digits-behind-the-last-line",
        &status(2, b"111111"),
    )?;
    write(
        "legacy",
        "more-lines-than-digits",
        &status(u32::MAX, &[b'1'; 300]),
    )?;
    write("legacy", "no-digits", &status(20, b"11\x00\xff222"))?;
    write(
        "legacy",
        "totals",
        &[500_u64.to_le_bytes(), 14_u64.to_le_bytes()].concat(),
    )
}
