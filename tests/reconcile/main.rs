//! Comparing both masters, simulated: HA writes to a pair of hustdbs, one or the other is down at
//! times, logs are replayed while live writes go on, and the real reconciler compares, over a
//! network that loses answers, on a process that dies.
//!
//! Once all is quiet, every key that a log had is equal on both masters, or in differences.jsonl
//! (docs/reconcile.md). `RECONCILE_SEED=x cargo test --test reconcile every_seed` repeats one;
//! `RECONCILE_SEEDS=n` sets how many there are.

#[path = "../support/environment.rs"]
mod environment;
mod ha;
mod masters;
mod network;
mod world;

use hustdbsync::internals::failpoint::Failpoint;

use crate::environment::number;
use crate::world::World;

/// Seeds of a usual run.
const SEEDS: u64 = 300;

/// Seeds in which an injected bug has to show.
const SEEDS_FOR_FAILPOINTS: u64 = 1500;

/// What is wrong with a seed's history.
fn fault(seed: u64) -> Option<String> {
    let run = std::panic::catch_unwind(|| World::new(seed).run());
    match run {
        Ok(result) => result.err(),
        Err(panic) => Some(format!("{:?}", panic.downcast_ref::<String>())),
    }
}

#[test]
fn every_seed() {
    if let Some(seed) = number("RECONCILE_SEED") {
        let mut world = World::new(seed);
        world.is_traced = true;
        world.run().unwrap();
        return;
    }
    let from = number("RECONCILE_FROM").unwrap_or(0);
    let seeds = number("RECONCILE_SEEDS").unwrap_or(SEEDS);
    let faults: Vec<String> = (from..from + seeds)
        .filter_map(|seed| fault(seed).map(|why| format!("seed {seed}: {why}")))
        .collect();
    let shown = faults.iter().take(5).cloned().collect::<Vec<_>>();
    assert!(
        faults.is_empty(),
        "{} of {seeds} seeds failed\n{}",
        faults.len(),
        shown.join("\n")
    );
}

#[test]
fn each_injected_bug_is_found() {
    std::panic::set_hook(Box::new(|_| {}));
    let bugs = Failpoint::RECONCILE.iter().copied();
    let unseen: Vec<Failpoint> = bugs
        .filter(|bug| {
            let found = (0..SEEDS_FOR_FAILPOINTS).find(|seed| {
                Failpoint::plant(Some(*bug));
                let found = fault(*seed);
                Failpoint::plant(None);
                found.is_some()
            });
            println!("{bug:?}: {found:?}");
            found.is_none()
        })
        .collect();
    let _ = std::panic::take_hook();
    assert!(unseen.is_empty(), "not found: {unseen:?}");
}
