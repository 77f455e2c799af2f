//! Connections that nothing is sent on, and that something in between forgets.

use super::*;

/// One whose only connection has worked, and was then idle for so long.
fn idle_for(ms: u64) -> Rig {
    let mut rig = Rig::new(settings());
    rig.feed(&puts(1));
    rig.connect();
    rig.answer(0, APPLIED);
    assert_eq!(rig.bursts(), ["a"]);
    rig.now.monotonic += Duration::from_millis(ms);
    rig
}

#[test]
fn a_connection_that_is_idle_too_long_is_closed_and_the_next_record_makes_another() {
    let mut rig = idle_for(0);
    rig.wait(59);
    assert!(rig.closed.is_empty());
    rig.wait(1);
    assert_eq!(rig.closed, [0]);
    assert!(rig.asked.is_empty(), "nobody needs one");
    rig.feed(&[put("b")]);
    rig.connect();
    assert_eq!(rig.bursts(), ["b"]);
    assert_eq!(rig.troubles(), []);
}

#[test]
fn a_record_that_comes_when_the_time_is_over_does_not_go_on_the_old_connection() {
    let mut rig = idle_for(60_000);
    rig.feed(&[put("b")]);
    assert_eq!((&rig.closed[..], &rig.asked[..]), (&[0][..], &[0][..]));
    rig.connect();
    assert_eq!(rig.bursts(), ["b"]);
}

#[test]
fn what_is_lost_with_an_idle_connection_goes_on_another_at_once_and_counts_as_a_failure_only_once_more()
 {
    for is_late in [false, true] {
        let lose = |rig: &mut Rig| match is_late {
            false => rig.break_connection(0),
            true => rig.wait(5),
        };
        let mut rig = idle_for(1000);
        rig.feed(&[put("b"), put("c"), put("d")]);
        assert_eq!(rig.bursts(), ["b c"]);
        lose(&mut rig);
        assert_eq!(rig.asked, [0], "at once");
        assert_eq!(rig.troubles(), []);
        rig.connect();
        assert_eq!(rig.bursts(), ["b c"], "a suffix goes again (G3)");
        assert_eq!(rig.counters.resent.load(), 2);
        rig.now.monotonic += Duration::from_secs(2);
        lose(&mut rig);
        assert!(rig.asked.is_empty(), "it waits before it tries again");
        assert_eq!(rig.troubles().len(), 1);
    }
}

/// Such a loss is a failure like any other.
#[track_caller]
fn check_counts(mut rig: Rig, before_it_breaks: impl FnOnce(&mut Rig)) {
    rig.feed(&[put("b"), put("c")]);
    before_it_breaks(&mut rig);
    rig.break_connection(0);
    assert!(rig.asked.is_empty());
    assert_eq!(rig.troubles(), [Trouble::Connection("reset".into())]);
}

#[test]
fn any_other_loss_is_a_failure() {
    // Not idle for long.
    check_counts(idle_for(999), |_| {});
    // Something was answered.
    check_counts(idle_for(2000), |rig| rig.answer(0, APPLIED));
    check_counts(idle_for(2000), |rig| rig.answer(0, &APPLIED[..9]));
    // It never worked: that it stood is all that is known of it.
    let mut rig = Rig::new(settings());
    rig.mail(WorkerMail::Ttl {
        backend: BACKEND,
        ready: false,
    });
    let expires = Record {
        expires_unix: 2_000_000,
        ..put("a")
    };
    rig.feed(&[expires]);
    rig.connect();
    assert_eq!(rig.bursts(), [""; 0], "it waits for the backend's clock");
    rig.now.monotonic += Duration::from_secs(2);
    rig.mail(WorkerMail::Ttl {
        backend: BACKEND,
        ready: true,
    });
    assert_eq!(rig.bursts(), ["a"]);
    check_counts(rig, |_| {});
}

#[test]
fn a_zadd_that_was_lost_with_an_idle_connection_may_have_been_applied() {
    let mut rig = idle_for(2000);
    rig.feed(&[zadd(b"m")]);
    assert_eq!(rig.counters.asked.load(), 0);
    rig.break_connection(0);
    rig.connect();
    assert_eq!(rig.counters.asked.load(), 1, "it is asked for first (G4)");
}

#[test]
fn an_idle_connection_s_deadline_keeps_no_lane_from_being_woken_for_its_rate() {
    let mut rig = Rig::new(LaneSettings {
        records_per_second_max: 10,
        ..settings()
    });
    rig.feed(&puts(9));
    rig.connect();
    for _ in 0..3 {
        let requests = rig.sent.last().unwrap().1.matches("POST").count();
        rig.answer(0, &APPLIED.repeat(requests));
        rig.wait(0);
        let due = rig.worker.deadline() - rig.now.monotonic;
        assert!(due <= Duration::from_millis(200), "{due:?}");
        rig.now.monotonic += Duration::from_millis(500);
        rig.worker.handle_deadlines(rig.now);
        rig.turn();
    }
}

#[test]
fn a_forgotten_backends_slots_are_the_next_ones() {
    let mut rig = Rig::new(settings());
    let mut backend = BACKEND;
    let slots = rig.worker.slots();
    for turn in 0..100u32 {
        if turn > 0 {
            rig.mail(WorkerMail::Open {
                backend,
                epoch: 0,
                address: "127.0.0.1:1".parse().unwrap(),
                settings: Arc::new(settings()),
                counters: Arc::default(),
            });
        }
        rig.mail(WorkerMail::Flush {
            backend,
            epoch: 1,
            drain_until: None,
        });
        rig.mail(WorkerMail::Forget { backend });
        // What comes late for it is nobody's.
        rig.mail(WorkerMail::Ttl {
            backend,
            ready: true,
        });
        rig.worker.handle_closed(0, "late".to_owned(), rig.now);
        rig.worker.check_invariants();
        backend = backend.next_at_place();
        assert_eq!(backend.index(), BACKEND.index());
    }
    assert_eq!(rig.worker.slots(), slots);
}
