//! Scripts in virtual time: what happens when, and which orders come when.

mod failing;

use proptest::prelude::*;

use super::*;
use crate::limits::{PROBE_AT_ONCE_GAP_MS, PROBE_HOLD_MS};
use crate::replay::messages::Trouble;

fn settings() -> MonitorSettings {
    MonitorSettings {
        probe_interval: Duration::from_millis(5000),
        probe_interval_down: Duration::from_millis(500),
        resolve_interval: Duration::from_millis(30_000),
        ttl_hold: Duration::from_millis(2000),
        lanes: 16,
    }
}

fn at(ms: u64) -> Now {
    Now::new(Duration::from_millis(ms), 1_700_000_000 + ms / 1000)
}

/// What a script says happens.
#[derive(Clone, Debug)]
enum Event {
    /// From now on probes are answered so, at once.
    Probes(Answer),
    /// From now on the checkpointer says `Flushed` by itself, at once, or not at all.
    Flushes(bool),
    Flushed(Epoch),
    Lost,
    /// A lane fails, in the current epoch.
    Trouble(u16, Trouble),
    /// So many records were answered.
    Answers(u64),
    Backlog(bool),
    Resolved(Result<(), String>),
    /// Its name has another address.
    Moved,
    Password,
    Pause,
    Resume,
    /// An operator wants a probe.
    Wanted,
    Stop,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Good,
    Bad,
    /// Good without a password, 401 with it.
    Refusing,
    /// None yet.
    Silent,
}

/// A monitor, its virtual clock and a backend that answers as told.
struct Bench {
    monitor: Monitor,
    ms: u64,
    answer: Answer,
    flushes: bool,
    answers: u64,
    orders: Vec<(u64, Order)>,
}

impl Bench {
    fn new(settings: MonitorSettings, named: bool) -> Self {
        Self {
            monitor: Monitor::new(settings, named, 7, at(0)),
            ms: 0,
            answer: Answer::Good,
            flushes: true,
            answers: 0,
            orders: Vec::new(),
        }
    }

    fn handle(&mut self, event: Event) {
        let now = at(self.ms);
        match event {
            Event::Probes(answer) => self.answer = answer,
            Event::Flushes(flushes) => self.flushes = flushes,
            Event::Flushed(epoch) => self.monitor.handle_flushed(epoch, now),
            Event::Lost => self.monitor.handle_probe_lost(self.answers, now),
            Event::Trouble(lane, trouble) => {
                let epoch = self.monitor.epoch();
                self.monitor
                    .handle_trouble(lane, epoch, &trouble, false, self.answers, now);
            }
            Event::Answers(more) => self.answers += more,
            Event::Backlog(backlog) => self.monitor.handle_backlog(backlog, now),
            Event::Resolved(found) => self.monitor.handle_resolved(found, now),
            Event::Moved => {
                self.monitor.handle_resolved(Ok(()), now);
                self.monitor.handle_moved("it has moved".to_owned(), now);
            }
            Event::Password => self.monitor.handle_password(now),
            Event::Pause => drop(self.monitor.handle_pause()),
            Event::Resume => drop(self.monitor.handle_resume(now)),
            Event::Wanted => drop(self.monitor.handle_probe_wanted(now)),
            Event::Stop => self.monitor.handle_stop(),
        }
        self.follow_orders();
    }

    fn follow_orders(&mut self) {
        let now = at(self.ms);
        while let Some(order) = self.monitor.poll_order(now) {
            self.orders.push((self.ms, order));
            assert!(self.orders.len() < 10_000, "orders without end");
            match order {
                Order::Probe { authenticated } => match self.answer {
                    Answer::Refusing if authenticated => self.monitor.handle_probe_refused(now),
                    Answer::Good | Answer::Refusing => {
                        self.monitor.handle_probe_good(true, self.answers, now);
                    }
                    Answer::Bad => {
                        self.monitor
                            .handle_probe_bad("it is dead".into(), self.answers, now);
                    }
                    Answer::Silent => {}
                },
                Order::Flush { epoch } if self.flushes => self.monitor.handle_flushed(epoch, now),
                _ => {}
            }
        }
    }

    /// Lets time pass up to and including `ms`.
    fn run_until(&mut self, ms: u64) {
        self.follow_orders();
        while let Some(deadline) = self.monitor.deadline() {
            let due = deadline.as_micros().div_ceil(1000) as u64;
            if due > ms {
                break;
            }
            assert!(due > self.ms, "a deadline that is past yields an order");
            self.ms = due;
            self.follow_orders();
        }
        self.ms = ms;
    }
}

fn run(bench: &mut Bench, script: &[(u64, Event)], until: u64) {
    for (ms, event) in script {
        if *ms > bench.ms {
            bench.run_until(*ms);
        }
        bench.handle(event.clone());
    }
    bench.run_until(until);
}

/// Runs `script` and compares all orders.
fn check(script: &[(u64, Event)], until: u64, expected: &[(u64, Order)]) -> Bench {
    let mut bench = Bench::new(settings(), false);
    run(&mut bench, script, until);
    assert_eq!(bench.orders, expected);
    bench
}

const PROBE: Order = Order::Probe {
    authenticated: false,
};
const WITH_PASSWORD: Order = Order::Probe {
    authenticated: true,
};
const NOT_READY: Order = Order::Ttl { ready: false };
const READY: Order = Order::Ttl { ready: true };

fn open(epoch: Epoch) -> Order {
    Order::Open { epoch }
}

fn flush(epoch: Epoch) -> Order {
    Order::Flush { epoch }
}

/// The orders of a backend that comes up at `ms`, and stays so, until its clock is trusted.
fn comes_up(ms: u64, epoch: Epoch) -> Vec<(u64, Order)> {
    vec![
        (ms, PROBE),
        (ms, open(epoch)),
        (ms, NOT_READY),
        (ms + 500, PROBE),
        (ms + 1000, PROBE),
        (ms + 1500, PROBE),
        (ms + 2000, PROBE),
        (ms + 2000, READY),
    ]
}

fn with(mut orders: Vec<(u64, Order)>, more: &[(u64, Order)]) -> Vec<(u64, Order)> {
    orders.extend_from_slice(more);
    orders
}

fn answered(status: &str) -> Trouble {
    Trouble::Answer(status.to_owned())
}

fn broken() -> Trouble {
    Trouble::Connection("reset".to_owned())
}

#[test]
fn one_that_answers_is_up_at_once_and_trusted_with_ttls_after_the_hold() {
    let expected = with(comes_up(0, 0), &[(7000, PROBE), (12_000, PROBE)]);
    let bench = check(&[], 12_500, &expected);
    assert_eq!(bench.monitor.state_word(), "up");
    assert_eq!(bench.monitor.why(), None);
}

#[test]
fn one_that_is_down_without_a_backlog_is_probed_at_the_long_interval() {
    let bench = check(
        &[(0, Event::Probes(Answer::Bad))],
        11_000,
        &[(0, PROBE), (5000, PROBE), (10_000, PROBE)],
    );
    assert_eq!(bench.monitor.state_word(), "down");
    assert_eq!(bench.monitor.why(), Some("it is dead"));
}

#[test]
fn one_that_is_down_with_a_backlog_is_probed_at_the_short_interval_with_jitter() {
    let mut bench = Bench::new(settings(), false);
    let script = [(0, Event::Probes(Answer::Bad)), (100, Event::Backlog(true))];
    run(&mut bench, &script, 60_000);
    let times: Vec<u64> = bench.orders.iter().map(|(ms, _)| *ms).collect();
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| (400..=601).contains(gap)), "{gaps:?}");
    assert!(gaps.iter().any(|gap| *gap < 450), "{gaps:?}");
    assert!(gaps.iter().any(|gap| *gap > 550), "{gaps:?}");
}

#[test]
fn a_backlog_that_appears_shortens_the_wait_that_has_begun() {
    let mut bench = Bench::new(settings(), false);
    let script = [
        (0, Event::Probes(Answer::Bad)),
        (3000, Event::Probes(Answer::Good)),
        (3000, Event::Backlog(true)),
    ];
    run(&mut bench, &script, 3000);
    assert_eq!(bench.orders[1], (3000, PROBE));
    assert!(bench.monitor.is_up());
}

#[test]
fn a_bad_probe_takes_it_down_and_it_opens_only_when_flushed() {
    let mut waiting = Bench::new(settings(), false);
    let script = [
        (6000, Event::Probes(Answer::Bad)),
        (6000, Event::Flushes(false)),
        (8000, Event::Probes(Answer::Good)),
    ];
    run(&mut waiting, &script, 12_000);
    assert_eq!(waiting.monitor.why(), Some(BACK));
    let expected = with(
        comes_up(0, 0),
        &[
            (7000, PROBE),
            (7000, flush(1)),
            (12_000, PROBE), // good, but the flush is not done
            (13_000, PROBE), // as soon as it is
            (13_000, open(1)),
            (13_000, NOT_READY),
        ],
    );
    check(
        &[
            (6000, Event::Probes(Answer::Bad)),
            (6000, Event::Flushes(false)),
            (8000, Event::Probes(Answer::Good)),
            (12_500, Event::Flushed(0)),
            (13_000, Event::Flushed(1)),
        ],
        13_100,
        &expected,
    );
}

#[test]
fn a_bad_probe_while_records_are_answered_is_followed_by_one_that_decides() {
    let expected = with(
        comes_up(0, 0),
        &[
            (7000, PROBE),
            (7000, NOT_READY),
            (7500, PROBE),
            (7500, flush(1)),
        ],
    );
    check(
        &[
            (6000, Event::Probes(Answer::Bad)),
            (6000, Event::Answers(5)),
            (7100, Event::Answers(5)),
        ],
        8000,
        &expected,
    );
}

#[test]
fn a_lost_probe_connection_probes_at_once_and_holds_ttls_back_again() {
    let expected = with(
        comes_up(0, 0),
        &[
            (3000, NOT_READY),
            (3000, PROBE),
            (3500, PROBE),
            (4000, PROBE),
            (4500, PROBE),
            (5000, PROBE),
            (5000, READY),
        ],
    );
    check(&[(3000, Event::Lost)], 5100, &expected);
}

#[test]
fn a_gap_within_the_hold_starts_it_again() {
    let mut bench = Bench::new(settings(), false);
    run(&mut bench, &[(1700, Event::Lost)], 3600);
    assert!(!bench.monitor.is_ttl_ready());
    bench.run_until(3700);
    assert!(bench.monitor.is_ttl_ready());
}

#[test]
fn a_storm_of_broken_connections_is_answered_by_one_probe() {
    let storm: Vec<_> = (0..16)
        .map(|lane| (3000 + u64::from(lane), Event::Trouble(lane, broken())))
        .collect();
    let expected = with(
        comes_up(0, 0),
        &[(3000, PROBE), (3000 + PROBE_AT_ONCE_GAP_MS, PROBE)],
    );
    check(&storm, 3900, &expected);
}

#[test]
fn lanes_that_break_again_without_an_answer_take_it_down() {
    let mut storm: Vec<_> = (0..3)
        .map(|lane| (3000, Event::Trouble(lane, broken())))
        .collect();
    storm.extend((0..3).map(|lane| (3200, Event::Trouble(lane, broken()))));
    let mut bench = Bench::new(settings(), false);
    run(&mut bench, &storm, 3300);
    assert_eq!(bench.monitor.state_word(), "down");
    assert_eq!(
        bench.monitor.why(),
        Some("3 connections failed and none was answered, the last: reset")
    );
}

#[test]
fn a_broken_lane_holds_ttls_back_only_where_the_probe_would_not_have_seen_it() {
    for (watched, ready) in [(true, true), (false, false)] {
        let mut monitor = Monitor::new(settings(), false, 7, at(0));
        for ms in [0, 2000] {
            assert_eq!(monitor.poll_order(at(ms)), Some(PROBE));
            monitor.handle_probe_good(watched, 0, at(ms));
            while monitor.deadline() == Some(Duration::ZERO) {
                monitor.poll_order(at(ms));
            }
        }
        assert!(monitor.is_ttl_ready());
        monitor.handle_trouble(0, 0, &broken(), false, 0, at(2500));
        assert_eq!(monitor.is_ttl_ready(), ready);
    }
}

#[test]
fn one_lane_failing_alone_is_its_records_failure() {
    let mut bench = Bench::new(settings(), false);
    let script: Vec<_> = (0..50)
        .map(|time| (3000 + time * 10, Event::Trouble(4, answered("500"))))
        .collect();
    run(&mut bench, &script, 4000);
    assert!(bench.monitor.is_up());
}

#[test]
fn three_lanes_failing_without_an_answer_are_the_backends_and_pause_it() {
    let expected = with(
        comes_up(0, 0),
        &[
            (3002, flush(1)),
            (3502, PROBE),
            (3502, open(1)),
            (3502, NOT_READY),
        ],
    );
    check(
        &[
            (3000, Event::Trouble(1, answered("503"))),
            (3001, Event::Trouble(2, Trouble::Garbage("<html>".into()))),
            (3002, Event::Trouble(3, answered("503"))),
        ],
        3600,
        &expected,
    );
}

#[test]
fn an_answer_in_between_voids_earlier_failures() {
    let mut bench = Bench::new(settings(), false);
    let script = [
        (3000, Event::Trouble(1, answered("503"))),
        (3001, Event::Trouble(2, answered("503"))),
        (3002, Event::Answers(1)),
        (3003, Event::Trouble(3, answered("503"))),
        (3004, Event::Trouble(4, answered("503"))),
    ];
    run(&mut bench, &script, 3100);
    assert!(bench.monitor.is_up());
    run(
        &mut bench,
        &[(3101, Event::Trouble(5, answered("503")))],
        3102,
    );
    assert!(!bench.monitor.is_up());
}

#[test]
fn with_fewer_lanes_than_that_all_of_them_are_enough() {
    let one_lane = MonitorSettings {
        lanes: 1,
        ..settings()
    };
    let mut bench = Bench::new(one_lane, false);
    run(&mut bench, &[(1, Event::Trouble(0, answered("500")))], 2);
    assert!(!bench.monitor.is_up());
}

#[test]
fn failures_while_others_are_answered_are_the_records_own_even_with_one_lane() {
    let one_lane = MonitorSettings {
        lanes: 1,
        ..settings()
    };
    let mut bench = Bench::new(one_lane, false);
    run(&mut bench, &[], 2500);
    for _ in 0..20 {
        bench
            .monitor
            .handle_trouble(0, 0, &answered("500"), true, 0, at(2500));
    }
    assert!(bench.monitor.is_up());
    bench
        .monitor
        .handle_trouble(0, 0, &answered("500"), false, 0, at(2500));
    assert!(!bench.monitor.is_up());
}

#[test]
fn a_backend_that_only_fails_is_paused_ever_longer_until_it_answers() {
    let mut bench = Bench::new(settings(), false);
    let fail = |bench: &mut Bench| {
        assert!(bench.monitor.is_up());
        for lane in 0..3 {
            bench.handle(Event::Trouble(lane, answered("500")));
        }
        let down_at = bench.ms;
        assert!(!bench.monitor.is_up());
        while !bench.monitor.is_up() {
            bench.run_until(bench.ms + 100);
            assert!(bench.ms < 10_000_000);
        }
        bench.ms - down_at
    };
    bench.run_until(1);
    let pauses: Vec<u64> = (0..8).map(|_| fail(&mut bench)).collect();
    assert_eq!(pauses, [500, 1000, 2000, 4000, 5000, 5000, 5000, 5000]);
    bench.handle(Event::Answers(1));
    assert_eq!(fail(&mut bench), 500);
}

/// What a backend was dead for is known by its probes alone.
#[test]
fn a_backend_that_only_fails_is_probed_at_its_interval_while_it_is_paused() {
    let settings = MonitorSettings {
        probe_interval: Duration::from_secs(1),
        ..settings()
    };
    let interval = settings.probe_interval.as_millis() as u64;
    let mut bench = Bench::new(settings, false);
    bench.run_until(1);
    for _ in 0..6 {
        for lane in 0..3 {
            bench.handle(Event::Trouble(lane, answered("500")));
        }
        bench.orders.clear();
        while !bench.monitor.is_up() {
            bench.run_until(bench.ms + 100);
        }
    }
    let probes = bench.orders.iter().filter(|(_, order)| *order == PROBE);
    let at: Vec<u64> = probes.map(|(ms, _)| *ms).collect();
    assert!(at.len() > 1, "the pause is longer than an interval: {at:?}");
    assert!(
        at.windows(2).all(|pair| pair[1] - pair[0] <= interval),
        "{at:?}"
    );
}

#[test]
fn troubles_of_an_older_epoch_are_probe_record() {
    let mut bench = Bench::new(settings(), false);
    run(
        &mut bench,
        &[
            (10, Event::Trouble(0, Trouble::Refused)),
            (10, Event::Password),
        ],
        100,
    );
    assert!(bench.monitor.is_up());
    assert_eq!(bench.monitor.epoch(), 1);
    bench
        .monitor
        .handle_trouble(0, 0, &Trouble::Refused, false, 0, at(100));
    assert!(bench.monitor.is_up());
}

#[test]
fn a_refused_password_is_tried_again_at_the_long_interval_with_a_backlog_too() {
    let expected = with(
        comes_up(0, 0),
        &[
            (3000, flush(1)),
            (7000, PROBE),
            (7000, WITH_PASSWORD),
            (12_000, PROBE),
            (12_000, WITH_PASSWORD),
            (17_000, PROBE),
            (17_000, WITH_PASSWORD),
            (17_000, open(1)),
            (17_000, NOT_READY),
        ],
    );
    let bench = check(
        &[
            (2500, Event::Backlog(true)),
            (3000, Event::Probes(Answer::Refusing)),
            (3000, Event::Trouble(0, Trouble::Refused)),
            (13_000, Event::Probes(Answer::Good)),
        ],
        17_100,
        &expected,
    );
    assert!(bench.monitor.is_up());
}

#[test]
fn another_password_is_tried_at_once() {
    let mut bench = Bench::new(settings(), false);
    let script = [
        (3000, Event::Probes(Answer::Refusing)),
        (3000, Event::Trouble(0, Trouble::Refused)),
        (3100, Event::Probes(Answer::Good)),
    ];
    run(&mut bench, &script, 3200);
    assert_eq!(bench.monitor.state_word(), "refused");
    assert!(bench.monitor.why().unwrap().contains("sync.auth_path"));
    bench.handle(Event::Password);
    assert!(bench.monitor.is_up());
}

#[test]
fn another_password_during_the_flush_is_tried_when_that_is_done() {
    let mut bench = Bench::new(settings(), false);
    let script = [
        (3000, Event::Flushes(false)),
        (3000, Event::Trouble(0, Trouble::Refused)),
        (3100, Event::Password),
        (3200, Event::Flushed(1)),
    ];
    run(&mut bench, &script, 3300);
    assert!(bench.monitor.is_up());
}

#[test]
fn one_that_refused_us_and_died_is_asked_with_the_password_when_it_is_back() {
    let mut bench = Bench::new(settings(), false);
    let script = [
        (3000, Event::Trouble(0, Trouble::Refused)),
        (3001, Event::Probes(Answer::Bad)),
        (8000, Event::Probes(Answer::Refusing)),
    ];
    run(&mut bench, &script, 7900);
    assert_eq!(bench.monitor.state_word(), "down");
    bench.run_until(14_000);
    assert_eq!(bench.monitor.state_word(), "refused");
    assert_eq!(bench.monitor.epoch(), 1, "it was not up in between");
}

#[test]
fn a_name_is_looked_up_before_it_is_up_and_at_once_when_it_goes_down() {
    let mut bench = Bench::new(settings(), true);
    let script = [
        (10, Event::Resolved(Err("no such name".into()))),
        (5010, Event::Resolved(Ok(()))),
        (30_000, Event::Probes(Answer::Bad)),
    ];
    run(&mut bench, &script[..1], 10);
    assert_eq!(bench.monitor.state_word(), "unresolved");
    assert_eq!(bench.monitor.why(), Some("no such name"));
    run(&mut bench, &script[1..], 41_000);
    let look_ups: Vec<u64> = bench
        .orders
        .iter()
        .filter(|(_, order)| *order == Order::Resolve)
        .map(|(ms, _)| *ms)
        .collect();
    assert_eq!(look_ups, [0, 5010, 32_010]);
    assert_eq!(bench.orders[2], (5010, PROBE));
}

#[test]
fn the_end_flushes_what_is_up_and_orders_nothing_more() {
    let expected = with(comes_up(0, 0), &[(3000, flush(1))]);
    let mut bench = check(
        &[(2500, Event::Flushes(false)), (3000, Event::Stop)],
        60_000,
        &expected,
    );
    assert!(!bench.monitor.is_flushed());
    bench.handle(Event::Flushed(1));
    assert!(bench.monitor.is_flushed());
    assert_eq!(bench.monitor.deadline(), None);

    let mut down = Bench::new(settings(), true);
    run(&mut down, &[(1, Event::Stop)], 60_000);
    assert!(down.monitor.is_flushed());
}

#[test]
fn a_pause_is_a_way_to_be_down_that_a_resume_ends_at_once() {
    let expected = with(comes_up(0, 0), &[(3000, flush(1)), (50_000, PROBE)]);
    let expected = with(expected, &[(50_000, open(1)), (50_000, NOT_READY)]);
    let mut bench = Bench::new(settings(), false);
    let script = [
        (3000, Event::Pause),
        (20_000, Event::Password),
        (50_000, Event::Resume),
    ];
    run(&mut bench, &script[..2], 40_000);
    assert_eq!(bench.monitor.state_word(), "paused");
    assert!(bench.monitor.why().unwrap().contains("ctl resume"));
    assert!(!bench.monitor.handle_pause(), "it is paused already");
    assert!(!bench.monitor.handle_probe_wanted(at(40_000)));
    run(&mut bench, &script[2..], 50_000);
    assert_eq!(bench.orders, expected);
    assert!(!bench.monitor.handle_resume(at(50_000)), "it is not paused");
}

#[test]
fn one_that_is_resumed_before_everyone_has_let_go_waits_for_that() {
    let mut bench = Bench::new(settings(), false);
    let script = [
        (2500, Event::Flushes(false)),
        (3000, Event::Pause),
        (3100, Event::Resume),
        (9000, Event::Flushed(1)),
    ];
    run(&mut bench, &script[..3], 8900);
    assert_eq!(bench.monitor.state_word(), "down");
    run(&mut bench, &script[3..], 9100);
    assert_eq!(
        (bench.monitor.state_word(), bench.monitor.epoch()),
        ("up", 1)
    );
}

#[test]
fn one_without_an_address_that_is_paused_is_looked_up_when_it_is_resumed() {
    for found in [Ok(()), Err("no such name".to_owned())] {
        let is_found = found.is_ok();
        let mut bench = Bench::new(settings(), true);
        let script = [
            (10, Event::Pause),
            (20, Event::Resolved(found)),
            (30_000, Event::Resume),
        ];
        run(&mut bench, &script, 30_000);
        let last = bench.orders.iter().map(|(_, order)| *order).next_back();
        let word = bench.monitor.state_word();
        if is_found {
            assert_eq!(word, "up");
            assert!(bench.orders.contains(&(30_000, PROBE)));
        } else {
            assert_eq!((word, last), ("unresolved", Some(Order::Resolve)));
        }
        assert!(bench.orders[1].0 == 30_000, "nothing is ordered in a pause");
    }
}

#[test]
fn a_probe_that_is_wanted_comes_before_a_pause_of_failures_ends() {
    let mut bench = Bench::new(settings(), false);
    let script = [
        (3000, Event::Trouble(0, Trouble::Refused)),
        (3100, Event::Wanted),
    ];
    run(&mut bench, &script, 3100);
    let last = bench
        .orders
        .iter()
        .rev()
        .find(|(_, order)| matches!(order, Order::Probe { .. }));
    assert_eq!(last.map(|(ms, _)| *ms), Some(3100), "{:?}", bench.orders);
}

fn event() -> impl Strategy<Value = Event> {
    let trouble = prop_oneof![
        Just(broken()),
        Just(Trouble::Timeout),
        Just(Trouble::Garbage("<html>".to_owned())),
        Just(answered("500")),
        Just(Trouble::Refused),
    ];
    prop_oneof![
        4 => prop_oneof![
            3 => Just(Answer::Good),
            1 => Just(Answer::Bad),
            1 => Just(Answer::Refusing),
            1 => Just(Answer::Silent)
        ].prop_map(Event::Probes),
        1 => any::<bool>().prop_map(Event::Flushes),
        3 => (0..5_u32).prop_map(Event::Flushed),
        2 => Just(Event::Lost),
        6 => (0..20_u16, trouble).prop_map(|(lane, trouble)| Event::Trouble(lane, trouble)),
        2 => (0..3_u64).prop_map(Event::Answers),
        2 => any::<bool>().prop_map(Event::Backlog),
        1 => Just(Event::Resolved(Ok(()))),
        1 => Just(Event::Resolved(Err("no".to_owned()))),
        1 => Just(Event::Password),
        1 => prop_oneof![Just(Event::Pause), Just(Event::Resume), Just(Event::Wanted)],
    ]
}

proptest! {
    /// The bench answers probes and flushes while it follows orders; a silent backend leaves a
    /// probe out for ever, so everything may come in any order.
    #[test]
    fn whatever_happens_the_promises_hold(
        named: bool,
        script in proptest::collection::vec((0..3000_u64, event()), 1..60),
        stop: bool,
    ) {
        let mut bench = Bench::new(settings(), named);
        let mut ms = 0;
        for (wait, event) in script {
            ms += wait;
            bench.run_until(ms);
            bench.handle(event);
        }
        if stop {
            bench.handle(Event::Stop);
            let ordered = bench.orders.len();
            bench.run_until(ms + 100_000);
            prop_assert_eq!(bench.orders.len(), ordered, "nothing after the end");
        }

        let mut epoch = 0;
        let mut open_in = None;
        let mut probed: Option<u64> = None;
        let mut ready = false;
        for (ms, order) in &bench.orders {
            match *order {
                Order::Flush { epoch: new } => {
                    prop_assert_eq!(new, epoch + 1, "epochs grow by one");
                    prop_assert_eq!(open_in, Some(epoch), "only what was opened is flushed");
                    epoch = new;
                    open_in = None;
                    ready = false;
                }
                Order::Open { epoch: opened } => {
                    prop_assert_eq!(opened, epoch);
                    prop_assert_eq!(open_in, None, "opened once an epoch");
                    open_in = Some(opened);
                }
                Order::Ttl { ready: now_ready } => {
                    prop_assert!(open_in.is_some());
                    prop_assert!(!(ready && now_ready), "said once");
                    ready = now_ready;
                }
                Order::Probe {
                    authenticated: false,
                } => {
                    if let Some(before) = probed {
                        prop_assert!(
                            ms - before >= PROBE_AT_ONCE_GAP_MS,
                            "{} after {}",
                            ms,
                            before
                        );
                    }
                    probed = Some(*ms);
                }
                Order::Probe {
                    authenticated: true,
                } => {
                    prop_assert_eq!(probed, Some(*ms), "behind a good one");
                    prop_assert_eq!(open_in, None);
                }
                Order::Resolve => {}
            }
        }
    }

    /// Without anything that asks for one at once, probes keep to their intervals.
    #[test]
    fn probes_keep_their_intervals(good: bool, backlog: bool, seed: u64) {
        let mut bench = Bench::new(settings(), false);
        bench.monitor = Monitor::new(settings(), false, seed, at(0));
        bench.handle(Event::Probes(if good { Answer::Good } else { Answer::Bad }));
        bench.handle(Event::Backlog(backlog));
        bench.run_until(100_000);
        let least = match (good, backlog) {
            (true, _) => PROBE_HOLD_MS,
            (false, true) => 400,
            (false, false) => 5000,
        };
        let times: Vec<u64> = bench
            .orders
            .iter()
            .filter(|(_, order)| *order == PROBE)
            .map(|(ms, _)| *ms)
            .collect();
        prop_assert!(times.len() >= 19);
        for pair in times.windows(2) {
            prop_assert!(pair[1] - pair[0] >= least, "{:?}", pair);
        }
    }
}

#[test]
fn a_name_is_looked_up_while_up_too_and_one_that_has_moved_is_flushed_before_it_is_opened_again() {
    let mut bench = Bench::new(settings(), true);
    let script = [
        (10, Event::Resolved(Ok(()))),
        (30_100, Event::Resolved(Ok(()))),
        (60_200, Event::Flushes(false)),
        (60_200, Event::Moved),
        (60_300, Event::Resolved(Ok(()))),
        (60_400, Event::Flushed(1)),
    ];
    run(&mut bench, &script[..5], 60_300);
    assert_eq!(bench.monitor.state_word(), "down");
    assert_eq!(bench.monitor.why(), Some(BACK));
    run(&mut bench, &script[5..], 91_000);
    let orders = bench.orders.iter();
    let orders: Vec<_> = orders
        .filter(|(_, order)| {
            let probe = matches!(order, Order::Probe { .. } | Order::Ttl { .. });
            !probe
        })
        .copied()
        .collect();
    let expected = [
        (0, Order::Resolve),
        (10, open(0)),
        (30_010, Order::Resolve),
        (60_100, Order::Resolve),
        // It has moved: nothing is opened before the flush is done.
        (60_200, flush(1)),
        (60_200, Order::Resolve),
        (60_400, open(1)),
        (90_400, Order::Resolve),
    ];
    assert_eq!(orders, expected);
}

#[test]
fn one_that_is_paused_is_not_looked_up_and_one_that_is_refused_is() {
    let mut bench = Bench::new(settings(), true);
    let script = [
        (10, Event::Resolved(Ok(()))),
        (100, Event::Pause),
        (100_000, Event::Resume),
        (100_000, Event::Resolved(Ok(()))),
        (100_100, Event::Probes(Answer::Refusing)),
        (100_100, Event::Trouble(0, Trouble::Refused)),
    ];
    run(&mut bench, &script, 101_000);
    let orders = bench.orders.iter();
    let resolved: Vec<_> = orders
        .filter(|(_, order)| *order == Order::Resolve)
        .map(|(ms, _)| *ms)
        .collect();
    assert_eq!(bench.monitor.state_word(), "refused");
    assert_eq!(resolved, [0, 100_000, 100_100]);
}
