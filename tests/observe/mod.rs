//! What an operator looks at: metrics, health, the dashboard, the alerts, and the page in a real
//! browser.
//!
//! Programs of Debian's are leaned on: `prometheus` with `promtool`, and `chromium`. Where one is
//! missing, its tests say loudly that they are skipped; CI installs both.

mod browser;
mod client;
#[path = "../e2e/harness.rs"]
#[allow(dead_code, reason = "what other tests need of it is there, too")]
mod harness;
mod health;
#[path = "../e2e/log.rs"]
#[allow(dead_code, reason = "what other tests need of it is there, too")]
mod log;
mod logins;
mod metrics;
mod page;
mod picture;
mod prometheus;
mod promtool;
mod rules;

use crate::support;

/// Says so, past the harness that keeps what a passing test prints to itself.
fn say_skipped(program: &str, package: &str, what: &str) {
    use std::io::Write;
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: {program} is not installed (Debian: apt-get install {package}); {what}"
    );
}
