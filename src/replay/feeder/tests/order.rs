//! Finding files, and their order.

use std::time::Duration;

use super::rig::{A, B, Rig, increment, put, puts};
use crate::replay::feeder::Turn;
use crate::replay::messages::ControlMail;

const SECOND: Duration = Duration::from_secs(1);

fn check(rig: &Rig, expected: &[&str]) {
    assert_eq!(rig.keys(A), expected);
}

#[test]
fn folders_are_told_of_once_and_again_when_they_come_back() {
    let mut rig = Rig::new();
    rig.disk.make_folder("a:1");
    rig.disk.make_folder("lost+found");
    rig.run_for(30 * SECOND);
    let told: Vec<_> = rig
        .control
        .drain(..)
        .map(|mail| format!("{mail:?}"))
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("BackendFound(\"a:1\")"));
    assert!(told[1].contains("FolderStrange") && told[1].contains("no port"));

    rig.disk.make_folder("b:2");
    rig.links.hints.hint_root();
    rig.run_for(SECOND);
    assert!(matches!(&rig.control[..], [ControlMail::BackendFound(name)] if name == "b:2"));
}

#[test]
fn a_backend_that_an_earlier_process_knew_is_told_of_without_its_folder_and_found_again_with_it() {
    let mut rig = Rig::new();
    for known in ["a:1", "b:2", "lost+found"] {
        rig.disk.add_state(known);
    }
    rig.disk.make_folder("a:1");
    rig.run_for(60 * SECOND);
    let told: Vec<_> = rig.control.drain(..).collect();
    assert!(
        matches!(
            &told[..],
            [ControlMail::BackendFound(a), ControlMail::BackendFound(b), ControlMail::FolderGone(gone)]
                if a == "a:1" && b == "b:2" && gone == "b:2"
        ),
        "{told:?}"
    );
    // Its logs were there when this process started, somewhere: an earlier one may have sent them.
    rig.know(&["b:2"]);
    rig.run_for(60 * SECOND);
    rig.disk.append("b:2", "01", &increment("a", 1971));
    rig.links.hints.hint_root();
    rig.run_for(60 * SECOND);
    assert!(matches!(&rig.control[..], [ControlMail::BackendFound(name)] if name == "b:2"));
    assert!(rig.got[&A][0].maybe_sent);
}

#[test]
fn files_are_read_in_the_order_of_their_names() {
    let mut rig = Rig::new();
    for (file, key) in [("02", "b"), ("01", "a"), ("03", "c")] {
        rig.disk.append("a:1", file, &put(key));
    }
    rig.know(&["a:1"]);
    rig.run();
    check(&rig, &["a", "b", "c"]);
    assert_eq!(rig.disk.open_logs(), 2, "the last and the one before");
    assert!(
        rig.segments
            .values()
            .all(|segment| segment.written_unix == 2026)
    );
}

#[test]
fn a_newer_file_waits_until_the_older_has_been_quiet_for_a_second() {
    let mut rig = Rig::fed(&["a:1"]);
    rig.append(A, "01", &put("a"));
    rig.append(A, "02", &put("c"));
    let turn = rig.run();
    check(&rig, &["a"]);
    assert_eq!(
        turn,
        Turn::Idle {
            until: rig.now.monotonic + SECOND
        }
    );
    rig.pass(SECOND / 2);
    rig.append(A, "01", &put("b"));
    rig.run_for(SECOND / 2);
    check(&rig, &["a", "b"]);
    rig.run_for(SECOND / 2);
    check(&rig, &["a", "b", "c"]);
}

#[test]
fn a_line_that_comes_just_before_the_newer_file_is_begun_is_not_overtaken() {
    let mut rig = Rig::fed(&["a:1"]);
    rig.append(A, "01", &put("a"));
    rig.append(A, "02", &put("c"));
    rig.run();
    rig.pass(SECOND);
    rig.disk.append("a:1", "01", &put("b"));
    rig.run();
    check(&rig, &["a", "b"]);
    rig.run_for(SECOND);
    check(&rig, &["a", "b", "c"]);
}

#[test]
fn an_older_file_that_grows_late_is_read_next() {
    let mut rig = Rig::fed(&["a:1"]);
    for (file, keys) in [("01", ["a", "b"]), ("02", ["c", "d"]), ("03", ["e", "f"])] {
        rig.append(A, file, &puts(keys));
        rig.run_for(2 * SECOND);
    }
    rig.append(A, "01", &put("late"));
    rig.append(A, "03", &put("g"));
    rig.run_for(2 * SECOND);
    check(&rig, &["a", "b", "late", "c", "d", "e", "f", "g"]);
    let late = rig.got[&A].iter().position(|got| got.key == "late");
    let newer = rig.got[&A].iter().position(|got| got.key == "g");
    assert!(late < newer);
}

#[test]
fn a_last_line_without_newline_is_waited_for_and_newer_files_wait_too() {
    let mut rig = Rig::fed(&["a:1"]);
    let line = put("a");
    rig.append(A, "01", &line[..20]);
    rig.append(A, "02", &put("b"));
    rig.run_for(10 * SECOND);
    check(&rig, &[]);
    rig.append(A, "01", &line[20..]);
    rig.run_for(SECOND);
    check(&rig, &["a", "b"]);
    assert!(rig.rejected.is_empty());
}

#[test]
fn a_closed_files_last_line_is_fed_if_it_is_whole_and_rejected_if_not() {
    for (cut, keys, rejected) in [(1, vec!["a", "b"], 0), (10, vec!["b"], 1)] {
        let mut rig = Rig::fed(&["a:1"]);
        let line = put("a");
        rig.append(A, "01", &line[..line.len() - cut]);
        rig.append(A, "02", &put("b"));
        rig.run_for(79 * SECOND);
        check(&rig, &[]);
        rig.run_for(SECOND);
        check(&rig, &keys);
        assert_eq!(rig.rejected.len(), rejected);
        if let [rejection] = &rig.rejected[..] {
            assert_eq!(rejection.raw, &line[..line.len() - cut]);
        }
    }
}

#[test]
fn a_file_that_was_changed_in_the_future_is_held_to_have_changed_just_now() {
    let mut rig = Rig::new();
    rig.disk.set_unix(rig.now.unix + 5000);
    rig.disk.append("a:1", "01", &put("a"));
    rig.disk.append("a:1", "02", &put("b"));
    rig.know(&["a:1"]);
    rig.run();
    check(&rig, &["a"]);
    rig.run_for(SECOND);
    check(&rig, &["a", "b"]);
}

#[test]
fn an_empty_file_is_passed_over_and_begun_once_it_is_closed() {
    let mut rig = Rig::fed(&["a:1"]);
    rig.append(A, "01", b"");
    rig.append(A, "02", &put("b"));
    rig.run_for(2 * SECOND);
    check(&rig, &["b"]);
    assert_eq!(rig.opened.len(), 1);
    rig.run_for(100 * SECOND);
    assert_eq!(rig.opened.len(), 2, "so that the keeper can delete it");
    check(&rig, &["b"]);
}

#[test]
fn without_any_hint_a_rescan_finds_everything() {
    let mut rig = Rig::fed(&["a:1"]);
    rig.run();
    rig.disk.append("a:1", "01", &put("a"));
    rig.run_for(29 * SECOND);
    check(&rig, &[]);
    rig.run_for(SECOND);
    check(&rig, &["a"]);
}

#[test]
fn a_hint_of_growth_reads_the_open_file_without_listing_the_folder() {
    let mut rig = Rig::fed(&["a:1"]);
    rig.append(A, "01", &put("a"));
    rig.run_for(2 * SECOND);
    let listings = rig.disk.listings();
    for key in ["b", "c"] {
        rig.disk.append("a:1", "01", &put(key));
        rig.hint_grew(A);
        rig.run();
    }
    check(&rig, &["a", "b", "c"]);
    assert_eq!(rig.disk.listings(), listings);
}

#[test]
fn an_overflow_of_hints_is_followed_by_a_look_at_everything() {
    let mut rig = Rig::fed(&["a:1"]);
    rig.run();
    rig.disk.append("a:1", "01", &put("a"));
    rig.disk.make_folder("b:2");
    rig.links.hints.hint_overflow();
    rig.run_for(SECOND / 10);
    check(&rig, &["a"]);
    assert!(matches!(&rig.control[..], [.., ControlMail::BackendFound(name)] if name == "b:2"));
}

#[test]
fn nothing_is_read_before_plan_listing_and_up() {
    let mut rig = Rig::new();
    rig.disk.append("a:1", "01", &put("a"));
    rig.add("a:1");
    rig.up(A);
    rig.run();
    check(&rig, &[]);
    assert_eq!(rig.infos[0].counters.load().log_files, 1);
    assert!(rig.infos[0].counters.load().unread_bytes > 0);
    rig.plan(A, crate::replay::messages::ResumePlan::default());
    rig.run();
    check(&rig, &["a"]);
    assert_eq!(rig.infos[0].counters.load().unread_bytes, 0);
    rig.send(crate::replay::messages::FeederMail::StorePaused {
        backend: A,
        paused: true,
    });
    rig.append(A, "01", &put("b"));
    rig.run();
    check(&rig, &["a"]);
}

#[test]
fn a_folder_under_a_second_name_is_no_backends_until_it_has_one_of_its_own() {
    let mut rig = Rig::new();
    rig.disk.make_folder("a:1");
    rig.disk.make_folder("b:2");
    rig.disk.link_folder("b:2", Some("a:1"));
    rig.run_for(SECOND);
    let told: Vec<_> = rig.control.drain(..).collect();
    assert!(matches!(&told[0], ControlMail::FolderStrange { name, why }
        if name == "b:2" && why.contains("\"a:1\"")));
    assert!(matches!(&told[1..], [ControlMail::BackendFound(name)] if name == "a:1"));
    rig.links.hints.hint_root();
    rig.run_for(SECOND);
    assert!(rig.control.is_empty(), "it is said once");
    rig.disk.link_folder("b:2", None);
    rig.links.hints.hint_root();
    rig.run_for(SECOND);
    assert!(matches!(&rig.control[..], [ControlMail::BackendFound(name)] if name == "b:2"));
}

#[test]
fn a_backend_whose_folder_becomes_anothers_gets_none_of_its_lines() {
    let mut rig = Rig::fed(&["a:1", "b:2"]);
    for name in ["a:1", "b:2"] {
        rig.disk.make_folder(name);
    }
    rig.append(B, "01", &put("b"));
    rig.hint_listing(A);
    rig.run_for(3 * SECOND);
    rig.disk.link_folder("b:2", Some("a:1"));
    rig.append(A, "01", &put("a"));
    // Before anybody has looked at the names.
    rig.hint_listing(B);
    rig.run_for(3 * SECOND);
    assert_eq!([rig.keys(A), rig.keys(B)], [["a"], ["b"]]);
    let is_told =
        |mail: &ControlMail| matches!(mail, ControlMail::FolderGone(name) if name == "b:2");
    assert!(rig.control.iter().any(is_told));
    // It has its own again, and what came there meanwhile.
    rig.disk.link_folder("b:2", None);
    rig.append(B, "01", &put("c"));
    rig.run_for(3 * SECOND);
    assert_eq!(rig.keys(A), ["a"]);
    assert_eq!(rig.keys(B), ["b", "c"]);
}
