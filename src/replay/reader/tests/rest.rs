//! Backends that have nothing to do rest, and whatever gives them something to do wakes them.

use std::sync::Arc;
use std::time::Duration;

use super::fixture::{A, B, BOUNDS, Fixture, put, puts, settings};
use crate::ledger::checkpoint::Checkpoint;
use crate::replay::messages::{BackendId, ControlMessage, ReaderMessage, ReaderSettings};
use crate::replay::reader::Turn;

const SECOND: Duration = Duration::from_secs(1);

/// A and B, which are up and have nothing to do: A has a log that is read to its end.
fn resting() -> Fixture {
    let mut fixture = Fixture::fed(&["a:1", "b:2"]);
    fixture.append(A, "01", &put("first"));
    fixture.run_for(2 * SECOND);
    assert_eq!(fixture.keys(A), ["first"]);
    assert_eq!(awake(&fixture), 0);
    fixture
}

fn awake(fixture: &Fixture) -> usize {
    fixture.reader.sources.awake_count()
}

/// Without a word to the reader.
fn append_unseen(fixture: &Fixture, file: &str, bytes: &[u8]) {
    fixture.disk.set_time(fixture.now.unix);
    fixture.disk.append_log("a:1", file, bytes);
}

#[track_caller]
fn check_next(fixture: &Fixture) {
    assert_eq!(fixture.keys(A), ["first", "next"]);
}

#[test]
fn only_who_has_a_backlog_is_looked_at() {
    let names: Vec<String> = (0..40).map(|nth| format!("h:{nth:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut fixture = Fixture::fed(&names);
    fixture.run();
    assert_eq!(awake(&fixture), 0);
    let busy = [3, 17].map(BackendId::from_index);
    for backend in busy {
        fixture.stuck.push(backend);
        fixture.append(
            backend,
            "01",
            &puts((0..1000).map(|nth| format!("key{nth}"))),
        );
    }
    fixture.run();
    assert_eq!(awake(&fixture), busy.len());
}

#[test]
fn a_log_that_grew_wakes_its_backend() {
    let mut fixture = resting();
    append_unseen(&fixture, "01", &put("next"));
    fixture.hint_grew(A);
    fixture.run();
    check_next(&fixture);
}

#[test]
fn a_new_name_wakes_its_backend() {
    let mut fixture = resting();
    append_unseen(&fixture, "02", &put("next"));
    fixture.hint_listing(A);
    fixture.run();
    check_next(&fixture);
}

#[test]
fn lost_events_wake_all() {
    let mut fixture = resting();
    append_unseen(&fixture, "02", &put("next"));
    fixture.links.dirty_flags.hint_overflow();
    fixture.run();
    check_next(&fixture);
}

#[test]
fn the_time_of_the_next_listing_wakes_its_backend() {
    let mut fixture = resting();
    append_unseen(&fixture, "02", &put("next"));
    let mut waited = Duration::ZERO;
    while let Turn::Idle { until } = fixture.run()
        && fixture.keys(A).len() < 2
        && waited < 100 * SECOND
    {
        let sleeps = until - fixture.now.monotonic;
        assert!(sleeps > Duration::ZERO);
        fixture.pass(sleeps);
        waited += sleeps;
    }
    check_next(&fixture);
    assert!(waited <= settings().rescan_interval, "{waited:?}");
}

/// As of one that is written to under a name elsewhere.
#[test]
fn the_time_of_the_next_look_at_open_logs_wakes_its_backend() {
    let mut fixture = resting();
    append_unseen(&fixture, "01", &put("next"));
    fixture.run_for(SECOND);
    check_next(&fixture);
}

#[test]
fn another_setting_wakes_all() {
    let closed_after = |seconds| ReaderSettings {
        closed_after: seconds * SECOND,
        ..settings()
    };
    let mut fixture = resting();
    fixture.send(ReaderMessage::Settings(closed_after(1)));
    fixture.run_for(5 * SECOND);
    append_unseen(&fixture, "01", &put("next"));
    fixture.run_for(2 * SECOND);
    assert_eq!(
        fixture.keys(A),
        ["first"],
        "HA does not write there any more"
    );
    fixture.send(ReaderMessage::Settings(closed_after(80)));
    fixture.run_for(SECOND);
    check_next(&fixture);
}

#[test]
fn a_shorter_rescan_interval_holds_at_once() {
    let rescan_interval = |seconds| ReaderSettings {
        rescan_interval: seconds * SECOND,
        ..settings()
    };
    let mut fixture = resting();
    fixture.send(ReaderMessage::Settings(rescan_interval(3600)));
    fixture.run_for(100 * SECOND);
    // Nobody says so, as on a network file system.
    append_unseen(&fixture, "02", &put("next"));
    fixture.disk.append_log("c:3", "01", &put("new"));
    fixture.run_for(100 * SECOND);
    assert_eq!(fixture.keys(A), ["first"]);
    assert!(!is_found(&fixture, "c:3"));
    fixture.send(ReaderMessage::Settings(rescan_interval(2)));
    fixture.run();
    fixture.run_for(2 * SECOND);
    check_next(&fixture);
    assert!(is_found(&fixture, "c:3"));
}

/// Whether control was told of this backend.
fn is_found(fixture: &Fixture, name: &str) -> bool {
    let mut told = fixture.control.iter();
    told.any(|message| matches!(message, ControlMessage::BackendFound(found) if found == name))
}

#[test]
fn a_plan_and_an_up_wake_their_backend_whichever_comes_last() {
    for is_plan_last in [false, true] {
        let mut fixture = resting();
        let plan = fixture.ledgers[&A].1.checkpoint().resume;
        fixture.down(A);
        fixture.append(A, "01", &put("next"));
        fixture.run_for(2 * SECOND);
        assert_eq!(awake(&fixture), 0, "it is down, with a backlog");
        if is_plan_last {
            fixture.up(A);
        } else {
            fixture.plan(A, plan.clone());
        }
        fixture.run_for(2 * SECOND);
        assert_eq!(fixture.keys(A), ["first"]);
        assert_eq!(awake(&fixture), 0, "half of what it waits for has come");
        if is_plan_last {
            fixture.plan(A, plan);
        } else {
            fixture.up(A);
        }
        fixture.run();
        check_next(&fixture);
    }
}

#[test]
fn the_end_of_a_pause_wakes_its_backend() {
    let pause = |paused| ReaderMessage::StorePaused { backend: A, paused };
    let mut fixture = resting();
    fixture.send(pause(true));
    fixture.append(A, "01", &put("next"));
    fixture.run_for(2 * SECOND);
    assert_eq!((awake(&fixture), fixture.keys(A).len()), (0, 1));
    fixture.send(pause(false));
    fixture.run();
    check_next(&fixture);
}

#[test]
fn a_sync_point_has_all_folders_listed_although_all_rest() {
    let mut fixture = resting();
    let listings = ["a:1", "b:2"].map(|name| fixture.disk.listings(name));
    fixture.send(ReaderMessage::SyncPoint {
        id: 7,
        is_backend: |_| true,
    });
    fixture.run();
    assert_eq!(fixture.points, [(7, 0)]);
    let now = ["a:1", "b:2"].map(|name| fixture.disk.listings(name));
    assert_eq!(now, listings.map(|count| count + 1));
}

/// Its lines are all read, so that it rests as soon as their memory is back.
#[test]
fn a_segment_that_is_done_wakes_its_backend_which_lets_go_of_a_deleted_log() {
    let mut fixture = resting();
    fixture.stuck.push(A);
    fixture.append(A, "01", &put("next"));
    fixture.run();
    assert_eq!(awake(&fixture), 1, "it holds memory");
    for batch in std::mem::take(&mut fixture.kept) {
        fixture.links.returns.release(batch.chunk);
    }
    fixture.run();
    assert_eq!(awake(&fixture), 0);
    fixture.disk.remove_log("a:1", "01");
    fixture.hint_listing(A);
    fixture.run_for(2 * SECOND);
    assert_eq!(awake(&fixture), 1, "a log without a name is to be closed");
    assert!(fixture.gone.is_empty(), "a line of it is not settled");
    let done = fixture.segments.values().last().unwrap().done();
    fixture.send(ReaderMessage::SegmentDone {
        backend: A,
        done,
        epoch: 0,
    });
    fixture.run();
    assert_eq!(fixture.gone.len(), 1);
    assert_eq!(awake(&fixture), 0);
}

/// What A has is the most that there is: B waits for memory that is not its own.
#[test]
fn memory_that_one_gives_back_lets_another_go_on_that_waits_for_it() {
    let settings = ReaderSettings {
        memory_budget_bytes: 4 * BOUNDS.chunk_bytes_min,
        ..settings()
    };
    let mut fixture = Fixture::with(settings, BOUNDS, 64);
    fixture.know(&["a:1", "b:2"]);
    fixture.stuck.extend([A, B]);
    let keys = || (0..100).map(|nth| format!("key{nth}"));
    fixture.append(A, "01", &puts(keys()));
    fixture.run();
    fixture.append(B, "01", &puts(keys()));
    fixture.run();
    assert_eq!(awake(&fixture), 2);
    let had = fixture.got[&B].len();
    assert!(had < keys().count());
    // Its own lines are settled one chunk after the other, whatever A does.
    fixture.stuck.clear();
    for batch in std::mem::take(&mut fixture.kept) {
        fixture.links.returns.release(batch.chunk);
    }
    for (id, segment) in &fixture.segments {
        fixture.send(ReaderMessage::SegmentDone {
            backend: fixture.owners[id],
            done: segment.done(),
            epoch: 0,
        });
    }
    fixture.run();
    for backend in [A, B] {
        assert_eq!(fixture.keys(backend).len(), keys().count());
    }
    assert_eq!(awake(&fixture), 0);
}

#[test]
fn a_backend_that_comes_to_another_place_is_still_woken() {
    let mut fixture = resting();
    fixture.send(ReaderMessage::Forget { backend: A });
    // It says first that its folder need not be watched.
    fixture.turn();
    while let Some(message) = {
        fixture.turn();
        fixture.links.mailboxes.checkpointer.receive()
    } {
        assert!(format!("{message:?}").contains("Forget"));
    }
    fixture.run_for(2 * SECOND);
    assert_eq!(awake(&fixture), 0);
    fixture.append(B, "01", &put("other"));
    fixture.run();
    assert_eq!(fixture.keys(B), ["other"]);
    assert_eq!(awake(&fixture), 0);
}

/// The plan of a backend is there before the backend is, and so is what it is to read.
#[test]
fn a_backend_that_is_new_is_looked_at() {
    let mut fixture = resting();
    let id = fixture.add("c:3");
    fixture.append(id, "01", &put("new"));
    let plan = Checkpoint::default().resume;
    fixture.plan(id, plan);
    fixture.up(id);
    fixture.run();
    assert_eq!(fixture.keys(id), ["new"]);
}

/// It does not wake for segments, as long as it is content.
#[test]
fn a_checkpointer_that_leaves_outcomes_waiting_is_woken_once_credit_is_needed() {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.stuck.push(A);
    fixture.append(A, "01", &put("first"));
    fixture.run();
    let checkpointer = Arc::clone(&fixture.links.mailboxes.checkpointer);
    checkpointer.set_content(true);
    assert!(checkpointer.prepare_sleep());
    let sleeps = || checkpointer.liveness().is_none();

    let credit = settings().in_flight_per_backend;
    fixture.append(A, "01", &put("second"));
    fixture.run();
    assert_eq!(fixture.keys(A).len(), 2);
    assert!(sleeps(), "all is read");
    fixture.append(A, "01", &puts((0..credit).map(|n| format!("{n}"))));
    fixture.run();
    assert!(!sleeps(), "there is more to read than credit for it");
}
