//! Completions of a ring that come in any order, and late: nothing is lost, reordered, doubled or
//! stalled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hustdbsync::internals::config::EngineName;
use hustdbsync::internals::engine::os::ring::SendMode;
use hustdbsync::internals::engine::os::ring::fault_injector::{FaultInjector, InjectedResult};
use serde_json::json;

use crate::engines::fixture::{Fixture, Tampering, engines};
use crate::engines::proxy::Manner;

const SEEDS: u64 = 6;
const BACKENDS: usize = 3;
/// Of a key several, of all methods.
const MIXED: u64 = 1500;
/// Of a size that no test's socket need take at once.
const LARGE: u64 = 30;
const LARGE_BYTES: usize = 60_000;
/// What a busy machine may add to twice the other engine's time; something that stalls does so
/// until it is late.
const SPARE: Duration = Duration::from_secs(45);
const LATE: &str = "60s";

/// Takes completions in any order, and holds some back; first tries of sends fare as these.
struct AnyOrder {
    injected_results: Vec<InjectedResult>,
    random: fastrand::Rng,
    /// How often one was not the first, or had to wait.
    moved: Arc<AtomicU64>,
}

impl FaultInjector for AnyOrder {
    fn send_injected(&mut self, patience: SendMode) -> InjectedResult {
        match patience {
            SendMode::Any => InjectedResult::Goes,
            SendMode::None => {
                self.injected_results[self.random.usize(..self.injected_results.len())]
            }
        }
    }

    fn next_completion(&mut self, waiting: usize) -> Option<usize> {
        if waiting == 0 {
            return None;
        }
        let holds_back = self.random.u32(..4) == 0;
        let next = (!holds_back).then(|| self.random.usize(..waiting));
        let is_moved = next != Some(0);
        self.moved.fetch_add(is_moved.into(), Ordering::Relaxed);
        next
    }
}

fn any_order(seed: u64, injected_results: &[InjectedResult], moved: &Arc<AtomicU64>) -> Tampering {
    let (injected_results, moved) = (injected_results.to_vec(), Arc::clone(moved));
    Arc::new(move || {
        Box::new(AnyOrder {
            injected_results: injected_results.clone(),
            random: fastrand::Rng::with_seed(seed),
            moved: Arc::clone(&moved),
        })
    })
}

/// Works through everything. Gives how long that took, and how many records went more than once.
fn run(engine: EngineName, small: bool, tampering: Option<Tampering>) -> (Duration, u64) {
    let mut fixture = Fixture::new(BACKENDS, Manner::default());
    if small {
        fixture.write_mixed(MIXED);
    }
    fixture.write(1_000_000, LARGE, LARGE_BYTES);
    let settings = json!({
        "threads": 2,
        "connections_per_backend": 4,
        "response_timeout": LATE,
    });
    let began = Instant::now();
    fixture.start(engine, settings, tampering);
    fixture.wait_settled(|_| {});
    let took = began.elapsed();
    let snapshot = fixture.engine().snapshot();
    let resent = snapshot
        .backends()
        .iter()
        .map(|backend| backend.counts.resent);
    let resent = resent.sum();
    fixture.finish();
    (took, resent)
}

#[track_caller]
fn check(name: &str, small: bool, injected_results: &[InjectedResult]) {
    let engines = engines();
    let (mio, _) = run(EngineName::Mio, small, None);
    if !engines.contains(&EngineName::IoUring) {
        return;
    }
    for seed in 0..SEEDS {
        let moved = Arc::default();
        let tampering = Some(any_order(seed, injected_results, &moved));
        let (ring, resent) = run(EngineName::IoUring, small, tampering);
        let moved = moved.load(Ordering::Relaxed);
        assert!(moved > 20, "{name}, seed {seed}: {moved} were moved");
        assert_eq!(resent, 0, "{name}, seed {seed}: nothing has failed");
        assert!(
            ring <= mio * 2 + SPARE,
            "{name}, seed {seed}: {ring:?}, mio {mio:?}"
        );
    }
}

#[test]
fn completions_in_any_order_lose_reorder_double_and_stall_nothing() {
    let refused = InjectedResult::Fails(libc::EAGAIN);
    check("whole", true, &[InjectedResult::Goes]);
    check("whole, refused", true, &[InjectedResult::Goes, refused]);
    // A small request that is cut in its target closes its connection, as it must. So only large
    // ones are cut.
    check(
        "whole, short, refused",
        false,
        &[InjectedResult::Goes, InjectedResult::Part, refused],
    );
}
