//! What answers: nginx with one worker, or the fake HustDB at once; each in a process of its own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::Process;
use crate::{BINARY, Outcome};

const START_MAX: Duration = Duration::from_secs(10);

/// A sink and where it listens.
pub(crate) struct Sink {
    /// Killed with this.
    _process: Process,
    /// Its addresses, which are the backends' names.
    pub(crate) names: Vec<String>,
    /// nginx's configuration and temporary folders.
    _folder: Option<TempDir>,
}

impl Sink {
    /// nginx on so many ports. One process, no master: its one worker is what is killed at the end.
    pub(crate) fn nginx(ports: usize) -> Outcome<Self> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let names = free_addresses(ports)?;
        let root = folder.path().display();
        let listen: String = names
            .iter()
            .map(|name| format!("listen {name};\n"))
            .collect();
        let file = folder.path().join("nginx.conf");
        let text = format!(
            "daemon off; master_process off; worker_processes 1; pid {root}/pid; error_log \
             {root}/error.log;\n\
             events {{ worker_connections 8192; }}\n\
             http {{\n\
             access_log off; default_type text/plain; client_max_body_size 64m;\n\
             keepalive_requests 1000000000; keepalive_timeout 3600s;\n\
             client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path \
             {root}/fastcgi;\n\
             uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;\n\
             server {{\n{listen}\
             location = /status.html {{ return 200 \"ok\\n\"; }}\n\
             location / {{ add_header VerError false; add_header Version 1; return 200; }}\n\
             }} }}\n"
        );
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        let mut process = Process::start(
            "nginx",
            Command::new("nginx")
                .arg("-c")
                .arg(&file)
                .arg("-p")
                .arg(folder.path())
                .args(["-e", "stderr"])
                .stdin(Stdio::null()),
        )?;
        let give_up = Instant::now() + START_MAX;
        for name in &names {
            while TcpStream::connect(name).is_err() {
                process.must_run()?;
                if Instant::now() > give_up {
                    return Err(format!("nginx does not listen on {name}"));
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(Self {
            _process: process,
            names,
            _folder: Some(folder),
        })
    }

    /// The fake HustDB, which keeps nothing and answers a read's requests at once: what is measured
    /// is our ceiling, not hustdb's.
    pub(crate) fn fake_hustdb() -> Outcome<Self> {
        Self::fake_at("127.0.0.1:0", &["--at-once", "--threads", "1"])
    }

    /// The same at an address where nobody listens.
    pub(crate) fn fake_hustdb_at(listen: &str) -> Outcome<Self> {
        Self::fake_at(listen, &["--at-once", "--threads", "1"])
    }

    /// The fake HustDB in hustdb's manner: eight threads, 25 µs a request, each answer a write.
    pub(crate) fn in_hustdbs_manner() -> Outcome<Self> {
        Self::fake_at("127.0.0.1:0", &[])
    }

    fn fake_at(listen: &str, manner: &[&str]) -> Outcome<Self> {
        let mut process = Process::start(
            "the fake HustDB",
            Command::new(BINARY)
                .args(["fake-hustdb", "--discard", "--listen", listen])
                .args(manner)
                .stdin(Stdio::null())
                .stdout(Stdio::piped()),
        )?;
        let line = process.first_line()?;
        let name = line.split_whitespace().find_map(|word| {
            let word = word.trim_end_matches(';');
            word.starts_with("127.0.0.1:").then(|| word.to_owned())
        });
        Ok(Self {
            _process: process,
            names: vec![name.ok_or("the fake HustDB does not say where it listens")?],
            _folder: None,
        })
    }

    /// The first address.
    pub(crate) fn name(&self) -> &str {
        &self.names[0]
    }
}

/// Addresses that the system gave and that are free again.
pub(crate) fn free_addresses(count: usize) -> Outcome<Vec<String>> {
    let listeners: Result<Vec<_>, _> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect();
    let listeners = listeners.map_err(|error| format!("no free port: {error}"))?;
    let addresses: Result<Vec<_>, _> = listeners.iter().map(TcpListener::local_addr).collect();
    let addresses = addresses.map_err(|error| error.to_string())?;
    Ok(addresses.iter().map(ToString::to_string).collect())
}
