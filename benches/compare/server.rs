//! The product: the release binary in a process of its own, over a home of its own.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::common::proc::listening_port;
use crate::figure::Figure;
use crate::process::{Cpu, Process};
use crate::{BINARY, CONNECTIONS, LOGIN, Outcome};

/// Between looks at how far it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(1);
/// So long without a further record means that something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

const POLL: &[u8] =
    b"GET /sync_status?backend_count=64 HTTP/1.1\r\nHost: h\r\nAuthorization: Basic \
      c3luYzpzeW5j\r\n\r\n";

const METRICS: &[u8] =
    b"GET /metrics HTTP/1.1\r\nHost: h\r\nAuthorization: Basic c3luYzpzeW5j\r\n\r\n";

/// HA's home, with settings, and without logs at first.
pub(crate) struct Home {
    folder: TempDir,
    settings: Json,
    binary: PathBuf,
}

impl Home {
    /// One worker, 32 connections a backend, all else at its default, but for this: logs are kept,
    /// so that they can be replayed again.
    pub(crate) fn make() -> Outcome<Self> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let root = folder.path();
        fs::create_dir(root.join("logs")).map_err(|error| error.to_string())?;
        fs::write(root.join("htpasswd"), LOGIN).map_err(|error| error.to_string())?;
        let settings = json!({
            "network": { "port": 0, "max_keepalive_requests": u32::MAX },
            "sync": {
                "logs_path": root.join("logs"),
                "ngx_path": root,
                "auth_path": root.join("htpasswd"),
                "threads": 1,
                "engine": crate::ENGINE.get().map_or("auto", String::as_str),
                "connections_per_backend": CONNECTIONS,
                "release_interval": "1h",
            }
        });
        Ok(Self {
            folder,
            settings,
            binary: BINARY.into(),
        })
    }

    /// With another value for a setting under `sync`.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Json>) -> Self {
        self.settings["sync"][key] = value.into();
        self
    }

    /// Run by another binary than cargo's.
    pub(crate) fn by(mut self, binary: &Path) -> Self {
        self.binary = binary.to_owned();
        self
    }

    /// The folder of HA's logs.
    pub(crate) fn logs(&self) -> PathBuf {
        self.folder.path().join("logs")
    }

    /// The folder of the server's state.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("status")
    }

    /// Starts the server with nothing settled.
    pub(crate) fn start(&self) -> Outcome<Server> {
        let root = self.folder.path();
        let _ = fs::remove_dir_all(self.state());
        let file = root.join("sync_server.json");
        fs::write(&file, self.settings.to_string()).map_err(|error| error.to_string())?;
        let log = root.join("stderr");
        let stderr = fs::File::create(&log).map_err(|error| error.to_string())?;
        let process = Process::start(
            "hustdbsync",
            Command::new(&self.binary)
                .args(["run", "--config"])
                .arg(file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(stderr),
        )?;
        Server::new(process, log)
    }

    /// Starts the server, replays `records` records, ends it.
    pub(crate) fn replay(&self, records: u64) -> Outcome<Figure> {
        let mut server = self.start()?;
        let drained = server.drain(records)?;
        Ok(Figure {
            rate: drained.rate,
            cpu: server.process.cpu()?.over(records as f64),
            sleeps: server.process.sleeps()? / records as f64,
        })
    }
}

/// A server that runs.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) http_server: HttpServer,
    log: PathBuf,
}

/// How a backlog went.
pub(crate) struct Drained {
    /// Records a second from the first look that saw one settled to the last one's acknowledgement.
    pub(crate) rate: f64,
    /// CPU seconds a record, over the same time.
    pub(crate) cpu: Cpu,
}

impl Server {
    fn new(mut process: Process, log: PathBuf) -> Outcome<Self> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(port) = listening_port(process.id()) {
                let http_server = HttpServer::open(port)?;
                return Ok(Self {
                    process,
                    http_server,
                    log,
                });
            }
            let ended = process.must_run();
            if ended.is_err() || Instant::now() > give_up {
                let why = fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("hustdbsync does not listen:\n{why}"));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until `records` records are settled, which they may not be yet.
    pub(crate) fn drain(&mut self, records: u64) -> Outcome<Drained> {
        self.drain_from(1, records)
    }

    /// The same, measured from when so many were settled.
    pub(crate) fn drain_from(&mut self, first: u64, records: u64) -> Outcome<Drained> {
        let (settled_first, begun, cpu_first) = self.look_until(first)?;
        let (settled, ended, cpu) = self.look_until(records)?;
        if settled > records {
            return Err(format!("{settled} records were settled of {records}"));
        }
        let moved = (settled - settled_first) as f64;
        Ok(Drained {
            rate: moved / (ended - begun).as_secs_f64(),
            cpu: (cpu - cpu_first).over(moved),
        })
    }

    /// Waits until so many records are settled. Gives how many are, when that was seen, and the CPU
    /// time until then.
    pub(crate) fn look_until(&mut self, records: u64) -> Outcome<(u64, Instant, Cpu)> {
        self.look(records, |_, _| LOOK_INTERVAL)
    }

    /// The same of what goes at an even pace, with fewer looks: after each, half of what the rest
    /// will take. The metrics of 1,000 backends are 5 MB, and to ask for them all the time would be
    /// a good part of what is measured.
    pub(crate) fn look_seldom_until(&mut self, records: u64) -> Outcome<(u64, Instant, Cpu)> {
        self.look(records, |settled, took| match settled {
            0 => LOOK_INTERVAL,
            _ => took.mul_f64((records - settled) as f64 / settled as f64 / 2.0),
        })
    }

    /// `interval`: until the next look, by how many are settled and how long that took.
    fn look(
        &mut self,
        records: u64,
        interval: impl Fn(u64, Duration) -> Duration,
    ) -> Outcome<(u64, Instant, Cpu)> {
        let begun = Instant::now();
        let (mut last, mut moved) = (0, begun);
        loop {
            let settled = self
                .http_server
                .settled()
                .map_err(|error| self.why(&error))?;
            let now = Instant::now();
            if settled >= records {
                return Ok((settled, now, self.process.cpu()?));
            }
            if settled != last {
                (last, moved) = (settled, now);
            }
            if now - moved > PATIENCE {
                return Err(self.why(&format!("{settled} of {records} records, then nothing")));
            }
            let interval = interval(settled, now - begun);
            thread::sleep(interval.clamp(LOOK_INTERVAL, LOOK_INTERVAL_MAX));
        }
    }

    fn why(&self, what: &str) -> String {
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        format!("{what}; hustdbsync said:\n{said}")
    }
}

/// A connection that is kept, for HA's polls.
pub(crate) struct HttpServer {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl HttpServer {
    pub(crate) fn open(port: u16) -> Outcome<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))
            .map_err(|error| format!("the HTTP server: {error}"))?;
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            stream,
            answer: vec![0; 64 * 1024],
        })
    }

    /// How many records are answered by now, over all backends. What `/sync_status` says is of the
    /// last checkpoint, up to a second ago.
    pub(crate) fn settled(&mut self) -> Outcome<u64> {
        number_of_metric(
            self.ask(METRICS)?,
            "hustdbsync_request_duration_seconds_count",
        )
    }

    /// One poll of HA's: the whole answer.
    pub(crate) fn poll(&mut self) -> Outcome<&str> {
        self.ask(POLL)
    }

    /// All metrics, as text.
    pub(crate) fn metrics(&mut self) -> Outcome<String> {
        self.ask(METRICS).map(str::to_owned)
    }

    fn ask(&mut self, request: &[u8]) -> Outcome<&str> {
        self.stream
            .write_all(request)
            .map_err(|error| format!("the HTTP server: {error}"))?;
        let (mut filled, mut whole) = (0, None);
        while whole.is_none_or(|whole| filled < whole) {
            if filled == self.answer.len() {
                self.answer.resize(2 * filled, 0);
            }
            let read = self.stream.read(&mut self.answer[filled..]);
            match read.map_err(|error| format!("the HTTP server: {error}"))? {
                0 => return Err("the HTTP server has closed".to_owned()),
                read => filled += read,
            }
            whole = whole.or_else(|| whole_bytes(&self.answer[..filled]));
        }
        std::str::from_utf8(&self.answer[..filled]).map_err(|error| error.to_string())
    }
}

/// How long the answer is with its body, once its head is there.
fn whole_bytes(answer: &[u8]) -> Option<usize> {
    let head = memchr::memmem::find(answer, b"\r\n\r\n")?;
    let text = std::str::from_utf8(&answer[..head]).ok()?;
    Some(head + 4 + usize::try_from(number_behind(text, "Content-Length:")?).ok()?)
}

/// The sum of a metric's samples, which are whole numbers.
pub(crate) fn number_of_metric(metrics: &str, name: &str) -> Outcome<u64> {
    let samples = metrics.lines().filter_map(|line| {
        let labels = line.strip_prefix(name)?;
        labels.starts_with('{').then_some(line)
    });
    samples
        .map(|line| {
            let number = line
                .rsplit(' ')
                .next()
                .and_then(|text| text.parse::<u64>().ok());
            number.ok_or_else(|| format!("the HTTP server said {line:?}"))
        })
        .sum()
}

fn number_behind(text: &str, name: &str) -> Option<u64> {
    let (_, behind) = text.split_once(name)?;
    let behind = behind.trim_start();
    let end = behind.find(|octet: char| !octet.is_ascii_digit());
    behind[..end.unwrap_or(behind.len())].parse().ok()
}
