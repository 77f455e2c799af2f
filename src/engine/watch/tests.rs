//! The watches over real folders.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use super::*;

const TOKEN: Token = Token(0);
const FIRST: BackendId = BackendId(0);
const SECOND: BackendId = BackendId(1);

struct Bench {
    poll: Poll,
    watch: Watch,
    logs: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let logs = tempfile::tempdir().unwrap();
        let poll = Poll::new().unwrap();
        let watch = Watch::new(logs.path().to_owned(), poll.registry(), TOKEN);
        let mut bench = Self { poll, watch, logs };
        bench.make("a:1");
        bench.make("b:2");
        bench.watch.add(FIRST, "a:1");
        bench.watch.add(SECOND, "b:2");
        bench.watch.take(|_| {});
        bench
    }

    /// The path of the logs is a link to the folder `one`, beside which is `two`; both have one
    /// backend. Returns that path, too.
    fn linked() -> (Self, PathBuf) {
        let real = tempfile::tempdir().unwrap();
        for name in ["one/a:1", "two/a:1"] {
            fs::create_dir_all(real.path().join(name)).unwrap();
        }
        let path = real.path().join("logs");
        std::os::unix::fs::symlink("one", &path).unwrap();
        (Self::below(real, &path), path)
    }

    /// Watches this path of the logs, which is below `above` and has the folder of one backend.
    fn below(above: tempfile::TempDir, path: &Path) -> Self {
        let poll = Poll::new().unwrap();
        let watch = Watch::new(path.to_owned(), poll.registry(), TOKEN);
        let mut bench = Self {
            poll,
            watch,
            logs: above,
        };
        bench.watch.add(FIRST, "a:1");
        bench
    }

    fn make(&self, folder: &str) {
        fs::create_dir(self.logs.path().join(folder)).unwrap();
    }

    /// Waits for an event and gives what it tells, each kind once, until `last` has come.
    fn seen_until(&mut self, last: FsEvent) -> Vec<FsEvent> {
        let give_up = Instant::now() + Duration::from_secs(120);
        let mut events = Events::with_capacity(8);
        let mut all = Vec::new();
        while !all.contains(&last) {
            assert!(Instant::now() < give_up, "{last:?} comes, so far {all:?}");
            self.poll
                .poll(&mut events, Some(Duration::from_millis(100)))
                .unwrap();
            while self.watch.take(|seen| {
                if !all.contains(&seen) {
                    all.push(seen);
                }
            }) {}
        }
        all
    }
}

#[test]
fn what_happens_to_logs_is_told_for_their_backend() {
    let mut bench = Bench::new();
    let log = bench.logs.path().join("b:2/1.log");
    let mut file = fs::File::create(&log).unwrap();
    assert_eq!(
        bench.seen_until(FsEvent::Listing(SECOND)),
        [FsEvent::Listing(SECOND)]
    );
    file.write_all(b"line\n").unwrap();
    assert_eq!(
        bench.seen_until(FsEvent::Grew(SECOND)),
        [FsEvent::Grew(SECOND)]
    );
    // Neither that it is closed nor its deletion is told, what comes next is.
    drop(file);
    fs::remove_file(&log).unwrap();
    fs::write(bench.logs.path().join("a:1/1.log"), "line\n").unwrap();
    let seen = bench.seen_until(FsEvent::Grew(FIRST));
    for untold in [FsEvent::Grew(SECOND), FsEvent::Listing(SECOND)] {
        assert!(!seen.contains(&untold), "{seen:?}");
    }
    fs::rename(bench.logs.path().join("a:1/1.log"), &log).unwrap();
    bench.seen_until(FsEvent::Listing(SECOND));
}

#[test]
fn a_new_folder_is_told() {
    let mut bench = Bench::new();
    bench.make("c:3");
    assert_eq!(bench.seen_until(FsEvent::Folders), [FsEvent::Folders]);
}

#[test]
fn a_folder_that_goes_and_comes_again_is_watched_again() {
    let mut bench = Bench::new();
    fs::remove_dir(bench.logs.path().join("a:1")).unwrap();
    bench.seen_until(FsEvent::Listing(FIRST));
    assert_eq!(bench.watch.watches(), 2);
    bench.make("a:1");
    bench.seen_until(FsEvent::Listing(FIRST));
    assert_eq!(bench.watch.watches(), 3);
    fs::write(bench.logs.path().join("a:1/1.log"), "x").unwrap();
    bench.seen_until(FsEvent::Grew(FIRST));
}

#[test]
fn a_folder_that_was_moved_away_is_not_taken_for_the_one_in_its_place() {
    let mut bench = Bench::new();
    let (own, other) = (bench.logs.path().join("a:1"), bench.logs.path().join("old"));
    fs::rename(&own, &other).unwrap();
    bench.make("a:1");
    bench.seen_until(FsEvent::Listing(FIRST));
    fs::write(own.join("1.log"), "x").unwrap();
    bench.seen_until(FsEvent::Grew(FIRST));
    fs::write(other.join("2.log"), "x").unwrap();
    fs::create_dir(bench.logs.path().join("z")).unwrap();
    assert!(
        !bench
            .seen_until(FsEvent::Folders)
            .contains(&FsEvent::Grew(FIRST)),
        "what happens in the folder moved away is nobody's"
    );
}

#[test]
fn a_logs_path_that_comes_later_is_watched_from_then_on() {
    let above = tempfile::tempdir().unwrap();
    let logs = above.path().join("logs");
    let poll = Poll::new().unwrap();
    let mut watch = Watch::new(logs.clone(), poll.registry(), TOKEN);
    watch.add(FIRST, "a:1");
    let mut restore = || watch.restore(poll.registry());
    assert_eq!(restore(), 0);
    fs::create_dir_all(logs.join("a:1")).unwrap();
    assert_eq!((restore(), restore()), (2, 0));
    assert_eq!(watch.watches(), 2);
}

#[test]
fn a_logs_path_that_was_moved_away_and_made_anew_is_watched_at_once() {
    let above = tempfile::tempdir().unwrap();
    let logs = above.path().join("logs");
    fs::create_dir_all(logs.join("a:1")).unwrap();
    let mut bench = Bench::below(above, &logs);
    bench.watch.take(|_| {});
    for round in 0..3 {
        let old = bench.logs.path().join(format!("old{round}"));
        fs::rename(&logs, &old).unwrap();
        bench.seen_until(FsEvent::Lost);
        assert_eq!(bench.watch.watches(), 0, "the old one is nobody's");
        fs::create_dir_all(logs.join("a:1")).unwrap();
        bench.seen_until(FsEvent::Lost);
        // The folder may have come after the path was looked at; then it is told.
        bench.watch.restore(bench.poll.registry());
        fs::write(logs.join("a:1/1.log"), "x").unwrap();
        bench.seen_until(FsEvent::Grew(FIRST));
        fs::write(old.join("a:1/2.log"), "x").unwrap();
        assert_eq!(bench.watch.watches(), 2);
    }
}

#[test]
fn a_folder_in_whose_place_another_is_without_an_event_is_found_by_the_next_look() {
    // A link stands for a mount, which only root can make: neither is told.
    let (mut bench, logs) = Bench::linked();
    fs::remove_file(&logs).unwrap();
    std::os::unix::fs::symlink("two", &logs).unwrap();
    let registry = bench.poll.registry().try_clone().unwrap();
    assert_eq!(bench.watch.restore(&registry), 2);
    assert_eq!(bench.watch.restore(&registry), 0);
    fs::write(logs.join("a:1/1.log"), "x").unwrap();
    bench.seen_until(FsEvent::Grew(FIRST));
}

#[test]
fn inotify_that_could_not_be_had_is_asked_for_again() {
    let mut bench = Bench::new();
    bench.watch.inotify = None;
    bench.watch.root = None;
    bench.watch.by_descriptor.clear();
    for watched in bench.watch.backends.iter_mut().flatten() {
        watched.descriptor = None;
    }
    bench
        .watch
        .say_lacking("inotify", &io::Error::other("none left"));
    let registry = bench.poll.registry().try_clone().unwrap();
    assert_eq!(bench.watch.restore(&registry), 3);
    assert!(
        bench.watch.lacking.begins(),
        "the next lack is logged again"
    );
    fs::write(bench.logs.path().join("a:1/1.log"), "x").unwrap();
    bench.seen_until(FsEvent::Grew(FIRST));
}

#[test]
fn all_names_of_one_folder_are_told() {
    let mut bench = Bench::new();
    let third = BackendId(2);
    std::os::unix::fs::symlink("a:1", bench.logs.path().join("c:3")).unwrap();
    bench.watch.add(third, "c:3");
    let registry = bench.poll.registry().try_clone().unwrap();
    assert_eq!(bench.watch.restore(&registry), 0);
    fs::write(bench.logs.path().join("a:1/1.log"), "x").unwrap();
    bench.seen_until(FsEvent::Grew(FIRST));
    fs::write(bench.logs.path().join("a:1/2.log"), "x").unwrap();
    bench.seen_until(FsEvent::Grew(third));
    // The second has a folder of its own at last.
    fs::remove_file(bench.logs.path().join("c:3")).unwrap();
    bench.make("c:3");
    bench.seen_until(FsEvent::Listing(third));
    fs::write(bench.logs.path().join("c:3/1.log"), "x").unwrap();
    bench.seen_until(FsEvent::Grew(third));
    // The first goes on being told, alone.
    fs::write(bench.logs.path().join("a:1/3.log"), "x").unwrap();
    let seen = bench.seen_until(FsEvent::Grew(FIRST));
    assert!(!seen.contains(&FsEvent::Grew(third)), "{seen:?}");
}

#[test]
fn a_link_that_leads_elsewhere_is_followed_at_once() {
    let (mut bench, logs) = Bench::linked();
    for (nth, to) in ["two", "one", "two"].into_iter().enumerate() {
        // As `ln -sfn` does it.
        let new = bench.logs.path().join("new");
        std::os::unix::fs::symlink(to, &new).unwrap();
        fs::rename(&new, &logs).unwrap();
        bench.seen_until(FsEvent::Lost);
        fs::write(logs.join(format!("a:1/{nth}.log")), "x").unwrap();
        bench.seen_until(FsEvent::Grew(FIRST));
    }
}

#[test]
fn a_path_that_names_nothing_or_anothers_folder_any_more_counts_as_changed_once() {
    let real = tempfile::tempdir().unwrap();
    let logs = real.path().join("link/logs");
    for name in ["one/logs/a:1", "one/logs/b:2", "two/logs/a:1", "three"] {
        fs::create_dir_all(real.path().join(name)).unwrap();
    }
    // Two names of one folder, as after a mount.
    std::os::unix::fs::symlink("a:1", real.path().join("two/logs/b:2")).unwrap();
    let lead_to = |to: &str| {
        // No folder that is watched has this link.
        let new = real.path().join("new");
        std::os::unix::fs::symlink(to, &new).unwrap();
        fs::rename(&new, real.path().join("link")).unwrap();
    };
    lead_to("one");
    let poll = Poll::new().unwrap();
    let mut watch = Watch::new(logs, poll.registry(), TOKEN);
    watch.add(FIRST, "a:1");
    watch.add(SECOND, "b:2");
    let mut check = |to, expected| {
        lead_to(to);
        let mut restore = || watch.restore(poll.registry());
        assert_eq!((restore(), restore()), (expected, 0), "{to}");
    };
    check("two", 3);
    check("one", 3);
    check("three", 3);
    check("one", 3);
}
