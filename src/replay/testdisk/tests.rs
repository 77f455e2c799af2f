//! The disk that forgets, forgetting.

use super::*;
use crate::replay::disk::{Area, Disk};

const B: &str = "h:1";

fn replaced(disk: &mut TestDisk, bytes: &[u8], sync: bool) {
    disk.write(Area::State, B, "new", bytes).unwrap();
    if sync {
        disk.sync(Area::State, B, "new").unwrap();
    }
    disk.rename(Area::State, B, "new", "kept").unwrap();
}

#[test]
fn a_name_without_a_synced_content_loses_it() {
    let mut disk = TestDisk::default();
    replaced(&mut disk, b"old", true);
    disk.sync_folder(Area::State, B).unwrap();
    replaced(&mut disk, b"new", false);
    disk.sync_folder(Area::State, B).unwrap();
    disk.crash(Crash::LosesAll);
    assert_eq!(disk.state(B, "kept").as_deref(), Some(&b""[..]));
}

#[test]
fn a_rename_without_a_synced_folder_leaves_the_old() {
    let mut disk = TestDisk::default();
    replaced(&mut disk, b"old", true);
    disk.sync_folder(Area::State, B).unwrap();
    replaced(&mut disk, b"new", true);
    assert_eq!(disk.state(B, "kept").as_deref(), Some(&b"new"[..]));
    disk.crash(Crash::LosesAll);
    assert_eq!(disk.state(B, "kept").as_deref(), Some(&b"old"[..]));
}

#[test]
fn a_failed_sync_cannot_be_made_good_by_another() {
    let mut disk = TestDisk::default();
    disk.append(Area::State, B, "log", b"lost").unwrap();
    disk.sync_folder(Area::State, B).unwrap();
    disk.fail(Op::Sync(Area::State), io::ErrorKind::Other, 0, 1);
    assert!(disk.sync(Area::State, B, "log").is_err());
    disk.sync(Area::State, B, "log").unwrap();
    assert_eq!(disk.state(B, "log").as_deref(), Some(&b"lost"[..]));
    disk.crash(Crash::LosesAll);
    assert_eq!(disk.state(B, "log").as_deref(), Some(&b""[..]));
}

#[test]
fn a_deleted_log_comes_back_unless_its_folder_was_synced() {
    let mut disk = TestDisk::default();
    disk.append_log(B, "a", b"line\n");
    disk.remove(Area::Logs, B, "a").unwrap();
    assert_eq!(disk.log(B, "a"), None);
    disk.crash(Crash::LosesAll);
    assert_eq!(disk.log(B, "a").as_deref(), Some(&b"line\n"[..]));
    disk.remove(Area::Logs, B, "a").unwrap();
    disk.sync_folder(Area::Logs, B).unwrap();
    disk.crash(Crash::LosesAll);
    assert_eq!(disk.log(B, "a"), None);
}
