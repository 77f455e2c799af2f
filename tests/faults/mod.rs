//! Faults at each system call of the shell: the real binary, with calls that fail (shim.c), a few
//! times and for some seconds.
//!
//! ```text
//! HA trickles ─▶ logs ─▶ hustdbsync, its calls failing as `table` says ─▶ fake HustDB
//!   work ─▶ fault ─▶ healed ─▶ drained, compared
//! ```
//!
//! While a fault lasts, CPU is bounded, nothing is deleted that must not be, and the log says cause
//! and backend.
//!
//! Contract: whatever fails, nothing is lost (G1), nothing is deleted before its time (G10), no CPU
//! is burnt (G8), and all goes on when the fault goes. `FAULT_CASE=fsync` runs only the cases that
//! have this in their name.

mod full;
mod names;
mod shim;
mod start;
mod table;
mod tasks;
mod watchdog;

use std::collections::{BTreeSet, VecDeque};
use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::real::ha::{Ha, Load};
use crate::real::process::Process;
use crate::real::{Home, fake_hustdb, wait_for};
use hustdbsync::internals::fake_hustdb::FakeHustdb;
use shim::Faults;
use table::{Case, Lasts, PART, Says, Stir, cases};

/// Processes at a time: they mostly wait.
const AT_A_TIME: usize = 12;
const STICKY: Duration = Duration::from_secs(2);
/// The process may use so much CPU in a sticky fault's time. Work and logging need a tenth of it; a
/// thread in a circle would take all of [`STICKY`].
const CPU_MAX: Duration = Duration::from_millis(600);
/// What was finished before a fault may still go for so long.
const GRACE: Duration = Duration::from_millis(300);
/// And where the disk is slow: so many more looks, of which the last may see nothing go.
const LATER: usize = 5;
const MINUTE: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(120);

#[test]
fn whatever_call_fails_nothing_is_lost_and_all_goes_on_when_it_heals() {
    let wanted = env::var("FAULT_CASE").unwrap_or_default();
    let cases = cases().into_iter();
    let queue: VecDeque<Case> = cases.filter(|case| name(case).contains(&wanted)).collect();
    let all = queue.len();
    let queue = Mutex::new(queue);
    let failures = Mutex::new(Vec::new());
    let cpu_max = Mutex::new((Duration::ZERO, String::new()));
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(case) = next(&queue) {
                    match thread::spawn(move || check(&case)).join() {
                        Ok(Some(cpu)) => {
                            let mut max = cpu_max.lock().unwrap();
                            if cpu > max.0 {
                                *max = (cpu, name(&case));
                            }
                        }
                        Ok(None) => {}
                        Err(_) => failures.lock().unwrap().push(name(&case)),
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} of {all} cases failed; again with FAULT_CASE=…:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(all > 0, "no case is called {wanted}");
    let (cpu, name) = cpu_max.into_inner().unwrap();
    eprintln!("{all} cases; the most CPU in {STICKY:?} was {cpu:?} (bound {CPU_MAX:?}), {name}");
}

fn next(queue: &Mutex<VecDeque<Case>>) -> Option<Case> {
    queue.lock().unwrap().pop_front()
}

fn name(case: &Case) -> String {
    let error = match case.error {
        PART => "a part only".to_owned(),
        error => std::io::Error::from_raw_os_error(error).to_string(),
    };
    format!("{} {} {error} {:?}", case.call, case.about, case.lasts)
}

/// One case. Gives the CPU time of a sticky fault.
fn check(case: &Case) -> Option<Duration> {
    let name = name(case);
    let mut fixture = Fixture::new(case);
    fixture.work(Duration::from_millis(200), Stir::Nothing);
    assert!(
        wait_for(LONG, || fixture.fake_hustdb.counters().applied > 5
            || (case.stir.is_at_start() && fixture.faults.hits() > 0)),
        "{name}: it never began to work\n{}",
        fixture.home.said()
    );
    let cpu = match case.lasts {
        Lasts::Times(_) => {
            if !case.stir.is_at_start() {
                fixture
                    .faults
                    .arm(case.call, case.about, case.error, left(case));
            }
            let begun = Instant::now();
            while !fixture.faults.is_spent() && begun.elapsed() < LONG / 2 {
                fixture.work(Duration::from_millis(20), case.stir);
            }
            assert!(
                fixture.faults.is_spent(),
                "{name}: it does not make this call"
            );
            None
        }
        Lasts::Sticky => Some(fixture.sticky(case, &name)),
    };
    fixture.faults.disarm();
    fixture.finish(&name, case);
    cpu
}

fn left(case: &Case) -> Option<i32> {
    match case.lasts {
        Lasts::Times(times) => Some(times),
        Lasts::Sticky => None,
    }
}

/// A home with one backend, a process on it, and HA.
struct Fixture {
    home: Home,
    fake_hustdb: FakeHustdb,
    ha: Ha,
    faults: Faults,
    process: Process,
    minute_ends: Instant,
    stirred: Instant,
}

impl Fixture {
    fn new(case: &Case) -> Self {
        let home = Home::new()
            .with("network.enable_defer_accept", false)
            // What goes through a ring is no system call that could fail here: `tests/rings` makes
            // that fail.
            .with("sync.engine", "mio")
            .with("sync.probe_interval_down", "100ms")
            .with("sync.checkpoint_interval", "50ms");
        let faults = Faults::new(&home.path(""));
        let fake_hustdb = fake_hustdb();
        let value_bytes = match case.stir {
            Stir::LargeValues => 20_000,
            _ => 60,
        };
        let ha = trickle(&home, &fake_hustdb, value_bytes);
        if case.stir == Stir::TornState {
            let state = home.path("status").join(fake_hustdb.name());
            fs::create_dir_all(&state).unwrap();
            fs::write(state.join("checkpoint"), "no checkpoint").unwrap();
            fs::write(state.join("rejected.jsonl"), "{\"unix\":17").unwrap();
        }
        if case.stir.is_at_start() {
            faults.arm(case.call, case.about, case.error, left(case));
        }
        let process = Process::start_with(&home, &faults.environment());
        Self {
            home,
            fake_hustdb,
            ha,
            faults,
            process,
            minute_ends: Instant::now() + MINUTE,
            stirred: Instant::now(),
        }
    }

    /// Lets time pass; minutes go by, and what is to be stirred is.
    fn work(&mut self, length: Duration, stir: Stir) {
        const STIR_INTERVAL: Duration = Duration::from_millis(150);
        let until = Instant::now() + length;
        while Instant::now() < until {
            self.ha.age();
            if self.minute_ends <= Instant::now() {
                self.minute_ends = Instant::now() + MINUTE;
                self.ha.pass_minute();
            }
            if self.stirred.elapsed() > STIR_INTERVAL {
                self.stirred = Instant::now();
                match stir {
                    Stir::Reconnect => self.fake_hustdb.restart().unwrap(),
                    Stir::HttpServer => {
                        // Whether it is answered is seen when all is healed.
                        let _ = ask_server(&self.process, Duration::from_millis(20));
                    }
                    Stir::Nothing | Stir::Start | Stir::TornState | Stir::LargeValues => {}
                }
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn logs(&self) -> BTreeSet<String> {
        self.home.log_names(&self.fake_hustdb.name())
    }

    fn sticky(&mut self, case: &Case, name: &str) -> Duration {
        if !case.stir.is_at_start() {
            self.faults
                .arm(case.call, case.about, case.error, left(case));
        }
        let (armed, cpu_before) = (Instant::now(), self.process.cpu_time());
        self.work(GRACE, case.stir);
        let begun = Instant::now();
        while self.faults.hits() == 0 && begun.elapsed() < LONG / 2 {
            self.work(Duration::from_millis(20), case.stir);
        }
        let mut gone = self.deleted_while_working(case);
        let cpu = self.process.cpu_time() - cpu_before;
        let cpu_max = CPU_MAX.mul_f64(armed.elapsed().div_duration_f64(STICKY));
        for _ in 0..LATER {
            // What was finished before goes late where the disk is slow; what goes wrongly goes on.
            if case.deletes || gone.is_empty() {
                break;
            }
            gone = self.deleted_while_working(case);
        }
        // Where a restart of the backend was its first cause, the next is logged later.
        let begun = Instant::now();
        while !self.has_said_why(case) && begun.elapsed() < LONG / 2 {
            self.work(Duration::from_millis(20), case.stir);
        }
        assert!(self.faults.hits() > 0, "{name}: it does not make this call");
        assert!(
            cpu < cpu_max,
            "{name}: {cpu:?} of CPU, {} calls failed\n{}",
            self.faults.hits(),
            self.home.said()
        );
        assert!(
            case.deletes || gone.is_empty(),
            "{name}: {gone:?} were deleted\n{}",
            self.home.said()
        );
        cpu
    }

    /// The logs that go while it works for most of a sticky fault's time.
    fn deleted_while_working(&mut self, case: &Case) -> Vec<String> {
        let logs = self.logs();
        self.work(STICKY - GRACE, case.stir);
        logs.difference(&self.logs()).cloned().collect()
    }

    /// All is healed: it drains, and holds what it should.
    fn finish(mut self, name: &str, case: &Case) {
        assert_eq!(
            self.process.ended(),
            None,
            "{name}: it has ended\n{}",
            self.home.said()
        );
        let story = self.ha.finish();
        let drained = wait_for(LONG, || self.logs().is_empty());
        assert!(
            drained,
            "{name}: not drained {LONG:?} after it healed: {:?}\n{}",
            self.logs(),
            self.home.said()
        );
        assert!(
            ask_server(&self.process, LONG).is_some(),
            "{name}: the HTTP server is shut"
        );
        self.process.end();
        let said = self.home.said();
        story.assert_replayed(&self.home, &self.fake_hustdb);
        assert!(!said.contains("panicked"), "{name}: {said}");
        if case.lasts == Lasts::Sticky {
            let words = words(case, &self.fake_hustdb.name());
            assert!(
                self.has_said_why(case),
                "{name}: no line has all of {words:?}\n{said}"
            );
        }
    }

    /// Whether one line of the log names what the case's row wants.
    fn has_said_why(&self, case: &Case) -> bool {
        let words = words(case, &self.fake_hustdb.name());
        let said = self.home.said();
        said.lines()
            .any(|line| words.iter().all(|word| line.contains(word)))
    }
}

/// A trickle of lines for a backend.
fn trickle(home: &Home, fake_hustdb: &FakeHustdb, value_bytes: usize) -> Ha {
    let load = Load {
        threads: 1,
        records: u64::MAX >> 1,
        value_bytes,
        line_pause: Duration::from_millis(5),
        lines_at_first: u64::MAX,
        first_minute: 0,
        seed: 1,
    };
    Ha::start(&home.logs(), &fake_hustdb.name(), load)
}

/// What one line of the log must have.
fn words(case: &Case, backend: &str) -> Vec<String> {
    let cause = || format!("os error {}", case.error);
    match case.says {
        Says::Nothing => Vec::new(),
        Says::Cause => vec![backend.to_owned(), cause()],
        Says::Words(words) => vec![backend.to_owned(), words.to_owned()],
        Says::CauseAnd(words) => vec![cause(), words.to_owned()],
    }
}

/// Asks at the HTTP server; an answer, if there is one in this time.
fn ask_server(process: &Process, patience: Duration) -> Option<String> {
    let port = process.http_server()?;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(patience)).unwrap();
    write!(
        stream,
        "GET /status.html HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200 ").then_some(answer)
}
