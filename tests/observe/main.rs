//! What an operator looks at: metrics, health, the dashboard, the alerts, and the page in a real browser.
//!
//! Two programs of Debian's are leaned on, `promtool` (package prometheus) and `chromium`. Where one is missing, its tests say loudly that they
//! are skipped; CI installs both.

mod ask;
mod browser;
#[path = "../e2e/harness.rs"]
#[allow(dead_code, reason = "what other tests need of it is there, too")]
mod harness;
mod health;
#[path = "../e2e/log.rs"]
#[allow(dead_code, reason = "what other tests need of it is there, too")]
mod log;
mod metrics;
mod page;
mod promtool;
mod rules;
