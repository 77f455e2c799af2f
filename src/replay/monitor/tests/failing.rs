//! What is told of a backend that answers probes and whose records fail.

use super::*;

fn times_out(ms: u64) -> impl Iterator<Item = (u64, Event)> {
    (0..3).map(move |lane| (ms, Event::Trouble(lane, Trouble::Timeout)))
}

#[test]
fn a_backend_whose_one_lane_fails_is_up_and_says_why_until_a_record_is_answered() {
    let mut bench = Bench::new(settings(), false);
    let failure = answered("500");
    let events: Vec<_> = (0..9)
        .map(|nth| (3000 + 100 * nth, Event::Trouble(3, failure.clone())))
        .collect();
    run(&mut bench, &events, 4000);
    assert_eq!(bench.monitor.state_word(), "up");
    assert_eq!(
        bench.monitor.why(),
        Some(
            "every record on one of its connections fails: the backend answered 500; trying again"
        )
    );
    bench.monitor.handle_answers(0);
    assert!(bench.monitor.why().is_some());
    bench.monitor.handle_answers(1);
    assert_eq!(bench.monitor.why(), None);
}

#[test]
fn what_failed_is_told_no_more_when_nothing_is_left_to_fail() {
    let mut bench = Bench::new(settings(), false);
    let failure = answered("500");
    run(&mut bench, &[(3000, Event::Trouble(3, failure))], 3100);
    assert!(bench.monitor.why().is_some());
    bench.handle(Event::Backlog(false));
    assert_eq!(bench.monitor.why(), None);
}

#[test]
fn a_backend_that_answers_probes_and_no_record_is_down_while_it_is_tried_again() {
    let mut bench = Bench::new(settings(), false);
    let events: Vec<_> = times_out(3000).chain(times_out(4000)).collect();
    run(&mut bench, &events[..3], 3900);
    assert_eq!(bench.monitor.state_word(), "up");
    let failing = "it answers probes and no record; the last failure: no answer within";
    assert!(bench.monitor.why().unwrap().starts_with(failing));
    bench.ms = 4000;
    for (_, event) in events[3..].iter().cloned() {
        bench.handle(event);
    }
    assert!(!bench.monitor.is_up());
    bench.run_until(5500);
    assert!(bench.monitor.is_up(), "it is tried");
    assert_eq!(bench.monitor.state_word(), "down");
    assert!(bench.monitor.why().unwrap().contains("no answer within"));
    bench.monitor.handle_answers(1);
    assert_eq!(
        (bench.monitor.state_word(), bench.monitor.why()),
        ("up", None)
    );
}

/// A backend whose records all fail while its probes are good, each try failing 100 ms after it
/// began, until `end_ms`; what was told of it each 10 ms.
fn fails_until(bench: &mut Bench, end_ms: u64) -> Vec<(&'static str, String)> {
    let mut told = Vec::new();
    let mut up_since = None;
    while bench.ms < end_ms {
        bench.run_until(bench.ms + 10);
        if bench.monitor.is_up() {
            let since = *up_since.get_or_insert(bench.ms);
            if bench.ms >= since + 100 {
                // Lanes differ in how they fail.
                let failures = [Trouble::Timeout, answered("500"), Trouble::Timeout];
                for (lane, failure) in (0..).zip(failures) {
                    bench.handle(Event::Trouble(lane, failure));
                }
            }
        } else {
            up_since = None;
        }
        let why = bench.monitor.why().unwrap_or_default().to_owned();
        told.push((bench.monitor.state_word(), why));
    }
    told
}

#[test]
fn why_a_backend_answers_no_record_stays_the_same_while_it_is_tried_again_and_again() {
    let mut bench = Bench::new(settings(), false);
    let first = fails_until(&mut bench, 3_000);
    let mut told = fails_until(&mut bench, 60_000);
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, "down");
    let mut first: Vec<_> = first.into_iter().map(|(word, _)| word).collect();
    first.dedup();
    assert_eq!(
        first,
        ["up", "down", "up", "down"],
        "it is tried twice first"
    );
    // It dies: then that is what is the matter.
    bench.handle(Event::Probes(Answer::Bad));
    bench.run_until(70_000);
    assert_eq!(bench.monitor.why(), Some("it is dead"));
}

#[test]
fn a_backend_that_is_mended_is_tried_within_five_seconds_and_says_when() {
    let mut bench = Bench::new(settings(), false);
    fails_until(&mut bench, 60_000);
    while bench.monitor.is_up() {
        let end_ms = bench.ms + 10;
        fails_until(&mut bench, end_ms);
    }
    let mended_ms = bench.ms;
    let retry_at = bench.monitor.retry_at().expect("it waits for its pause");
    bench.run_until(mended_ms + 5_000);
    assert!(bench.monitor.is_up());
    let opened = bench.orders.iter().rev();
    let opened = opened.filter(|(_, order)| matches!(order, Order::Open { .. }));
    assert_eq!(
        opened.map(|(ms, _)| *ms).next().map(Duration::from_millis),
        Some(retry_at)
    );
    assert_eq!(bench.monitor.retry_at(), None);
}
