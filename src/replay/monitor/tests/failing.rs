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
        Some("every record of lane 3 fails: the backend answered 500; trying again")
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
    assert!(bench.monitor.why().unwrap().contains("1 times so far"));
    let since = bench.monitor.since_unix();
    bench.ms = 4000;
    for (_, event) in events[3..].iter().cloned() {
        bench.handle(event);
    }
    assert!(!bench.monitor.is_up());
    bench.run_until(5500);
    assert!(bench.monitor.is_up(), "it is tried");
    assert_eq!(bench.monitor.state_word(), "down");
    assert!(bench.monitor.why().unwrap().contains("no answer within"));
    assert!(bench.monitor.since_unix() <= since);
    bench.monitor.handle_answers(1);
    assert_eq!(
        (bench.monitor.state_word(), bench.monitor.why()),
        ("up", None)
    );
}
