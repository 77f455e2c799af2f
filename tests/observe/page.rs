//! The page at `/`, in a real browser: that it says what the server says, soon, to who may see it,
//! to everyone's eyes and without a mouse.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use hustdbsync::internals::fake_hustdb::{Act, FakeHustdb, On, Rule, Script};
use hustdbsync::internals::reconcile::difference::{Difference, FILE_NAME};
use serde_json::{Value as Json, json};

use crate::observe::browser::{Browser, browser};
use crate::observe::client::{LOGIN, ask, scrape};
use crate::observe::harness::{Home, Running, eventually, fake_hustdb};

/// How soon the page is to show what has happened.
const SOON: Duration = Duration::from_secs(2);

fn address(server: &Running) -> SocketAddr {
    server.engine().local_addr()
}

/// Opens the page as one who may see it, and waits until it shows so many backends.
pub(crate) fn open(browser: &mut Browser, server: &Running, backends: usize) {
    browser.know_password();
    browser.look(1180, 860, "light");
    browser.open(&format!("http://{}/", address(server)));
    browser.wait_for(&format!(
        "document.querySelectorAll('#list > .row').length === {backends}"
    ));
}

/// A server with a backend that is up and has taken what its log has.
fn one_up(home: &Home) -> (Running, FakeHustdb) {
    let fake_hustdb = fake_hustdb();
    let name = fake_hustdb.name();
    home.log(&name).put("k", 1, "v");
    let server = home.start();
    server.wait_settled(&name, 1);
    (server, fake_hustdb)
}

/// The same, with its row on the page, opened.
fn open_one_up(browser: &mut Browser, home: &Home) -> (Running, FakeHustdb) {
    let (server, fake_hustdb) = one_up(home);
    open(browser, &server, 1);
    open_row(browser, &fake_hustdb.name());
    (server, fake_hustdb)
}

/// A backend that is up, and one that is down; each has a record in its log.
fn up_and_down(home: &Home) -> [FakeHustdb; 2] {
    let both = [fake_hustdb(), fake_hustdb()];
    both[1].kill().unwrap();
    for backend in &both {
        home.log(&backend.name())
            .put("secret-key", 1, "secret-value");
    }
    both
}

/// Starts a server for them, and opens its page once the first one has so many lines settled.
fn open_both(
    browser: &mut Browser,
    home: &Home,
    [up, down]: [&FakeHustdb; 2],
    settled: u64,
) -> Running {
    let server = home.start();
    server.wait_settled(&up.name(), settled);
    server.wait_for_state(&down.name(), "down");
    open(browser, &server, 2);
    wait_text(browser, &down.name(), "state", "down");
    server
}

/// Opens the rows of both backends that there are.
fn open_both_rows(browser: &mut Browser, backends: [&FakeHustdb; 2]) {
    for backend in backends {
        browser.value(&format!("{}.click()", part(&backend.name(), "name")));
    }
    browser.wait_for("document.querySelectorAll('#list > .more').length === 2");
}

/// What the server reports of a backend.
fn reported(server: &Running, name: &str) -> Json {
    let report: Json =
        serde_json::from_str(&ask(address(server), "GET", "/v1/status", LOGIN).body).unwrap();
    let backends = report["backends"].as_array().unwrap();
    backends
        .iter()
        .find(|backend| backend["name"] == name)
        .unwrap()
        .clone()
}

/// An expression for a part of a backend's row.
pub(crate) fn part(name: &str, part: &str) -> String {
    format!("document.querySelector('.row[data-backend=\"{name}\"] [data-of=\"{part}\"]')")
}

/// Waits until a part of a backend's row says this.
#[track_caller]
fn wait_text(browser: &mut Browser, name: &str, of: &str, text: &str) {
    browser.wait_for(&format!("{}.textContent === '{text}'", part(name, of)));
}

/// An expression for what an opened row tells under this name.
fn fact(name: &str, what: &str) -> String {
    format!(
        "[...document.querySelectorAll('.more[data-backend=\"{name}\"] dl div')].find((pair) => \
         pair.firstChild.textContent === '{what}').lastChild.textContent"
    )
}

/// An expression for the rows that are shown, in their order.
const SHOWN: &str = "[...document.querySelectorAll('#list > .row:not([hidden])')].map((row) => \
                     row.dataset.backend)";

/// Those rows' backends.
fn shown(browser: &mut Browser) -> Vec<String> {
    serde_json::from_value(browser.value(SHOWN)).unwrap()
}

/// Fails where the page has complained, or asked anyone but its server.
#[track_caller]
fn assert_clean(browser: &mut Browser, addr: SocketAddr) {
    browser.wait_for("performance.getEntriesByType('resource').length > 2");
    for event in [
        "Runtime.exceptionThrown",
        "Runtime.consoleAPICalled",
        "Log.entryAdded",
    ] {
        let said = browser.events(event);
        assert!(said.is_empty(), "{event}: {said:?}");
    }
    let asked = browser.events("Network.requestWillBeSent");
    assert!(asked.len() > 2, "it polls");
    for request in asked {
        let url = request["request"]["url"].as_str().unwrap();
        let ours = url.starts_with(&format!("http://{addr}/")) || url.starts_with("data:");
        assert!(ours, "the page has asked for {url}");
    }
}

#[test]
fn a_row_shows_what_the_server_reports_of_its_backend() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new();
    let [up, down] = up_and_down(&home);
    home.log(&up.name()).raw("faulty\n");
    let server = open_both(&mut browser, &home, [&up, &down], 2);
    for name in [up.name(), down.name()] {
        // The page is what was reported a moment before.
        let mut report = Json::Null;
        eventually("the page has come up with the server", || {
            report = reported(&server, &name);
            let mut parts = [
                ("backlog", "backlog_bytes"),
                ("settled", "settled"),
                ("rejected", "rejected"),
                ("drain", "drain_seconds"),
            ]
            .into_iter();
            parts.all(|(shown, of)| {
                let value = browser.value(&format!("{}.dataset.value", part(&name, shown)));
                let reported = report[of].to_string();
                value == reported
            })
        });
        let shown = browser.value(&format!("{}.textContent", part(&name, "state")));
        assert_eq!(shown, report["state"], "the state of {name}");
        let shown = browser.value(&format!("{}.textContent", part(&name, "why")));
        let rejected = match report["rejected_lines"].as_u64() {
            Some(1) => "rejected lines that are left: 1",
            _ => "",
        };
        let expected = format!("{}{rejected}", report["why"].as_str().unwrap());
        assert_eq!(shown, expected, "why {name} is so");
    }
    for (backend, of, is) in [
        (&up, "backlog", "0 B"),
        (&up, "drain", "done"),
        (&up, "rejected", "1 left"),
        (&down, "drain", "unknown"),
    ] {
        wait_text(&mut browser, &backend.name(), of, is);
    }
    let spark = part(&up.name(), "spark");
    let label = browser.value(&format!("{spark}.getAttribute('aria-label')"));
    assert!(label.as_str().unwrap().contains("Rate of"), "{label}");
    assert_clean(&mut browser, address(&server));
}

#[test]
fn above_the_rows_is_how_many_are_not_up_and_what_server_that_is() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new();
    let [up, down] = up_and_down(&home);
    let server = open_both(&mut browser, &home, [&up, &down], 1);
    browser.wait_for(
        "document.getElementById('headline').textContent === '1 of 2 backends is not up'",
    );
    browser.wait_for("document.getElementById('total-settled').dataset.value === '1'");
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let host = host.trim();
    assert_eq!(
        browser.value("document.title"),
        format!("(1 not up) hustdbsync {host}")
    );
    let facts = browser.value("document.getElementById('facts').textContent");
    let facts = facts.as_str().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        facts.starts_with(&format!("{version} on {host}, up ")),
        "{facts}"
    );
    let engine = facts.split(", engine ").nth(1);
    assert!(matches!(engine, Some("mio" | "io_uring")), "{facts}");
    assert_clean(&mut browser, address(&server));
}

#[test]
fn keys_and_values_are_nobodys_to_see_here() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new();
    let [up, down] = up_and_down(&home);
    home.log(&up.name()).raw("secret-line\n");
    let server = open_both(&mut browser, &home, [&up, &down], 2);
    wait_text(&mut browser, &up.name(), "rejected", "1 left");
    let shown = browser.value("document.documentElement.outerHTML");
    let status = ask(address(&server), "GET", "/v1/status", LOGIN).body;
    for told in [
        shown.as_str().unwrap(),
        &status,
        &scrape(address(&server), "*/*"),
    ] {
        assert!(!told.contains("secret-"), "{told}");
    }
}

#[test]
fn a_backend_that_is_up_and_fails_every_record_shows_why() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new().with("sync.attempts_max", 1_000_000);
    let fake_hustdb = fake_hustdb();
    let name = fake_hustdb.name();
    let fails = Rule::new(On::Mutations, Act::status(500));
    fake_hustdb
        .set_script(Script::default().rule(fails))
        .unwrap();
    home.log(&name).put("k", 1, "v");
    let server = home.start();
    open(&mut browser, &server, 1);
    let (state, why) = (part(&name, "state"), part(&name, "why"));
    browser.wait_for(&format!(
        "{state}.textContent === 'up' && {why}.textContent.includes('500')"
    ));
    let flag = browser.value(&format!("{}.textContent", part(&name, "flag")));
    assert_eq!(flag, "failing");
    assert_clean(&mut browser, address(&server));
}

#[test]
fn a_log_that_has_left_its_folder_undelivered_is_trouble_until_it_is_back() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new().with("sync.release_interval", "100ms");
    let (server, fake_hustdb) = one_up(&home);
    let name = fake_hustdb.name();
    fake_hustdb.kill().unwrap();
    server.wait_for_state(&name, "down");
    // Longer than the first one, which counts as unread, too, until the flush is over.
    let log = home.log(&name);
    let bytes = || fs::metadata(log.path()).unwrap().len();
    let before = bytes();
    log.put("k", 2, "a longer value");
    let unread = bytes() - before;
    eventually("its second line is seen", || {
        reported(&server, &name)["backlog_bytes"] == unread
    });
    let logs = home.path("logs").join(&name);
    fs::rename(&logs, home.path("away")).unwrap();
    open(&mut browser, &server, 1);
    let why = part(&name, "why");
    wait_text(&mut browser, &name, "flag", "logs gone");
    let below = browser.value("document.getElementById('subline').textContent");
    assert!(
        below
            .as_str()
            .unwrap()
            .ends_with(" Besides: 1 backend with logs that have left their folder."),
        "{below}"
    );
    let text = browser.value(&format!("{why}.textContent"));
    let text = text.as_str().unwrap();
    assert!(
        text.starts_with("a log has left its folder (")
            && text.contains(" B not delivered: put it back; its log folder is gone"),
        "{text}"
    );
    fs::rename(home.path("away"), &logs).unwrap();
    wait_text(&mut browser, &name, "flag", "");
    browser.wait_for(&format!("!{why}.textContent.includes('gone')"));
    fake_hustdb.restart().unwrap();
    server.wait_settled(&name, 2);
}

#[test]
fn what_is_to_be_compared_or_differs_is_not_in_sync() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new().with("sync.reconcile", "report");
    let fake_hustdb = fake_hustdb();
    let name = fake_hustdb.name();
    let log = home.log(&name);
    log.put("k", 1, "v");
    let difference = Difference {
        unix: 1_795_696_200,
        backend: name.clone(),
        peer: "10.0.0.8:8085".to_owned(),
        kind: "key".to_owned(),
        table: Vec::new(),
        key: b"other".to_vec(),
        member: None,
        on_backend: None,
        on_peer: None,
        had_ttl: false,
        why: "report_only".to_owned(),
        detail: "sync.reconcile is report".to_owned(),
    };
    let mut line = Vec::new();
    difference.encode(&mut line);
    let differences = home.state(&name, FILE_NAME);
    fs::create_dir_all(differences.parent().unwrap()).unwrap();
    fs::write(differences, line).unwrap();
    let server = home.start();
    server.wait_settled(&name, 1);
    open(&mut browser, &server, 1);
    let headline = "document.getElementById('headline').textContent";
    browser.wait_for(&format!("{headline} === 'Comparing the keys of 1 backend'"));
    wait_text(&mut browser, &name, "drain", "comparing");
    wait_text(&mut browser, &name, "flag", "");
    assert_eq!(reported(&server, &name)["reconcile"]["mode"], "report");
    // As if its keys were compared, and it were deleted.
    fs::remove_file(log.path()).unwrap();
    browser.wait_for(&format!(
        "{headline} === '1 key differs between the masters'"
    ));
    wait_text(&mut browser, &name, "drain", "1 key differs");
    wait_text(&mut browser, &name, "flag", "keys differ");
    open_row(&mut browser, &name);
    let told = fact(&name, "Keys that differ");
    browser.wait_for(&format!("{told}.startsWith('1 left')"));
}

/// With the probes' intervals as shipped: a backend that is down is tried twice a second while
/// something waits for it.
fn with_usual_probes() -> Home {
    Home::new()
        .with("sync.checkdb_interval", "5s")
        .with("sync.probe_interval_down", "500ms")
}

#[test]
fn a_backends_death_and_its_return_show_within_two_seconds() {
    let Some(mut browser) = browser() else { return };
    let home = with_usual_probes();
    let (server, fake_hustdb) = one_up(&home);
    let name = fake_hustdb.name();
    open(&mut browser, &server, 1);
    let is = |state: &str| format!("{}.textContent === '{state}'", part(&name, "state"));
    browser.wait_for(&is("up"));
    // Other programs on this machine can only make it slower: one round of many is enough.
    let mut rounds = Vec::new();
    for version in 2..=13 {
        fake_hustdb.kill().unwrap();
        let death = browser.wait_for(&is("down"));
        home.log(&name).put("k", version, "v");
        browser.wait_for(&format!(
            "Number({}.dataset.value) > 0",
            part(&name, "backlog")
        ));
        assert_ne!(
            browser.value(&format!("{}.textContent", part(&name, "why"))),
            ""
        );
        fake_hustdb.restart().unwrap();
        let back = browser.wait_for(&is("up"));
        rounds.push((death, back));
        browser.wait_for(&format!(
            "{}.dataset.value === '{version}'",
            part(&name, "settled")
        ));
        if death <= SOON && back <= SOON {
            return assert_clean(&mut browser, address(&server));
        }
    }
    panic!("not within {SOON:?}: (death, return) {rounds:?}");
}

#[test]
fn a_server_that_cannot_be_reached_is_said_and_so_is_its_return() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new().with_port();
    let (server, _fake_hustdb) = one_up(&home);
    open(&mut browser, &server, 1);
    browser.wait_for("document.getElementById('live').dataset.is === 'live'");
    assert_eq!(
        browser.value("document.getElementById('alarm').hidden"),
        true
    );
    server.stop();
    browser.wait_for(
        "!document.getElementById('alarm').hidden && document.body.classList.contains('stale')",
    );
    let said = browser.value("document.getElementById('alarm').innerText");
    assert!(
        said.as_str()
            .unwrap()
            .contains("The server cannot be reached since"),
        "{said}"
    );
    assert_eq!(
        browser.value("document.getElementById('age').textContent"),
        "not reached"
    );
    let server = home.start();
    browser.wait_for(
        "document.getElementById('alarm').hidden && !document.body.classList.contains('stale')",
    );
    browser.wait_for("document.getElementById('live').dataset.is === 'live'");
    drop(server);
}

#[test]
fn who_has_no_password_sees_nothing() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new();
    let server = home.start();
    let url = format!("http://{}/", address(&server));
    browser.call("Page.navigate", json!({ "url": url }));
    eventually("the answer is in", || {
        let answers = browser.events("Network.responseReceived");
        answers
            .iter()
            .any(|answer| answer["response"]["status"] == 401)
    });
    assert_eq!(browser.value("document.getElementById('list')"), Json::Null);
    let head = ask(address(&server), "GET", "/", LOGIN).head;
    for field in [
        "Content-Security-Policy: default-src 'none'; script-src 'sha256-",
        "frame-ancestors 'none'",
        "X-Content-Type-Options: nosniff",
        "Referrer-Policy: no-referrer",
        "Content-Type: text/html; charset=utf-8",
    ] {
        assert!(head.contains(field), "{field} is not in {head}");
    }
}

/// Goes on with the tab key; gives what has the focus then, which must show that it has.
#[track_caller]
fn tab(browser: &mut Browser) -> Json {
    browser.press("Tab", 9, None);
    let outline = browser.value("getComputedStyle(document.activeElement).outlineStyle");
    let focused = browser.value("document.activeElement.id || document.activeElement.textContent");
    assert_ne!(
        outline, "none",
        "{focused} does not show that it has the focus"
    );
    focused
}

#[test]
fn the_tab_key_comes_by_everything_that_can_be_used_in_the_order_of_reading() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new();
    let [up, down] = up_and_down(&home);
    let _server = open_both(&mut browser, &home, [&up, &down], 1);
    let order: Vec<Json> = (0..17).map(|_| tab(&mut browser)).collect();
    assert_eq!(
        order,
        [
            "Skip to the backends",
            "pause",
            "show",
            "find",
            "State",
            "Backend",
            "Backlog",
            "Rate",
            "Lag",
            "ETA",
            "Completed",
            "Rejected",
            "In state",
            // Trouble first.
            &down.name(),
            &up.name(),
            "The guide",
            "Troubleshooting",
        ]
    );
}

#[test]
fn backends_are_chosen_and_sought_without_a_mouse() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new();
    let [up, down] = up_and_down(&home);
    let _server = open_both(&mut browser, &home, [&up, &down], 1);
    browser.value("document.querySelector('.skip').focus()");
    browser.press("Enter", 13, Some("\r"));
    browser.wait_for("document.activeElement.id === 'backends'");
    assert_eq!(tab(&mut browser), "show");
    browser.press("ArrowDown", 40, None);
    browser.wait_for("document.getElementById('show').value === 'trouble'");
    browser.wait_for(&format!("{SHOWN}.join() === '{}'", down.name()));
    browser.press("ArrowUp", 38, None);
    browser.wait_for(&format!("{SHOWN}.length === 2"));
    assert_eq!(tab(&mut browser), "find");
    browser.call("Input.insertText", json!({ "text": up.name() }));
    browser.wait_for(&format!("{SHOWN}.join() === '{}'", up.name()));
    browser.value("document.getElementById('find').select()");
    browser.press("Delete", 46, None);
    browser.wait_for(&format!("{SHOWN}.length === 2"));
}

#[test]
fn arrows_lead_from_backend_to_backend_and_enter_and_escape_into_one_and_out_of_it() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new();
    let [up, down] = up_and_down(&home);
    let _server = open_both(&mut browser, &home, [&up, &down], 1);
    browser.value(&format!("{}.focus()", part(&down.name(), "name")));
    let focused = |browser: &mut Browser| browser.value("document.activeElement.textContent");
    browser.press("ArrowDown", 40, None);
    assert_eq!(focused(&mut browser), up.name());
    browser.press("ArrowUp", 38, None);
    assert_eq!(focused(&mut browser), down.name());
    let opened = "document.querySelectorAll('#list > .more').length";
    browser.press("Enter", 13, Some("\r"));
    browser.wait_for(&format!("{opened} === 1"));
    assert_eq!(tab(&mut browser), "What to do: the guide");
    browser.press("Escape", 27, None);
    browser.wait_for(&format!("{opened} === 0"));
    assert_eq!(focused(&mut browser), down.name());
}

#[test]
fn refreshing_is_stopped_and_goes_on_without_a_mouse() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new();
    let server = home.start();
    open(&mut browser, &server, 0);
    browser.value("document.getElementById('pause').focus()");
    browser.press("Enter", 13, Some("\r"));
    browser.wait_for("document.getElementById('pause').getAttribute('aria-pressed') === 'true'");
    let text = |browser: &mut Browser, id: &str| {
        browser.value(&format!("document.getElementById('{id}').textContent"))
    };
    assert_eq!(text(&mut browser, "age"), "refreshing stopped");
    assert_eq!(text(&mut browser, "pause"), "Go on refreshing");
    browser.press("Enter", 13, Some("\r"));
    browser.wait_for("document.getElementById('live').dataset.is === 'live'");
    assert_eq!(text(&mut browser, "pause"), "Stop refreshing");
}

/// One first heading that speaks when it changes, an alarm, named controls, a named progress.
#[test]
fn who_hears_the_page_hears_what_everything_is() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new();
    let [up, down] = up_and_down(&home);
    let _server = open_both(&mut browser, &home, [&up, &down], 1);
    for found in [
        "document.querySelectorAll('h1').length === 1",
        "document.querySelector('h1').getAttribute('aria-live') === 'polite'",
        "document.querySelector('[role=alert]').contains(document.getElementById('alarm'))",
        "document.documentElement.lang === 'en'",
        "[...document.querySelectorAll('input, select')].every((input) => \
         input.labels.length === 1)",
        "document.querySelectorAll('th[aria-sort]').length === 1",
        "[...document.querySelectorAll('#list > .row')].every((row) => \
         row.querySelector('.open').getAttribute('aria-expanded') === 'false')",
        "[...document.querySelectorAll('svg')].every((picture) => \
         picture.getAttribute('aria-hidden') || picture.getAttribute('aria-label') || \
         picture.closest('[hidden]'))",
    ] {
        assert_eq!(browser.value(found), true, "{found}");
    }
}

/// Every text that is seen and does not stand out enough from what is behind it (WCAG 2.2, level
/// AA), as the browser paints both.
const FAINT: &str = r#"(() => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    const paint = (colors) => {
        pen.clearRect(0, 0, 1, 1);
        for (const color of colors) { pen.fillStyle = color; pen.fillRect(0, 0, 1, 1); }
        return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = (rgb) => {
        const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        const [r, g, b] = rgb.map((v) => linear(v / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const faint = [];
    let seen = 0;
    for (const node of document.querySelectorAll("body *")) {
        const texts = [...node.childNodes].filter((child) => child.nodeType === 3);
        const text = texts.map((child) => child.data.trim()).join("");
        const style = getComputedStyle(node), box = node.getBoundingClientRect();
        if (!text || !node.checkVisibility() || box.width < 2) continue;
        if (["SCRIPT", "STYLE", "NOSCRIPT"].includes(node.tagName)) continue;
        const behind = [];
        for (let at = node; at; at = at.parentElement) {
            behind.unshift(getComputedStyle(at).backgroundColor);
        }
        behind.unshift("white");
        const [a, b] = [light(paint(behind)), light(paint([...behind, style.color]))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        seen += 1;
        if (ratio < 4.5) faint.push(text + ": " + ratio.toFixed(2));
    }
    return seen > 20 ? faint : ["only " + seen + " texts are seen"];
})()"#;

#[test]
fn the_page_is_readable_in_light_and_dark_and_on_a_phone() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new();
    let [up, down] = up_and_down(&home);
    home.log(&up.name()).raw("faulty\n");
    let _server = open_both(&mut browser, &home, [&up, &down], 2);
    open_both_rows(&mut browser, [&up, &down]);
    for scheme in ["light", "dark"] {
        for width in [1440, 1180, 768, 390, 320] {
            browser.look(width, 844, scheme);
            browser.wait_for(&format!("innerWidth === {width}"));
            let faint = browser.value(FAINT);
            assert_eq!(faint, json!([]), "{scheme}, {width} wide");
            let wide = browser.value(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth",
            );
            assert_eq!(wide, 0, "{scheme}: the page is wider than {width}");
        }
    }
}

/// Opens the page of forty backends: one is well, one has a rejected line, one a state that cannot
/// be read, and where the others should be nobody listens.
fn open_forty(browser: &mut Browser, home: &Home) -> ([FakeHustdb; 3], Running) {
    let three = [fake_hustdb(), fake_hustdb(), fake_hustdb()];
    let [up, rejects, faulty] = three.each_ref().map(FakeHustdb::name);
    for name in [&up, &rejects, &faulty] {
        home.log(name).put("k", 1, "v");
    }
    home.log(&rejects).raw("faulty\n");
    // A folder in the checkpoint's place cannot be read, not even by root.
    fs::create_dir_all(home.state(&faulty, "checkpoint")).unwrap();
    for port in 1..=37 {
        home.log(&format!("127.0.0.2:{port}")).put("k", 1, "v");
    }
    let server = home.start();
    server.wait_settled(&up, 1);
    server.wait_settled(&rejects, 2);
    eventually("its state is faulty", || {
        reported(&server, &faulty)["state_faulty"] == 1
    });
    server.wait_for_state("127.0.0.2:37", "down");
    open(browser, &server, 40);
    wait_text(browser, "127.0.0.2:37", "state", "down");
    wait_text(browser, &faulty, "flag", "state faulty");
    (three, server)
}

#[test]
fn forty_backends_stand_on_one_screen_with_trouble_first() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new();
    let ([up, rejects, faulty], server) = open_forty(&mut browser, &home);
    browser.look(1440, 900, "light");
    let bottom = "document.querySelector('#list').getBoundingClientRect().bottom";
    let bottom = browser.value(bottom).as_f64().unwrap();
    assert!(bottom <= 900.0, "the last row ends at {bottom}");

    let word = |browser: &mut Browser, name: &str| {
        browser.value(&format!(
            "{0}.textContent + {1}.textContent + ' ' + {0}.closest('tr').dataset.tone",
            part(name, "state"),
            part(name, "flag")
        ))
    };
    let is = word(&mut browser, &faulty.name());
    assert!(is.as_str().unwrap().ends_with("state faulty bad"), "{is}");
    assert_eq!(word(&mut browser, "127.0.0.2:1"), "down bad");
    assert_eq!(word(&mut browser, &up.name()), "up good");
    let order = shown(&mut browser);
    assert_eq!(order[38..], [rejects.name(), up.name()], "{order:?}");
    assert_clean(&mut browser, address(&server));
}

#[test]
fn the_head_of_a_column_puts_the_backends_in_its_order() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new();
    let ([_up, rejects, _faulty], server) = open_forty(&mut browser, &home);
    let mut sort = |by: &str| {
        browser.value(&format!(
            "document.querySelector('[data-sort={by}]').click()"
        ));
        let sorted = browser.value(
            "[...document.querySelectorAll('th[aria-sort]')].map((head) => head.innerText + \
             head.getAttribute('aria-sort')).join()",
        );
        (shown(&mut browser), sorted)
    };
    let (order, sorted) = sort("name");
    assert_eq!(sorted, "Backendascending");
    // By number, not by digit.
    let twos = order.iter().filter(|name| name.starts_with("127.0.0.2:"));
    let expected: Vec<String> = (1..=37).map(|port| format!("127.0.0.2:{port}")).collect();
    assert!(twos.eq(&expected), "{order:?}");
    let (order, sorted) = sort("name");
    assert_eq!(sorted, "Backenddescending");
    assert_eq!(order[0], "127.0.0.2:37");
    let (order, sorted) = sort("rejected");
    assert_eq!(sorted, "Rejecteddescending");
    assert_eq!(order[0], rejects.name());
    assert_clean(&mut browser, address(&server));
}

#[test]
fn those_are_shown_that_are_chosen() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new();
    let (_three, server) = open_forty(&mut browser, &home);
    for (filter, expected) in [
        ("trouble", 39..=39),
        ("rejected", 1..=1),
        ("paused", 0..=0),
        // Whether the record of the faulty one is settled before its fault is known, or then, is a
        // matter of luck.
        ("backlog", 37..=38),
        ("all", 40..=40),
    ] {
        browser.value(&format!(
            "document.getElementById('show').value = '{filter}'; \
             document.getElementById('show').dispatchEvent(new Event('change'))"
        ));
        let count = shown(&mut browser).len();
        assert!(expected.contains(&count), "{filter}: {count}");
        assert_eq!(
            browser.value("document.getElementById('empty').hidden"),
            count > 0
        );
    }
    assert_clean(&mut browser, address(&server));
}

#[test]
fn an_opened_row_tells_what_is_known_of_its_backend() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new();
    let [up, down] = up_and_down(&home);
    home.log(&up.name()).raw("faulty\n");
    let server = open_both(&mut browser, &home, [&up, &down], 2);
    let rate = format!("/v1/control/rate?backend={}&rate=2000", up.name());
    assert_eq!(ask(address(&server), "POST", &rate, LOGIN).status, 200);
    open_both_rows(&mut browser, [&up, &down]);
    let (latency, messages) = ("Latency, half of the answers", "Its messages");
    let named = format!("HUSTDBSYNC_BACKEND={}$", up.name());
    let refused = r"^no connection: Connection refused .*, [0-9.]+ ms, \d+ s ago$";
    for (backend, what, is) in [
        (&up, "Last probe", r"^good, [0-9.]+ ms, \d+ s ago$"),
        (&up, "Rate limit", r"^2,000\/s$"),
        (&up, "Left up in the last hour", "^0 times$"),
        (&up, latency, r"^[0-9.]+ ms$"),
        (&up, "Rejected lines", "^1 left, 1 ever$"),
        (&up, "Completed", "^2 of 2 read$"),
        (&up, "Logs", "^1 file$"),
        (&up, messages, &named),
        (&down, "Last probe", refused),
        (&down, "Rate limit", "^none$"),
        (&down, "In this state for", r"^\d+ s, since "),
        (&down, latency, "^none$"),
        (&down, "Down in this run", "^[1-9]"),
    ] {
        let told = fact(&backend.name(), what);
        browser.wait_for(&format!("{told}.match(/{is}/) !== null"));
    }
    for (name, completed) in [(up.name(), "all"), (down.name(), "0 B")] {
        let row = format!(
            "[...document.querySelectorAll('.more[data-backend=\"{name}\"] [data-of=\"logs\"] \
             td')].map((cell) => cell.textContent)"
        );
        browser.wait_for(&format!("{row}.length === 4"));
        let cells = browser.value(&row);
        assert_eq!(
            (&cells[0], &cells[2]),
            (&"2026-11-22-16-40.log".into(), &completed.into()),
            "{cells}"
        );
    }
    assert_clean(&mut browser, address(&server));
}

#[test]
fn the_row_of_one_that_is_down_leads_to_what_the_guide_says_of_that() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new();
    let [up, down] = up_and_down(&home);
    let _server = open_both(&mut browser, &home, [&up, &down], 1);
    open_row(&mut browser, &down.name());
    let link = format!(
        "document.querySelector('.more[data-backend=\"{}\"] a')",
        down.name()
    );
    let leads = browser.value(&format!("{link}.getAttribute('href')"));
    assert_eq!(leads, "/guide#hustdbsyncbackenddown");
    browser.value(&format!("{link}.click()"));
    browser.wait_for("document.querySelector(':target')?.textContent === 'HustdbsyncBackendDown'");
    for event in ["Runtime.exceptionThrown", "Log.entryAdded"] {
        assert_eq!(browser.events(event), Vec::<Json>::new(), "{event}");
    }
}

#[test]
fn a_page_just_opened_has_the_last_hour() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new();
    let down = fake_hustdb();
    down.kill().unwrap();
    let name = down.name();
    home.log(&name).put("k", 1, "v");
    let server = home.start();
    server.wait_for_state(&name, "down");
    open(&mut browser, &server, 1);
    browser.value(&format!("{}.click()", part(&name, "name")));
    // What the server keeps of an hour, in place of what it has by now: the page asks for it as it
    // does in earnest.
    let hour = "const real = fetch; window.fetch = async (url, how) => url.includes('/v1/history') \
                ? new Response(JSON.stringify({ now_unix: 1, interval_seconds: 30, times_unix: \
                Array.from({ length: 120 }, (_, i) => i), backends: [{ name: 'NAME', \
                rate_per_second: Array(120).fill(0), lag_seconds: Array(120).fill(0), \
                backlog_bytes: Array.from({ length: 120 }, (_, i) => i === 60 ? 4096 : 0) }] })) : \
                real(url, how)";
    let points = format!(
        "document.querySelector('.more[data-backend=\"{name}\"] [data-of=backlog-line] \
         .path').getAttribute('d').split('L').length"
    );
    // The first sample is taken when the server starts, and this instant is the last point.
    browser.wait_for(&format!("{points} === 2"));
    let script = json!({ "source": hour.replace("NAME", &name) });
    browser.call("Page.addScriptToEvaluateOnNewDocument", script);
    open(&mut browser, &server, 1);
    browser.value(&format!("{}.click()", part(&name, "name")));
    browser.wait_for(&format!("{points} === 120"));
    browser.wait_for(
        "document.querySelector('[data-of=backlog-most]').textContent === 'at most 4.0 KiB'",
    );
    let history = ask(address(&server), "GET", "/v1/history", LOGIN).body;
    let history: Json = serde_json::from_str(&history).unwrap();
    assert_eq!(history["interval_seconds"], 30);
    assert_eq!(history["backends"][0]["name"], name);
}

/// An expression for a part of an opened row.
fn more(name: &str, part: &str) -> String {
    format!("document.querySelector('.more[data-backend=\"{name}\"] [data-of=\"{part}\"]')")
}

/// Opens a backend's row, and waits until it can be acted on.
pub(crate) fn open_row(browser: &mut Browser, name: &str) {
    browser.value(&format!("{}.click()", part(name, "name")));
    browser.wait_for(&format!("{}?.hidden === false", more(name, "actions")));
}

/// Clicks one of a row's buttons, and waits until this is what the server says.
#[track_caller]
fn click(browser: &mut Browser, name: &str, button: &str, said: &str) {
    let node = more(name, button);
    browser.wait_for(&format!("{node}.checkVisibility() && !{node}.disabled"));
    // What was said of an earlier click is no answer to this one.
    let earlier = more(name, "said");
    browser.value(&format!("{earlier}.textContent = ''; {node}.click()"));
    wait_said(browser, name, said);
}

#[track_caller]
fn wait_said(browser: &mut Browser, name: &str, said: &str) {
    browser.wait_for(&format!(
        "{}.textContent.includes({said:?})",
        more(name, "said")
    ));
}

const REALLY: &str = "document.getElementById('really')";
const REALLY_DO: &str = "document.getElementById('really-do').click()";

/// Waits until the page asks whether this is really wanted.
#[track_caller]
fn wait_asked(browser: &mut Browser, wanted: &str) {
    browser.wait_for(&format!("{REALLY}.open"));
    let asked = browser.value("document.getElementById('really-what').textContent");
    assert_eq!(asked, wanted);
    // Enter alone does nothing that cannot be undone.
    assert_eq!(browser.value("document.activeElement.id"), "really-not");
}

/// Clicks one of a row's buttons that do nothing before they have asked.
#[track_caller]
fn click_and_be_asked(browser: &mut Browser, name: &str, button: &str, wanted: &str) {
    let node = more(name, button);
    browser.wait_for(&format!("{node}.checkVisibility()"));
    browser.value(&format!("{node}.click()"));
    wait_asked(browser, wanted);
}

#[test]
fn a_backend_is_paused_resumed_probed_and_limited_from_the_page() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new();
    let (server, fake_hustdb) = open_one_up(&mut browser, &home);
    let name = fake_hustdb.name();

    click(&mut browser, &name, "pause", ": paused");
    server.wait_for_state(&name, "paused");
    wait_text(&mut browser, &name, "state", "paused");
    let tone = format!("{}.closest('tr').dataset.tone", part(&name, "state"));
    assert_eq!(browser.value(&tone), "warn");
    let pause = format!("{}.checkVisibility()", more(&name, "pause"));
    assert_eq!(browser.value(&pause), false, "it is paused already");
    // What the server refuses is said.
    click(&mut browser, &name, "probe", "it is paused, and not probed");
    let is = format!("{}.dataset.is", more(&name, "said"));
    assert_eq!(browser.value(&is), "refused");
    click(&mut browser, &name, "resume", "resumed; it is probed now");
    assert_eq!(browser.value(&is), "done");
    server.wait_for_state(&name, "up");
    click(&mut browser, &name, "probe", ": it is probed now");

    browser.value(&format!("{}.value = '2500'", more(&name, "limit")));
    click(&mut browser, &name, "rate", "at most 2500 records/s now");
    assert_eq!(reported(&server, &name)["rate_max"], 2500);
    browser.wait_for(&format!("{} === '2,500/s'", fact(&name, "Rate limit")));
    browser.value(&format!("{}.value = '-1'", more(&name, "limit")));
    click(&mut browser, &name, "rate", "rate is records a second");
    click(&mut browser, &name, "default", "its rate has no bound now");
    assert_eq!(reported(&server, &name)["rate_max"], 0);

    // Without a mouse.
    browser.value(&format!(
        "{0}.value = ''; {0}.focus()",
        more(&name, "limit")
    ));
    browser.call("Input.insertText", json!({ "text": "70" }));
    browser.press("Enter", 13, Some("\r"));
    wait_said(&mut browser, &name, "at most 70 records/s now");
}

#[test]
fn rejected_lines_are_replayed_or_dropped_once_that_is_really_wanted() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new();
    let fake_hustdb = fake_hustdb();
    let name = fake_hustdb.name();
    home.log(&name)
        .put("k", 1, "v")
        .raw("faulty\n")
        .raw("so too\n");
    let server = home.start();
    server.wait_settled(&name, 3);
    open(&mut browser, &server, 1);
    open_row(&mut browser, &name);
    let drops = format!("Drop 2 rejected lines of {name}?");
    for (key, code, text) in [("Enter", 13, Some("\r")), ("Escape", 27, None)] {
        click_and_be_asked(&mut browser, &name, "drop", &drops);
        browser.press(key, code, text);
        browser.wait_for(&format!("!{REALLY}.open"));
    }
    assert_eq!(reported(&server, &name)["rejected_lines"], 2);
    assert_eq!(home.rejected(&name).len(), 2);

    let replays = format!("Replay 2 rejected lines of {name}?");
    click_and_be_asked(&mut browser, &name, "replay", &replays);
    browser.value(REALLY_DO);
    wait_said(&mut browser, &name, "2 lines done, 0 left");
    // They fail again.
    eventually("they are rejected again", || {
        reported(&server, &name)["rejected_lines"] == 2
    });
    click_and_be_asked(&mut browser, &name, "drop", &drops);
    browser.value(REALLY_DO);
    browser.wait_for(&format!("!{}.checkVisibility()", more(&name, "drop")));
    assert_eq!(reported(&server, &name)["rejected_lines"], 0);
    assert_eq!(home.rejected(&name), Vec::<Json>::new());
}

#[test]
fn a_backend_of_which_something_is_left_is_forgotten_once_that_is_wanted_twice() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new();
    let (server, fake_hustdb) = open_one_up(&mut browser, &home);
    let name = fake_hustdb.name();
    let forgets = format!("Forget {name}?");
    click_and_be_asked(&mut browser, &name, "forget", &forgets);
    browser.value(REALLY_DO);
    wait_said(&mut browser, &name, "its folder is there");
    fake_hustdb.kill().unwrap();
    server.wait_for_state(&name, "down");
    home.log(&name).put("k", 2, "v");
    eventually("it is seen", || {
        reported(&server, &name)["backlog_bytes"].as_u64() > Some(0)
    });
    fs::rename(home.path("logs").join(&name), home.path("away")).unwrap();
    // Until the server has seen that the folder is gone, it says that it is there.
    let said = format!("{}.textContent", more(&name, "said"));
    eventually("something is left", || {
        click_and_be_asked(&mut browser, &name, "forget", &forgets);
        browser.value(&format!("{said} = ''"));
        browser.value(REALLY_DO);
        browser.wait_for(&format!("{REALLY}.open || {said} !== ''"));
        browser.value(&format!("{REALLY}.open")) == true
    });
    let throws = format!("Throw away what is left of {name}?");
    wait_asked(&mut browser, &throws);
    browser.value(REALLY_DO);
    browser.wait_for("document.querySelectorAll('#list > *').length === 0");
    assert_eq!(server.backend(&name), None);
}

#[test]
fn a_viewers_page_has_no_buttons_and_a_page_from_elsewhere_does_nothing() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new()
        .with("network.viewer_user", "viewer")
        .with("network.viewer_password", "looks");
    let (server, fake_hustdb) = one_up(&home);
    let name = fake_hustdb.name();
    browser.be("viewer", "looks");
    open(&mut browser, &server, 1);
    browser.value(&format!("{}.click()", part(&name, "name")));
    browser.wait_for(&format!("{} !== null", more(&name, "actions")));
    browser.wait_for("!document.getElementById('looks').hidden");
    let is_hidden = format!("{}.hidden", more(&name, "actions"));
    assert_eq!(browser.value(&is_hidden), true);
    let pause = format!(
        "http://{}/v1/control/pause?backend={name}",
        address(&server)
    );
    let post = |how: &str| format!("fetch('{pause}', {{ method: 'POST'{how} }})");
    let status = |of: &str| format!("{of}.then((answer) => answer.status)");
    assert_eq!(browser.value(&status(&post(""))), 403);

    // Another browser, of who may control.
    drop(browser);
    let mut browser = super::browser::browser().unwrap();
    open(&mut browser, &server, 1);
    // Our own page without its token, and one from elsewhere that leans on the password that the
    // browser knows.
    assert_eq!(browser.value(&status(&post(""))), 403);
    let token = ", headers: { 'X-Hustdbsync-Token': 'x' }";
    assert_eq!(browser.value(&status(&post(token))), 403);
    browser.open(&format!("http://{name}/status.html"));
    let there = post(", mode: 'no-cors', credentials: 'include'");
    let sent = browser.value(&format!("{there}.then(() => 'sent', String)"));
    assert_eq!(sent, "sent");
    eventually("it is refused", || {
        let answers = browser.events("Network.responseReceived");
        answers
            .iter()
            .any(|answer| answer["response"]["status"] == 403)
    });
    assert_eq!(server.backend(&name).unwrap().state, "up");
}

#[test]
fn a_page_that_stays_open_can_act_after_a_restart_of_the_server() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new().with_port();
    let (server, fake_hustdb) = open_one_up(&mut browser, &home);
    let name = fake_hustdb.name();
    click(&mut browser, &name, "pause", ": paused");
    server.stop();
    browser.wait_for("document.body.classList.contains('stale')");
    let server = home.start();
    server.wait_for_state(&name, "up");
    browser.wait_for("!document.body.classList.contains('stale')");
    click(&mut browser, &name, "pause", ": paused");
    server.wait_for_state(&name, "paused");
}

#[test]
fn rejected_lines_are_shown_and_one_of_them_is_replayed_or_dropped() {
    let Some(mut browser) = browser() else { return };
    let home = Home::new();
    let fake_hustdb = fake_hustdb();
    let name = fake_hustdb.name();
    home.log(&name)
        .raw("secret-faulty\n")
        .put("k", 1, "v")
        .raw("secret-so-too\n");
    let server = home.start();
    server.wait_settled(&name, 3);
    open(&mut browser, &server, 1);
    open_row(&mut browser, &name);
    let shown = format!(
        "[...{}.querySelectorAll('tr')].slice(1)",
        more(&name, "rejects")
    );
    browser.wait_for(&format!("{}.checkVisibility()", more(&name, "list")));
    browser.value(&format!("{}.click()", more(&name, "list")));
    browser.wait_for(&format!("{shown}.length === 2"));
    let lines = browser.value(&format!("{shown}.map((row) => row.innerText).join('\\n')"));
    let lines = lines.as_str().unwrap();
    let newest: Vec<&str> = lines
        .lines()
        .map(|line| line.split('\t').nth(1).unwrap())
        .collect();
    let log = "2026-11-22-16-40.log";
    assert_eq!(newest, [format!("{log}:3"), format!("{log}:1")], "{lines}");
    assert!(lines.contains("not_base64"), "{lines}");
    let page = browser.value("document.documentElement.outerHTML");
    assert!(
        !page.as_str().unwrap().contains("secret-"),
        "what stands in them is nobody's to see"
    );

    let ask = |browser: &mut Browser, button: usize, wanted: &str| {
        browser.value(&format!(
            "{shown}[0].querySelectorAll('button')[{button}].click()"
        ));
        wait_asked(browser, wanted);
        browser.value(REALLY_DO);
    };
    ask(&mut browser, 0, &format!("Replay this line of {name}?"));
    wait_said(&mut browser, &name, "1 line done, 1 left");
    eventually("it is rejected again", || {
        reported(&server, &name)["rejected_lines"] == 2
    });
    browser.value(&format!("{}.click()", more(&name, "list")));
    browser.value(&format!("{}.click()", more(&name, "list")));
    // Not the list of before, whose first line is gone.
    browser.wait_for(&format!(
        "{shown}.length === 2 && {shown}[0].innerText.includes('-rejected-')"
    ));
    ask(&mut browser, 1, &format!("Drop this line of {name}?"));
    browser.wait_for(&format!("{shown}.length === 1"));
    assert_eq!(home.rejected(&name).len(), 1);
    assert_clean(&mut browser, address(&server));
}
