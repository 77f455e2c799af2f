//! What systemd is told of this process: that it is ready, reads its configuration again, ends, how
//! it is, and that it is alive.
//!
//! ```text
//!            READY=1                    RELOADING=1, then READY=1
//!  starting ─────────▶ running ◀──────────────────────────────────▶ reloading
//!                         │ STATUS=… when it changes, WATCHDOG=1 while all threads turn
//!                         └── STOPPING=1 ──▶ stopping ──▶ ended
//! ```
//!
//! The watchdog is fed only when each of the engine's threads has begun a turn since it was last
//! fed; one that sleeps is woken for it. So a thread that hangs, in a system call or in a defect of
//! ours, has the service restarted, and a backlog that merely does not move has not.
//!
//! Telling happens on a thread of its own: systemd's socket may let a sender wait, and control
//! waits for nobody. [`Notifier`] decides, the thread sends.

use std::fmt::Write as _;
use std::io;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::engine::clock::Clock;
use crate::engine::lifecycle::Stage;
use crate::engine::liveness::{Liveness, MonitoredThreads};
use crate::engine::overview::Overview;
use crate::engine::shared::Shared;
use crate::replay::logged::LoggedOnce;
use crate::status::snapshot::Snapshot;

/// Between two looks where there is no watchdog.
const LOOK: Duration = Duration::from_secs(5);

/// Looks between two times that the watchdog has to be fed: two are enough to wake all and find
/// them awake.
const LOOKS_PER_WATCHDOG: u32 = 4;

/// What the end takes besides the drain, at the most: see the phases of [`crate::replay::ending`].
const END_ALLOWANCE: Duration = Duration::from_secs(30);

/// What systemd wants of us.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// It takes us for hung after this long without a word.
    watchdog: Option<Duration>,
}

impl Service {
    /// As this process's environment says (`NOTIFY_SOCKET`, `WATCHDOG_USEC`); none where nobody
    /// wants to be told.
    #[must_use]
    pub(crate) fn from_environment() -> Option<Self> {
        std::env::var_os("NOTIFY_SOCKET").map(|_| Self {
            watchdog: sd_notify::watchdog_enabled(),
        })
    }

    fn interval(self) -> Duration {
        self.watchdog
            .map_or(LOOK, |watchdog| LOOK.min(watchdog / LOOKS_PER_WATCHDOG))
    }
}

/// What there is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Notification {
    Ready,
    Reloading,
    /// And how long the end may take.
    Stopping(Duration),
    Status(String),
    Alive,
}

/// Decides what is said. Makes no system call.
struct Notifier {
    has_watchdog: bool,
    end_within: Duration,
    told: Stage,
    ready: LoggedOnce,
    is_reload_told: bool,
    status: String,
}

impl Notifier {
    fn new(has_watchdog: bool, end_within: Duration) -> Self {
        Self {
            has_watchdog,
            end_within,
            told: Stage::default(),
            ready: LoggedOnce::default(),
            is_reload_told: false,
            status: String::new(),
        }
    }

    /// What to say now. `have_turned`: every thread, since this was last so.
    fn turn(&mut self, stage: Stage, status: &str, have_turned: bool) -> Vec<Notification> {
        let mut words = Vec::new();
        if self.ready.begins() {
            words.push(Notification::Ready);
        }
        if stage.is_stopping && !self.told.is_stopping {
            words.push(Notification::Stopping(self.end_within));
        }
        if !stage.is_stopping {
            // systemd waits for both words where it has asked for the reload itself, however quick
            // that was.
            if stage.reloads_begun != self.told.reloads_begun {
                words.push(Notification::Reloading);
                self.is_reload_told = true;
            }
            if self.is_reload_told && stage.reloads_begun == stage.reloads_ended {
                words.push(Notification::Ready);
                self.is_reload_told = false;
            }
        }
        self.told = stage;
        if self.status != status {
            status.clone_into(&mut self.status);
            words.push(Notification::Status(status.to_owned()));
        }
        // At the end threads are gone one after the other; that is bounded by the time that systemd
        // gives it.
        if self.has_watchdog && (have_turned || stage.is_stopping) {
            words.push(Notification::Alive);
        }
        words
    }
}

/// Tells systemd until [`Lifecycle::end`](crate::engine::lifecycle::Lifecycle::end). `drain` is how
/// long what is in flight may take at the end.
///
/// # Errors
/// Never: what can't be told is said in the log, once.
pub(crate) fn run(
    service: Service,
    shared: &Shared,
    threads: MonitoredThreads,
    drain: Duration,
    clock: Clock,
) -> io::Result<()> {
    let _ = shared.lifecycle.notifier.set(thread::current());
    let mut overview = Overview::new(clock.now());
    let mut liveness = Liveness::new(threads);
    let end_within = drain.saturating_add(END_ALLOWANCE);
    let mut notifier = Notifier::new(service.watchdog.is_some(), end_within);
    let mut unheard = LoggedOnce::default();
    loop {
        let is_over = shared.lifecycle.is_over.load(Ordering::SeqCst);
        let status = status(&overview.snapshot(&shared.published(), clock.now()));
        let have_turned = liveness.have_all_turned();
        for word in notifier.turn(shared.lifecycle.now(), &status, have_turned) {
            if let Err(error) = say(&word)
                && unheard.begins()
            {
                tracing::warn!(
                    cause = %error,
                    "systemd cannot be told how this service is; it may take it for hung and \
                     restart it, which loses nothing"
                );
            }
        }
        if is_over {
            return Ok(());
        }
        if service.watchdog.is_some() {
            liveness.wake_all();
        }
        thread::park_timeout(service.interval());
    }
}

fn say(word: &Notification) -> io::Result<()> {
    let microseconds = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    match word {
        Notification::Ready => sd_notify::notify(&[NotifyState::Ready]),
        Notification::Reloading => {
            sd_notify::notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?])
        }
        Notification::Stopping(within) => sd_notify::notify(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(microseconds(*within)),
        ]),
        Notification::Status(status) => sd_notify::notify(&[NotifyState::Status(status)]),
        Notification::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
    }
}

/// The line that `systemctl status` shows.
fn status(snapshot: &Snapshot) -> String {
    let backends = snapshot.backends();
    let up = backends
        .iter()
        .filter(|backend| backend.state == "up")
        .count();
    let behind: u64 = backends.iter().map(|backend| backend.backlog_bytes).sum();
    let rate: f64 = backends.iter().map(|backend| backend.rate_per_second).sum();
    let mut text = format!("{up} of {} backends up", backends.len());
    // Writing to a string can't fail.
    let _ = match behind {
        0 => write!(text, ", nothing left to replay"),
        _ => write!(text, ", {behind} bytes of log left, {rate:.0} records/s"),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::snapshot::BackendSnapshot;

    const END: Duration = Duration::from_secs(40);

    fn stage(reloads_begun: u32, reloads_ended: u32, is_stopping: bool) -> Stage {
        Stage {
            reloads_begun,
            reloads_ended,
            is_stopping,
        }
    }

    /// Stages in a row, and what is said at each.
    fn check(lifecycle: &[(Stage, &[Notification])]) {
        let mut notifier = Notifier::new(false, END);
        for (nth, (stage, expected)) in lifecycle.iter().enumerate() {
            assert_eq!(&notifier.turn(*stage, "", false), expected, "{nth}");
        }
    }

    #[test]
    fn it_is_ready_once_and_again_after_each_reload_and_stops_once() {
        use Notification::{Ready, Reloading, Stopping};
        check(&[
            (stage(0, 0, false), &[Ready]),
            (stage(0, 0, false), &[]),
            (stage(1, 0, false), &[Reloading]),
            (stage(1, 0, false), &[]),
            (stage(1, 1, false), &[Ready]),
            // So quick that nobody looked in between.
            (stage(2, 2, false), &[Reloading, Ready]),
            (stage(3, 2, false), &[Reloading]),
            (stage(3, 2, true), &[Stopping(END)]),
            (stage(3, 3, true), &[]),
        ]);
    }

    #[test]
    fn the_status_is_told_when_it_changes() {
        let mut notifier = Notifier::new(false, END);
        let told =
            |words: Vec<Notification>| words.contains(&Notification::Status("1 up".to_owned()));
        assert!(told(notifier.turn(Stage::default(), "1 up", false)));
        assert!(!told(notifier.turn(Stage::default(), "1 up", false)));
    }

    #[test]
    fn the_watchdog_is_fed_only_while_every_thread_turns() {
        let fed = |has_watchdog, stage, have_turned| {
            let words = Notifier::new(has_watchdog, END).turn(stage, "", have_turned);
            words.contains(&Notification::Alive)
        };
        let running = Stage::default();
        assert!(!fed(true, running, false));
        assert!(fed(true, running, true));
        assert!(fed(true, stage(0, 0, true), false), "at the end they go");
        assert!(!fed(false, running, true), "there is none");
    }

    #[test]
    fn the_status_is_a_line_of_figures() {
        let backend = |name: &str, state: &'static str, backlog_bytes| BackendSnapshot {
            name: name.to_owned(),
            state: state.into(),
            backlog_bytes,
            rate_per_second: 12.6,
            ..BackendSnapshot::default()
        };
        let of = |backends| status(&Snapshot::new(0, 0, backends));
        assert_eq!(of(vec![]), "0 of 0 backends up, nothing left to replay");
        assert_eq!(
            of(vec![backend("a:1", "up", 7), backend("b:1", "down", 0)]),
            "1 of 2 backends up, 7 bytes of log left, 25 records/s"
        );
    }
}
