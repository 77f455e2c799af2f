//! What signs tell, against what really was.

use std::time::Duration;

use fastrand::Rng;

use super::gate::{Gate, Request};
use super::*;

const WINDOW: Duration = Duration::from_secs(62);
const BEGIN: u64 = 1_800_000_000;

/// So many seconds after the beginning.
fn at(seconds: u64) -> Now {
    Now::new(Duration::from_secs(seconds), BEGIN + seconds)
}

fn history() -> Reachability {
    Reachability::new(WINDOW, at(0))
}

/// The seconds of lines that were surely not applied, up to 300.
fn covered(history: &Reachability) -> Vec<u64> {
    let known = history.known();
    let is_covered = |second: &u64| known.cover(BEGIN + second, false, at(300));
    (0..300).filter(is_covered).collect()
}

#[test]
fn one_that_refuses_is_dead_two_seconds_later_until_it_was_last_seen_so() {
    let mut history = history();
    history.handle_answered(at(9));
    assert_eq!(covered(&history), [0; 0]);
    for second in [10, 15, 20] {
        history.handle_refused(at(second));
    }
    assert_eq!(covered(&history), Vec::from_iter(13..20));
    history.handle_answered(at(25));
    assert_eq!(covered(&history), Vec::from_iter(13..20));
}

#[test]
fn one_that_hangs_is_dead_once_has_timeouts_have_passed() {
    let mut history = history();
    for second in [10, 20, 30, 40, 50, 60, 70, 80, 90] {
        history.handle_silent(Duration::from_secs(second), at(second + 5));
    }
    assert_eq!(covered(&history), Vec::from_iter(73..90));
}

#[test]
fn one_that_hangs_on_a_machine_that_booted_in_1970_is_dead_later_too() {
    let mut history = Reachability::new(WINDOW, Now::default());
    let waited = Duration::from_secs(5);
    history.handle_silent(Duration::ZERO, Now::new(waited, 4));
    assert_eq!(history.own, [Outage { from: 62, until: 0 }]);
}

#[test]
fn one_that_hung_and_refuses_now_has_lost_what_was_on_its_way() {
    let mut history = history();
    history.handle_silent(Duration::from_secs(10), at(15));
    for second in [20, 30] {
        history.handle_refused(at(second));
    }
    assert_eq!(covered(&history), Vec::from_iter(23..30));
}

#[test]
fn between_signs_that_are_far_apart_it_may_have_lived() {
    let mut history = history();
    for second in [10, 20, 60, 70] {
        history.handle_refused(at(second));
    }
    let expected: Vec<u64> = (13..20).chain(63..70).collect();
    assert_eq!(covered(&history), expected);
}

#[test]
fn a_clock_that_is_set_makes_everything_unclear() {
    let mut history = history();
    history.handle_refused(at(10));
    history.handle_refused(at(20));
    let known = history.known();
    let set_back = Now {
        unix: BEGIN + 18,
        ..at(40)
    };
    assert!(known.cover(BEGIN + 15, false, at(40)));
    assert!(
        !known.cover(BEGIN + 15, false, set_back),
        "it may have been written since"
    );
    history.handle_answered(set_back);
    assert_eq!(covered(&history), [0; 0]);
    assert!(history.take_clock_set());
    assert!(!history.take_clock_set());
}

#[test]
fn a_line_without_a_time_is_unclear() {
    let mut history = history();
    history.own.push_back(Outage {
        from: 0,
        until: BEGIN,
    });
    assert!(history.known().cover(1, false, at(0)));
    assert!(!history.known().cover(0, false, at(0)));
}

/// What really was, second by second: 0 alive, 1 refusing, 2 hanging. Whoever lives does so for
/// longer than between two probes.
fn draw_truth(random: &mut Rng) -> Vec<u8> {
    let mut truth = Vec::new();
    while truth.len() < 300 {
        let what = random.u8(..3);
        let least = if what == 0 { 12 } else { 1 };
        truth.extend(std::iter::repeat_n(what, random.usize(least..90)));
    }
    truth
}

#[test]
fn no_line_counts_as_missed_that_could_have_been_applied() {
    let mut sure = 0;
    for seed in 0..2000 {
        let mut random = Rng::with_seed(seed);
        let truth = draw_truth(&mut random);
        let mut history = history();
        let mut now = 0;
        while now < 300 {
            match truth[now] {
                0 => history.handle_answered(at(now as u64)),
                1 => history.handle_refused(at(now as u64)),
                _ => {
                    let asked = Duration::from_secs(now as u64);
                    let waits = random.usize(1..5);
                    let end = (now + waits).min(299);
                    if truth[now..=end].iter().all(|what| *what != 0) {
                        history.handle_silent(asked, at(end as u64));
                    }
                    now = end;
                }
            }
            now += random.usize(1..6);
        }
        for second in covered(&history) {
            sure += 1;
            let second = second as usize;
            assert_ne!(truth[second], 0, "seed {seed}: {second} s: it was alive");
            let last_alive = (0..=second).rev().find(|at| truth[*at] == 0);
            let since = last_alive.map_or(0, |at| at + 1);
            let last_hung = truth[since..second].iter().rposition(|what| *what == 2);
            let refused = truth[since..second].contains(&1);
            // HA's requests to one that hangs wait until it refuses, or until their own timeouts.
            let waits = if refused || last_hung.is_none() {
                2
            } else {
                62
            };
            let alive_for_a_gap = truth[since..second].len() < waits;
            assert!(!alive_for_a_gap, "seed {seed}: {second} s: too early");
        }
    }
    assert!(sure > 20_000, "{sure}");
}

#[test]
fn what_is_kept_comes_back_whole_or_not_at_all() {
    let mut history = history();
    for second in [10, 20, 60, 70] {
        history.handle_refused(at(second));
    }
    let kept = history.encode(true, 0).unwrap();
    assert!(kept.len() <= crate::limits::OUTAGES_BYTES_MAX);
    let read = |kept: &[u8], now: Now| {
        let mut next = Reachability::new(WINDOW, now);
        next.inherit(kept, now);
        let known = next.known();
        let old = |second: &u64| known.cover(BEGIN + second, true, now);
        let new = (0..300).any(|second| known.cover(BEGIN + second, false, now));
        assert!(!new, "a line that came since is not what it was about");
        (0..300).filter(old).collect::<Vec<u64>>()
    };
    let expected: Vec<u64> = (13..20).chain(63..70).collect();
    assert_eq!(read(&kept, at(80)), expected);
    assert_eq!(read(&kept, at(50)), [0; 0], "the clock was set back");
    for end in 0..kept.len() {
        assert_eq!(read(&kept[..end], at(80)), [0; 0], "cut at {end}");
        let mut bad = kept.clone();
        bad[end] ^= 1;
        assert_eq!(read(&bad, at(80)), [0; 0], "octet {end}");
    }
    let later = history.encode(true, BEGIN + 66).unwrap();
    assert_eq!(read(&later, at(80)), Vec::from_iter(66..70));
    assert_eq!(history.encode(true, BEGIN + 70), None);
}

#[test]
fn no_more_outages_are_kept_than_there_is_room_for() {
    let mut history = history();
    for second in (0..20_000).step_by(100) {
        history.handle_refused(at(second));
        history.handle_refused(at(second + 10));
        history.handle_answered(at(second + 11));
    }
    let kept = history.encode(true, 0).unwrap();
    assert!(kept.len() <= crate::limits::OUTAGES_BYTES_MAX);
    assert_eq!(decode(&kept).unwrap().len(), OUTAGES_MAX);
    let newest = history.known().cover(BEGIN + 19_905, false, at(20_000));
    assert!(newest, "older ones make room");
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(kept: Vec<u8>) {
        proptest::prop_assert_eq!(decode(&kept), None);
    }
}

/// A gate whose checkpointer has read this.
fn gate(kept: Option<&[u8]>) -> Gate {
    let mut gate = Gate::new(history());
    gate.handle_read(Ok(kept), at(0));
    gate
}

/// Has it dead from 10 to 20.
fn die(gate: &mut Gate) {
    gate.history.handle_refused(at(10));
    gate.history.handle_refused(at(20));
}

fn keeps(request: Option<Request>) -> Vec<u8> {
    match request {
        Some(Request::Keep(bytes)) => bytes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_sent_before_the_checkpointer_has_read_what_is_kept() {
    let mut gate = Gate::new(history());
    gate.handle_open(3);
    assert!(!gate.handle_ttl(true));
    assert!(gate.poll_opened().is_none());
    gate.handle_read(Ok(None), at(1));
    assert_eq!(gate.poll_request(), None);
    let opened = gate.poll_opened().unwrap();
    assert_eq!((opened.epoch, opened.ttl_ready), (3, Some(true)));
    assert!(gate.poll_opened().is_none());
    assert!(gate.handle_ttl(false), "it is said at once by now");
}

#[test]
fn nothing_is_sent_before_what_is_kept_is_gone() {
    let kept = {
        let mut before = gate(None);
        die(&mut before);
        keeps(before.poll_request())
    };
    for kept in [Ok(Some(&kept[..])), Err(())] {
        let mut gate = Gate::new(history());
        gate.handle_read(kept, at(30));
        gate.handle_open(1);
        assert_eq!(gate.poll_request(), Some(Request::Forget));
        assert_eq!(gate.poll_request(), None);
        assert!(gate.poll_opened().is_none());
        // It goes down again meanwhile: what was wanted is not.
        gate.handle_flush();
        gate.handle_forgotten();
        assert!(gate.poll_opened().is_none());
        gate.handle_open(2);
        let opened = gate.poll_opened().unwrap();
        assert_eq!(opened.epoch, 2);
        let is_known = opened.outages.cover(BEGIN + 15, true, at(30));
        assert_eq!(is_known, kept.is_ok());
    }
}

#[test]
fn an_outage_is_kept_when_nobody_has_anything_to_send_any_more() {
    let mut gate = gate(None);
    gate.handle_open(0);
    gate.poll_opened().unwrap();
    die(&mut gate);
    assert_eq!(gate.poll_request(), None, "what is sent may still arrive");
    gate.handle_flush();
    gate.handle_flushed(at(14));
    let kept = keeps(gate.poll_request());
    let outage = Outage {
        from: BEGIN + 15,
        until: BEGIN + 20,
    };
    assert_eq!(decode(&kept), Some(vec![outage]));
    assert_eq!(gate.poll_request(), None);
    gate.history.handle_refused(at(22));
    let kept = keeps(gate.poll_request());
    assert_eq!(decode(&kept).unwrap()[0].until, BEGIN + 22);
}

#[test]
fn a_long_outage_is_written_down_seldom_and_at_the_end() {
    let mut gate = gate(None);
    let mut kept = 0;
    for second in (10..4000).step_by(5) {
        gate.history.handle_refused(at(second));
        kept += u32::from(gate.poll_request().is_some());
    }
    assert!((60..100).contains(&kept), "{kept}");
    gate.history.handle_refused(at(4001));
    assert_eq!(gate.poll_request(), None);
    gate.handle_stop();
    let kept = keeps(gate.poll_request());
    assert_eq!(decode(&kept).unwrap()[0].until, BEGIN + 4001);
    assert_eq!(gate.poll_request(), None);
}

#[test]
fn a_process_that_goes_on_with_an_outage_keeps_what_the_one_before_knew() {
    let mut before = gate(None);
    die(&mut before);
    let kept = keeps(before.poll_request());
    let mut gate = gate(Some(&kept));
    gate.handle_read(Ok(Some(&kept)), at(25));
    for second in [30, 40] {
        gate.history.handle_refused(at(second));
    }
    let kept = decode(&keeps(gate.poll_request())).unwrap();
    let times: Vec<_> = kept.iter().map(|one| (one.from, one.until)).collect();
    assert_eq!(
        times,
        [(BEGIN + 13, BEGIN + 20), (BEGIN + 33, BEGIN + 40)],
        "in between it may have lived"
    );
}

#[test]
fn a_clock_that_is_set_voids_what_is_kept() {
    let mut gate = gate(None);
    die(&mut gate);
    keeps(gate.poll_request());
    gate.history.handle_refused(Now {
        unix: BEGIN + 500,
        ..at(21)
    });
    assert_eq!(gate.poll_request(), Some(Request::Forget));
}
