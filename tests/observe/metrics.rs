//! What a scrape of a running server has: the numbers of a replay, in a form that Prometheus takes.

use std::fs;
use std::path::Path;

use hustdbsync::internals::fake_hustdb::{Act, On, Rule, Script};

use crate::observe::client::{LOGIN, ask, samples, scrape};
use crate::observe::harness::{Home, eventually, fake_hustdb};
use crate::observe::promtool::promtool;

/// Replays a few records, good and bad, to one backend while another is down; gives what is scraped
/// then.
pub(crate) fn scraped(accept: &str) -> String {
    let home = Home::new().with("sync.reconcile", "report");
    let (up, down) = (fake_hustdb(), fake_hustdb());
    down.kill().unwrap();
    for version in 1..=3 {
        home.log(&up.name()).put("k", version, "v");
    }
    home.log(&up.name()).raw("faulty!\n");
    home.log(&down.name()).put("k", 1, "v");
    let server = home.start();
    server.wait_settled(&up.name(), 4);
    server.wait_for_state(&down.name(), "down");
    let addr = server.engine().local_addr();
    // What is settled is told when a checkpoint has it.
    let outcomes = ["applied", "rejected"].map(|outcome| {
        let backend = up.name();
        format!("hustdbsync_records_settled_total{{backend=\"{backend}\",outcome=\"{outcome}\"}}")
    });
    let backlog = format!("hustdbsync_backlog_bytes{{backend=\"{}\"}}", down.name());
    let checkpoints = format!("hustdbsync_checkpoints_total{{backend=\"{}\"}}", up.name());
    let mut text = String::new();
    eventually(
        "a checkpoint of all that is settled is told, and what is left",
        || {
            text = scrape(addr, accept);
            let told = samples(&text);
            let counts = outcomes.iter().filter_map(|series| told.get(series));
            let is_there = |series| told.get(series).is_some_and(|value| *value > 0.0);
            counts.sum::<f64>() >= 4.0 && is_there(&backlog) && is_there(&checkpoints)
        },
    );
    text.replace(&up.name(), "up:1")
        .replace(&down.name(), "down:1")
}

#[test]
fn a_scrape_has_the_numbers_of_the_replay() {
    let text = scraped("application/openmetrics-text");
    let told = samples(&text);
    let check = |series: &str, expected: f64| {
        assert_eq!(told.get(series), Some(&expected), "{series} in\n{text}");
    };
    check(r#"hustdbsync_records_read_total{backend="up:1"}"#, 4.0);
    check(
        r#"hustdbsync_records_settled_total{backend="up:1",outcome="applied"}"#,
        3.0,
    );
    check(
        r#"hustdbsync_records_settled_total{backend="up:1",outcome="rejected"}"#,
        1.0,
    );
    check(
        r#"hustdbsync_records_rejected_total{backend="up:1",reason="not_base64"}"#,
        1.0,
    );
    check(
        r#"hustdbsync_request_duration_seconds_count{backend="up:1"}"#,
        3.0,
    );
    check(r#"hustdbsync_backlog_bytes{backend="up:1"}"#, 0.0);
    check(r#"hustdbsync_lag_seconds{backend="up:1"}"#, 0.0);
    check(r#"hustdbsync_time_to_drain_seconds{backend="up:1"}"#, 0.0);
    check(r#"hustdbsync_backend_up{backend="up:1"}"#, 1.0);
    check(r#"hustdbsync_backend_up{backend="down:1"}"#, 0.0);
    check(
        r#"hustdbsync_backend_state{backend="down:1",state="down"}"#,
        1.0,
    );
    check(r#"hustdbsync_log_files{backend="down:1"}"#, 1.0);
    check(r#"hustdbsync_state_faulty{backend="up:1"}"#, 0.0);
    check(r#"hustdbsync_logs_faulty{backend="up:1"}"#, 0.0);
    check(
        r#"hustdbsync_reconcile_keys_total{backend="up:1",outcome="equal"}"#,
        0.0,
    );
    check(r#"hustdbsync_reconcile_differences{backend="up:1"}"#, 0.0);
    check("hustdbsync_memory_budget_bytes", f64::from(64 << 20));
    let above = |series: &str, least: f64| {
        let value = told
            .get(series)
            .unwrap_or_else(|| panic!("no {series} in\n{text}"));
        assert!(*value >= least, "{series} is {value}");
    };
    above(r#"hustdbsync_backlog_bytes{backend="down:1"}"#, 20.0);
    above(r#"hustdbsync_read_bytes_total{backend="up:1"}"#, 100.0);
    above(
        r#"hustdbsync_probes_total{backend="up:1",result="good"}"#,
        1.0,
    );
    above(
        r#"hustdbsync_probes_total{backend="down:1",result="bad"}"#,
        1.0,
    );
    above(r#"hustdbsync_connections_made_total{backend="up:1"}"#, 1.0);
    above(r#"hustdbsync_checkpoints_total{backend="up:1"}"#, 1.0);
    above("hustdbsync_checkpoint_duration_seconds_count", 1.0);
    above("hustdbsync_http_connections", 0.0);
    above("process_resident_memory_bytes", 1e6);
    above("process_open_fds", 5.0);
    // For longer than no time where the disk is slow.
    for thread in ["checkpointer", "reader", "w0", "w1"] {
        let series = format!("hustdbsync_thread_stuck_seconds{{thread=\"{thread}\"}}");
        let stuck = told.get(&series).unwrap_or_else(|| panic!("no {series}"));
        assert!((0.0..30.0).contains(stuck), "{series} is {stuck}");
    }
}

#[test]
fn failures_and_their_causes_are_counted() {
    let home = Home::new();
    let fake_hustdb = fake_hustdb();
    let reset = Rule::new(On::Mutations, Act::Reset).times(2);
    fake_hustdb
        .set_script(Script::default().rule(reset))
        .unwrap();
    home.log(&fake_hustdb.name()).put("k", 1, "v");
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 1);
    let told = samples(&scrape(server.engine().local_addr(), "*/*"));
    let of = |name: &str, more: &str| {
        told[&format!("{name}{{backend=\"{}\"{more}}}", fake_hustdb.name())]
    };
    assert!(of("hustdbsync_lane_failures_total", ",cause=\"connection\"") >= 2.0);
    assert!(of("hustdbsync_connections_made_total", "") >= 3.0);
    assert!(of("hustdbsync_records_resent_total", "") >= 1.0);
}

#[test]
fn the_form_is_negotiated_and_the_http_server_is_closed_to_strangers() {
    let home = Home::new();
    let server = home.start();
    let addr = server.engine().local_addr();
    let check = |accept: &str, expected: &str, end: bool| {
        let answer = ask(
            addr,
            "GET",
            "/metrics",
            &format!("{LOGIN}Accept: {accept}\r\n"),
        );
        assert!(
            answer.head.contains(&format!("Content-Type: {expected}")),
            "{}",
            answer.head
        );
        assert_eq!(answer.body.ends_with("# EOF\n"), end, "{accept}");
    };
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    // As Prometheus 2.42 asks, and as a person does.
    let prometheus = "application/openmetrics-text;version=1.0.0,\
        application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    check(prometheus, open, true);
    check("*/*", open, true);
    check(
        "text/plain;version=0.0.4",
        "text/plain; version=0.0.4; charset=utf-8\r\n",
        false,
    );
    assert_eq!(ask(addr, "GET", "/metrics", "").status, 401);
    assert_eq!(ask(addr, "HEAD", "/metrics", LOGIN).status, 405);
    assert_eq!(ask(addr, "POST", "/metrics", LOGIN).status, 405);
}

#[test]
fn promtool_finds_nothing_to_complain_of() {
    let text = scraped("text/plain");
    promtool(&["check", "metrics"], Path::new("."), &text);
}

/// The table of docs/metrics.md, from a scrape.
fn documented(text: &str) -> String {
    let mut page = String::from(
        "# Metrics

Every metric of `GET /metrics`: its type, its labels and what it means. The table is made from a
running server; `METRICS_DOC=write cargo test --test system documented` writes it again.

The login is `network.user` and `network.passwd`. In the OpenMetrics form, the description of a
counter has its name without `_total`, and that of an info without `_info`.

| metric | type | labels | meaning |
|---|---|---|---|
",
    );
    for block in text.split("# HELP ").skip(1) {
        let (name, rest) = block.split_once(' ').unwrap();
        let (help, rest) = rest.split_once('\n').unwrap();
        let kind = rest.split_whitespace().nth(3).unwrap();
        let sample = rest.lines().find(|line| !line.starts_with('#'));
        let labels: Vec<&str> =
            sample
                .and_then(|line| line.split_once('{'))
                .map_or(Vec::new(), |(_, labels)| {
                    let names = labels
                        .split('=')
                        .map(|part| part.rsplit(['"', ',']).next().unwrap());
                    let count = labels.matches('=').count();
                    names.take(count).filter(|name| *name != "le").collect()
                });
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        page.push_str(&format!(
            "| `{name}` | {kind} | {} | {help} |\n",
            labels.join(", ")
        ));
    }
    page
}

#[test]
fn every_metric_is_documented_as_it_is() {
    let page = documented(&scraped("text/plain"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    if std::env::var_os("METRICS_DOC").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        written, page,
        "docs/metrics.md is not what the server tells: METRICS_DOC=write cargo test --test system \
         documented"
    );
}
