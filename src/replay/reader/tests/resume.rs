//! Going on where the checkpointer says, in a first epoch and in later ones.

use std::sync::Arc;
use std::time::Duration;

use super::fixture::{A, Fixture, increment, put, puts};
use crate::ledger::identity::LastRead;
use crate::ledger::plan::{FileResume, LegacyResume};
use crate::ledger::runs::LineRuns;
use crate::replay::messages::{FileStart, ReaderMessage, ResumePlan};
use crate::replay::reachability::{KnownOutages, Outage};

/// Files of five lines each; of the first, two are settled in a row, and a further one.
fn plan(fixture: &Fixture, prefix: &[u8]) -> ResumePlan {
    let meta = fixture.disk.meta_of("a:1", "01").unwrap();
    let mut settled = LineRuns::default();
    settled.push(3, 1);
    ResumePlan {
        files: vec![FileResume {
            name: Arc::from("an older name"),
            identity: meta.identity(prefix),
            line: 2,
            byte: puts(["a", "b"]).len() as u64,
            settled,
            lines_read: 4,
            away_unix: 0,
            sent: LineRuns::default(),
            last_read: LastRead::default(),
        }],
        legacy: Vec::new(),
    }
}

fn fixture() -> Fixture {
    let mut fixture = Fixture::new();
    fixture
        .disk
        .append_log("a:1", "01", &puts(["a", "b", "c", "d", "e"]));
    fixture.disk.append_log("a:1", "02", &puts(["f"]));
    fixture.add("a:1");
    fixture.up(A);
    fixture
}

/// A log was replaced while no server ran, of which an earlier one had read all and more than the
/// plan says. Whether the new one has all of that is told.
#[track_caller]
fn check_original(new: &[&str], is_copy: bool) {
    let mut fixture = fixture();
    let mut plan = plan(&fixture, &put("a"));
    let old = fixture.disk.meta_of("a:1", "01").unwrap();
    let read = puts(["a", "b", "c", "d"]);
    plan.files[0].last_read = LastRead::new(0, &read);
    fixture.disk.remove_log("a:1", "01");
    fixture
        .disk
        .append_log("a:1", "01", &puts(new.iter().copied()));
    fixture.plan(A, plan);
    fixture.run_for(Duration::from_secs(5));
    let copy = fixture.disk.meta_of("a:1", "01").unwrap();
    let expected = is_copy.then(|| (old.key(), copy.key()));
    assert_eq!(fixture.copied, Vec::from_iter(expected), "{new:?}");
}

#[test]
fn who_waits_for_what_an_earlier_process_had_read_hears_whether_a_new_log_has_it() {
    check_original(&["a", "b", "c", "d"], true);
    check_original(&["a", "b", "c", "d", "e"], true);
    check_original(&["a", "b", "d", "e", "f"], false);
    check_original(&["a", "b", "c"], false);
    check_original(&["b", "c", "d", "e"], false);
}

#[test]
fn what_comes_to_a_log_that_was_emptied_after_it_was_resumed_counts_as_unread() {
    let mut fixture = fixture();
    fixture.plan(A, plan(&fixture, &put("a")));
    fixture.run();
    fixture.send(ReaderMessage::StorePaused {
        backend: A,
        paused: true,
    });
    fixture.pass(Duration::from_secs(1));
    fixture.disk.truncate_log("a:1", "01", 0);
    let lines = puts(["x", "y", "z"]);
    fixture.append(A, "01", &lines);
    fixture.hint_listing(A);
    fixture.run_for(Duration::from_secs(5));
    let counters = fixture.infos[A.index()].counters.load();
    assert_eq!(counters.unread_bytes, lines.len() as u64);
}

#[test]
fn a_file_goes_on_where_the_plan_says_whatever_its_name() {
    let mut fixture = fixture();
    fixture.plan(A, plan(&fixture, &put("a")));
    fixture.run();
    assert_eq!(fixture.keys(A), ["c", "e", "f"]);
    assert_eq!(
        fixture.starts(),
        [("01", FileStart::Resumed(0)), ("02", FileStart::New)]
    );
    let first = fixture.segments.values().next().unwrap();
    assert_eq!(
        (first.first.line, first.lines, &first.settled_before[..]),
        (2, 3, &[1][..])
    );
    assert_eq!(first.first.byte, puts(["a", "b"]).len() as u64);
}

#[test]
fn a_file_that_begins_otherwise_is_another_file() {
    let mut fixture = fixture();
    fixture.plan(A, plan(&fixture, b"something else"));
    fixture.run();
    assert_eq!(fixture.keys(A), ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(
        fixture.starts(),
        [("01", FileStart::New), ("02", FileStart::New)]
    );
}

#[test]
fn a_file_with_fewer_bytes_than_were_read_of_it_is_another_file() {
    let mut fixture = fixture();
    let mut plan = plan(&fixture, &put("a"));
    plan.files[0].byte = 100_000;
    fixture.plan(A, plan);
    fixture.run();
    assert_eq!(fixture.keys(A), ["a", "b", "c", "d", "e", "f"]);
}

#[test]
fn what_the_original_has_synced_is_passed_over_by_line() {
    let legacy = |name: &str, bytes_read| LegacyResume {
        name: Arc::from(name),
        line: 3,
        lines_read: 5,
        bytes_read,
        away_unix: 0,
    };
    let mut fixture = fixture();
    let legacy = vec![legacy("00", 1), legacy("01", 40), legacy("02", 40_000)];
    fixture.plan(
        A,
        ResumePlan {
            files: Vec::new(),
            legacy,
        },
    );
    fixture.run();
    assert_eq!(fixture.keys(A), ["d", "e", "f"]);
    assert_eq!(
        fixture.starts(),
        [("01", FileStart::Legacy(1)), ("02", FileStart::New)]
    );
    let before: Vec<u32> = fixture
        .segments
        .values()
        .flat_map(|segment| segment.settled_before.clone())
        .collect();
    assert_eq!(before, [0, 1, 2]);
    let lines: u32 = fixture.segments.values().map(|segment| segment.lines).sum();
    assert_eq!(lines, 6, "the checkpointer hears of every line");
}

/// Increments that were there at the start, `old`, and that came since, fed with these outages.
/// Says which are not asked for.
fn surely_missed(own: &[Outage], inherited: &[Outage]) -> Vec<String> {
    let mut fixture = Fixture::new();
    let times = [("u", 1000), ("v", 2000), ("w", 2049), ("x", 2050)];
    for (key, time) in times {
        fixture
            .disk
            .append_log("a:1", "01", &increment(&format!("old {key}"), time));
    }
    fixture.add("a:1");
    let outages = KnownOutages::of(own, inherited, fixture.now);
    fixture.up_with(A, outages);
    fixture.plan(A, ResumePlan::default());
    fixture.run();
    for (key, time) in times {
        fixture.append(A, "01", &increment(key, time));
    }
    fixture.append(A, "01", &put("put"));
    fixture.run_for(Duration::from_secs(2));
    assert_eq!(fixture.got[&A].len(), 9);
    let missed = fixture.got[&A].iter().filter(|got| !got.maybe_sent);
    let mut missed: Vec<_> = missed.map(|got| got.key.clone()).collect();
    missed.retain(|key| key != "put");
    missed.sort();
    missed
}

#[test]
fn an_increment_is_asked_for_unless_its_backend_was_surely_dead_when_its_line_was_written() {
    let outage = Outage {
        from: 2000,
        until: 2050,
    };
    assert_eq!(surely_missed(&[], &[]), [""; 0]);
    assert_eq!(surely_missed(&[outage], &[]), ["v", "w"]);
    assert_eq!(surely_missed(&[], &[outage]), ["old v", "old w"]);
}

/// Its backend is down: it may have grown again, and the process have died, before it is begun.
#[test]
fn a_log_that_shrinks_before_it_is_begun_is_forgotten_at_once() {
    for (left, is_forgotten) in [(2, true), (1, true), (5, false)] {
        let mut fixture = Fixture::new();
        let lines = puts(["a", "b", "c", "d", "e"]);
        fixture.disk.append_log("a:1", "01", &lines);
        fixture.add("a:1");
        fixture.plan(A, plan(&fixture, &lines));
        fixture.run();
        assert_eq!(fixture.forgotten, [], "it has what was read of it");
        let bytes = lines.len() / 5 * left;
        fixture.disk.truncate_log("a:1", "01", bytes);
        fixture.hint_listing(A);
        fixture.run_for(Duration::from_secs(1));
        let forgotten = fixture.forgotten.iter().map(|forgotten| &*forgotten.files);
        let expected: &[&[usize]] = if is_forgotten { &[&[0]] } else { &[] };
        assert!(
            forgotten.eq(expected.iter().copied()),
            "{left} lines are left"
        );
    }
}

/// The backend died before a line of it was fed.
#[test]
fn a_log_that_this_process_has_begun_is_not_an_earlier_ones_when_the_backend_is_back() {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.run();
    let line = increment("v", 2020);
    let (begin, newline) = line.split_at(line.len() - 1);
    fixture.append(A, "01", begin);
    fixture.run();
    let begun = ResumePlan {
        files: vec![FileResume {
            line: 0,
            byte: 0,
            settled: LineRuns::default(),
            lines_read: 0,
            ..plan(&fixture, begin).files.remove(0)
        }],
        legacy: Vec::new(),
    };
    fixture.down(A);
    fixture.run();
    fixture.append(A, "01", newline);
    let outage = Outage {
        from: 2000,
        until: 2050,
    };
    fixture.up_with(A, KnownOutages::of(&[outage], &[], fixture.now));
    fixture.plan(A, begun);
    fixture.run();
    assert_eq!(
        fixture.starts(),
        [("01", FileStart::New), ("01", FileStart::Resumed(0))]
    );
    assert!(!fixture.got[&A][0].maybe_sent, "it was surely missed");
}

#[test]
fn lines_of_another_time_zone_are_asked_for_and_their_lag_is_the_logs_own() {
    const HOUR: u64 = 3600;
    let mut fixture = Fixture::new();
    fixture.add("a:1");
    // It was dead for a while, eight hours from now by our clock and now by HA's.
    let from = fixture.now.unix + 8 * HOUR - 100;
    let outage = Outage {
        from,
        until: from + 200,
    };
    fixture.up_with(A, KnownOutages::of(&[outage], &[], fixture.now));
    fixture.plan(A, ResumePlan::default());
    fixture.run();
    let line = |fixture: &Fixture, key, off: u64| {
        increment(key, u32::try_from(fixture.now.unix + off).unwrap())
    };
    let told = |fixture: &Fixture| fixture.infos[0].counters.zone_off_seconds.load();
    fixture.disk.set_time(fixture.now.unix);
    let log = line(&fixture, "theirs", 8 * HOUR);
    fixture.append(A, "01", &log);
    fixture.run_for(Duration::from_secs(2));
    assert!(
        fixture.got[&A][0].maybe_sent,
        "nobody knows when it was written"
    );
    assert_eq!(told(&fixture), 8 * HOUR);
    let written = fixture.segments.values().next_back().unwrap().written_unix;
    assert!(written <= fixture.now.unix, "its lag is not hours off");
    // They have been given the same TZ: the outage covers what its lines say.
    let outage = Outage {
        from: fixture.now.unix - 100,
        until: fixture.now.unix + 100,
    };
    fixture.down(A);
    fixture.up_with(A, KnownOutages::of(&[outage], &[], fixture.now));
    fixture.plan(A, ResumePlan::default());
    fixture.disk.remove_log("a:1", "01");
    fixture.disk.set_time(fixture.now.unix);
    let log = line(&fixture, "ours", 0);
    fixture.append(A, "02", &log);
    fixture.run_for(Duration::from_secs(2));
    let ours = fixture.got[&A].last().unwrap();
    assert_eq!((&*ours.key, ours.maybe_sent), ("ours", false));
    assert_eq!(told(&fixture), 0);
}

#[test]
fn a_flush_drops_what_is_not_fed_and_the_next_plan_says_where_to_go_on() {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.run();
    fixture.append(A, "01", &puts(["a", "b", "c", "d", "e"]));
    fixture.run();
    // Of those that were fed, one was sent.
    let mut plan = plan(&fixture, &put("a"));
    plan.files[0].sent.push(2, 1);
    fixture.down(A);
    fixture.append(A, "01", &put("f"));
    fixture.run_for(Duration::from_secs(60));
    assert_eq!(fixture.flushed, [1]);
    assert_eq!(fixture.disk.open_files(), 0);
    assert_eq!(fixture.got[&A].len(), 5, "nothing is fed while it is down");
    // A plan of the epoch before is out of date.
    fixture.send(ReaderMessage::Plan {
        backend: A,
        epoch: 0,
        plan: ResumePlan::default(),
    });
    fixture.up(A);
    fixture.run();
    assert_eq!(fixture.got[&A].len(), 5);
    fixture.plan(A, plan);
    fixture.run();
    let again: Vec<_> = fixture.got[&A][5..]
        .iter()
        .map(|got| (got.key.as_str(), got.maybe_sent))
        .collect();
    let mut sorted = again.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [("c", true), ("e", false), ("f", false)]);
    assert_eq!(
        fixture.starts().last(),
        Some(&("01", FileStart::Resumed(0)))
    );
}

#[test]
fn batches_that_no_worker_has_taken_are_dropped_by_a_flush() {
    let mut fixture = Fixture::with(super::fixture::settings(), super::fixture::BOUNDS, 1);
    fixture
        .disk
        .append_log("a:1", "01", &puts((0..200).map(|n| format!("key{n}"))));
    fixture.know(&["a:1"]);
    for _ in 0..10 {
        fixture.turn();
    }
    assert!(
        fixture.links.mailboxes.checkpointer.len() == 1,
        "it is full"
    );
    fixture.down(A);
    fixture.stuck.push(A);
    fixture.run();
    assert_eq!(fixture.flushed, [1]);
    let fed: usize = fixture.got.get(&A).map_or(0, Vec::len);
    assert!(fed < 20, "{fed} were fed behind the flush");
}

#[test]
fn a_short_files_identity_is_told_again_when_more_of_it_is_known() {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.run();
    fixture.append(A, "01", &put("a"));
    fixture.run();
    assert!(fixture.identified.is_empty());
    fixture.append(A, "01", &puts((0..100).map(|n| format!("key{n}"))));
    fixture.run();
    assert_eq!(fixture.identified, [fixture.opened[0].file]);
    fixture.run_for(Duration::from_secs(2));
    fixture.append(A, "02", &put("b"));
    fixture.run_for(Duration::from_secs(2));
    fixture.append(A, "02", &put("c"));
    fixture.append(A, "03", &put("d"));
    fixture.run_for(Duration::from_secs(2));
    assert_eq!(fixture.identified.len(), 2, "and at a file's end");
    assert_eq!(fixture.keys(A).len(), 104);
}

#[test]
fn a_file_that_ends_before_lines_that_were_settled_is_read_again_as_a_new_one() {
    let mut fixture = fixture();
    fixture.plan(A, plan(&fixture, &put("a")));
    // The fourth line is settled, and gone; what was settled in a row is still there.
    fixture
        .disk
        .truncate_log("a:1", "01", puts(["a", "b", "c"]).len());
    fixture.run();
    let first = fixture.opened[0].file;
    assert_eq!(fixture.gone, [first]);
    assert_eq!(
        fixture.starts(),
        [
            ("01", FileStart::Resumed(0)),
            ("01", FileStart::New),
            ("02", FileStart::New)
        ]
    );
    assert_eq!(fixture.keys(A), ["a", "b", "c", "c", "f"]);
}

/// Nobody saw it shrink: of the lines that are settled, some are others now.
#[test]
fn a_file_that_was_cut_and_has_grown_again_unseen_is_a_new_one() {
    let mut fixture = fixture();
    let mut plan = plan(&fixture, &put("a"));
    let read = puts(["a", "b", "c", "d"]);
    plan.files[0].last_read = LastRead::new(0, &read);
    let kept = puts(["a", "b", "c"]).len();
    fixture.disk.truncate_log("a:1", "01", kept);
    fixture.disk.append_log("a:1", "01", &puts(["x", "y"]));
    fixture.plan(A, plan);
    fixture.run();
    assert_eq!(fixture.starts()[0], ("01", FileStart::New));
    assert_eq!(fixture.keys(A), ["a", "b", "c", "x", "y", "f"]);
    assert!(
        fixture.got[&A][0].maybe_sent,
        "it is settled, or was another"
    );
}

#[test]
fn a_file_that_ends_before_what_was_read_is_a_new_one() {
    let mut fixture = fixture();
    let mut plan = plan(&fixture, &put("a"));
    plan.files[0].last_read = LastRead::new(0, &puts(["a", "b", "c", "d"]));
    let kept = puts(["a", "b", "c"]).len();
    fixture.disk.truncate_log("a:1", "01", kept);
    fixture.plan(A, plan);
    fixture.run();
    assert_eq!(fixture.starts()[0], ("01", FileStart::New));
    assert_eq!(fixture.keys(A), ["a", "b", "c", "f"]);
}

#[test]
fn a_segment_tells_the_last_bytes_that_were_read_before_it_or_with_it() {
    let mut fixture = fixture();
    let mut plan = plan(&fixture, &put("a"));
    let read = puts(["a", "b", "c", "d"]);
    plan.files[0].last_read = LastRead::new(0, &read);
    fixture.plan(A, plan);
    fixture.run();
    fixture.append(A, "02", &puts(["g"]));
    fixture.run();
    let told: Vec<_> = fixture
        .segments
        .values()
        .map(|segment| segment.last_read)
        .collect();
    let whole = puts(["a", "b", "c", "d", "e"]);
    let from_c = puts(["a", "b"]).len();
    assert_eq!(told[0], LastRead::new(from_c as u64, &whole[from_c..]));
    assert_eq!(told[1], LastRead::new(0, &put("f")));
    assert_eq!(told[2], LastRead::new(put("f").len() as u64, &put("g")));
}

#[test]
fn a_file_that_was_seen_to_shrink_before_it_is_begun_is_a_new_one() {
    let mut fixture = fixture();
    fixture.run();
    fixture
        .disk
        .truncate_log("a:1", "01", puts(["a", "b", "c"]).len());
    fixture.hint_listing(A);
    fixture.run_for(Duration::from_secs(1));
    fixture.disk.append_log("a:1", "01", &puts(["x", "y"]));
    fixture.plan(A, plan(&fixture, &put("a")));
    fixture.run_for(Duration::from_secs(2));
    assert_eq!(fixture.keys(A), ["a", "b", "c", "x", "y", "f"]);
}
