//! Signals as readable descriptors for the reactor: one for "end" (SIGTERM, SIGINT), one for "read the configuration again" (SIGHUP).
//!
//! The handlers write a byte each and nothing else. They go with this value.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream as StdUnixStream;

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::{pipe, unregister};

/// The signals that have come since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signalled {
    /// How often we were told to end.
    pub ends: usize,
    /// Whether the configuration is to be read again.
    pub reload: bool,
}

/// See the module.
pub struct Signals {
    end: UnixStream,
    reload: UnixStream,
    handlers: Vec<SigId>,
}

impl Signals {
    /// Takes the signals over, readiness registered under `token`.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let (end, end_in) = pair(registry, token)?;
        let (reload, reload_in) = pair(registry, token)?;
        let mut signals = Self {
            end,
            reload,
            handlers: Vec::new(),
        };
        for (signal, to) in [
            (SIGTERM, end_in.try_clone()?),
            (SIGINT, end_in),
            (SIGHUP, reload_in),
        ] {
            signals.handlers.push(pipe::register(signal, to)?);
        }
        Ok(signals)
    }

    /// What has come since.
    pub fn take(&mut self) -> Signalled {
        Signalled {
            ends: drain(&mut self.end),
            reload: drain(&mut self.reload) > 0,
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
        let mut poll = Poll::new().unwrap();
        let mut signals = Signals::new(poll.registry(), Token(3)).unwrap();
        assert_eq!(signals.take(), Signalled::default());
        raise(SIGHUP).unwrap();
        raise(SIGTERM).unwrap();
        raise(SIGINT).unwrap();
        let mut events = Events::with_capacity(4);
        poll.poll(&mut events, Some(Duration::from_secs(20)))
            .unwrap();
        assert!(events.iter().all(|event| event.token() == Token(3)));
        assert!(!events.is_empty());
        let expected = Signalled {
            ends: 2,
            reload: true,
        };
        assert_eq!(signals.take(), expected);
        assert_eq!(signals.take(), Signalled::default());
    }
}
