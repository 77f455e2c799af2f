//! That the simulation can fail: each planted fault is found. `SIM_FAULT=name` looks for one of them only.

use hustdbsync::planted::Planted;

use crate::{SEEDS, failure};

/// The first seed that finds a fault, and nothing where there is none: a seed that always fails shows nothing.
fn finder(fault: Planted) -> Option<(u64, String)> {
    (0..SEEDS).find_map(|seed| {
        Planted::plant(Some(fault));
        let found = failure(seed);
        Planted::plant(None);
        found
            .filter(|_| failure(seed).is_none())
            .map(|why| (seed, why))
    })
}

#[test]
fn planted_faults_are_all_found() {
    std::panic::set_hook(Box::new(|_| {}));
    let (mut found, mut missed) = (Vec::new(), Vec::new());
    let wanted = std::env::var("SIM_FAULT").unwrap_or_default();
    let is_wanted = |fault: &Planted| format!("{fault:?}").contains(&wanted);
    for fault in Planted::ALL.into_iter().filter(is_wanted) {
        match finder(fault) {
            Some((seed, why)) => {
                let why = why.lines().next().unwrap_or_default();
                let why: String = why.chars().take(160).collect();
                found.push(format!("{fault:?}: seed {seed}: {why}"));
            }
            None => missed.push(fault),
        }
    }
    let _ = std::panic::take_hook();
    println!("{}", found.join("\n"));
    assert!(missed.is_empty(), "no seed finds {missed:?}");
}
