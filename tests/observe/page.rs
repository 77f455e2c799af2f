//! The page at `/`, in a real browser: that it says what the server says, soon, to who may see it,
//! to everyone's eyes and without a mouse.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hustdbsync::fake_hustdb::{Act, On, Rule, Script};
use serde_json::{Value as Json, json};

use crate::observe::browser::{Browser, browser};
use crate::observe::client::{LOGIN, ask, scrape};
use crate::observe::harness::{Home, Running, eventually, fake_hustdb};

/// How soon the page is to show what has happened.
const SOON: Duration = Duration::from_secs(2);

/// One browser at a time: they are heavy, and what is measured is the page.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn address(server: &Running) -> SocketAddr {
    server.engine().local_addr()
}

/// Opens the page as one who may see it, and waits until it shows so many backends.
fn open(browser: &mut Browser, server: &Running, backends: usize) {
    browser.know_password();
    browser.look(1180, 860, "light");
    browser.open(&format!("http://{}/", address(server)));
    browser.wait_for(&format!(
        "document.querySelectorAll('#list > li').length === {backends}"
    ));
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

/// An expression for a part of a backend's card.
fn part(name: &str, part: &str) -> String {
    format!("document.querySelector('[data-backend=\"{name}\"] [data-of=\"{part}\"]')")
}

/// Fails where the page has complained, or asked anyone but its server.
#[track_caller]
fn assert_clean(browser: &mut Browser, addr: SocketAddr) {
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
fn what_the_page_shows_is_what_the_server_reports() {
    let _alone = alone();
    let Some(mut browser) = browser() else { return };
    let home = Home::new();
    let (up, down) = (fake_hustdb(), fake_hustdb());
    down.kill().unwrap();
    for version in 1..=3 {
        home.log(&up.name())
            .put("secret-key", version, "secret-value");
        home.log(&down.name())
            .put("secret-key", version, "secret-value");
    }
    home.log(&up.name()).raw("secret-line\n");
    let server = home.start();
    server.wait_settled(&up.name(), 4);
    server.wait_for_state(&down.name(), "down");
    open(&mut browser, &server, 2);

    for name in [up.name(), down.name()] {
        browser.wait_for(&format!("{}.textContent !== ''", part(&name, "settled")));
        let report = reported(&server, &name);
        for (shown, of) in [
            ("backlog", "backlog_bytes"),
            ("settled", "settled"),
            ("rejected", "rejected"),
            ("drain", "drain_seconds"),
        ] {
            let value = browser.value(&format!("{}.dataset.value", part(&name, shown)));
            assert_eq!(value, report[of].to_string(), "{shown} of {name}");
        }
        for text in ["state", "why"] {
            let shown = browser.value(&format!("{}.textContent", part(&name, text)));
            assert_eq!(shown, report[text], "{text} of {name}");
        }
    }
    let text = |browser: &mut Browser, name: &str, of: &str| {
        browser.value(&format!("{}.textContent", part(name, of)))
    };
    assert_eq!(text(&mut browser, &up.name(), "backlog"), "0 B");
    assert_eq!(text(&mut browser, &up.name(), "drain"), "done");
    assert_eq!(text(&mut browser, &up.name(), "rejected"), "1 left");
    assert_eq!(text(&mut browser, &up.name(), "percent"), "all settled");
    assert_eq!(text(&mut browser, &down.name(), "drain"), "unknown");
    assert_eq!(
        browser.value("document.getElementById('headline').textContent"),
        "1 of 2 backends is not up"
    );
    assert_eq!(
        browser.value("document.getElementById('total-settled').dataset.value"),
        "4"
    );
    assert_eq!(browser.value("document.title"), "(1 not up) hustdbsync");
    assert!(
        browser
            .value(&format!(
                "{}.getAttribute('aria-label')",
                part(&up.name(), "spark")
            ))
            .as_str()
            .unwrap()
            .contains("Rate of")
    );

    // Keys and values are nobody's to see here.
    let shown = browser.value("document.documentElement.outerHTML");
    let status = ask(address(&server), "GET", "/v1/status", LOGIN).body;
    for told in [
        shown.as_str().unwrap(),
        &status,
        &scrape(address(&server), "*/*"),
    ] {
        assert!(!told.contains("secret-"), "{told}");
    }
    browser.wait_for("performance.getEntriesByType('resource').length > 2");
    assert_clean(&mut browser, address(&server));
}

#[test]
fn a_backend_that_is_up_and_fails_every_record_shows_why() {
    let _alone = alone();
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
        "{state}.textContent === 'up' && !{why}.hidden && {why}.textContent.includes('500')"
    ));
    browser.wait_for("performance.getEntriesByType('resource').length > 2");
    assert_clean(&mut browser, address(&server));
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
    let _alone = alone();
    let Some(mut browser) = browser() else { return };
    let home = with_usual_probes();
    let fake_hustdb = fake_hustdb();
    let name = fake_hustdb.name();
    home.log(&name).put("k", 1, "v");
    let server = home.start();
    server.wait_settled(&name, 1);
    open(&mut browser, &server, 1);
    let is = |state: &str| format!("{}.textContent === '{state}'", part(&name, "state"));
    browser.wait_for(&is("up"));
    // Other programs on this machine can only make it slower.
    let mut rounds = Vec::new();
    for version in 2..=4 {
        fake_hustdb.kill().unwrap();
        let death = browser.wait_for(&is("down"));
        home.log(&name).put("k", version, "v");
        browser.wait_for(&format!(
            "Number({}.dataset.value) > 0",
            part(&name, "backlog")
        ));
        assert_eq!(
            browser.value(&format!("{}.hidden", part(&name, "why"))),
            false
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
    let _alone = alone();
    let Some(mut browser) = browser() else { return };
    let mut home = Home::new();
    let fake_hustdb = fake_hustdb();
    home.log(&fake_hustdb.name()).put("k", 1, "v");
    let server = home.start();
    server.wait_settled(&fake_hustdb.name(), 1);
    let addr = address(&server);
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
    home.set("network.port", addr.port());
    let server = home.start();
    browser.wait_for(
        "document.getElementById('alarm').hidden && !document.body.classList.contains('stale')",
    );
    browser.wait_for("document.getElementById('live').dataset.is === 'live'");
    drop(server);
}

#[test]
fn who_has_no_password_sees_nothing() {
    let _alone = alone();
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

#[test]
fn the_page_can_be_used_without_a_mouse() {
    let _alone = alone();
    let Some(mut browser) = browser() else { return };
    let home = Home::new();
    let (up, down) = (fake_hustdb(), fake_hustdb());
    down.kill().unwrap();
    home.log(&up.name()).put("k", 1, "v");
    home.log(&down.name()).put("k", 1, "v");
    let server = home.start();
    server.wait_settled(&up.name(), 1);
    server.wait_for_state(&down.name(), "down");
    open(&mut browser, &server, 2);
    browser.wait_for(&format!(
        "{}.textContent === 'down'",
        part(&down.name(), "state")
    ));

    let tab = |browser: &mut Browser| {
        browser.press("Tab", 9, None);
        browser.value("document.activeElement.id || document.activeElement.textContent")
    };
    let mut order = Vec::new();
    for _ in 0..6 {
        order.push(tab(&mut browser));
        let outline = browser.value("getComputedStyle(document.activeElement).outlineStyle");
        assert_ne!(
            outline, "none",
            "{order:?} does not show that it has the focus"
        );
    }
    assert_eq!(
        order,
        [
            "Skip to the backends",
            "pause",
            "only",
            "find",
            "Metrics",
            "Status as JSON"
        ]
    );

    browser.value("document.querySelector('.skip').focus()");
    browser.press("Enter", 13, Some("\r"));
    browser.wait_for("document.activeElement.id === 'backends'");
    assert_eq!(tab(&mut browser), "only");
    browser.press(" ", 32, Some(" "));
    browser.wait_for("document.querySelectorAll('#list > li:not([hidden])').length === 1");
    browser.press(" ", 32, Some(" "));
    browser.wait_for("document.querySelectorAll('#list > li:not([hidden])').length === 2");
    assert_eq!(tab(&mut browser), "find");
    browser.call("Input.insertText", json!({ "text": up.name() }));
    browser.wait_for("document.querySelectorAll('#list > li:not([hidden])').length === 1");

    browser.value("document.getElementById('pause').focus()");
    browser.press("Enter", 13, Some("\r"));
    browser.wait_for("document.getElementById('pause').getAttribute('aria-pressed') === 'true'");
    assert_eq!(
        browser.value("document.getElementById('age').textContent"),
        "paused"
    );
    // For those who hear the page: one first heading that speaks when it changes, an alarm, named
    // controls, a named progress.
    for found in [
        "document.querySelectorAll('h1').length === 1",
        "document.querySelector('h1').getAttribute('aria-live') === 'polite'",
        "document.querySelector('[role=alert]').contains(document.getElementById('alarm'))",
        "document.documentElement.lang === 'en'",
        "[...document.querySelectorAll('input')].every((input) => input.labels.length === 1)",
        "[...document.querySelectorAll('#list > li:not([hidden]) progress')].every((bar) => \
         bar.getAttribute('aria-label'))",
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
    let _alone = alone();
    let Some(mut browser) = browser() else { return };
    let home = Home::new();
    let (up, down) = (fake_hustdb(), fake_hustdb());
    down.kill().unwrap();
    home.log(&up.name()).put("k", 1, "v").raw("faulty\n");
    home.log(&down.name()).put("k", 1, "v");
    let server = home.start();
    server.wait_settled(&up.name(), 2);
    server.wait_for_state(&down.name(), "down");
    open(&mut browser, &server, 2);
    browser.wait_for(&format!(
        "{}.textContent === 'down'",
        part(&down.name(), "state")
    ));
    for scheme in ["light", "dark"] {
        for width in [1180, 768, 390, 320] {
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
