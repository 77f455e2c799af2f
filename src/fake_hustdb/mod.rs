//! An in-memory hustdb over HTTP/1.1: for the demo, tests and benches, and to run alone.
//!
//! It answers as hustdb 1.9 does, byte for byte, keeps versions as hustdb does, reads as hustdb
//! reads (at most 4096 bytes, several requests a read), and raises an alarm where a client does
//! what a real hustdb can't stand: [`Counters::cut_targets`] and [`Counters::crashes`]. A
//! [`Script`] makes it slow, dead, cut off or mad, also while it runs.
//!
//! | file | what |
//! |---|---|
//! | `query` | a request's path and arguments, decoding, refusals |
//! | `store` | what is held, and how a call changes it |
//! | `contents` | snapshots, and how two differ |
//! | `answer` | bytes of answers |
//! | `connection` | bytes in, bytes out; limits and the alarm |
//! | `script` | misbehaviour |
//! | `service` | password, script, store and counters in one handler |
//! | `server`, `client`, `control`, `port` | threads and sockets: the only impure part |
//!
//! All but the last row is pure: a simulation can drive [`store::Store`] or a whole
//! [`connection::Connection`] on its own clock.
//!
//! Its manner is hustdb's too, unless it is told otherwise ([`Manner`]): eight threads serve the
//! connections, each request takes a thread 25 µs, and each answer is a write of its own. Figures
//! measured against it must say which manner it had.
//!
//! Where it is simpler than hustdb: its sweep comes by at each half minute of the clock and takes
//! all that is due (hustdb counts from its start and takes 1,000); the index of the sweep forgets a
//! key that is deleted (hustdb sweeps whatever has got its place since); a member whose addition
//! was answered 500 counts for its table; a connection ends after its last answer also within a
//! burst (hustdb counts a burst once); it knows no chunks, no HTTP but 1.0 and 1.1, no target with
//! a scheme, no `;` between arguments and no `zrangebyscore`; its cache loses nothing while it
//! runs; and a version never counts as newer for having wrapped around.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub mod answer;
mod client;
pub mod connection;
pub mod contents;
mod control;
#[cfg(test)]
mod lookup_tests;
mod manner;
mod port;
pub mod query;
pub mod script;
mod server;
mod service;
pub mod store;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod tests;

pub use client::SERVICE_TIME;
pub use contents::{Contents, Item, Stored, Value, differences};
pub use manner::Manner;
pub use query::{Method, Request, Space, Verb};
pub use script::{Accept, Act, On, Rule, Script};
pub use service::{Applied, Counters};

use answer::Answer;
use control::{Control, Mode};
use query::Call;
use server::Server;
use service::{Settings, Shared};

/// How a fake HustDB is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// How many threads serve connections, each of which is one thread's; 0 counts as 1.
    pub threads: usize,
    /// How answers leave.
    pub manner: Manner,
    /// User and password that clients need; none lets anybody in.
    pub credentials: Option<(String, String)>,
    /// Answers mutations without storing anything: a sink for benches.
    pub discard: bool,
    /// It has a cache that a restart empties, as a hustdb has whose `l2_cache` is not 0: reads of
    /// values tell the versions that writes were given.
    pub l2_cache: bool,
    /// Keeps what [`FakeHustdb::history`] gives. It grows without bound.
    pub record_history: bool,
    /// For how long after each start its clock stands at 0, so that a write with a ttl is answered
    /// 200 and is gone. A real hustdb: 1 s.
    pub clock_zero_for: Duration,
    /// A connection is closed after so many answers.
    pub requests_per_connection: u32,
    /// Its misbehaviour from the start.
    pub script: Script,
}

/// How many threads a hustdb has whose configuration says so; as it is shipped, 24.
pub const THREADS: usize = 8;

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            threads: THREADS,
            manner: Manner::OneByOne,
            credentials: None,
            discard: false,
            l2_cache: false,
            record_history: false,
            clock_zero_for: Duration::ZERO,
            requests_per_connection: connection::ANSWERS_MAX,
            script: Script::default(),
        }
    }
}

impl Options {
    /// The default, but answering at once and with one thread: a sink that leaves as much of the
    /// machine as it can to what is measured.
    #[must_use]
    pub fn at_once() -> Self {
        Self {
            threads: 1,
            manner: Manner::AtOnce,
            ..Self::default()
        }
    }
}

/// A running fake HustDB. Dropping it stops and joins its threads.
#[derive(Debug)]
pub struct FakeHustdb {
    addr: SocketAddr,
    control: Arc<Control>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl FakeHustdb {
    /// Starts a fake HustDB. When this returns, it listens (unless its script says that it
    /// refuses).
    ///
    /// # Errors
    /// Where the address can't be had, or the system gives no thread or descriptor.
    pub fn start(options: Options) -> io::Result<Self> {
        let port = port::Port::reserve(options.listen)?;
        let addr = port.addr();
        let threads = options.threads.max(1);
        // Some shards a thread, so that two threads seldom want the same one; one alone needs no
        // choice.
        let shards = if threads == 1 { 1 } else { threads * 16 };
        let settings = Settings {
            authorization: options
                .credentials
                .as_ref()
                .map(|(user, password)| basic(user, password)),
            script: options.script,
        };
        let shared = Arc::new(Shared::new(
            shards,
            || match options.l2_cache {
                true => store::Store::new(options.discard).with_l2_cache(),
                false => store::Store::new(options.discard),
            },
            options.record_history,
            settings,
        ));
        let (control, polls) = Control::new(
            threads,
            options.requests_per_connection,
            options.manner,
            options.clock_zero_for,
        )?;

        // From here on, dropping `fake_hustdb` ends the threads that were started.
        let mut fake_hustdb = Self {
            addr,
            control,
            shared,
            threads: Vec::new(),
        };
        let mut port = Some(port);
        for (index, poll) in polls.into_iter().enumerate() {
            let (control, shared, port) = (
                fake_hustdb.control.clone(),
                fake_hustdb.shared.clone(),
                port.take(),
            );
            let thread = std::thread::Builder::new()
                .name(format!("fake-{}-{index}", addr.port()))
                .spawn(move || Server::new(index, poll, port, &control, &shared).run())?;
            fake_hustdb.threads.push(thread);
        }
        fake_hustdb.control.wait()?;
        Ok(fake_hustdb)
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its name as a backend: `host:port`.
    #[must_use]
    pub fn name(&self) -> String {
        self.addr.to_string()
    }

    /// A snapshot of all that it holds and that has not expired.
    #[must_use]
    pub fn contents(&self) -> Contents {
        self.shared.contents(now_unix())
    }

    /// Members of sorted sets that are not found by their score any more: a superseded write came
    /// (docs/hustdb.md, "Lookups and copies").
    #[must_use]
    pub fn misordered(&self) -> BTreeSet<Item> {
        self.shared.misordered()
    }

    /// What it has counted so far. What a client has been answered is in it.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.tallies.counters()
    }

    /// All mutations in the order in which they were applied, if [`Options::record_history`] is on.
    #[must_use]
    pub fn history(&self) -> Vec<Applied> {
        self.shared.history()
    }

    /// Carries out `request` without a socket, past password, script and counters: to seed it, or
    /// to look something up.
    #[must_use]
    pub fn apply(&self, request: &Request<'_>) -> Answer {
        let Some(verb) = Verb::of_path(request.path) else {
            return Answer::bare(404);
        };
        let mut scratch = Vec::new();
        match Call::parse(verb, request, &mut scratch) {
            Ok(call) => self.shared.execute(&call, now_unix()).0,
            Err(answer) => answer,
        }
    }

    /// Replaces the script. When this returns, all threads go by the new one.
    ///
    /// # Errors
    /// Where the port can't be had back.
    pub fn set_script(&self, script: Script) -> io::Result<()> {
        self.script(|current| *current = script)
    }

    /// Changes the script as it stands, rules half used up included. When this returns, all threads
    /// go by it.
    ///
    /// # Errors
    /// As [`FakeHustdb::set_script`].
    pub fn script(&self, change: impl FnOnce(&mut Script)) -> io::Result<()> {
        self.shared.change(|settings| change(&mut settings.script));
        self.control.order(None)
    }

    /// Asks clients for another user and password from now on; none lets anybody in.
    ///
    /// # Errors
    /// As [`FakeHustdb::set_script`].
    pub fn set_credentials(&self, credentials: Option<(&str, &str)>) -> io::Result<()> {
        let authorization = credentials.map(|(user, password)| basic(user, password));
        self.shared
            .change(|settings| settings.authorization = authorization);
        self.control.order(None)
    }

    /// Takes it down: when this returns, nobody listens and no connection stands. What it holds
    /// stays, and so does its port.
    ///
    /// # Errors
    /// As [`FakeHustdb::set_script`].
    pub fn kill(&self) -> io::Result<()> {
        self.control.order(Some(Mode::Down))
    }

    /// Brings it up again on its port, with what it holds; takes it down first if it is up.
    ///
    /// # Errors
    /// As [`FakeHustdb::set_script`].
    pub fn restart(&self) -> io::Result<()> {
        self.kill()?;
        self.shared.drop_l2_caches();
        self.control.order(Some(Mode::Running))
    }
}

impl Drop for FakeHustdb {
    fn drop(&mut self) {
        // What can fail here has failed in the threads, and joining them is all that is left to do.
        let _ = self.control.announce(Some(Mode::Stopping));
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The `Authorization` header's value for `user` and `password`.
fn basic(user: &str, password: &str) -> Vec<u8> {
    let encoded = base64_simd::STANDARD.encode_to_string(format!("{user}:{password}"));
    format!("Basic {encoded}").into_bytes()
}

fn now_unix() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
