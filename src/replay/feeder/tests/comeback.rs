//! Logs that go away and come back, and what is known of them: the rig holds all that the feeder says against a real ledger, which panics where the two
//! take different entries for known.

use std::sync::Arc;
use std::time::Duration;

use super::rig::{A, Rig, put, puts};
use crate::ledger::identity::Identity;
use crate::ledger::runs::LineRuns;
use crate::replay::messages::{FileResume, LegacyResume, ResumePlan};

const SECOND: Duration = Duration::from_secs(1);

/// Two lines of the first log are settled.
fn plan(rig: &Rig) -> ResumePlan {
    let meta = rig.disk.meta("a:1", "01");
    ResumePlan {
        files: vec![FileResume {
            name: Arc::from("01"),
            identity: Identity::new(meta.device, meta.inode, meta.born_nanos, &put("a")),
            line: 2,
            byte: puts(["a", "b"]).len() as u64,
            settled: LineRuns::default(),
            lines_read: 2,
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
        }],
    }
}

fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.disk.append("a:1", "01", &puts(["a", "b", "c"]));
    rig.add("a:1");
    rig.up(A);
    rig
}

#[test]
fn a_log_that_the_plan_knows_and_that_is_away_at_first_comes_back() {
    let mut rig = rig();
    let plan = plan(&rig);
    let inode = rig.disk.take("a:1", "01");
    rig.plan(A, plan);
    rig.run_for(SECOND);
    rig.disk.put("a:1", "01", inode);
    rig.hint_listing(A);
    rig.run_for(SECOND);
    assert!(rig.keys(A).contains(&"c".to_owned()));
}

#[test]
fn a_log_that_shrank_before_it_was_begun_and_comes_back_is_another() {
    let mut rig = rig();
    rig.plan(A, plan(&rig));
    rig.disk.truncate("a:1", "01", 10);
    rig.run_for(SECOND);
    rig.disk.truncate("a:1", "01", 0);
    rig.append(A, "01", &puts(["a", "b", "c", "d"]));
    rig.run_for(SECOND);
    assert_eq!(rig.keys(A), ["a", "b", "c", "d"]);
}

#[test]
fn a_status_file_of_the_originals_is_for_no_log_but_the_first_of_its_name() {
    let whole = puts(["a", "b", "c"]).len() as u64;
    // The log has fewer bytes than the original had read of it: it is another one, also when it has got as many.
    let mut rig = rig();
    rig.plan(A, legacy("01", whole + 1));
    rig.run();
    assert_eq!(rig.keys(A), ["a", "b", "c"]);
    rig.disk.truncate("a:1", "01", 0);
    rig.append(A, "01", &puts(["w", "x", "y", "z"]));
    rig.run_for(SECOND);
    assert_eq!(rig.keys(A).len(), 7);
}

#[test]
fn a_log_of_the_originals_may_appear_later() {
    let whole = puts(["a", "b", "c"]).len() as u64;
    let mut rig = rig();
    let inode = rig.disk.take("a:1", "01");
    rig.plan(A, legacy("01", whole));
    rig.run_for(SECOND);
    rig.disk.put("a:1", "01", inode);
    rig.hint_listing(A);
    rig.run_for(SECOND);
    assert!(rig.keys(A).contains(&"c".to_owned()));
}
