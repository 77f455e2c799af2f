//! The real disk, on folders that go away again.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use super::*;
use crate::replay::disk::{read_state, state_bytes};

const B: &str = "127.0.0.1:9998";
const LOG: &str = "2026-11-22-16-40.log";

struct Home {
    folder: TempDir,
    disk: RealDisk,
}

fn home() -> Home {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(folder.path().join("logs"), folder.path().join("ngx/status"));
    fs::create_dir_all(folder.path().join("logs").join(B)).unwrap();
    Home { folder, disk }
}

impl Home {
    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join("logs").join(B).join(name)
    }

    fn state(&self, name: &str) -> PathBuf {
        self.folder.path().join("ngx/status").join(B).join(name)
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_folder_lists_its_logs_only_and_a_missing_one_lists_nothing() {
    let mut home = home();
    fs::write(home.log(LOG), b"line\n").unwrap();
    fs::create_dir(home.log("folder")).unwrap();
    symlink("nowhere", home.log("dangling")).unwrap();
    symlink(home.log("folder"), home.log("to a folder")).unwrap();
    let entries = home.disk.entries(Area::Logs, B).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].name.as_str(), entries[0].meta.bytes), (LOG, 5));
    assert_eq!(entries[0].meta.links, 1);
    assert_eq!(home.disk.entries(Area::Logs, "127.0.0.1:1").unwrap(), []);
    fs::write(home.folder.path().join("logs/error.log"), b"").unwrap();
    assert_eq!(home.disk.folders(Area::Logs).unwrap(), [B]);
    assert_eq!(home.disk.folders(Area::State).unwrap(), [""; 0]);
}

/// A link that cannot be followed, as that into a file server that is away.
fn link_that_fails(path: &Path) {
    symlink("x".repeat(300), path).unwrap();
    let error = fs::metadata(path).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG));
}

#[test]
fn a_folder_that_cannot_be_examined_is_there_and_is_no_empty_one() {
    let mut home = home();
    let logs = home.folder.path().join("logs");
    link_that_fails(&logs.join("b:2"));
    symlink("nowhere", logs.join("b:3")).unwrap();
    symlink("b:4", logs.join("b:4")).unwrap();
    let mut folders = home.disk.folders(Area::Logs).unwrap();
    folders.sort();
    assert_eq!(folders, [B, "b:2"]);
    let error = home.disk.entries(Area::Logs, "b:2").unwrap_err();
    assert!(error.to_string().contains("b:2"), "{error}");
}

#[test]
fn a_log_that_cannot_be_examined_is_not_passed_over() {
    let mut home = home();
    fs::write(home.log("2"), b"newer\n").unwrap();
    link_that_fails(&home.log("1"));
    let error = home.disk.entries(Area::Logs, B).unwrap_err();
    assert!(error.to_string().contains("/1: "), "{error}");
}

#[test]
fn a_long_listing_gets_on() {
    let mut home = home();
    for name in 0..=ENTRIES_A_STEP {
        fs::write(home.log(&name.to_string()), b"").unwrap();
    }
    let steps = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&steps);
    let count = move || {
        counted.fetch_add(1, Ordering::Relaxed);
    };
    home.disk = home.disk.with_progress(count);
    home.disk.entries(Area::Logs, B).unwrap();
    assert_eq!(steps.load(Ordering::Relaxed), 2);
}

#[test]
fn a_listing_and_an_open_log_say_the_same_and_follow_the_file() {
    let mut home = home();
    fs::write(home.log(LOG), b"line\n").unwrap();
    let log = home.disk.open(Area::Logs, B, LOG).unwrap();
    let meta = log.meta().unwrap();
    assert_eq!(meta, home.disk.entries(Area::Logs, B).unwrap()[0].meta);
    let identity = meta.identity(b"line\n");
    fs::rename(home.log(LOG), home.log("moved.log")).unwrap();
    let moved = home.disk.entries(Area::Logs, B).unwrap().remove(0);
    assert!(identity.is_of(moved.meta.key(), b"line\nmore\n"));
    let mut piece = [0; 3];
    assert_eq!(log.read_at(3, &mut piece).unwrap(), 2);
    assert_eq!(&piece[..2], b"e\n");
    assert_eq!(log.read_at(5, &mut piece).unwrap(), 0);
}

/// Makes a pipe that nobody has open.
fn make_pipe(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

#[test]
fn state_that_is_a_pipe_is_an_error_and_holds_nobody_up() {
    let home = home();
    for folder in [home.state(""), home.log("")] {
        fs::create_dir_all(&folder).unwrap();
        make_pipe(&folder.join("pipe"));
    }
    let (told, answer) = std::sync::mpsc::channel();
    let mut disk = home.disk;
    std::thread::spawn(move || {
        let name = "pipe";
        let mut piece = [0; 4];
        let outcomes = [
            ("read", read_state(&mut disk, B, name, 9).map(drop)),
            (
                "read at",
                disk.open(Area::State, B, name)
                    .and_then(|file| file.read_at(0, &mut piece))
                    .map(drop),
            ),
            ("write", disk.write(Area::State, B, name, b"x")),
            ("append", disk.append(Area::State, B, name, b"x").map(drop)),
            ("truncate", disk.truncate(Area::State, B, name, 0)),
            ("sync", disk.sync(Area::State, B, name)),
            ("stage", disk.append(Area::Logs, B, name, b"x")),
            ("sync staged", disk.sync(Area::Logs, B, name)),
        ];
        let _ = told.send(outcomes);
    });
    let outcomes = answer.recv_timeout(std::time::Duration::from_secs(20));
    for (doing, outcome) in outcomes.expect("a pipe is waited for") {
        let said = outcome.unwrap_err().to_string();
        assert!(
            said.contains("/pipe: it is not a regular file"),
            "{doing}: {said}"
        );
    }
}

#[test]
fn a_write_that_finds_no_room_says_what_to_do() {
    for (error, to_do) in [
        (libc::ENOSPC, "make room"),
        (libc::EDQUOT, "quota"),
        (libc::EFBIG, "LimitFSIZE="),
    ] {
        let said = at(Path::new("/state/checkpoint.new"))(io::Error::from_raw_os_error(error));
        let said = said.to_string();
        let cause = format!("(os error {error})");
        assert!(
            said.starts_with("/state/checkpoint.new: ")
                && said.contains(&cause)
                && said.contains(to_do),
            "{said}"
        );
    }
}

#[test]
fn names_that_are_not_utf_8_and_links_to_files_are_logs() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let mut home = home();
    fs::write(home.log(LOG), b"").unwrap();
    let gbk = OsStr::from_bytes(b"\xc8\xd5\xd6\xbe.log");
    let path = home.log(LOG).with_file_name(gbk);
    fs::write(&path, b"gbk\n").unwrap();
    let target = home.folder.path().join("elsewhere");
    fs::write(&target, b"linked\n").unwrap();
    symlink(&target, home.log("link")).unwrap();
    let mut entries = home.disk.entries(Area::Logs, B).unwrap();
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, [LOG, r"\xc8\xd5־.log", "link"]);
    for entry in &entries[1..] {
        let log = home.disk.open(Area::Logs, B, &entry.name).unwrap();
        assert_eq!(log.meta().unwrap(), entry.meta);
        home.disk.remove(Area::Logs, B, &entry.name).unwrap();
    }
    assert_eq!(entries[2].meta.links, 2, "it stays where the link leads");
    assert!(!path.exists() && target.exists());
    assert!(home.disk.open(Area::Logs, B, r"..\x2fchecks").is_err());
}

#[test]
fn pipes_and_folders_are_no_logs() {
    let mut home = home();
    fs::write(home.log(LOG), b"").unwrap();
    fs::create_dir(home.log("folder")).unwrap();
    make_pipe(&home.log("pipe"));
    for name in ["folder", "pipe"] {
        assert!(home.disk.open(Area::Logs, B, name).is_err(), "{name}");
    }
    let missing = home.disk.open(Area::Logs, B, "missing").unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(
        missing
            .to_string()
            .contains(&*home.log("missing").to_string_lossy()),
        "{missing}"
    );
}

#[test]
fn a_log_is_leased_only_while_nobody_writes_to_it() {
    let mut home = home();
    let writer = File::create(home.log(LOG)).unwrap();
    let log = home.disk.open(Area::Logs, B, LOG).unwrap();
    let with_writer = log.lease().unwrap();
    drop(writer);
    match log.lease().unwrap() {
        LogLease::Alone => assert_eq!(with_writer, LogLease::Writers),
        // Some file systems have no leases: then nothing may be leased of them.
        unknown @ (LogLease::Unknown | LogLease::NotPermitted) => {
            return assert_eq!(with_writer, unknown);
        }
        LogLease::Writers => panic!("the writer has closed it"),
    }
    let path = home.log(LOG);
    let open = || {
        OpenOptions::new()
            .append(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)
    };
    assert_eq!(
        open().unwrap_err().kind(),
        ErrorKind::WouldBlock,
        "a new writer is held off"
    );
    log.end_lease().unwrap();
    log.end_lease().unwrap();
    assert!(open().is_ok());
    log.lease().unwrap();
    drop(log);
    assert!(open().is_ok(), "a claim ends with its log");
}

#[test]
fn a_writer_that_waits_for_a_lease_goes_on_and_its_line_is_seen_in_the_deleted_log() {
    let mut home = home();
    fs::write(home.log(LOG), b"line\n").unwrap();
    let log = home.disk.open(Area::Logs, B, LOG).unwrap();
    if log.lease().unwrap() != LogLease::Alone {
        return;
    }
    let path = home.log(LOG);
    let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&path).unwrap());
    let writer = std::thread::spawn(move || {
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(b"late\n").unwrap();
    });
    // Its open waits in the kernel, or finds no file once that is deleted; wait for the former as
    // long as is needed to see it.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !is_lease_breaking(inode) && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    home.disk.remove(Area::Logs, B, LOG).unwrap();
    log.end_lease().unwrap();
    writer.join().unwrap();
    assert_eq!(log.meta().unwrap().bytes, 10);
    home.disk.sync_folder(Area::Logs, B).unwrap();
    home.disk.sync_folder(Area::Logs, "127.0.0.1:1").unwrap();
}

/// Whether somebody waits for this process's lease of the file with this inode number, as
/// `/proc/locks` has it. Other tests of this process have leases, too.
fn is_lease_breaking(inode: u64) -> bool {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let pid = std::process::id().to_string();
    let file = format!(":{inode}");
    locks.lines().any(|line| {
        line.contains("LEASE")
            && line.contains("BREAKING")
            && line.split_whitespace().any(|word| word == pid)
            && line.split_whitespace().any(|word| word.ends_with(&file))
    })
}

#[test]
fn state_is_written_replaced_appended_cut_and_removed() {
    let mut home = home();
    let disk = &mut home.disk;
    assert_eq!(disk.entries(Area::State, B).unwrap(), []);
    assert_eq!(read_state(disk, B, "kept", 10).unwrap(), None);
    disk.write(Area::State, B, "new", b"a longer text").unwrap();
    disk.write(Area::State, B, "new", b"text").unwrap();
    disk.sync(Area::State, B, "new").unwrap();
    disk.rename(Area::State, B, "new", "kept").unwrap();
    disk.sync_folder(Area::State, B).unwrap();
    assert_eq!(
        read_state(disk, B, "kept", 10).unwrap().as_deref(),
        Some(&b"text"[..])
    );
    assert_eq!(
        read_state(disk, B, "kept", 2).unwrap().as_deref(),
        Some(&b"te"[..])
    );
    disk.append(Area::State, B, "grows", b"one").unwrap();
    disk.append(Area::State, B, "grows", b"two").unwrap();
    disk.truncate(Area::State, B, "grows", 4).unwrap();
    assert_eq!(state_bytes(disk, B, "grows").unwrap(), Some(4));
    let mut piece = [0; 9];
    assert_eq!(
        disk.open(Area::State, B, "grows")
            .unwrap()
            .read_at(1, &mut piece)
            .unwrap(),
        3
    );
    assert_eq!(&piece[..3], b"net");
    disk.remove(Area::State, B, "grows").unwrap();
    let gone = disk.remove(Area::State, B, "grows").unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    let left = disk.entries(Area::State, B).unwrap();
    assert!(left.len() == 1 && left[0].name == "kept", "{left:?}");
    assert_eq!(disk.folders(Area::State).unwrap(), [B]);
}

#[test]
fn nobody_else_can_read_the_state() {
    let mut home = home();
    home.disk.write(Area::State, B, "kept", b"").unwrap();
    assert_eq!(mode(&home.state("kept")) & !0o640, 0);
    for folder in [home.state(""), home.folder.path().join("ngx/status")] {
        assert_eq!(mode(&folder) & !0o750, 0, "{}", folder.display());
    }
}

#[test]
fn names_never_leave_their_folder() {
    let mut home = home();
    fs::write(home.folder.path().join("secret"), b"secret").unwrap();
    for name in ["..", ".", "", "../secret", "a/b", "/etc/passwd", "nul\0"] {
        let refused = |result: io::Result<()>| {
            assert_eq!(
                result.unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{name:?}"
            )
        };
        refused(home.disk.open(Area::Logs, B, name).map(drop));
        refused(home.disk.open(Area::Logs, name, LOG).map(drop));
        refused(home.disk.remove(Area::Logs, B, name));
        refused(home.disk.entries(Area::Logs, name).map(drop));
        refused(home.disk.write(Area::State, B, name, b""));
        refused(home.disk.write(Area::State, name, "kept", b""));
        refused(read_state(&mut home.disk, B, name, 9).map(drop));
        refused(home.disk.rename(Area::State, B, "kept", name));
        refused(home.disk.remove(Area::State, B, name));
        refused(home.disk.sync_folder(Area::State, name));
    }
}

#[test]
fn the_lock_is_held_by_one_and_names_its_holder() {
    let home = home();
    let state = home.folder.path().join("ngx/status");
    let lock = StateLock::take(&state).unwrap();
    let error = StateLock::take(&state).unwrap_err();
    assert!(
        matches!(error, LockError::Held { holder: Some(pid), .. } if pid == std::process::id()),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains(&format!("(process {})", std::process::id())),
        "{error}"
    );
    drop(lock);
    fs::write(state.join(".lock"), "4711 and much that is not ours\n").unwrap();
    StateLock::take(&state).unwrap();
    assert_eq!(
        fs::read_to_string(state.join(".lock")).unwrap(),
        format!("{}\n", std::process::id())
    );
}

#[test]
fn a_lock_that_cannot_be_made_says_where_and_why() {
    let home = home();
    let file = home.folder.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = StateLock::take(&file.join("status")).unwrap_err();
    assert!(error.to_string().contains(".lock"), "{error}");
}
