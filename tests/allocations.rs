//! In the steady state no record costs an allocation: the whole server in this process, with an
//! allocator that counts, replays to a fake HustDB in another.

#[path = "../benches/common/mod.rs"]
mod common;

use std::alloc::System;
use std::thread;
use std::time::{Duration, Instant};

use common::{Home, Sink, now_unix};
use hustdbsync::internals::engine::{Engine, EngineOptions};
use hustdbsync::internals::workload::Workload;
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How long a replay may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until so many records are settled, and looks so often. Gives how many are.
fn wait_settled(engine: &Engine, records: u64, interval: Duration) -> u64 {
    let begin = Instant::now();
    loop {
        let settled = engine.snapshot().totals().1;
        if settled >= records {
            return settled;
        }
        assert!(
            begin.elapsed() < PATIENCE,
            "{settled} of {records} records are settled after {PATIENCE:?}"
        );
        thread::sleep(interval);
    }
}

/// Allocations a record, between the first third of a log and its end.
fn allocations_a_record(
    engine_name: &str,
    records: u64,
    value_bytes: usize,
    burst_bytes: usize,
) -> f64 {
    let (home, sink) = (Home::make(), Sink::start());
    Workload::uniform(records, value_bytes, now_unix())
        .write(&home.logs(), &sink.name)
        .expect("the logs can be written");
    let options = EngineOptions {
        signals: false,
        ..EngineOptions::default()
    };
    let config = home.config(&[
        ("burst_bytes", json!(burst_bytes)),
        ("engine", json!(engine_name)),
    ]);
    let engine = Engine::start_with(config, options).expect("the engine starts");
    // A look allocates: it is often until what counts begins, and seldom from then on.
    let warm = wait_settled(&engine, records / 3, Duration::from_micros(200));
    let region = Region::new(ALLOCATOR);
    let last = wait_settled(&engine, records, Duration::from_millis(50));
    let change = region.change();
    engine.stop();
    let _ = engine.wait();
    let allocations = change.allocations + change.reallocations;
    println!(
        "{engine_name}, {value_bytes} B values, bursts of {burst_bytes} B: {allocations} \
         allocations, {} reallocations among them, for {} records",
        change.reallocations,
        last - warm,
    );
    assert!(
        last - warm > records / 8,
        "of {records} records {warm} were settled when counting began: too many to tell"
    );
    allocations as f64 / (last - warm) as f64
}

#[test]
fn a_record_costs_no_allocation() {
    // Snapshots, checkpoints and buffers that still grow allocate; each chunk of a log does, twice,
    // and large values fill one soon. Where the system gives no rings, auto is mio once more.
    for engine in ["mio", "auto"] {
        assert!(allocations_a_record(engine, 150_000, 100, 4096) < 0.05);
        assert!(allocations_a_record(engine, 100_000, 100, 0) < 0.05);
        assert!(allocations_a_record(engine, 150_000, 1024, 4096) < 0.05);
        assert!(allocations_a_record(engine, 3_000, 65_536, 4096) < 1.0);
    }
}
