//! Starting: from a configuration to threads that run, or nothing at all.

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};

use mio::{Poll, Token};

use super::Engine;
use crate::config::{BackendName, Config};
use crate::engine::choice::{KernelRings, Rings};
use crate::engine::clock::Clock;
use crate::engine::connections;
use crate::engine::control::{self, Control, ControlLinks, ControlParts, Reload, Reloaded, Rotate};
use crate::engine::drivers::{Drivers, WorkerMailboxes, drivers};
use crate::engine::files::{Locks, RealDisk};
use crate::engine::listen_options::listener_options;
use crate::engine::liveness::{MonitoredThreads, monitored};
use crate::engine::log_timestamp::{written_unix, zone_of_lines};
use crate::engine::os::open_files;
use crate::engine::os::process::may_change;
use crate::engine::overview::Overview;
use crate::engine::resolve::{Resolver, system_resolver};
use crate::engine::service::{self, Service};
use crate::engine::settings::Settings;
use crate::engine::shared::Shared;
use crate::engine::start_error::{StartError, system};
use crate::engine::surroundings::RealSurroundings;
use crate::engine::threads::{Threads, pin_worker, prefer_control, run_checkpointer, run_whole};
use crate::engine::waker::{PollWaker, mailbox};
use crate::engine::{reader_mio, reconciler_mio};
use crate::limits::{BACKENDS_MAX, POOLED_VECTORS, THREAD_END_MS};
use crate::replay::checkpointer::{Checkpointer, CheckpointerLinks};
use crate::replay::chunk::BufferReturns;
use crate::replay::controller::ControllerLinks;
use crate::replay::dirty_flags::DirtyFlags;
use crate::replay::mailbox::Mailbox;
use crate::replay::messages::{
    CheckpointerMessage, ControlMessage, ReaderMessage, ReconcilerMessage, WorkerMessage,
};
use crate::replay::reader::{LogReader, ReaderLinks, ReaderRules, chunks_max};
use crate::replay::reconciler::{Reconciler, ReconcilerLinks};
use crate::replay::vec_pool::VecPool;
use crate::replay::worker::{Worker, WorkerLinks};
use crate::status::counters::ServerCounters;

/// Token of the checkpointer's waker, which is alone in its poll.
const WAKER: Token = Token(0);

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

/// All mailboxes and what else the threads share.
struct Links {
    control: Arc<Mailbox<ControlMessage>>,
    reader: Arc<Mailbox<ReaderMessage>>,
    checkpointer: Arc<Mailbox<CheckpointerMessage>>,
    reconciler: Arc<Mailbox<ReconcilerMessage>>,
    workers: WorkerMailboxes,
    dirty_flags: Arc<DirtyFlags>,
    returns: Arc<BufferReturns>,
    settled_pool: Arc<VecPool<crate::replay::messages::Settled>>,
    fed_pool: Arc<VecPool<crate::replay::messages::Fed>>,
    shared: Arc<Shared>,
    counters: Arc<ServerCounters>,
}

/// Each thread's poll.
struct Polls {
    control: Poll,
    reader: Poll,
    checkpointer: Poll,
    reconciler: Poll,
    /// For what it waits for besides messages.
    checkpointer_waker: PollWaker,
    workers: Drivers,
}

fn connect(config: &Config, rings: &dyn Rings) -> Result<(Links, Polls), StartError> {
    let (control_poll, _, control) = mailbox(control::WAKER)?;
    let (reader_poll, _, reader) = mailbox(reader_mio::WAKER)?;
    let (drivers, workers) = drivers(config, rings)?;
    let (checkpointer_poll, checkpointer_waker, checkpointer) = mailbox(WAKER)?;
    let (reconciler_poll, _, reconciler) = mailbox(connections::WAKER)?;
    let chunks = chunks_max(config.sync.memory_budget, BACKENDS_MAX);
    let links = Links {
        dirty_flags: Arc::new(DirtyFlags::new(Arc::clone(&reader))),
        returns: Arc::new(BufferReturns::new(chunks, Arc::clone(&reader))),
        settled_pool: Arc::new(VecPool::new(POOLED_VECTORS)),
        fed_pool: Arc::new(VecPool::new(POOLED_VECTORS)),
        shared: Arc::new(Shared::new(Arc::clone(&control))),
        counters: Arc::default(),
        control,
        reader,
        checkpointer,
        reconciler,
        workers,
    };
    let polls = Polls {
        control: control_poll,
        reader: reader_poll,
        checkpointer: checkpointer_poll,
        reconciler: reconciler_poll,
        checkpointer_waker,
        workers: drivers,
    };
    Ok((links, polls))
}

impl Links {
    /// Tells everyone but control to end. Where a mailbox is full its thread has failed or will be
    /// left behind.
    fn stop_all(&self) {
        let _ = self.checkpointer.send(CheckpointerMessage::Stop);
        let _ = self.reconciler.send(ReconcilerMessage::Stop);
        let _ = self.reader.send(ReaderMessage::Stop);
        for worker in &self.workers {
            let _ = worker.send(WorkerMessage::Stop);
        }
    }

    /// Every thread that has a mailbox, but control.
    fn threads(&self) -> MonitoredThreads {
        let mut threads = vec![
            monitored("checkpointer", &self.checkpointer),
            monitored("reader", &self.reader),
            monitored("reconciler", &self.reconciler),
        ];
        let workers = self.workers.iter().enumerate();
        threads.extend(workers.map(|(index, worker)| monitored(format!("w{index}"), worker)));
        threads
    }

    fn for_control(&self) -> ControlLinks {
        ControlLinks {
            controller: ControllerLinks {
                mailbox: Arc::clone(&self.control),
                reader: Arc::clone(&self.reader),
                checkpointer: Arc::clone(&self.checkpointer),
                workers: self.workers.clone(),
                reconciler: Some(Arc::clone(&self.reconciler)),
                dirty_flags: Arc::clone(&self.dirty_flags),
            },
            shared: Arc::clone(&self.shared),
            counters: Arc::clone(&self.counters),
            threads: self.threads(),
        }
    }

    fn for_checkpointer(&self) -> CheckpointerLinks {
        CheckpointerLinks {
            mailbox: Arc::clone(&self.checkpointer),
            reader: Arc::clone(&self.reader),
            control: Arc::clone(&self.control),
            reconciler: Some(Arc::clone(&self.reconciler)),
            settled_pool: Arc::clone(&self.settled_pool),
        }
    }

    fn for_reconciler(&self) -> ReconcilerLinks {
        ReconcilerLinks {
            mailbox: Arc::clone(&self.reconciler),
            checkpointer: Arc::clone(&self.checkpointer),
        }
    }

    fn for_reader(&self) -> ReaderLinks {
        ReaderLinks {
            mailbox: Arc::clone(&self.reader),
            workers: self.workers.clone(),
            checkpointer: Arc::clone(&self.checkpointer),
            control: Arc::clone(&self.control),
            returns: Arc::clone(&self.returns),
            dirty_flags: Arc::clone(&self.dirty_flags),
            fed_pool: Arc::clone(&self.fed_pool),
            counters: Arc::clone(&self.counters),
        }
    }

    fn for_worker(&self, index: usize) -> WorkerLinks {
        WorkerLinks {
            mailbox: Arc::clone(&self.workers[index]),
            checkpointer: Arc::clone(&self.checkpointer),
            control: Arc::clone(&self.control),
            reader: Arc::clone(&self.reader),
            returns: Arc::clone(&self.returns),
            settled_pool: Arc::clone(&self.settled_pool),
            fed_pool: Arc::clone(&self.fed_pool),
        }
    }
}

impl Engine {
    /// Starts every thread and returns once HA can be answered.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub fn start_with(config: Config, options: EngineOptions) -> Result<Self, StartError> {
        check_logs(&config.sync.logs_path)?;
        let locks = Locks::take(&config.sync.logs_path, &config.state_path())?;
        let locks = Arc::new(locks);
        tracing::info!(
            config = %config.path.display(),
            logs = %config.sync.logs_path.display(),
            state = %config.state_path().display(),
            listen = %config.listen_address(),
            "hustdbsync {} starts",
            env!("CARGO_PKG_VERSION"),
        );
        let settings = Settings::load(&config)?;
        let open_files = open_files::raise_bound().map_err(system("open files"))?;
        let http_server = listener_options(&config, open_files);
        tracing::info!(
            open_files,
            http_server = http_server.connections_max,
            "The HTTP server takes so many connections at a time, out of the files that may be \
             open; the idlest goes first"
        );
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
            engine: polls.workers.name(),
            seed: fastrand::u64(..),
        })?;
        let address = control.local_addr();

        let disk = || RealDisk::new(config.sync.logs_path.clone(), config.state_path());
        let checkpointer_disk = disk()
            .with_counters(Arc::clone(&links.counters))
            .with_threads(Arc::new(polls.checkpointer_waker));
        let surroundings = RealSurroundings::new(&config, options.resolver);
        let reconciler = Reconciler::new(
            disk(),
            surroundings,
            links.for_reconciler(),
            settings.controller.comparison(),
            written_unix,
        );
        let reader_disk = disk().with_locks(Arc::clone(&locks)).with_read_ahead();
        let workers = config.sync.threads;
        let checkpointer = Checkpointer::new(
            checkpointer_disk,
            links.for_checkpointer(),
            settings.controller.checkpointer,
            workers,
        );
        let rules = ReaderRules {
            is_backend,
            written_unix,
            zone: zone_of_lines,
        };
        let reader = LogReader::new(
            reader_disk,
            settings.controller.reader,
            rules,
            links.for_reader(),
        );
        let (ended, ending) = sync_channel(1);

        let mut threads = Threads::new(Arc::clone(&links.shared));
        let start_all = || {
            threads.start("checkpointer", move || {
                run_checkpointer(checkpointer, polls.checkpointer, clock)
            })?;
            let logs = config.sync.logs_path.clone();
            threads.start("reader", move || {
                reader_mio::run(reader, polls.reader, logs, clock)
            })?;
            threads.start("reconciler", move || {
                reconciler_mio::run(reconciler, polls.reconciler, clock)
            })?;
            for (index, body) in polls.workers.into_bodies().into_iter().enumerate() {
                let worker =
                    Worker::new(index, workers, links.for_worker(index), fastrand::u64(..));
                let pinned = config.sync.pin_workers;
                threads.start(&format!("w{index}"), move || {
                    if pinned {
                        pin_worker(index, workers);
                    }
                    body(worker, clock)
                })?;
            }
            threads.start("control", move || {
                prefer_control();
                let _ = ended.send(run_whole(|| control.run()));
                Ok(())
            })?;
            // Last: from its first word on, HA can be answered.
            let Some(told) = options.service else {
                return Ok(());
            };
            let (shared, mut watched) = (Arc::clone(&links.shared), links.threads());
            watched.push(monitored("control", &links.control));
            let drain = config.sync.drain_timeout;
            threads.start("systemd", move || {
                service::run(told, &shared, watched, drain, clock)
            })
        };
        if let Err(cause) = start_all() {
            links.stop_all();
            threads.wait(std::time::Duration::from_millis(THREAD_END_MS));
            return Err(system("thread")(cause));
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
