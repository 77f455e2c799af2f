//! Starting: from a configuration to threads that run, or nothing at all.

use std::io;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mio::Poll;

use super::Engine;
use crate::config::{BackendName, Config};
use crate::engine::choice::{KernelRings, Rings};
use crate::engine::clock::Clock;
use crate::engine::control::{Control, ControlParts, Reload, Reloaded, Rotate};
use crate::engine::drivers::WorkerBody;
use crate::engine::files::{Locks, RealDisk};
use crate::engine::links::{Links, connect};
use crate::engine::listen_options::{few_open_files, listener_options};
use crate::engine::listener::ListenerOptions;
use crate::engine::liveness::monitored;
use crate::engine::log_timestamp::{written_unix, zone_of_lines};
use crate::engine::os::facts::absolute_path;
use crate::engine::os::open_files;
use crate::engine::os::process::may_change;
use crate::engine::overview::Overview;
use crate::engine::resolve::{Resolver, system_resolver};
use crate::engine::service::{self, Service};
use crate::engine::settings::Settings;
use crate::engine::start_error::{StartError, system};
use crate::engine::surroundings::RealSurroundings;
use crate::engine::threads::{Threads, pin_worker, prefer_control, run_checkpointer, run_whole};
use crate::engine::waker::PollWaker;
use crate::engine::{reader_mio, reconciler_mio};
use crate::limits::THREAD_END_MS;
use crate::replay::checkpointer::Checkpointer;
use crate::replay::mailbox::Mailbox;
use crate::replay::reader::{LogReader, ReaderRules};
use crate::replay::reconciler::Reconciler;
use crate::replay::worker::Worker;

/// What is up to whoever starts the engine.
pub struct EngineOptions {
    /// Take the signals of [`crate::engine::signals`] over. Off where the process has a life of its
    /// own.
    pub signals: bool,
    /// The HTTP server, where it listens already: as systemd hands it over. Otherwise it is opened.
    pub handed_over: Option<std::net::TcpListener>,
    /// systemd, where it wants to be told how this process is.
    pub service: Option<Service>,
    /// Called, on a thread of its own, with what holds after the configuration was read again.
    pub on_reload: Box<dyn Fn(&Config) + Send + Sync>,
    /// Begins the server's own log file anew, and says what became of that. Called on control's
    /// thread: it must not wait.
    pub rotate: Rotate,
    /// Looks names of backends up. The system's, but in tests.
    pub resolver: Resolver,
    /// Where the workers' rings come from. The kernel's, but in tests.
    pub rings: Box<dyn Rings>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            signals: true,
            handed_over: None,
            service: None,
            on_reload: Box::new(|_| {}),
            rotate: Arc::new(|| Err("this server writes no log file of its own".to_owned())),
            resolver: system_resolver(),
            rings: Box::new(KernelRings),
        }
    }
}

/// What a thread does.
type Body = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// What the bodies of the threads are made of.
struct Assembly<'a> {
    config: &'a Config,
    settings: &'a Settings,
    links: &'a Links,
    locks: &'a Arc<Locks>,
    clock: Clock,
}

impl Assembly<'_> {
    /// The disk of the thread that has this mailbox.
    fn disk<T: Send + 'static>(&self, mailbox: &Arc<Mailbox<T>>) -> RealDisk {
        let mailbox = Arc::clone(mailbox);
        RealDisk::new(self.config.sync.logs_path.clone(), self.config.state_path())
            .with_progress(move || mailbox.note_turn())
    }

    fn checkpointer(&self, poll: Poll, waker: PollWaker) -> Body {
        let disk = self
            .disk(&self.links.replay.mailboxes.checkpointer)
            .with_counters(Arc::clone(&self.links.replay.counters))
            .with_threads(Arc::new(waker));
        let checkpointer = Checkpointer::new(
            disk,
            self.links.replay.clone(),
            self.settings.controller.checkpointer.clone(),
        );
        let clock = self.clock;
        Box::new(move || run_checkpointer(checkpointer, poll, clock))
    }

    fn reader(&self, poll: Poll) -> Body {
        let disk = self
            .disk(&self.links.replay.mailboxes.reader)
            .with_locks(Arc::clone(self.locks))
            .with_read_ahead();
        let rules = ReaderRules {
            is_backend,
            written_unix,
            zone: zone_of_lines,
        };
        let settings = self.settings.controller.reader.clone();
        let reader = LogReader::new(disk, settings, rules, self.links.replay.clone());
        let (logs, clock) = (self.config.sync.logs_path.clone(), self.clock);
        Box::new(move || reader_mio::run(reader, poll, logs, clock))
    }

    fn reconciler(&self, poll: Poll, resolver: Resolver) -> Body {
        let mailbox = &self.links.reconciler;
        let reconciler = Reconciler::new(
            self.disk(mailbox),
            RealSurroundings::new(self.config, resolver),
            Arc::clone(mailbox),
            &self.links.replay.mailboxes,
            self.settings.controller.comparison(),
            written_unix,
        );
        let clock = self.clock;
        Box::new(move || reconciler_mio::run(reconciler, poll, clock))
    }

    fn worker(&self, index: usize, driver: WorkerBody) -> Body {
        let workers = self.config.sync.threads;
        let worker = Worker::new(index, self.links.replay.clone(), fastrand::u64(..));
        let (is_pinned, clock) = (self.config.sync.pin_workers, self.clock);
        Box::new(move || {
            if is_pinned {
                pin_worker(index, workers);
            }
            driver(worker, clock)
        })
    }

    fn systemd(&self, service: Service) -> Body {
        let shared = Arc::clone(&self.links.shared);
        let mut watched = self.links.threads();
        watched.push(monitored("control", &self.links.replay.mailboxes.control));
        let (drain, clock) = (self.config.sync.drain_timeout, self.clock);
        Box::new(move || service::run(service, &shared, watched, drain, clock))
    }
}

/// The logs and the state of a configuration, locked as long as this lives: no other server starts
/// on them.
#[derive(Debug)]
pub struct LockedLogs(Arc<Locks>);

impl LockedLogs {
    /// # Errors
    /// There are no logs, or another server has them.
    pub fn take(config: &Config) -> Result<Self, StartError> {
        check_logs(&config.sync.logs_path)?;
        let locks = Locks::take(&config.sync.logs_path, &config.state_path())?;
        Ok(Self(Arc::new(locks)))
    }
}

impl Engine {
    /// Takes the locks, starts every thread and returns once HA can be answered.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    #[cfg(feature = "testing")]
    pub fn start_with(config: Config, options: EngineOptions) -> Result<Self, StartError> {
        let locked = LockedLogs::take(&config)?;
        Self::start_locked(config, locked, options)
    }

    /// As `start_with`, with the locks of this very configuration.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub fn start_locked(
        config: Config,
        LockedLogs(locks): LockedLogs,
        options: EngineOptions,
    ) -> Result<Self, StartError> {
        tell_start(&config);
        let settings = Settings::load(&config)?;
        let http_server = http_server_options(&config)?;
        let clock = Clock::default();
        let (links, polls) = connect(&config, &*options.rings)?;
        let control = Control::new(ControlParts {
            poll: polls.control,
            clock,
            links: links.for_control(),
            settings: settings.clone(),
            http_server,
            handed_over: options.handed_over,
            access: config.network.access_allow.clone(),
            signals: options.signals,
            reload: reload(config.clone(), options.on_reload),
            rotate: options.rotate,
            resolver: Arc::clone(&options.resolver),
            state_path: absolute_path(&config.state_path()),
            engine: polls.workers.name(),
            seed: fastrand::u64(..),
        })?;
        let address = control.local_addr();
        let assembly = Assembly {
            config: &config,
            settings: &settings,
            links: &links,
            locks: &locks,
            clock,
        };
        let (ended, ending) = sync_channel(1);

        let waker = polls.checkpointer_waker;
        let checkpointer = assembly.checkpointer(polls.checkpointer, waker);
        let reader = assembly.reader(polls.reader);
        let reconciler = assembly.reconciler(polls.reconciler, options.resolver);
        let mut bodies = vec![
            ("checkpointer".to_owned(), checkpointer),
            ("reader".to_owned(), reader),
            ("reconciler".to_owned(), reconciler),
        ];
        for (index, driver) in polls.workers.into_bodies().into_iter().enumerate() {
            bodies.push((format!("w{index}"), assembly.worker(index, driver)));
        }
        let control: Body = Box::new(move || {
            prefer_control();
            let _ = ended.send(run_whole(|| control.run()));
            Ok(())
        });
        bodies.push(("control".to_owned(), control));
        // Last: from its first word on, HA can be answered.
        if let Some(service) = options.service {
            bodies.push(("systemd".to_owned(), assembly.systemd(service)));
        }

        let mut threads = Threads::new(Arc::clone(&links.shared));
        for (name, body) in bodies {
            if let Err(cause) = threads.start(&name, body) {
                links.stop_all();
                threads.wait(Duration::from_millis(THREAD_END_MS));
                return Err(system("thread")(cause));
            }
        }
        Ok(Self {
            address,
            clock,
            shared: Arc::clone(&links.shared),
            overview: Mutex::new(Overview::new(clock.now())),
            threads,
            ending,
            stop_all: Box::new(move || links.stop_all()),
            locks,
        })
    }
}

fn tell_start(config: &Config) {
    tracing::info!(
        config = %config.path.display(),
        logs = %config.sync.logs_path.display(),
        state = %config.state_path().display(),
        listen = %config.listen_address(),
        "hustdbsync {} starts",
        env!("CARGO_PKG_VERSION"),
    );
}

/// How the HTTP server listens, within the files that may be open.
fn http_server_options(config: &Config) -> Result<ListenerOptions, StartError> {
    let open_files = open_files::raise_bound().map_err(system("open files"))?;
    if let Some(few) = few_open_files(config, open_files) {
        tracing::warn!(
            "files that may be open are too few: {few}. Connections to backends are refused by the \
             system otherwise, and HA's polls too"
        );
    }
    let options = listener_options(config, open_files);
    tracing::info!(
        open_files,
        http_server = options.connections_max,
        "The HTTP server takes so many connections at a time, out of the files that may be open; \
         the idlest goes first"
    );
    Ok(options)
}

fn check_logs(path: &Path) -> Result<(), StartError> {
    std::fs::read_dir(path)
        .and_then(|_| may_change(path))
        .map_err(|cause| StartError::Logs {
            path: path.to_owned(),
            cause,
        })
}

fn is_backend(folder: &str) -> Result<(), String> {
    BackendName::parse(folder)
        .map(drop)
        .map_err(|fault| fault.to_string())
}

/// Reads the configuration again, relative to what holds by then.
fn reload(config: Config, on_reload: Box<dyn Fn(&Config) + Send + Sync>) -> Reload {
    let current = Mutex::new(config);
    Arc::new(move || {
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        let (merged, changes) = current
            .reload(&current.path)
            .map_err(|fault| fault.to_string())?;
        let settings = Settings::load(&merged).map_err(|fault| fault.to_string())?;
        on_reload(&merged);
        let warnings = merged.warnings.iter().map(ToString::to_string);
        let said = changes
            .iter()
            .map(ToString::to_string)
            .chain(warnings)
            .collect();
        *current = merged;
        Ok(Reloaded { settings, said })
    })
}
