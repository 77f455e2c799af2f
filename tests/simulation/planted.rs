//! That the simulation can fail: each planted fault is found.

use hustdbsync::planted::Planted;

use crate::{SEEDS, failure};

/// The first seed that finds a fault.
fn finder(fault: Planted) -> Option<(u64, String)> {
    Planted::plant(Some(fault));
    let found = (0..SEEDS).find_map(|seed| Some((seed, failure(seed)?)));
    Planted::plant(None);
    found
}

#[test]
fn planted_faults_are_all_found() {
    std::panic::set_hook(Box::new(|_| {}));
    let (mut found, mut missed) = (Vec::new(), Vec::new());
    for fault in Planted::ALL {
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
