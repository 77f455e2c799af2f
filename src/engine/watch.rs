//! What changes below the logs' path, told by inotify. Only hints: whoever is told looks for himself, and a timer looks too.
//!
//! Watched are the logs' path, for folders that come and go, and each backend's folder, for its logs. A watch stays with the folder that it was
//! set on, under whatever name; so one is set again when its path may name another folder: at once where an event tells (the path was moved,
//! unmounted, or made anew, which the folder above tells), and by [`Watch::restore`] where none does (another file system is mounted over it).
//! Nothing here fails for good: without watches new lines are merely found later, and that is said once.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use inotify::{Event, EventMask, Inotify, WatchDescriptor, WatchMask};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::limits::{INOTIFY_READ_BYTES, INOTIFY_READS_PER_TURN};
use crate::replay::messages::BackendId;

/// A hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seen {
    /// Folders have come or gone.
    Folders,
    /// A log of this backend was written to.
    Grew(BackendId),
    /// Logs of this backend, or its folder, have come or gone.
    Listing(BackendId),
    /// Hints were lost: everything may have changed.
    Lost,
}

/// The watches.
pub struct Watch {
    logs: PathBuf,
    token: Token,
    /// `None`: the system had none left; it is asked again by [`Watch::restore`].
    inotify: Option<Inotify>,
    root: Option<WatchDescriptor>,
    /// The folder above, while the logs' path is not there.
    above: Option<WatchDescriptor>,
    /// In the order of their numbers.
    backends: Vec<Watched>,
    /// Whose a descriptor is. Exactly the `Some` of `backends`.
    by_descriptor: HashMap<i32, BackendId>,
    buffer: Box<[u8]>,
    /// The last attempt left some out.
    lacks: bool,
    /// That watches are lacking has been said.
    said: bool,
}

struct Watched {
    folder: String,
    descriptor: Option<WatchDescriptor>,
}

fn root_mask() -> WatchMask {
    WatchMask::ONLYDIR
        | WatchMask::CREATE
        | WatchMask::MOVE
        | WatchMask::DELETE
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF
}

fn above_mask() -> WatchMask {
    WatchMask::ONLYDIR | WatchMask::CREATE | WatchMask::MOVED_TO
}

fn backend_mask() -> WatchMask {
    root_mask() | WatchMask::MODIFY | WatchMask::CLOSE_WRITE
}

impl Watch {
    /// Watches the folder `logs` for folders, readiness registered under `token`.
    #[must_use]
    pub fn new(logs: PathBuf, registry: &Registry, token: Token) -> Self {
        let mut watch = Self {
            logs,
            token,
            inotify: None,
            root: None,
            above: None,
            backends: Vec::new(),
            by_descriptor: HashMap::new(),
            buffer: vec![0; INOTIFY_READ_BYTES].into_boxed_slice(),
            lacks: false,
            said: false,
        };
        watch.restore(registry);
        watch
    }

    /// Watches the folder of the next backend. Backends come in the order of their numbers.
    pub fn add(&mut self, backend: BackendId, folder: &str) {
        assert_eq!(backend.index(), self.backends.len(), "in order");
        self.backends.push(Watched {
            folder: folder.to_owned(),
            descriptor: None,
        });
        self.restore_backend(backend);
    }

    /// Sets what watches are missing, or are on another folder than their path names by now. Gives how many were set: what happened before is
    /// not told.
    pub fn restore(&mut self, registry: &Registry) -> usize {
        if self.inotify.is_none() {
            match open(registry, self.token) {
                Ok(inotify) => self.inotify = Some(inotify),
                Err(error) => self.say_lacking("inotify", &error),
            }
        }
        let lacked = std::mem::take(&mut self.lacks);
        let set = self.restore_watches();
        if lacked && !self.lacks && self.inotify.is_some() && std::mem::take(&mut self.said) {
            tracing::info!("all folders of logs are watched again");
        }
        set
    }

    fn restore_watches(&mut self) -> usize {
        let mut set = usize::from(self.restore_root());
        for index in 0..self.backends.len() {
            set += usize::from(self.restore_backend(BackendId::from_index(index)));
        }
        set
    }

    /// Tells what has been seen since. True: there is more, which no event will tell.
    ///
    /// Backends of whose folder the watch has gone are told by `Listing`; so are those whose folder has come again.
    pub fn take(&mut self, mut tell: impl FnMut(Seen)) -> bool {
        for _ in 0..INOTIFY_READS_PER_TURN {
            let Some(inotify) = &mut self.inotify else {
                return false;
            };
            let mut buffer = std::mem::take(&mut self.buffer);
            let more = match inotify.read_events(&mut buffer) {
                Ok(events) => {
                    for event in events {
                        self.handle(&event, &mut tell);
                    }
                    true
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => false,
                Err(error) => {
                    self.say_lacking("inotify", &error);
                    tell(Seen::Lost);
                    false
                }
            };
            self.buffer = buffer;
            if !more {
                return false;
            }
        }
        true
    }

    fn handle(&mut self, event: &Event<&OsStr>, tell: &mut impl FnMut(Seen)) {
        let descriptor = event.wd.get_watch_descriptor_id();
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            tell(Seen::Lost);
            // A folder may have gone and come again unseen.
            self.restore_watches();
        } else if self.above.as_ref() == Some(&event.wd) {
            if event.name.is_some() && event.name == self.logs.file_name() {
                self.restore_watches();
                tell(Seen::Lost);
            }
        } else if self.root.as_ref() == Some(&event.wd) {
            self.handle_root(event, tell);
        } else if let Some(backend) = self.by_descriptor.get(&descriptor).copied() {
            let is_growth = event
                .mask
                .intersects(EventMask::MODIFY | EventMask::CLOSE_WRITE);
            if has_gone(event.mask) {
                self.unset(backend);
            }
            tell(if is_growth {
                Seen::Grew(backend)
            } else {
                Seen::Listing(backend)
            });
        }
    }

    fn handle_root(&mut self, event: &Event<&OsStr>, tell: &mut impl FnMut(Seen)) {
        if has_gone(event.mask) {
            // The backends' folders went with it, and with them their watches.
            self.root
                .take()
                .into_iter()
                .for_each(|root| self.remove(root));
            for index in 0..self.backends.len() {
                self.unset(BackendId::from_index(index));
            }
            self.restore_watches();
            tell(Seen::Lost);
            return;
        }
        tell(Seen::Folders);
        let known = event.name.and_then(OsStr::to_str).and_then(|name| {
            self.backends
                .iter()
                .position(|watched| watched.folder == name)
        });
        let Some(backend) = known.map(BackendId::from_index) else {
            return;
        };
        // A watch follows what it was set on, also under another name.
        if event
            .mask
            .intersects(EventMask::MOVED_FROM | EventMask::MOVED_TO | EventMask::CREATE)
        {
            self.unset(backend);
            self.restore_backend(backend);
        }
        tell(Seen::Listing(backend));
    }

    /// True: it was missing, or on another folder, and is set now.
    fn restore_root(&mut self) -> bool {
        // First: what comes behind it is told.
        if self.root.is_none() && self.above.is_none() {
            let above = self.logs.parent().map(Path::to_owned);
            self.above = above.and_then(|above| self.set(&above, above_mask()));
        }
        let now = self.set(&self.logs.clone(), root_mask());
        if now.is_some() {
            self.above
                .take()
                .into_iter()
                .for_each(|above| self.remove(above));
        }
        let is_other = now != self.root;
        let before = std::mem::replace(&mut self.root, now);
        if let Some(before) = before.filter(|_| is_other) {
            self.remove(before);
        }
        is_other && self.root.is_some()
    }

    /// True: it was missing, or on another folder, and is set now.
    fn restore_backend(&mut self, backend: BackendId) -> bool {
        let watched = &self.backends[backend.index()];
        let path = self.logs.join(&watched.folder);
        let before = watched.descriptor.clone();
        // Setting a watch that stands gives the same descriptor.
        let now = self.set(&path, backend_mask());
        if now == before {
            return false;
        }
        self.unset(backend);
        let Some(descriptor) = now else {
            return false;
        };
        let number = descriptor.get_watch_descriptor_id();
        if let Some(before) = self.by_descriptor.insert(number, backend) {
            // Two names of one folder, by a link: it can be told to one only, and the timer serves the other.
            self.backends[before.index()].descriptor = None;
        }
        self.backends[backend.index()].descriptor = Some(descriptor);
        true
    }

    fn unset(&mut self, backend: BackendId) {
        if let Some(descriptor) = self.backends[backend.index()].descriptor.take() {
            self.by_descriptor
                .remove(&descriptor.get_watch_descriptor_id());
            self.remove(descriptor);
        }
    }

    fn remove(&self, descriptor: WatchDescriptor) {
        if let Some(inotify) = &self.inotify {
            // Fails where the folder is gone, and the watch with it.
            let _ = inotify.watches().remove(descriptor);
        }
    }

    fn set(&mut self, path: &Path, mask: WatchMask) -> Option<WatchDescriptor> {
        let inotify = self.inotify.as_ref()?;
        match inotify.watches().add(path, mask) {
            Ok(descriptor) => Some(descriptor),
            // Its folder has gone; the watch above tells when it comes again.
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                self.say_lacking(&path.display().to_string(), &error);
                None
            }
        }
    }

    fn say_lacking(&mut self, what: &str, error: &io::Error) {
        self.lacks = true;
        if !std::mem::replace(&mut self.said, true) {
            tracing::warn!(
                "cannot watch {what}: {error}; new lines are found each sync.rescan_interval only. Where it is a limit, raise fs.inotify.max_user_watches or max_user_instances (sysctl)"
            );
        }
    }

    /// How many folders are watched, for tests of what goes with a folder.
    #[cfg(test)]
    fn watches(&self) -> usize {
        usize::from(self.root.is_some()) + self.by_descriptor.len()
    }
}

fn open(registry: &Registry, token: Token) -> io::Result<Inotify> {
    let inotify = Inotify::init()?;
    registry.register(
        &mut SourceFd(&inotify.as_raw_fd()),
        token,
        Interest::READABLE,
    )?;
    Ok(inotify)
}

/// Whether the watched folder itself is no longer what its path names.
fn has_gone(mask: EventMask) -> bool {
    mask.intersects(
        EventMask::IGNORED | EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::UNMOUNT,
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
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

        fn make(&self, folder: &str) {
            fs::create_dir(self.logs.path().join(folder)).unwrap();
        }

        /// Waits for an event and gives what it tells, each kind once, until `last` has come.
        fn seen_until(&mut self, last: Seen) -> Vec<Seen> {
            let give_up = Instant::now() + Duration::from_secs(20);
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
            bench.seen_until(Seen::Listing(SECOND)),
            [Seen::Listing(SECOND)]
        );
        file.write_all(b"line\n").unwrap();
        assert_eq!(bench.seen_until(Seen::Grew(SECOND)), [Seen::Grew(SECOND)]);
        drop(file);
        assert_eq!(bench.seen_until(Seen::Grew(SECOND)), [Seen::Grew(SECOND)]);
        fs::remove_file(log).unwrap();
        assert_eq!(
            bench.seen_until(Seen::Listing(SECOND)),
            [Seen::Listing(SECOND)]
        );
    }

    #[test]
    fn a_new_folder_is_told() {
        let mut bench = Bench::new();
        bench.make("c:3");
        assert_eq!(bench.seen_until(Seen::Folders), [Seen::Folders]);
    }

    #[test]
    fn a_folder_that_goes_and_comes_again_is_watched_again() {
        let mut bench = Bench::new();
        fs::remove_dir(bench.logs.path().join("a:1")).unwrap();
        bench.seen_until(Seen::Listing(FIRST));
        assert_eq!(bench.watch.watches(), 2);
        bench.make("a:1");
        bench.seen_until(Seen::Listing(FIRST));
        assert_eq!(bench.watch.watches(), 3);
        fs::write(bench.logs.path().join("a:1/1.log"), "x").unwrap();
        bench.seen_until(Seen::Grew(FIRST));
    }

    #[test]
    fn a_folder_that_was_moved_away_is_not_taken_for_the_one_in_its_place() {
        let mut bench = Bench::new();
        let (own, other) = (bench.logs.path().join("a:1"), bench.logs.path().join("old"));
        fs::rename(&own, &other).unwrap();
        bench.make("a:1");
        bench.seen_until(Seen::Listing(FIRST));
        fs::write(own.join("1.log"), "x").unwrap();
        bench.seen_until(Seen::Grew(FIRST));
        fs::write(other.join("2.log"), "x").unwrap();
        fs::create_dir(bench.logs.path().join("z")).unwrap();
        assert!(
            !bench.seen_until(Seen::Folders).contains(&Seen::Grew(FIRST)),
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
        let poll = Poll::new().unwrap();
        let watch = Watch::new(logs.clone(), poll.registry(), TOKEN);
        let mut bench = Bench {
            poll,
            watch,
            logs: above,
        };
        bench.watch.add(FIRST, "a:1");
        bench.watch.take(|_| {});
        for round in 0..3 {
            let old = bench.logs.path().join(format!("old{round}"));
            fs::rename(&logs, &old).unwrap();
            bench.seen_until(Seen::Lost);
            assert_eq!(bench.watch.watches(), 0, "the old one is nobody's");
            fs::create_dir_all(logs.join("a:1")).unwrap();
            bench.seen_until(Seen::Lost);
            // The folder may have come after the path was looked at; then it is told.
            bench.watch.restore(bench.poll.registry());
            fs::write(logs.join("a:1/1.log"), "x").unwrap();
            bench.seen_until(Seen::Grew(FIRST));
            fs::write(old.join("a:1/2.log"), "x").unwrap();
            assert_eq!(bench.watch.watches(), 2);
        }
    }

    #[test]
    fn a_folder_in_whose_place_another_is_without_an_event_is_found_by_the_next_look() {
        let real = tempfile::tempdir().unwrap();
        for name in ["one/a:1", "two/a:1"] {
            fs::create_dir_all(real.path().join(name)).unwrap();
        }
        // A link stands for a mount, which only root can make: neither is told.
        let logs = real.path().join("logs");
        std::os::unix::fs::symlink("one", &logs).unwrap();
        let poll = Poll::new().unwrap();
        let watch = Watch::new(logs.clone(), poll.registry(), TOKEN);
        let mut bench = Bench {
            poll,
            watch,
            logs: real,
        };
        bench.watch.add(FIRST, "a:1");
        fs::remove_file(&logs).unwrap();
        std::os::unix::fs::symlink("two", &logs).unwrap();
        let registry = bench.poll.registry().try_clone().unwrap();
        assert_eq!(bench.watch.restore(&registry), 2);
        assert_eq!(bench.watch.restore(&registry), 0);
        fs::write(logs.join("a:1/1.log"), "x").unwrap();
        bench.seen_until(Seen::Grew(FIRST));
    }

    #[test]
    fn inotify_that_could_not_be_had_is_asked_for_again() {
        let mut bench = Bench::new();
        bench.watch.inotify = None;
        bench.watch.root = None;
        bench.watch.by_descriptor.clear();
        for watched in &mut bench.watch.backends {
            watched.descriptor = None;
        }
        bench
            .watch
            .say_lacking("inotify", &io::Error::other("none left"));
        let registry = bench.poll.registry().try_clone().unwrap();
        assert_eq!(bench.watch.restore(&registry), 3);
        assert!(!bench.watch.said, "the next lack is said again");
        fs::write(bench.logs.path().join("a:1/1.log"), "x").unwrap();
        bench.seen_until(Seen::Grew(FIRST));
    }
}
