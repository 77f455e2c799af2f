//! Calls on real files, calls that fail, calls that never end.

use std::fs;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use mio::{Events, Poll, Token};
use tempfile::TempDir;

use super::*;
use crate::engine::waker::EventfdWaker;

/// Longer than anything takes that ends.
const LONG: Duration = Duration::from_secs(20);

struct Fixture {
    folder: TempDir,
    ring: FileRing,
    poll: Poll,
}

/// None where the system gives no rings.
fn fixture(entries: u32) -> Option<Fixture> {
    let poll = Poll::new().unwrap();
    let (_, waker) = EventfdWaker::in_poll(&poll, Token(0)).unwrap();
    match FileRing::new(waker, entries) {
        Ok(ring) => Some(Fixture {
            folder: tempfile::tempdir().unwrap(),
            ring,
            poll,
        }),
        Err(why) => {
            eprintln!("SKIPPED: {why}");
            None
        }
    }
}

impl Fixture {
    fn file(&self, name: &str) -> File {
        File::create(self.folder.path().join(name)).unwrap()
    }

    fn name(&self, name: &str) -> CString {
        c_path(&self.folder.path().join(name))
    }

    /// Waits for the waker, as the checkpointer does, and for nothing else.
    #[track_caller]
    fn wait(&mut self) -> Done {
        let mut events = Events::with_capacity(4);
        loop {
            if let Some(done) = self.ring.poll_done() {
                return done;
            }
            match self.poll.poll(&mut events, Some(LONG)) {
                // The kernel interrupts whoever waits, to complete what is done.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => panic!("{error}"),
                Ok(()) => assert!(!events.is_empty(), "the waker rings when a call is over"),
            }
        }
    }

    #[track_caller]
    fn call(&mut self, call: Call) -> Done {
        self.ring.push(7, call);
        self.ring.submit();
        let done = self.wait();
        assert_eq!((done.tag, self.ring.under_way()), (7, 0));
        done
    }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

fn number(done: &Done) -> Option<i32> {
    done.result.as_ref().err().and_then(io::Error::raw_os_error)
}

#[test]
fn what_is_written_synced_and_renamed_is_there_and_comes_back_with_what_it_named() {
    let Some(mut fixture) = fixture(8) else {
        return;
    };
    let write = Call::Write {
        file: fixture.file("new"),
        bytes: b"headcontent".to_vec(),
        from: 4,
    };
    let done = fixture.call(write);
    assert_eq!(done.result.unwrap(), 7);
    let Call::Write { file, bytes, .. } = done.call else {
        panic!("another call came back");
    };
    assert_eq!(bytes, b"headcontent");
    assert_eq!(fixture.call(Call::Sync { file }).result.unwrap(), 0);
    let (from, to) = (fixture.name("new"), fixture.name("old"));
    assert_eq!(fixture.call(Call::Rename { from, to }).result.unwrap(), 0);
    let file = File::open(fixture.folder.path()).unwrap();
    assert_eq!(fixture.call(Call::Sync { file }).result.unwrap(), 0);
    let content = fs::read(fixture.folder.path().join("old")).unwrap();
    assert_eq!(content, b"\0\0\0\0content");
}

#[test]
fn what_the_system_refuses_is_told_with_its_number() {
    let Some(mut fixture) = fixture(8) else {
        return;
    };
    drop(fixture.file("read"));
    let file = File::open(fixture.folder.path().join("read")).unwrap();
    let write = Call::Write {
        file,
        bytes: vec![1],
        from: 0,
    };
    assert_eq!(number(&fixture.call(write)), Some(libc::EBADF));
    let (from, to) = (fixture.name("none"), fixture.name("other"));
    assert_eq!(
        number(&fixture.call(Call::Rename { from, to })),
        Some(libc::ENOENT)
    );
    let file = File::from(OwnedFd::from(UnixStream::pair().unwrap().0));
    assert_eq!(
        number(&fixture.call(Call::Sync { file })),
        Some(libc::EINVAL)
    );
    let file = File::options().write(true).open("/dev/full").unwrap();
    let write = Call::Write {
        file,
        bytes: vec![1],
        from: 0,
    };
    assert_eq!(number(&fixture.call(write)), Some(libc::ENOSPC));
}

#[test]
fn more_calls_than_the_queue_has_room_for_are_all_made() {
    let Some(mut fixture) = fixture(2) else {
        return;
    };
    for tag in 0..fixture.ring.capacity() {
        let file = fixture.file(&tag.to_string());
        fixture.ring.push(tag, Call::Sync { file });
    }
    fixture.ring.submit();
    let mut tags: Vec<usize> = (0..fixture.ring.capacity())
        .map(|_| fixture.wait().tag)
        .collect();
    tags.sort_unstable();
    assert!(tags.into_iter().eq(0..fixture.ring.capacity()));
}

/// Calls to the kernel fail from the second on.
struct Refuses(u32);

impl FaultInjector for Refuses {
    fn injected(&mut self, _: super::super::fault_injector::Operation) -> InjectedResult {
        InjectedResult::Goes
    }

    fn enter_fails(&mut self) -> Option<i32> {
        self.0 += 1;
        (self.0 > 1).then_some(libc::ENOMEM)
    }
}

#[test]
fn a_ring_that_takes_no_more_calls_fails_them_and_ends_those_that_it_has() {
    let Some(Fixture { folder, ring, poll }) = fixture(8) else {
        return;
    };
    let ring = ring.interfered(Box::new(Refuses(0)));
    let mut fixture = Fixture { folder, ring, poll };
    let file = fixture.file("taken");
    fixture.ring.push(1, Call::Sync { file });
    fixture.ring.submit();
    let file = fixture.file("refused");
    fixture.ring.push(2, Call::Sync { file });
    fixture.ring.submit();
    let mut done = [fixture.wait(), fixture.wait()];
    done.sort_by_key(|done| done.tag);
    assert_eq!(done.each_ref().map(number), [None, Some(libc::ENOMEM)]);
    assert!(fixture.ring.broken().is_some());
    let file = fixture.file("late");
    assert_eq!(
        number(&fixture.call(Call::Sync { file })),
        Some(libc::ENOMEM)
    );
}

/// The first call is cancelled before it has begun, with this error.
struct NoThread(Option<i32>);

impl FaultInjector for NoThread {
    fn file_injected(&mut self, _: FileOperation) -> InjectedResult {
        self.0
            .take()
            .map_or(InjectedResult::Goes, InjectedResult::Fails)
    }
}

#[test]
fn calls_that_the_kernel_has_no_thread_for_are_made_all_the_same() {
    for error in [libc::ECANCELED, libc::EAGAIN] {
        let Some(Fixture { folder, ring, poll }) = fixture(8) else {
            return;
        };
        let ring = ring.interfered(Box::new(NoThread(Some(error))));
        let mut fixture = Fixture { folder, ring, poll };
        let write = |fixture: &Fixture| Call::Write {
            file: fixture.file("new"),
            bytes: b"headcontent".to_vec(),
            from: 4,
        };
        assert!(!fixture.ring.lacks_threads());
        // The first of them was cancelled, the others are not given to the kernel at all.
        for _ in 0..2 {
            let call = write(&fixture);
            assert_eq!(fixture.call(call).result.unwrap(), 7);
            assert!(fixture.ring.lacks_threads() && fixture.ring.broken().is_none());
        }
        let file = File::open(fixture.folder.path()).unwrap();
        assert_eq!(fixture.call(Call::Sync { file }).result.unwrap(), 0);
        let (from, to) = (fixture.name("new"), fixture.name("old"));
        assert_eq!(fixture.call(Call::Rename { from, to }).result.unwrap(), 0);
        let content = fs::read(fixture.folder.path().join("old")).unwrap();
        assert_eq!(content, b"\0\0\0\0content");
        // What fails by plain calls fails.
        let (from, to) = (fixture.name("none"), fixture.name("other"));
        let done = fixture.call(Call::Rename { from, to });
        assert_eq!(number(&done), Some(libc::ENOENT));
        let file = File::options().write(true).open("/dev/full").unwrap();
        let bytes = vec![1];
        let done = fixture.call(Call::Write {
            file,
            bytes,
            from: 0,
        });
        assert_eq!(number(&done), Some(libc::ENOSPC));
    }
}

#[test]
fn a_ring_that_goes_waits_for_what_is_under_way_and_not_for_ever() {
    let Some(mut fixture) = fixture(8) else {
        return;
    };
    let path = fixture.folder.path().join("late");
    fixture.ring.push(
        0,
        Call::Write {
            file: fixture.file("late"),
            bytes: vec![b'x'; 1 << 20],
            from: 0,
        },
    );
    fixture.ring.submit();
    let Fixture { folder, ring, .. } = fixture;
    drop(ring);
    assert_eq!(fs::read(path).unwrap().len(), 1 << 20);
    drop(folder);
    // A peer that never reads: this write does not end.
    let Some(mut fixture) = self::fixture(8) else {
        return;
    };
    let (mut ours, _theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    while ours.write(&[0; 4096]).is_ok() {}
    ours.set_nonblocking(false).unwrap();
    let write = Call::Write {
        file: File::from(OwnedFd::from(ours)),
        bytes: vec![b'x'; 1 << 20],
        from: 0,
    };
    fixture.ring.push(0, write);
    fixture.ring.submit();
    let since = Instant::now();
    drop(fixture);
    assert!((RING_END..RING_END + LONG).contains(&since.elapsed()));
}

#[test]
fn whatever_operation_the_kernel_lacks_is_named() {
    assert_eq!(lacking(|_| true), None);
    for (code, name, since) in NEEDED {
        let said = lacking(|other| other != code).unwrap();
        assert!(said.contains(name) && said.contains(since), "{said}");
    }
}
