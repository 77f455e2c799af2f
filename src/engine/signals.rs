//! Signals as readable descriptors for the reactor, from the process's first instant on.
//!
//! | signal | means |
//! |---|---|
//! | SIGTERM, SIGINT, SIGQUIT | end gracefully; a second one, at once |
//! | SIGHUP | read the configuration again |
//! | SIGUSR1 | begin the server's own log file anew, as nginx's logrotate asks for |
//! | SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR | nothing; said in the log |
//!
//! By default each of them ends the process. Those that do not end it here are blocked by
//! [`block`], the first thing that the process does, until [`hold`] has a handler that remembers
//! them; [`Signals`] finds what came before it was made. The handlers set a flag or write a byte
//! and do nothing else.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::SigId;
use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM,
};
use signal_hook::flag;
use signal_hook::low_level::{pipe, unregister};

use super::os::signals as mask;

/// Those that tell the process to end.
const ENDS: [i32; 3] = [SIGTERM, SIGINT, SIGQUIT];

/// Those that must not end it, in the order of [`Flags`].
const KEPT: [i32; 8] = [
    SIGHUP,
    SIGUSR1,
    SIGUSR2,
    SIGALRM,
    SIGVTALRM,
    SIGPROF,
    SIGIO,
    libc::SIGPWR,
];

/// Names of those of [`KEPT`] that mean nothing, in their order.
const IGNORED: [&str; 6] = [
    "SIGUSR2",
    "SIGALRM",
    "SIGVTALRM",
    "SIGPROF",
    "SIGIO",
    "SIGPWR",
];

const _: () = assert!(IGNORED.len() + 2 == KEPT.len());

/// Which of [`KEPT`] have come and were not taken.
type Flags = [Arc<AtomicBool>; KEPT.len()];

/// The handlers' flags; `None` before [`hold`]. They are the whole process's.
static FLAGS: Mutex<Option<Flags>> = Mutex::new(None);

/// Blocks the signals that are not to end a server. They wait for [`hold`] or [`let_through`].
pub fn block() {
    mask::block(&KEPT).expect("these are signals");
}

/// Undoes [`block`]: this process is not a server, and signals do to it what they do by default.
pub(crate) fn let_through() {
    mask::unblock(&KEPT).expect("these are signals");
}

/// Remembers the signals that are not to end a server, those that came since [`block`] included.
///
/// # Errors
/// The system refuses a handler; then they stay blocked.
pub fn hold() -> io::Result<()> {
    flags()?;
    let_through();
    Ok(())
}

fn flags() -> io::Result<Flags> {
    let mut held = FLAGS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(flags) = &*held {
        return Ok(flags.clone());
    }
    let flags = Flags::default();
    for (signal, came) in KEPT.iter().zip(&flags) {
        flag::register(*signal, Arc::clone(came))?;
    }
    Ok(held.insert(flags).clone())
}

/// The signals that have come since the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signalled {
    /// How often we were told to end.
    pub ends: usize,
    /// Whether the configuration is to be read again.
    pub reload: bool,
    /// Whether the server's own log file is to be begun anew.
    pub rotate: bool,
    /// Names of those that mean nothing.
    pub ignored: Vec<&'static str>,
}

/// See the module.
pub struct Signals {
    end: UnixStream,
    /// Wakes the reactor; which one it was is in the flags.
    other: UnixStream,
    flags: Flags,
    handlers: Vec<SigId>,
}

impl Signals {
    /// Takes the signals over, readiness registered under `token`. What [`hold`] has remembered is
    /// given by the first [`Signals::take`].
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        // First: their flags are set before the byte that wakes is written.
        let flags = flags()?;
        let (end, end_in) = pair(registry, token)?;
        let (other, other_in) = pair(registry, token)?;
        let mut signals = Self {
            end,
            other,
            flags,
            handlers: Vec::new(),
        };
        let all = ENDS.iter().map(|signal| (signal, &end_in));
        for (signal, to) in all.chain(KEPT.iter().map(|signal| (signal, &other_in))) {
            let handler = pipe::register(*signal, to.try_clone()?)?;
            signals.handlers.push(handler);
        }
        Ok(signals)
    }

    /// What has come since.
    pub fn take(&mut self) -> Signalled {
        let ends = drain(&mut self.end);
        drain(&mut self.other);
        let [reload, rotate, ignored @ ..] = &self.flags;
        Signalled {
            ends,
            reload: reload.swap(false, Ordering::SeqCst),
            rotate: rotate.swap(false, Ordering::SeqCst),
            ignored: ignored
                .iter()
                .zip(IGNORED)
                .filter_map(|(came, name)| came.swap(false, Ordering::SeqCst).then_some(name))
                .collect(),
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for handler in self.handlers.drain(..) {
            unregister(handler);
        }
    }
}

/// Where to read, and where the handlers write.
fn pair(registry: &Registry, token: Token) -> io::Result<(UnixStream, StdUnixStream)> {
    let (reader, writer) = StdUnixStream::pair()?;
    reader.set_nonblocking(true)?;
    let mut reader = UnixStream::from_std(reader);
    registry.register(&mut reader, token, Interest::READABLE)?;
    Ok((reader, writer))
}

/// Takes all bytes there are, and counts them.
fn drain(stream: &mut UnixStream) -> usize {
    let mut bytes = [0; 64];
    let mut count = 0;
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return count,
            Ok(some) => count += some,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return count,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::{Events, Poll};
    use signal_hook::low_level::raise;

    use super::*;

    // One test: handlers are the whole process's.
    #[test]
    fn signals_are_counted_and_wake_the_reactor() {
        // Before there is a reactor: none of them ends the process, and none is lost.
        block();
        for signal in [SIGHUP, SIGUSR1, SIGPROF] {
            raise(signal).unwrap();
        }
        hold().unwrap();
        let mut poll = Poll::new().unwrap();
        let mut signals = Signals::new(poll.registry(), Token(3)).unwrap();
        let early = Signalled {
            reload: true,
            rotate: true,
            ignored: vec!["SIGPROF"],
            ..Signalled::default()
        };
        assert_eq!(signals.take(), early);
        assert_eq!(signals.take(), Signalled::default());
        raise(SIGHUP).unwrap();
        raise(SIGTERM).unwrap();
        raise(SIGINT).unwrap();
        raise(SIGQUIT).unwrap();
        raise(SIGUSR2).unwrap();
        let mut events = Events::with_capacity(4);
        poll.poll(&mut events, Some(Duration::from_secs(20)))
            .unwrap();
        assert!(events.iter().all(|event| event.token() == Token(3)));
        assert!(!events.is_empty());
        let expected = Signalled {
            ends: 3,
            reload: true,
            rotate: false,
            ignored: vec!["SIGUSR2"],
        };
        assert_eq!(signals.take(), expected);
        assert_eq!(signals.take(), Signalled::default());
    }
}
