//! Connections that nothing is sent on, and that something in between forgets.

use super::*;

/// One whose only connection has worked, and was then idle for so long.
fn idle_for(ms: u64) -> Fixture {
    idle_as(settings(), ms)
}

fn idle_as(settings: LaneSettings, ms: u64) -> Fixture {
    let mut fixture = Fixture::fed(settings, &puts(1));
    fixture.answer(0, APPLIED);
    assert_eq!(fixture.bursts(), ["a"]);
    fixture.now.monotonic += Duration::from_millis(ms);
    fixture
}

#[test]
fn a_connection_that_is_idle_too_long_is_closed_and_the_next_record_makes_another() {
    let mut fixture = idle_for(0);
    fixture.wait(59);
    assert!(fixture.closed.is_empty());
    fixture.wait(1);
    assert_eq!(fixture.closed, [0]);
    assert!(fixture.asked.is_empty(), "nobody needs one");
    fixture.feed(&[put("b")]);
    fixture.connect();
    assert_eq!(fixture.bursts(), ["b"]);
    assert_eq!(fixture.troubles(), []);
}

#[test]
fn another_idle_timeout_holds_for_a_connection_that_is_idle_already() {
    let with_timeout = |fixture: &mut Fixture, seconds| {
        fixture.message(WorkerMessage::Settings {
            backend: BACKEND,
            settings: Arc::new(LaneSettings {
                idle_timeout: Duration::from_secs(seconds),
                ..settings()
            }),
        });
    };
    let mut fixture = idle_for(0);
    with_timeout(&mut fixture, 100);
    fixture.wait(60);
    assert!(fixture.closed.is_empty());
    with_timeout(&mut fixture, 70);
    assert!(fixture.worker.deadline() <= fixture.now.after(Duration::from_secs(10)));
    fixture.wait(9);
    assert!(fixture.closed.is_empty());
    fixture.wait(1);
    assert_eq!(fixture.closed, [0]);
}

#[test]
fn a_record_that_comes_when_the_time_is_over_does_not_go_on_the_old_connection() {
    let mut fixture = idle_for(60_000);
    fixture.feed(&[put("b")]);
    assert_eq!(
        (&fixture.closed[..], &fixture.asked[..]),
        (&[0][..], &[0][..])
    );
    fixture.connect();
    assert_eq!(fixture.bursts(), ["b"]);
}

#[test]
fn what_is_lost_with_an_idle_connection_goes_on_another_at_once_and_counts_only_once_more() {
    for is_late in [false, true] {
        let lose = |fixture: &mut Fixture| match is_late {
            false => fixture.break_connection(0),
            true => fixture.wait(5),
        };
        let mut fixture = idle_for(1000);
        fixture.feed(&[put("b"), put("c"), put("d")]);
        assert_eq!(fixture.bursts(), ["b c"]);
        lose(&mut fixture);
        assert_eq!(fixture.asked, [0], "at once");
        assert_eq!(fixture.troubles(), []);
        fixture.connect();
        assert_eq!(fixture.bursts(), ["b c"], "a suffix goes again (G3)");
        assert_eq!(fixture.counters.resent.load(), 2);
        fixture.now.monotonic += Duration::from_secs(2);
        lose(&mut fixture);
        assert!(fixture.asked.is_empty(), "it waits before it tries again");
        assert_eq!(fixture.troubles().len(), 1);
    }
}

/// Such a loss is a failure like any other.
#[track_caller]
fn check_counts(mut fixture: Fixture, before_it_breaks: impl FnOnce(&mut Fixture)) {
    fixture.feed(&[put("b"), put("c")]);
    before_it_breaks(&mut fixture);
    fixture.break_connection(0);
    assert!(fixture.asked.is_empty());
    assert_eq!(fixture.troubles(), [Trouble::Connection("reset".into())]);
}

#[test]
fn any_other_loss_is_a_failure() {
    // Not idle for long.
    check_counts(idle_for(999), |_| {});
    // Something was answered.
    check_counts(idle_for(2000), |fixture| fixture.answer(0, APPLIED));
    check_counts(idle_for(2000), |fixture| fixture.answer(0, &APPLIED[..9]));
    // It never worked: that it stood is all that is known of it.
    let mut fixture = Fixture::new(settings());
    fixture.set_ttl_ready(false);
    let expires = Record {
        expires_unix: 2_000_000,
        ..put("a")
    };
    fixture.feed(&[expires]);
    fixture.connect();
    assert_eq!(
        fixture.bursts(),
        [""; 0],
        "it waits for the backend's clock"
    );
    fixture.now.monotonic += Duration::from_secs(2);
    fixture.set_ttl_ready(true);
    assert_eq!(fixture.bursts(), ["a"]);
    check_counts(fixture, |_| {});
}

#[test]
fn a_zadd_that_was_lost_with_an_idle_connection_may_have_been_applied() {
    let mut fixture = idle_for(2000);
    fixture.feed(&[zadd(b"m")]);
    assert_eq!(fixture.counters.asked.load(), 0);
    fixture.break_connection(0);
    fixture.connect();
    assert_eq!(
        fixture.counters.asked.load(),
        1,
        "it is asked for first (G4)"
    );
}

/// It may have reached a backend that was late: that one may still apply it.
#[test]
fn a_zadd_that_timed_out_on_an_idle_connection_is_asked_for_after_a_while() {
    let settings = LaneSettings {
        lookup_hold: Duration::from_millis(1_500),
        ..settings()
    };
    let mut fixture = idle_as(settings, 2000);
    fixture.feed(&[zadd(b"m")]);
    fixture.wait(5);
    fixture.connect();
    assert_eq!(fixture.counters.asked.load(), 0, "it is too early");
    fixture.wait(2);
    fixture.connect();
    assert_eq!(fixture.counters.asked.load(), 1);
}

#[test]
fn an_idle_connection_s_deadline_keeps_no_lane_from_being_woken_for_its_rate() {
    let mut fixture = Fixture::fed(
        LaneSettings {
            records_per_second_max: 10,
            ..settings()
        },
        &puts(9),
    );
    for _ in 0..3 {
        let requests = fixture.sent.last().unwrap().1.matches("POST").count();
        fixture.answer(0, &APPLIED.repeat(requests));
        fixture.wait(0);
        let due = fixture.worker.deadline() - fixture.now.monotonic;
        assert!(due <= Duration::from_millis(200), "{due:?}");
        fixture.now.monotonic += Duration::from_millis(500);
        fixture.worker.handle_deadlines(fixture.now);
        fixture.turn();
    }
}

/// Otherwise the last keys would wait until all others are through.
#[test]
fn what_a_bound_rate_lets_through_goes_to_the_lanes_in_turn() {
    const LANES: usize = 4;
    let mut fixture = Fixture::new(LaneSettings {
        lanes: LANES as u32,
        records_per_second_max: 10,
        ..settings()
    });
    for lane in 0..LANES as u16 {
        fixture.lane = lane;
        fixture.feed(&puts(9));
    }
    fixture.connect();
    let mut taken = [0; LANES];
    for round in 0..40 {
        for (slot, burst) in std::mem::take(&mut fixture.sent) {
            let requests = burst.matches("POST").count();
            taken[slot] += requests;
            fixture.answer(slot, &APPLIED.repeat(requests));
        }
        let [least, most] = [taken.iter().min(), taken.iter().max()].map(|found| *found.unwrap());
        assert!(
            round < LANES || most - least <= 2,
            "round {round}: {taken:?}"
        );
        fixture.now.monotonic = fixture.now.monotonic.max(fixture.worker.deadline());
        fixture.worker.handle_deadlines(fixture.now);
        fixture.turn();
        fixture.connect();
    }
    assert!(taken.iter().all(|taken| *taken >= 5), "{taken:?}");
}

#[test]
fn a_forgotten_backends_slots_are_the_next_ones() {
    let mut fixture = Fixture::new(settings());
    let mut backend = BACKEND;
    let slots = fixture.worker.slots();
    for turn in 0..100u32 {
        if turn > 0 {
            fixture.message(WorkerMessage::Open {
                backend,
                epoch: 0,
                address: "127.0.0.1:1".parse().unwrap(),
                settings: Arc::new(settings()),
                counters: Arc::default(),
            });
        }
        fixture.message(WorkerMessage::Flush {
            backend,
            epoch: 1,
            drain_until: None,
        });
        fixture.message(WorkerMessage::Forget { backend });
        // What comes late for it is nobody's.
        fixture.message(WorkerMessage::Ttl {
            backend,
            ready: true,
        });
        fixture
            .worker
            .handle_closed(0, "late".to_owned(), fixture.now);
        fixture.worker.check_invariants();
        backend = backend.next_at_place();
        assert_eq!(backend.index(), BACKEND.index());
    }
    assert_eq!(fixture.worker.slots(), slots);
}
