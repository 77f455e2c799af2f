//! The README's picture of the page, which is the page: `PAGE_PICTURE=write cargo test --test
//! system picture` takes it anew, in two minutes.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use base64_simd::STANDARD;
use hustdbsync::internals::binlog::line;
use hustdbsync::internals::fake_hustdb::{FakeHustdb, Options, Script};
use jiff::Zoned;
use serde_json::json;

use crate::observe::browser::browser;
use crate::observe::harness::{Home, fake_hustdb};
use crate::observe::log::{Log, put};
use crate::observe::page::{open, open_row, part};

/// Until there are enough samples of the last hour for a line.
const HISTORY: Duration = Duration::from_secs(95);

/// A log with so many lines, as HA would write it now.
fn log_now(home: &Home, backend: &str, lines: u32) -> Log {
    let now = Zoned::now();
    let prefix = now.strftime("[%Y-%m-%d %H:%M:%S] [DEBUG] | ").to_string();
    let name = now.strftime("%Y-%m-%d-%H-%M.log").to_string();
    let (mut record, mut text) = (Vec::new(), Vec::new());
    let value = "x".repeat(150);
    for number in 0..lines {
        record.clear();
        put(&format!("user:{number}"), 1, &value).encode(&mut record);
        line::encode(prefix.as_bytes(), &record, &mut text);
    }
    let log = Log::new(home.path("logs").join(backend), &name);
    log.raw(text);
    log
}

#[test]
fn the_picture_shows_one_that_catches_up_one_down_one_refused_and_rejected_lines() {
    let Some(mut browser) = browser() else { return };
    let is_kept = std::env::var_os("PAGE_PICTURE").is_some();
    let (well, slow, down, rejects) = (fake_hustdb(), fake_hustdb(), fake_hustdb(), fake_hustdb());
    let refuses = FakeHustdb::start(Options {
        credentials: Some(("another".to_owned(), "secret".to_owned())),
        ..Options::default()
    });
    let refuses = refuses.unwrap();
    let delay = Duration::from_millis(5);
    slow.set_script(Script::default().answer_delay(delay))
        .unwrap();
    down.kill().unwrap();
    let home = Home::new();
    log_now(&home, &well.name(), 500);
    log_now(&home, &slow.name(), if is_kept { 150_000 } else { 60_000 });
    log_now(&home, &down.name(), 300);
    log_now(&home, &refuses.name(), 300);
    let rejected = log_now(&home, &rejects.name(), 1);
    rejected.raw("not a record\n").raw("neither\n");
    let server = home.start();
    server.wait_for_state(&refuses.name(), "refused");
    server.wait_for_state(&down.name(), "down");
    server.wait_settled(&rejects.name(), 3);
    server.wait_settled(&well.name(), 500);
    if is_kept {
        thread::sleep(HISTORY);
    }
    open(&mut browser, &server, 5);
    open_row(&mut browser, &slow.name());
    for (name, flag, state) in [
        (refuses.name(), "", "refused"),
        (down.name(), "", "down"),
        (rejects.name(), "rejected lines", "up"),
        (slow.name(), "", "up"),
        (well.name(), "", "up"),
    ] {
        browser.wait_for(&format!(
            "{}.textContent === '{state}' && {}.textContent === '{flag}'",
            part(&name, "state"),
            part(&name, "flag")
        ));
    }
    browser.wait_for(&format!("{}.dataset.value > 0", part(&slow.name(), "rate")));
    browser.wait_for("document.querySelectorAll('[data-of=\"logs\"] td').length === 4");
    let bottom = browser.value("document.querySelector('footer').getBoundingClientRect().bottom");
    let clip = json!({
        "x": 0, "y": 0, "width": 1180, "height": bottom.as_f64().unwrap() + 14.0, "scale": 1,
    });
    let taken = browser.call(
        "Page.captureScreenshot",
        json!({ "format": "png", "clip": clip, "captureBeyondViewport": true }),
    );
    let picture = STANDARD.decode_to_vec(taken["data"].as_str().unwrap());
    let picture = picture.unwrap();
    assert!(picture.starts_with(b"\x89PNG"));
    if is_kept {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/page.png");
        fs::write(path, &picture).unwrap();
    }
    server.stop();
}
