//! That the simulation can fail: each injected bug is found.
//! `SIM_FAULT=name` looks for one of them only.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use hustdbsync::internals::failpoint::Failpoint;

use crate::failure;
use crate::plan::{Dying, Plan};

/// Some show in one of several hundred seeds only.
const SEEDS_LOOKED_AT: u64 = 2000;

/// Faults that show late, and the seed that showed them the last time: it is looked at first. The
/// test prints the seed of each, for when histories have changed.
const SHOWN_LATE: [(Failpoint, u64); 24] = [
    (Failpoint::AskAlways, 167),
    (Failpoint::DurableWhenBegun, 9),
    (Failpoint::EndTwice, 663),
    (Failpoint::ForgetAway, 11),
    (Failpoint::ForgetFolder, 95),
    (Failpoint::ForgetIdleLoss, 221),
    (Failpoint::ForgetOutages, 167),
    (Failpoint::ForgetWhatIsLeft, 275),
    (Failpoint::IgnoreCuts, 141),
    (Failpoint::KeepDeletedAfterFlush, 106),
    (Failpoint::KeepStale, 838),
    (Failpoint::LookNoMore, 33),
    (Failpoint::LookUpAtOnce, 43),
    (Failpoint::QuietTooEarly, 111),
    (Failpoint::RejectTwice, 10),
    (Failpoint::ResendLate, 15),
    (Failpoint::SayNoLoss, 48),
    (Failpoint::SayNoOrder, 131),
    (Failpoint::TrustCopy, 61),
    (Failpoint::TrustLastRead, 48),
    (Failpoint::TrustReplacement, 121),
    (Failpoint::TrustSettledLines, 45),
    (Failpoint::TrustTornCheckpoint, 39),
    (Failpoint::UseForgotten, 93),
];

/// Whether a seed's world has what a fault needs to show. What others do to it, luck decides.
fn can_show(fault: Failpoint, seed: u64) -> bool {
    use Failpoint::{
        AskAlways, CompareNumbers, EndTwice, ForgetAway, ForgetFailures, ForgetFolder,
        ForgetIdleLoss, ForgetOutages, ForgetSent, ForgetWhatIsLeft, IdentifyLate, IgnoreAmbiguity,
        IgnoreCuts, IgnoreRate, KeepDeletedAfterFlush, KeepOldSettings, KeepStale, LookNoMore,
        LookUpAtOnce, MissOverflow, OneLongLineForAll, OpenBeforeForgotten, QuietTooEarly,
        RejectTwice, ReplayNothing, SayNoLoss, SayNoOrder, SendWhilePaused, SettlePointEarly,
        TrustCopy, TrustFirstBytes, TrustLastRead, TrustReplacement, TrustSettledLines,
        TrustShrunkLog, TrustTornCheckpoint, UseForgotten,
    };
    let (plan, _) = Plan::of(seed);
    let faults = &plan.faults;
    match fault {
        AskAlways | ForgetOutages => plan.long_outages,
        CompareNumbers => plan.first_version > 0,
        OpenBeforeForgotten => plan.dies_in_drains == Some(Dying::Server),
        IgnoreAmbiguity => plan.counters,
        TrustFirstBytes | TrustLastRead | TrustSettledLines | TrustShrunkLog | UseForgotten => {
            faults.operator
        }
        IdentifyLate => faults.crashes,
        TrustCopy | TrustReplacement => faults.moves && !plan.down_longer.is_zero(),
        ForgetAway | KeepStale => faults.moves,
        ForgetSent => plan.dies_in_drains == Some(Dying::Backend),
        LookNoMore => faults.strays,
        ForgetFailures => plan.poison.is_some(),
        ForgetIdleLoss => faults.forgets.is_some() && !plan.down_longer.is_zero(),
        RejectTwice => faults.crashes && faults.bad_lines > 0,
        TrustTornCheckpoint => faults.crashes && faults.rot,
        EndTwice => faults.hard_ends,
        MissOverflow => faults.dirty_flags >= 500,
        QuietTooEarly => plan.dies_at_minutes,
        OneLongLineForAll => plan.beside.is_some(),
        LookUpAtOnce => !plan.applies_late.is_zero(),
        IgnoreCuts => faults.operator,
        KeepDeletedAfterFlush => plan.dies_at_deletions,
        ForgetFolder | ForgetWhatIsLeft | SayNoOrder => faults.mounts,
        IgnoreRate | KeepOldSettings | SendWhilePaused => plan.commands,
        SettlePointEarly => plan.commands && plan.points,
        ReplayNothing => plan.points && plan.poison.is_some(),
        SayNoLoss => faults.operator || faults.moves,
        _ => true,
    }
}

/// A seed that finds a fault, and nothing where there is none: a seed that always fails shows
/// nothing.
fn finder(fault: Failpoint) -> Option<(u64, String)> {
    let shown = SHOWN_LATE.iter().filter(|(late, _)| *late == fault);
    let shown = shown.map(|(_, seed)| *seed);
    let seeds = shown.chain(0..SEEDS_LOOKED_AT);
    let mut seeds = seeds.filter(|seed| can_show(fault, *seed));
    seeds.find_map(|seed| {
        Failpoint::plant(Some(fault));
        let found = failure(seed);
        Failpoint::plant(None);
        found
            .filter(|_| failure(seed).is_none())
            .map(|why| (seed, why))
    })
}

#[test]
fn failpoint_faults_are_all_found() {
    // Only bugs that are injected panic without a word: other tests run beside this one.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if Failpoint::injected().is_none() {
            hook(panic);
        }
    }));
    let wanted = std::env::var("SIM_FAULT").unwrap_or_default();
    let is_wanted = |fault: &Failpoint| format!("{fault:?}").contains(&wanted);
    let faults = Failpoint::SIMULATION.iter().copied();
    let faults: Vec<Failpoint> = faults.filter(is_wanted).collect();
    let next = AtomicUsize::new(0);
    let missed = Mutex::new(Vec::new());
    // A fault is its thread's own.
    let look = || {
        while let Some(&fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
            let begin = Instant::now();
            match finder(fault) {
                Some((seed, why)) => {
                    let why = why.lines().next().unwrap_or_default();
                    let why: String = why.chars().take(160).collect();
                    let took = begin.elapsed().as_secs_f64();
                    println!("{fault:?}: {took:.1} s, seed {seed}: {why}");
                }
                None => missed.lock().unwrap().push(fault),
            }
        }
    };
    let threads = thread::available_parallelism().map_or(2, |threads| threads.get());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(look);
        }
    });
    let _ = std::panic::take_hook();
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "no seed finds {missed:?}");
}
