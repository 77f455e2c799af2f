//! Logs that go away and come back, and what is known of them: the fixture holds all that the
//! reader says against a real ledger, which panics where the two take different entries for known.

use std::sync::Arc;
use std::time::Duration;

use super::fixture::{A, BOUNDS, Fixture, put, puts, settings};
use crate::ledger::identity::LastRead;
use crate::ledger::plan::{FileResume, LegacyResume};
use crate::ledger::runs::LineRuns;
use crate::replay::messages::{FileStart, ReaderMessage, ReaderSettings, ResumePlan};

const SECOND: Duration = Duration::from_secs(1);

/// Two lines of the first log are settled.
fn plan(fixture: &Fixture) -> ResumePlan {
    let meta = fixture.disk.meta_of("a:1", "01").unwrap();
    ResumePlan {
        files: vec![FileResume {
            name: Arc::from("01"),
            identity: meta.identity(&put("a")),
            line: 2,
            byte: puts(["a", "b"]).len() as u64,
            settled: LineRuns::default(),
            lines_read: 2,
            away_unix: 0,
            sent: LineRuns::default(),
            last_read: LastRead::default(),
        }],
        legacy: Vec::new(),
    }
}

fn legacy(name: &str, bytes_read: u64) -> ResumePlan {
    ResumePlan {
        files: Vec::new(),
        legacy: vec![LegacyResume {
            name: Arc::from(name),
            line: 2,
            lines_read: 2,
            bytes_read,
            away_unix: 0,
        }],
    }
}

fn fixture() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.disk.append_log("a:1", "01", &puts(["a", "b", "c"]));
    fixture.add("a:1");
    fixture.up(A);
    fixture
}

#[test]
fn a_log_that_the_plan_knows_and_that_is_away_at_first_comes_back() {
    let mut fixture = fixture();
    let plan = plan(&fixture);
    let inode = fixture.disk.move_out("a:1", "01").unwrap();
    fixture.plan(A, plan);
    fixture.run_for(SECOND);
    fixture.disk.move_in("a:1", "01", inode);
    fixture.hint_listing(A);
    fixture.run_for(SECOND);
    assert_eq!(fixture.keys(A), ["c"]);
}

#[test]
fn a_log_that_shrank_before_it_was_begun_and_comes_back_is_another() {
    let mut fixture = fixture();
    fixture.plan(A, plan(&fixture));
    fixture.disk.truncate_log("a:1", "01", 10);
    fixture.run_for(SECOND);
    fixture.disk.truncate_log("a:1", "01", 0);
    fixture.append(A, "01", &puts(["a", "b", "c", "d"]));
    fixture.run_for(SECOND);
    assert_eq!(fixture.keys(A), ["a", "b", "c", "d"]);
}

/// So that a log is read up to a few lines only: the backend answers nothing.
fn with_few_in_flight() -> Fixture {
    let settings = ReaderSettings {
        in_flight_per_backend: 8,
        ..settings()
    };
    let mut fixture = Fixture::with(settings, BOUNDS, 64);
    fixture.stuck.push(A);
    fixture
}

#[test]
fn a_log_that_is_cut_before_lines_that_are_settled_ahead_is_another() {
    let mut fixture = with_few_in_flight();
    let lines = |count: u32| puts((0..count).map(|number| format!("key{number:02}")));
    fixture.disk.append_log("a:1", "01", &lines(64));
    fixture.add("a:1");
    fixture.up(A);
    let mut plan = plan(&fixture);
    let file = &mut plan.files[0];
    let first = lines(1);
    let meta = fixture.disk.meta_of("a:1", "01").unwrap();
    file.identity = meta.identity(&first);
    (file.line, file.byte, file.lines_read) = (1, first.len() as u64, 64);
    file.settled.push(40, 24);
    fixture.plan(A, plan);
    // What is fed is before the cut, what is settled behind it: others may come to stand there.
    fixture.run();
    assert!(fixture.keys(A).len() < 16 && fixture.gone.is_empty());
    fixture.disk.truncate_log("a:1", "01", lines(32).len());
    fixture.hint_grew(A);
    fixture.run();
    assert_eq!(fixture.gone, [fixture.opened[0].file]);
    assert_eq!(fixture.starts().last(), Some(&("01", FileStart::New)));
}

#[test]
fn a_log_that_is_cut_and_written_on_before_the_look_is_another_where_more_of_it_had_been_read() {
    let mut fixture = with_few_in_flight();
    let lines =
        |word: &str, count: u32| puts((0..count).map(|number| format!("{word}{number:03}")));
    let whole = lines("key", 400);
    fixture.disk.append_log("a:1", "01", &whole);
    fixture.add("a:1");
    fixture.up(A);
    // All of it had been read when an outage took the reader back to line 310.
    let mut plan = plan(&fixture);
    let file = &mut plan.files[0];
    let settled = lines("key", 310);
    let meta = fixture.disk.meta_of("a:1", "01").unwrap();
    let first = lines("key", 1);
    file.identity = meta.identity(&first);
    (file.line, file.byte, file.lines_read) = (310, settled.len() as u64, 400);
    file.last_read = LastRead::new(0, &whole);
    fixture.plan(A, plan);
    fixture.run();
    assert!(fixture.keys(A).len() < 24 && fixture.gone.is_empty());
    // What HA writes behind the cut stands where lines are settled.
    fixture
        .disk
        .truncate_log("a:1", "01", lines("key", 300).len());
    fixture.disk.append_log("a:1", "01", &lines("new", 90));
    fixture.hint_grew(A);
    fixture.run();
    assert_eq!(fixture.gone, [fixture.opened[0].file]);
    assert_eq!(fixture.starts().last(), Some(&("01", FileStart::New)));
}

#[test]
fn a_status_file_of_the_originals_is_for_no_log_but_the_first_of_its_name() {
    let whole = puts(["a", "b", "c"]).len() as u64;
    // The log has fewer bytes than the original had read of it: it is another one, also when it has
    // got as many.
    let mut fixture = fixture();
    fixture.plan(A, legacy("01", whole + 1));
    fixture.run();
    assert_eq!(fixture.keys(A), ["a", "b", "c"]);
    fixture.disk.truncate_log("a:1", "01", 0);
    fixture.append(A, "01", &puts(["w", "x", "y", "z"]));
    fixture.run_for(SECOND);
    assert_eq!(fixture.keys(A).len(), 7);
}

#[test]
fn a_log_of_the_originals_may_appear_later() {
    let whole = puts(["a", "b", "c"]).len() as u64;
    let mut fixture = fixture();
    let inode = fixture.disk.move_out("a:1", "01").unwrap();
    fixture.plan(A, legacy("01", whole));
    fixture.run_for(SECOND);
    fixture.disk.move_in("a:1", "01", inode);
    fixture.hint_listing(A);
    fixture.run_for(SECOND);
    assert_eq!(fixture.keys(A), ["c"]);
}

/// A reader in the midst of two logs, and nothing in flight.
fn running() -> Fixture {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.run();
    fixture.append(A, "01", &puts(["a", "b"]));
    fixture.append(A, "02", &put("c"));
    fixture.run_for(3 * SECOND);
    assert_eq!(fixture.keys(A), ["a", "b", "c"]);
    fixture
}

/// Somebody does something with the logs; then a line comes to the one that was called 01 and has
/// this name now. Nothing may be fed but this line.
fn check_goes_on(deed: impl FnOnce(&mut Fixture), name: &str) {
    let mut fixture = running();
    deed(&mut fixture);
    fixture.hint_listing(A);
    fixture.run_for(3 * SECOND);
    fixture.append(A, name, &put("d"));
    fixture.run_for(3 * SECOND);
    let fed: Vec<_> = fixture.got[&A].iter().map(|got| got.key.as_str()).collect();
    assert_eq!(fed[3..], ["d"]);
    assert!(fixture.gone.is_empty(), "it is the same log");
    assert_eq!(fixture.opened.len(), 2);
}

#[test]
fn a_log_goes_on_whatever_it_is_called_and_wherever_it_was() {
    check_goes_on(
        |fixture| {
            let log = fixture.disk.move_out("a:1", "01").unwrap();
            fixture.disk.move_in("a:1", "00-renamed", log);
        },
        "00-renamed",
    );
    for name in ["01", "03"] {
        check_goes_on(
            |fixture| {
                let log = fixture.disk.move_out("a:1", "01").unwrap();
                fixture.hint_listing(A);
                fixture.run_for(60 * SECOND);
                assert_eq!(fixture.moved.len(), 1);
                fixture.disk.move_in("a:1", name, log);
            },
            name,
        );
    }
    // The folder with all logs.
    check_goes_on(
        |fixture| {
            let logs = [
                fixture.disk.move_out("a:1", "01").unwrap(),
                fixture.disk.move_out("a:1", "02").unwrap(),
            ];
            fixture.hint_listing(A);
            fixture.run_for(60 * SECOND);
            assert_eq!(fixture.disk.open_files(), 0);
            fixture.disk.move_in("a:1", "01", logs[0]);
            fixture.disk.move_in("a:1", "02", logs[1]);
        },
        "01",
    );
    check_goes_on(|fixture| fixture.disk.remount(), "01");
    // One log with two names, of which one goes again.
    check_goes_on(
        |fixture| {
            let log = fixture.disk.meta_of("a:1", "01").unwrap();
            fixture.disk.name_log("a:1", "00", &log);
            fixture.hint_listing(A);
            fixture.run_for(3 * SECOND);
            fixture.disk.remove_log("a:1", "01");
        },
        "00",
    );
    // NFS keeps a deleted log that is open somewhere.
    check_goes_on(
        |fixture| {
            let log = fixture.disk.move_out("a:1", "01").unwrap();
            fixture.disk.move_in("a:1", ".nfs00001", log);
        },
        ".nfs00001",
    );
}

#[test]
fn a_log_that_is_back_after_a_flush_goes_on_where_the_plan_says() {
    let mut fixture = running();
    let log = fixture.disk.move_out("a:1", "01").unwrap();
    fixture.hint_listing(A);
    fixture.run_for(3 * SECOND);
    let plan = fixture.ledgers.get_mut(&A).unwrap().1.collapse();
    let away = plan.files.iter().find(|file| file.away_unix > 0).unwrap();
    assert_eq!((&*away.name, away.line), ("01", 2));
    fixture.down(A);
    fixture.run();
    fixture.plan(A, plan);
    fixture.up(A);
    fixture.run_for(3 * SECOND);
    fixture.disk.move_in("a:1", "01", log);
    fixture.append(A, "01", &put("d"));
    fixture.run_for(3 * SECOND);
    assert_eq!(fixture.keys(A), ["a", "b", "d", "c"], "by file");
}

#[test]
fn what_has_been_away_for_a_day_is_forgotten_and_may_have_been_sent() {
    let mut fixture = running();
    let log = fixture.disk.move_out("a:1", "01").unwrap();
    fixture.hint_listing(A);
    fixture.run_for(3 * SECOND);
    let day = Duration::from_secs(24 * 3600);
    fixture.run_for(day - 60 * SECOND);
    assert!(fixture.gone.is_empty());
    fixture.run_for(60 * SECOND);
    fixture.run_for(60 * SECOND);
    assert_eq!(fixture.gone, [fixture.opened[0].file]);
    fixture.disk.move_in("a:1", "01", log);
    fixture.hint_listing(A);
    fixture.run_for(3 * SECOND);
    assert_eq!(fixture.got[&A].len(), 5);
    assert!(fixture.got[&A][3..].iter().all(|got| got.maybe_sent));
}

#[test]
fn each_line_of_a_copy_may_have_been_sent() {
    let mut fixture = running();
    fixture.disk.set_time(fixture.now.unix);
    let copy = fixture.disk.copy_out("a:1", "01", 0).unwrap();
    fixture.disk.move_in("a:1", "03", copy);
    fixture.append(A, "03", &put("d"));
    fixture.run_for(3 * SECOND);
    let copied = &fixture.got[&A][3..];
    assert_eq!(copied.len(), 3);
    assert!(copied.iter().all(|got| got.maybe_sent));
    assert!(fixture.gone.is_empty());
}

#[test]
fn what_a_log_shares_with_a_copy_that_is_read_first_may_have_been_sent() {
    let mut fixture = running();
    // A line that only the copy's name makes come as the copy's.
    fixture.append(A, "01", &put("d"));
    fixture.disk.set_time(fixture.now.unix);
    let copy = fixture.disk.copy_out("a:1", "01", 0).unwrap();
    fixture.disk.move_in("a:1", "00", copy);
    fixture.run_for(3 * SECOND);
    let told: Vec<_> = fixture.got[&A][3..].iter().collect();
    let lines: Vec<_> = told.iter().filter(|got| got.key == "d").collect();
    assert_eq!(lines.len(), 2, "{told:?}");
    let asked = lines.iter().filter(|got| got.maybe_sent);
    assert_eq!(asked.count(), 2, "{told:?}");
    // What comes to the log alone was never sent.
    fixture.append(A, "01", &put("e"));
    fixture.run_for(3 * SECOND);
    assert!(!fixture.got[&A].last().unwrap().maybe_sent);
}

#[test]
fn each_line_of_a_replacement_may_have_been_sent() {
    // `sed -i 1d`: other first bytes, under the same name.
    let mut fixture = running();
    fixture.disk.set_time(fixture.now.unix);
    fixture.disk.remove_log("a:1", "01");
    fixture.append(A, "01", &put("b"));
    fixture.run_for(3 * SECOND);
    assert_eq!(fixture.got[&A].len(), 4);
    assert!(fixture.got[&A][3].maybe_sent);
    // What HA writes to a log that is new altogether was never sent.
    fixture.append(A, "04", &put("e"));
    fixture.run_for(3 * SECOND);
    assert!(!fixture.got[&A][4].maybe_sent);
}

#[test]
fn a_log_that_goes_is_told_of_with_its_length_before_a_sync_point_that_is_asked_for_later() {
    // One that is begun, one that is not, since its backend is down.
    let mut fixture = running();
    fixture.disk.append_log("b:1", "05", &puts(["x", "y"]));
    let b = fixture.add("b:1");
    fixture.plan(b, ResumePlan::default());
    fixture.run_for(3 * SECOND);
    fixture.disk.move_out("a:1", "01").unwrap();
    fixture.disk.move_out("b:1", "05").unwrap();
    // No hint has come.
    let is_backend = |name: &str| name.contains(':');
    fixture.send(ReaderMessage::SyncPoint { id: 7, is_backend });
    fixture.run();
    assert_eq!(fixture.points, [(7, 2)]);
    let both = puts(["a", "b"]).len() as u64;
    assert_eq!(
        fixture.away,
        [("01".to_owned(), both), ("05".to_owned(), both)]
    );
    fixture.send(ReaderMessage::SyncPoint { id: 8, is_backend });
    fixture.run();
    assert_eq!(fixture.points, [(7, 2), (8, 2)], "each log is told of once");
}

/// A log that somebody deleted, and that a client of NFS keeps under this name for who has it open.
const HIDDEN: &str = ".nfs00001";

#[test]
fn a_hidden_log_that_the_plan_knows_is_read_to_its_end_before_the_one_that_took_its_name() {
    for plan_is_late in [false, true] {
        let mut fixture = fixture();
        let plan = plan(&fixture);
        let log = fixture.disk.move_out("a:1", "01").unwrap();
        fixture.disk.move_in("a:1", HIDDEN, log);
        fixture.disk.append_log("a:1", "01", &put("d"));
        fixture.disk.append_log("a:1", "02", &put("e"));
        if plan_is_late {
            fixture.run_for(SECOND);
        }
        fixture.plan(A, plan);
        fixture.run_for(5 * SECOND);
        let (resumed, new) = (FileStart::Resumed(0), FileStart::New);
        let expected = [("01", resumed), ("01", new), ("02", new)];
        assert_eq!(
            fixture.starts(),
            expected,
            "in the order in which they were written"
        );
        let keys = |fixture: &Fixture| {
            let mut keys = fixture.keys(A);
            keys.sort();
            keys
        };
        assert_eq!(keys(&fixture), ["c", "d", "e"]);
        // Whoever has it open goes on writing.
        fixture.disk.append_log("a:1", HIDDEN, &put("f"));
        fixture.hint_grew(A);
        fixture.run_for(5 * SECOND);
        assert_eq!(keys(&fixture), ["c", "d", "e", "f"]);
    }
}

#[test]
fn a_hidden_file_that_no_plan_knows_may_be_a_finished_log_and_is_not_read() {
    let mut fixture = fixture();
    let plan = plan(&fixture);
    fixture.disk.append_log("a:1", HIDDEN, &put("done"));
    // The same inode number, and other content.
    let mut other = plan.files[0].clone();
    let meta = fixture.disk.meta_of("a:1", HIDDEN).unwrap();
    other.identity = meta.identity(&put("other"));
    let mut files = plan.files;
    files.push(other);
    fixture.plan(
        A,
        ResumePlan {
            files,
            legacy: Vec::new(),
        },
    );
    fixture.run_for(5 * SECOND);
    assert_eq!(fixture.keys(A), ["c"]);
    assert_eq!(fixture.said_hidden(), 1);
    // It is closed.
    fixture.disk.remove_log("a:1", HIDDEN);
    fixture.hint_listing(A);
    fixture.run_for(5 * SECOND);
    assert_eq!(fixture.said_hidden(), 0);
}

/// Who reads it has it open for a while after it is deleted.
#[test]
fn a_hidden_log_that_this_process_has_read_is_not_said_to_be_unknown() {
    let mut fixture = Fixture::fed(&["a:1"]);
    fixture.append(A, "01", &put("a"));
    fixture.run_for(2 * SECOND);
    let log = fixture.disk.meta_of("a:1", "01").unwrap();
    let file = fixture.opened[0].file;
    fixture.disk.name_log("a:1", HIDDEN, &log);
    fixture.disk.remove_log("a:1", "01");
    fixture.send(ReaderMessage::FileDeleted {
        backend: A,
        file,
        key: log.key(),
        is_elsewhere: false,
    });
    fixture.hint_listing(A);
    fixture.run_for(100 * SECOND);
    assert_eq!(fixture.gone, [file]);
    fixture.hint_listing(A);
    fixture.run_for(SECOND);
    assert_eq!(
        (fixture.said_hidden(), fixture.keys(A)),
        (0, vec!["a".into()])
    );
}
