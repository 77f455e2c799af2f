//! What changes below the logs' path, told by inotify. Only hints: whoever is told looks for
//! himself, and a timer looks too.
//!
//! Watched are the logs' path, for folders that come and go, and each backend's folder, for its
//! logs. A watch stays with the folder that it was set on, under whatever name; so one is set again
//! when its path may name another folder: at once where an event tells (the path was moved,
//! unmounted, or made anew, which the folder above tells), and by [`Watch::restore`] where none
//! does: at once where something is mounted (`mounts`), and each `rescan_interval`. Nothing here
//! fails for good: without watches new lines are merely found later, and that is said once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use inotify::{Event, EventMask, Inotify, WatchDescriptor, WatchMask};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::limits::{INOTIFY_READ_BYTES, INOTIFY_READS_PER_TURN};
use crate::replay::logged::LoggedOnce;
use crate::replay::messages::BackendId;

/// An event with the longest name, as inotify(7) has it: `struct inotify_event`, a name, a NUL.
const EVENT_BYTES_MAX: usize = 16 + libc::NAME_MAX as usize + 1;
/// So many fit into a read, however long their names are, and one more.
const EVENTS_FIT: usize = INOTIFY_READ_BYTES / EVENT_BYTES_MAX - 1;

/// A hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FsEvent {
    /// Folders have come or gone.
    Folders,
    /// A log of this backend was written to.
    Grew(BackendId),
    /// Logs of this backend, or its folder, have come or were moved; or its folder has gone.
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
    /// The folder above, while the logs' path is not there or is a link.
    above: Option<WatchDescriptor>,
    /// By their places.
    backends: Vec<Option<Watched>>,
    /// Whose a descriptor is. Exactly the `Some` of `backends`. Several have one where their names
    /// lead to one folder: all are told, since only the reader knows which of them reads it.
    by_descriptor: HashMap<i32, Vec<BackendId>>,
    buffer: Box<[u8]>,
    /// The last attempt left some out.
    lacks: bool,
    /// That watches are lacking.
    lacking: LoggedOnce,
}

struct Watched {
    backend: BackendId,
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

/// A log's deletion is not told: each is deleted in the end, by us, and it would cost as much as
/// the deletion. What somebody else has deleted, whoever opens it finds out, or the next look at
/// the folder. Nor is it told that a log was closed, as HA does behind each line: the write was.
fn backend_mask() -> WatchMask {
    root_mask() & !WatchMask::DELETE | WatchMask::MODIFY
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
            lacking: LoggedOnce::default(),
        };
        watch.restore(registry);
        watch
    }

    /// Watches the folder of a backend, whose place is free.
    pub fn add(&mut self, backend: BackendId, folder: &str) {
        let place = backend.index();
        if self.backends.len() <= place {
            self.backends.resize_with(place + 1, || None);
        }
        assert!(self.backends[place].is_none(), "its place is free");
        self.backends[place] = Some(Watched {
            backend,
            folder: folder.to_owned(),
            descriptor: None,
        });
        self.restore_backend(backend);
    }

    /// Ends watching the folder of a backend, and forgets it.
    pub fn forget(&mut self, backend: BackendId) {
        self.unset(backend);
        if self.watched(backend).is_some() {
            self.backends[backend.index()] = None;
        }
    }

    fn watched(&mut self, backend: BackendId) -> Option<&mut Watched> {
        let watched = self.backends.get_mut(backend.index())?.as_mut();
        watched.filter(|watched| watched.backend == backend)
    }

    fn all(&self) -> Vec<BackendId> {
        let watched = self.backends.iter().flatten();
        watched.map(|watched| watched.backend).collect()
    }

    /// Sets what watches are missing, or are on another folder than their path names by now. Gives
    /// how many paths name another folder, or none any more: what happened before is not told.
    pub fn restore(&mut self, registry: &Registry) -> usize {
        if self.inotify.is_none() {
            match open(registry, self.token) {
                Ok(inotify) => self.inotify = Some(inotify),
                Err(error) => self.say_lacking("inotify", &error),
            }
        }
        let lacked = std::mem::take(&mut self.lacks);
        let set = self.restore_watches();
        if lacked && !self.lacks && self.inotify.is_some() && self.lacking.ends() {
            tracing::info!("all folders of logs are watched again");
        }
        set
    }

    fn restore_watches(&mut self) -> usize {
        let mut set = usize::from(self.restore_root());
        for backend in self.all() {
            set += usize::from(self.restore_backend(backend));
        }
        set
    }

    /// Tells what has been seen since. True: there is more, which no event will tell.
    ///
    /// Backends of whose folder the watch has gone are told by `Listing`; so are those whose folder
    /// has come again.
    pub fn take(&mut self, mut tell: impl FnMut(FsEvent)) -> bool {
        for _ in 0..INOTIFY_READS_PER_TURN {
            let Some(inotify) = &mut self.inotify else {
                return false;
            };
            let mut buffer = std::mem::take(&mut self.buffer);
            let more = match inotify.read_events(&mut buffer) {
                Ok(events) => {
                    let mut taken = 0;
                    for event in events {
                        taken += 1;
                        self.handle(&event, &mut tell);
                    }
                    // Where another one would have had room, there was none.
                    taken >= EVENTS_FIT
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => false,
                Err(error) => {
                    self.say_lacking("inotify", &error);
                    tell(FsEvent::Lost);
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

    fn handle(&mut self, event: &Event<&OsStr>, tell: &mut impl FnMut(FsEvent)) {
        let descriptor = event.wd.get_watch_descriptor_id();
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            tell(FsEvent::Lost);
            // A folder may have gone and come again unseen.
            self.restore_watches();
        } else if self.above.as_ref() == Some(&event.wd) {
            if event.name.is_some() && event.name == self.logs.file_name() {
                self.restore_watches();
                tell(FsEvent::Lost);
            }
        } else if self.root.as_ref() == Some(&event.wd) {
            self.handle_root(event, tell);
        } else if has_gone(event.mask) {
            for backend in self
                .by_descriptor
                .get(&descriptor)
                .cloned()
                .unwrap_or_default()
            {
                self.unset(backend);
                tell(FsEvent::Listing(backend));
            }
        } else {
            let is_growth = event.mask.contains(EventMask::MODIFY);
            for backend in self.by_descriptor.get(&descriptor).into_iter().flatten() {
                tell(match is_growth {
                    true => FsEvent::Grew(*backend),
                    false => FsEvent::Listing(*backend),
                });
            }
        }
    }

    fn handle_root(&mut self, event: &Event<&OsStr>, tell: &mut impl FnMut(FsEvent)) {
        if has_gone(event.mask) {
            // The backends' folders went with it, and with them their watches.
            self.root
                .take()
                .into_iter()
                .for_each(|root| self.remove(root));
            for backend in self.all() {
                self.unset(backend);
            }
            self.restore_watches();
            tell(FsEvent::Lost);
            return;
        }
        tell(FsEvent::Folders);
        let known = event.name.and_then(OsStr::to_str).and_then(|name| {
            let mut watched = self.backends.iter().flatten();
            watched.find(|watched| watched.folder == name)
        });
        let Some(backend) = known.map(|watched| watched.backend) else {
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
        tell(FsEvent::Listing(backend));
    }

    /// True: the path names another folder than before, or none any more.
    fn restore_root(&mut self) -> bool {
        let logs = self.logs.clone();
        let mut now = self.set(&logs, root_mask());
        let mut above = None;
        // A link can be made to lead elsewhere, which only the folder above tells.
        let is_link = std::fs::symlink_metadata(&logs).is_ok_and(|path| path.is_symlink());
        if now.is_none() || is_link {
            above = logs
                .parent()
                .and_then(|above| self.set(above, above_mask()));
            // What comes from here on is told; it may have come before.
            now = self.set(&logs, root_mask());
        }
        if now.is_some() && !is_link {
            above
                .take()
                .into_iter()
                .for_each(|above| self.remove(above));
        }
        let is_above_other = above != self.above;
        let above_before = std::mem::replace(&mut self.above, above);
        if let Some(before) = above_before.filter(|_| is_above_other) {
            self.remove(before);
        }
        let is_other = now != self.root;
        let before = std::mem::replace(&mut self.root, now);
        if let Some(before) = before.filter(|_| is_other) {
            self.remove(before);
        }
        is_other
    }

    /// True: the path names another folder than before, or none any more.
    fn restore_backend(&mut self, backend: BackendId) -> bool {
        let Some(Some(watched)) = self.backends.get(backend.index()) else {
            return false;
        };
        let path = self.logs.join(&watched.folder);
        let before = watched.descriptor.clone();
        // Setting a watch that stands gives the same descriptor.
        let now = self.set(&path, backend_mask());
        if now == before {
            return false;
        }
        self.unset(backend);
        let Some(descriptor) = now else {
            return before.is_some();
        };
        let number = descriptor.get_watch_descriptor_id();
        self.by_descriptor.entry(number).or_default().push(backend);
        if let Some(watched) = self.watched(backend) {
            watched.descriptor = Some(descriptor);
        }
        true
    }

    fn unset(&mut self, backend: BackendId) {
        let watched = self.watched(backend);
        let Some(descriptor) = watched.and_then(|watched| watched.descriptor.take()) else {
            return;
        };
        let Entry::Occupied(mut whose) = self
            .by_descriptor
            .entry(descriptor.get_watch_descriptor_id())
        else {
            return;
        };
        whose.get_mut().retain(|other| *other != backend);
        if whose.get().is_empty() {
            whose.remove();
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
        if self.lacking.begins() {
            tracing::warn!(
                "cannot watch {what}: {error}; new lines are found each sync.rescan_interval only. \
                 Where it is a limit, raise fs.inotify.max_user_watches or max_user_instances \
                 (sysctl)"
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
mod tests;
