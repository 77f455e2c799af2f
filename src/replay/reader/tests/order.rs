//! Finding files, and their order.

use std::time::Duration;

use super::fixture::{A, B, Fixture, increment, put, puts};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::identity::{Identity, LastRead};
use crate::ledger::plan::FileResume;
use crate::ledger::runs::LineRuns;
use crate::replay::messages::{BackendId, ControlMessage, ReaderMessage, ResumePlan};
use crate::replay::reader::{Action, Turn};
use crate::status::snapshot::SecondName;

const SECOND: Duration = Duration::from_secs(1);

fn check(fixture: &Fixture, expected: &[&str]) {
    assert_eq!(fixture.keys(A), expected);
}

#[test]
fn folders_are_told_of_once_and_again_when_they_come_back() {
    let mut fixture = Fixture::new();
    fixture.disk.make_folder("a:1");
    fixture.disk.make_folder("lost+found");
    fixture.run_for(30 * SECOND);
    let told: Vec<_> = fixture
        .control
        .drain(..)
        .map(|message| format!("{message:?}"))
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("BackendFound(\"a:1\")"));
    assert!(told[1].contains("FolderUnrecognized") && told[1].contains("no port"));

    fixture.disk.make_folder("b:2");
    fixture.links.dirty_flags.hint_root();
    fixture.run_for(SECOND);
    assert!(matches!(&fixture.control[..], [ControlMessage::BackendFound(name)] if name == "b:2"));
}

#[test]
fn a_backend_that_an_earlier_process_knew_is_told_of_without_its_folder_and_found_again_with_it() {
    let mut fixture = Fixture::new();
    for known in ["a:1", "b:2", "lost+found"] {
        fixture.disk.put_state(known, "checkpoint", b"");
    }
    fixture.disk.make_folder("a:1");
    fixture.run_for(60 * SECOND);
    let told: Vec<_> = fixture.control.drain(..).collect();
    assert!(
        matches!(
            &told[..],
            [
                ControlMessage::BackendFound(a),
                ControlMessage::BackendFound(b),
                ControlMessage::FolderGone(gone),
            ] if a == "a:1" && b == "b:2" && gone == "b:2"
        ),
        "{told:?}"
    );
    // Its logs were there when this process started, somewhere: an earlier one may have sent them.
    fixture.know(&["b:2"]);
    fixture.run_for(60 * SECOND);
    fixture.disk.append_log("b:2", "01", &increment("a", 1971));
    fixture.links.dirty_flags.hint_root();
    fixture.run_for(60 * SECOND);
    assert!(matches!(&fixture.control[..], [ControlMessage::BackendFound(name)] if name == "b:2"));
    assert!(fixture.got[&A][0].maybe_sent);
}

#[test]
fn files_are_read_in_the_order_of_their_names() {
    let mut fixture = Fixture::new();
    for (file, key) in [("02", "b"), ("01", "a"), ("03", "c")] {
        fixture.disk.append_log("a:1", file, &put(key));
    }
    fixture.know(&["a:1"]);
    fixture.run();
    check(&fixture, &["a", "b", "c"]);
    assert_eq!(fixture.disk.open_files(), 2, "the last and the one before");
    assert!(
        fixture
            .segments
            .values()
            .all(|segment| segment.written_unix == 2026)
    );
}

#[test]
fn a_newer_file_waits_until_the_older_has_been_quiet_for_a_second() {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.append(A, "01", &put("a"));
    fixture.append(A, "02", &put("c"));
    let turn = fixture.run();
    check(&fixture, &["a"]);
    assert_eq!(
        turn,
        Turn::Idle {
            until: fixture.now.monotonic + SECOND
        }
    );
    fixture.pass(SECOND / 2);
    fixture.append(A, "01", &put("b"));
    fixture.run_for(SECOND / 2);
    check(&fixture, &["a", "b"]);
    fixture.run_for(SECOND / 2);
    check(&fixture, &["a", "b", "c"]);
}

#[test]
fn a_line_that_comes_just_before_the_newer_file_is_begun_is_not_overtaken() {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.append(A, "01", &put("a"));
    fixture.append(A, "02", &put("c"));
    fixture.run();
    fixture.pass(SECOND);
    fixture.disk.append_log("a:1", "01", &put("b"));
    fixture.run();
    check(&fixture, &["a", "b"]);
    fixture.run_for(SECOND);
    check(&fixture, &["a", "b", "c"]);
}

/// A log is closed where older ones came in and were read since.
#[test]
fn a_line_that_comes_to_a_closed_log_before_the_newer_one_is_begun_is_not_overtaken() {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.append(A, "03", &put("a"));
    fixture.run_for(SECOND);
    fixture.append(A, "01", &put("x"));
    fixture.run_for(SECOND);
    fixture.append(A, "02", &put("y"));
    fixture.run_for(SECOND / 2);
    check(&fixture, &["a", "x", "y"]);
    fixture.append(A, "04", &put("c"));
    fixture.run();
    fixture.disk.append_log("a:1", "03", &put("b"));
    fixture.run_for(SECOND);
    check(&fixture, &["a", "b", "x", "y"]);
    fixture.run_for(SECOND);
    check(&fixture, &["a", "b", "x", "y", "c"]);
}

/// It was seen when it was empty, and no event tells of its first line.
#[test]
fn a_first_line_that_comes_before_the_newer_log_is_begun_is_not_overtaken() {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.append(A, "01", b"");
    fixture.append(A, "02", &put("b"));
    fixture.run_for(SECOND / 2);
    check(&fixture, &[]);
    fixture.disk.append_log("a:1", "01", &put("a"));
    fixture.run_for(SECOND);
    check(&fixture, &["a"]);
    fixture.run_for(SECOND);
    check(&fixture, &["a", "b"]);
}

/// It has a name elsewhere, by which no event tells of what is written.
#[test]
fn what_is_written_to_an_open_log_without_an_event_is_seen_within_a_second() {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.append(A, "01", &put("a"));
    fixture.run_for(2 * SECOND);
    for (key, all) in [("b", &["a", "b"][..]), ("c", &["a", "b", "c"])] {
        fixture.disk.append_log("a:1", "01", &put(key));
        fixture.run_for(SECOND);
        check(&fixture, all);
    }
    // HA does not write to it any more.
    fixture.run_for(200 * SECOND);
    let Turn::Idle { until } = fixture.run() else {
        panic!("it has nothing to do");
    };
    assert!(until > fixture.now.monotonic + 10 * SECOND, "{until:?}");
}

#[test]
fn an_older_file_that_grows_late_is_read_next() {
    let mut fixture = Fixture::fed(&["a:1"]);
    for (file, keys) in [("01", ["a", "b"]), ("02", ["c", "d"]), ("03", ["e", "f"])] {
        fixture.append(A, file, &puts(keys));
        fixture.run_for(2 * SECOND);
    }
    fixture.append(A, "01", &put("late"));
    fixture.append(A, "03", &put("g"));
    fixture.run_for(2 * SECOND);
    check(&fixture, &["a", "b", "late", "c", "d", "e", "f", "g"]);
    let late = fixture.got[&A].iter().position(|got| got.key == "late");
    let newer = fixture.got[&A].iter().position(|got| got.key == "g");
    assert!(late < newer);
}

#[test]
fn a_last_line_without_newline_is_waited_for_and_newer_files_wait_too() {
    let mut fixture = Fixture::fed(&["a:1"]);
    let line = put("a");
    fixture.append(A, "01", &line[..20]);
    fixture.append(A, "02", &put("b"));
    fixture.run_for(10 * SECOND);
    check(&fixture, &[]);
    fixture.append(A, "01", &line[20..]);
    fixture.run_for(SECOND);
    check(&fixture, &["a", "b"]);
    assert!(fixture.rejected.is_empty());
}

#[test]
fn a_closed_files_last_line_is_fed_if_it_is_whole_and_rejected_if_not() {
    for (cut, keys, rejected) in [(1, vec!["a", "b"], 0), (10, vec!["b"], 1)] {
        let mut fixture = Fixture::fed(&["a:1"]);
        let line = put("a");
        fixture.append(A, "01", &line[..line.len() - cut]);
        fixture.append(A, "02", &put("b"));
        fixture.run_for(79 * SECOND);
        check(&fixture, &[]);
        fixture.run_for(SECOND);
        check(&fixture, &keys);
        assert_eq!(fixture.rejected.len(), rejected);
        if let [rejection] = &fixture.rejected[..] {
            assert_eq!(rejection.raw, &line[..line.len() - cut]);
        }
    }
}

#[test]
fn a_file_that_was_changed_in_the_future_is_held_to_have_changed_just_now() {
    let mut fixture = Fixture::new();
    fixture.disk.set_time(fixture.now.unix + 5000);
    fixture.disk.append_log("a:1", "01", &put("a"));
    fixture.disk.append_log("a:1", "02", &put("b"));
    fixture.know(&["a:1"]);
    fixture.run();
    check(&fixture, &["a"]);
    fixture.run_for(SECOND);
    check(&fixture, &["a", "b"]);
}

#[test]
fn an_empty_file_is_passed_over_and_begun_once_it_is_closed() {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.append(A, "01", b"");
    fixture.append(A, "02", &put("b"));
    fixture.run_for(2 * SECOND);
    check(&fixture, &["b"]);
    assert_eq!(fixture.opened.len(), 1);
    fixture.run_for(100 * SECOND);
    assert_eq!(
        fixture.opened.len(),
        2,
        "so that the checkpointer can delete it"
    );
    check(&fixture, &["b"]);
}

#[test]
fn a_folder_is_watched_before_it_is_listed_and_no_longer_than_its_backend_is_known() {
    let mut fixture = Fixture::new();
    fixture.run();
    fixture.disk.append_log("a:1", "01", &put("a"));
    fixture.add("a:1");
    let listings = fixture.disk.listings("a:1");
    assert_eq!(fixture.reader.turn(fixture.now), Turn::Busy);
    let watch = Action::Watch {
        backend: A,
        folder: "a:1".into(),
    };
    assert_eq!(fixture.reader.poll_action(), Some(watch));
    assert_eq!(fixture.disk.listings("a:1"), listings);
    fixture.run();
    assert_eq!(fixture.disk.listings("a:1"), listings + 1);

    fixture.send(ReaderMessage::Forget { backend: A });
    let _ = fixture.reader.turn(fixture.now);
    assert_eq!(fixture.reader.poll_action(), Some(Action::Unwatch(A)));
    assert!(fixture.reader.info(A).is_none());
}

#[test]
fn without_any_hint_a_rescan_finds_everything() {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.run();
    fixture.disk.append_log("a:1", "01", &put("a"));
    fixture.run_for(29 * SECOND);
    check(&fixture, &[]);
    fixture.run_for(SECOND);
    check(&fixture, &["a"]);
}

#[test]
fn a_hint_of_growth_reads_the_open_file_without_listing_the_folder() {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.append(A, "01", &put("a"));
    fixture.run_for(2 * SECOND);
    let listings = fixture.disk.listings("a:1");
    for key in ["b", "c"] {
        fixture.disk.append_log("a:1", "01", &put(key));
        fixture.hint_grew(A);
        fixture.run();
    }
    check(&fixture, &["a", "b", "c"]);
    assert_eq!(fixture.disk.listings("a:1"), listings);
}

#[test]
fn an_overflow_of_dirty_flags_is_followed_by_a_look_at_everything() {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.run();
    fixture.disk.append_log("a:1", "01", &put("a"));
    fixture.disk.make_folder("b:2");
    fixture.links.dirty_flags.hint_overflow();
    fixture.run_for(SECOND / 10);
    check(&fixture, &["a"]);
    assert!(
        matches!(&fixture.control[..], [.., ControlMessage::BackendFound(name)] if name == "b:2")
    );
}

#[test]
fn nothing_is_read_before_plan_listing_and_up() {
    let mut fixture = Fixture::new();
    fixture.disk.append_log("a:1", "01", &put("a"));
    fixture.add("a:1");
    fixture.up(A);
    fixture.run();
    check(&fixture, &[]);
    assert_eq!(fixture.infos[0].counters.load().log_files, 1);
    assert!(fixture.infos[0].counters.load().unread_bytes > 0);
    fixture.plan(A, crate::replay::messages::ResumePlan::default());
    fixture.run();
    check(&fixture, &["a"]);
    assert_eq!(fixture.infos[0].counters.load().unread_bytes, 0);
    fixture.send(crate::replay::messages::ReaderMessage::StorePaused {
        backend: A,
        paused: true,
    });
    fixture.append(A, "01", &put("b"));
    fixture.run();
    check(&fixture, &["a"]);
}

#[test]
fn a_folder_under_a_second_name_is_no_backends_until_it_has_one_of_its_own() {
    let mut fixture = Fixture::new();
    fixture.disk.make_folder("a:1");
    fixture.disk.make_folder("b:2");
    fixture.disk.link_folder("b:2", "a:1", false);
    fixture.run_for(SECOND);
    let told: Vec<_> = fixture.control.drain(..).collect();
    assert!(matches!(&told[0], ControlMessage::SecondNames(names)
        if names[..] == [SecondName { name: "b:2".into(), first: "a:1".into() }]));
    assert!(matches!(&told[1..], [ControlMessage::BackendFound(name)] if name == "a:1"));
    fixture.links.dirty_flags.hint_root();
    fixture.run_for(SECOND);
    assert!(fixture.control.is_empty(), "it is said once");
    fixture.disk.unlink_folder("b:2");
    fixture.links.dirty_flags.hint_root();
    fixture.run_for(SECOND);
    assert!(matches!(
        &fixture.control[..],
        [ControlMessage::SecondNames(none), ControlMessage::BackendFound(name)]
            if none.is_empty() && name == "b:2"
    ));
}

#[test]
fn at_a_start_a_folder_with_two_names_is_read_under_the_one_whose_checkpoint_knows_its_logs() {
    // A mount is not to be told from a folder by its inode, and comes first in order.
    let mut fixture = Fixture::new();
    fixture.disk.append_log("b:2", "01", &put("sent"));
    let identity = fixture.disk.meta_of("b:2", "01").unwrap();
    fixture.disk.make_folder("a:1");
    fixture.disk.link_folder("a:1", "b:2", true);
    let sent = put("sent");
    let checkpoint = Checkpoint {
        resume: ResumePlan {
            files: vec![FileResume {
                name: "01".into(),
                identity: Identity::new(1, identity.inode, identity.born_nanos, &sent),
                line: 1,
                byte: sent.len() as u64,
                settled: LineRuns::default(),
                lines_read: 1,
                away_unix: 0,
                sent: LineRuns::default(),
                last_read: LastRead::default(),
            }],
            legacy: Vec::new(),
        },
        ..Checkpoint::default()
    };
    let mut bytes = Vec::new();
    checkpoint.encode(&mut bytes);
    fixture.disk.put_state("b:2", "checkpoint", &bytes);
    // The other was known once, too, and has its state, but not of these logs.
    let mut empty = Vec::new();
    Checkpoint::default().encode(&mut empty);
    fixture.disk.put_state("a:1", "checkpoint", &empty);
    fixture.run_for(SECOND);
    let found = |message: &ControlMessage| match message {
        ControlMessage::BackendFound(name) => Some(name.clone()),
        _ => None,
    };
    let found: Vec<String> = fixture.control.iter().filter_map(found).collect();
    // The other one is introduced to be reported; its folder is not there for it.
    assert_eq!(found, ["b:2", "a:1"]);
    let a = fixture.add("a:1");
    fixture.plan(a, ResumePlan::default());
    fixture.up(a);
    fixture.run_for(SECOND);
    let b = fixture.add("b:2");
    fixture.plan(b, checkpoint.resume.clone());
    fixture.up(b);
    fixture.run_for(SECOND);
    fixture.disk.append_log("b:2", "01", &put("new"));
    fixture.hint_listing(a);
    fixture.hint_listing(b);
    fixture.run_for(3 * SECOND);
    assert!(fixture.keys(a).is_empty(), "{:?}", fixture.keys(a));
    assert_eq!(fixture.keys(b), ["new"]);
    let is_told = |message: &ControlMessage| {
        matches!(message, ControlMessage::LogFault { backend, fault: Some(why) }
        if *backend == a && why.contains("second name"))
    };
    assert!(fixture.control.iter().any(is_told), "{:?}", fixture.control);
}

/// The folder of `covered` becomes that of `first`, whatever their order.
#[track_caller]
fn check_covered(first: BackendId, covered: BackendId) {
    let names = ["a:1", "b:2"];
    let mut fixture = Fixture::fed(&names);
    for name in names {
        fixture.disk.make_folder(name);
    }
    let [first_name, covered_name] = [first, covered].map(|id| names[id.index()]);
    fixture.append(covered, "01", &put("own"));
    fixture.hint_listing(first);
    fixture.run_for(3 * SECOND);
    fixture.disk.link_folder(covered_name, first_name, true);
    fixture.append(first, "01", &put("a"));
    // Before anybody has looked at the names.
    fixture.hint_listing(covered);
    fixture.run_for(3 * SECOND);
    assert_eq!(fixture.keys(first), ["a"]);
    assert_eq!(fixture.keys(covered), ["own"]);
    let is_gone = |folder: &str| {
        let mut told = fixture.control.iter();
        told.any(|told| matches!(told, ControlMessage::FolderGone(name) if name == folder))
    };
    assert!(is_gone(covered_name));
    assert!(!is_gone(first_name));
    fixture.append(first, "01", &put("b"));
    fixture.links.dirty_flags.hint_root();
    fixture.run_for(3 * SECOND);
    assert_eq!(fixture.keys(first), ["a", "b"]);
    // It has its own again, and what came there meanwhile.
    fixture.disk.unlink_folder(covered_name);
    fixture.append(covered, "01", &put("c"));
    fixture.run_for(3 * SECOND);
    assert_eq!(fixture.keys(first), ["a", "b"]);
    assert_eq!(fixture.keys(covered), ["own", "c"]);
}

#[test]
fn a_backend_whose_folder_becomes_anothers_gets_none_of_its_lines() {
    check_covered(A, B);
    check_covered(B, A);
}

#[test]
fn a_log_with_a_name_elsewhere_is_looked_at_without_an_event() {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.append(A, "01", &put("a"));
    fixture.run_for(3 * SECOND);
    // As where a link took its place: whoever writes to it does so by another name.
    let log = fixture.disk.meta_of("a:1", "01").unwrap();
    fixture.disk.name_log("elsewhere", "x", &log);
    fixture.hint_listing(A);
    fixture.run_for(SECOND);
    for key in ["b", "c"] {
        fixture.disk.append_log("a:1", "01", &put(key));
        let before = fixture.keys(A).len();
        fixture.run_for(2 * SECOND);
        assert_eq!(fixture.keys(A).len(), before + 1, "{key} has come");
    }
    // And while it is not open.
    fixture.append(A, "02", &put("d"));
    fixture.run_for(3 * SECOND);
    let listings = fixture.disk.listings("a:1");
    fixture.run_for(10 * SECOND);
    assert!(
        fixture.disk.listings("a:1") - listings <= 11,
        "once a second"
    );
    check(&fixture, &["a", "b", "c", "d"]);
}

#[test]
fn the_first_line_of_a_log_is_seen_at_once() {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.append(A, "01", b"");
    fixture.run();
    fixture.disk.append_log("a:1", "01", &put("a"));
    fixture.hint_grew(A);
    fixture.run_for(Duration::from_millis(20));
    check(&fixture, &["a"]);
    // One that stays empty does not have the folder listed again and again.
    fixture.append(A, "02", b"");
    fixture.run_for(5 * SECOND);
    fixture.run();
    let listings = fixture.disk.listings("a:1");
    for _ in 0..100 {
        fixture.hint_grew(A);
        fixture.run_for(Duration::from_millis(10));
    }
    assert!(fixture.disk.listings("a:1") - listings <= 2);
}

/// inotify's flag says that a folder's logs have grown, not which: the two newest are open.
#[test]
fn an_old_log_that_grows_together_with_the_newest_is_read_within_a_second_or_two() {
    let mut fixture = Fixture::fed(&["a:1"]);
    for name in ["01", "02", "03"] {
        fixture.append(A, name, &put(name));
        fixture.run_for(Duration::from_secs(3));
    }
    fixture.disk.set_time(fixture.now.unix);
    fixture.disk.append_log("a:1", "01", &put("late"));
    fixture.disk.append_log("a:1", "03", &put("new"));
    fixture.hint_grew(A);
    fixture.run_for(Duration::from_millis(1_500));
    let mut keys = fixture.keys(A);
    keys.sort();
    assert_eq!(keys, ["01", "02", "03", "late", "new"]);
}
