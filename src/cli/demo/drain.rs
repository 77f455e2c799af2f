//! Waiting until a server has replayed all, with a bar for each backend.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::progress::Progress;
use crate::cli::failure::Failure;
use crate::engine::Engine;
use crate::status::snapshot::Snapshot;

/// Between looks at how far it is.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// So long without one more record settled means that something is wrong.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Shows progress until all lines of each backend are settled. Between two looks `meanwhile` is
/// done.
pub(super) fn drain(
    engine: &Engine,
    lines: &[(String, u64)],
    interrupted: &AtomicBool,
    mut meanwhile: impl FnMut() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut progress = Progress::new(lines);
    let (mut settled_before, mut moved) = (0, Instant::now());
    loop {
        let snapshot = engine.snapshot();
        if progress.handle_snapshot(&snapshot) {
            progress.finish();
            return Ok(());
        }
        let (_, settled) = snapshot.totals();
        if settled != settled_before {
            (settled_before, moved) = (settled, Instant::now());
        }
        if interrupted.load(Ordering::Relaxed) {
            progress.finish();
            return Err("interrupted".into());
        }
        if moved.elapsed() > PATIENCE {
            progress.finish();
            return Err(stuck(&snapshot).into());
        }
        meanwhile()?;
        std::thread::sleep(LOOK_INTERVAL);
    }
}

fn stuck(snapshot: &Snapshot) -> String {
    let mut text = format!("nothing has moved for {} s:", PATIENCE.as_secs());
    for backend in snapshot.backends() {
        let why = match backend.why.as_str() {
            "" => "no reason given",
            why => why,
        };
        text.push_str(&format!(
            "\n  {} is {} ({why}); {} records completed, {} bytes of log to go",
            backend.name, backend.state, backend.counts.settled, backend.backlog_bytes
        ));
    }
    if snapshot.backends().is_empty() {
        text.push_str(" the server has found no backend");
    }
    text
}
