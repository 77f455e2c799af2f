//! The peer's replay: a reader, and a task for each connection that sends a record and waits for
//! its answer.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use http_body_util::{BodyExt, Full};
use hustdbsync::internals::binlog::request::Template;
use hustdbsync::internals::binlog::{Lifetime, Record, key};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use super::chunks::Chunks;
use crate::Outcome;
use crate::common::now_unix;

/// Records that wait for one connection: enough that the reader seldom has to wait for a slow one
/// while others idle.
const QUEUE_RECORDS: usize = 1024;

/// How it went.
pub(super) struct Done {
    pub(super) records: u64,
    pub(super) seconds: f64,
}

/// Replays all logs in `folder`.
pub(super) async fn replay(address: &str, folder: &Path, connections: usize) -> Outcome<Done> {
    LocalSet::new()
        .run_until(replay_here(address, folder, connections))
        .await
}

async fn replay_here(address: &str, folder: &Path, connections: usize) -> Outcome<Done> {
    let begun = Instant::now();
    let settled = Rc::new(Cell::new(0));
    let mut queues: Vec<Sender<Bytes>> = Vec::new();
    let mut lanes: Vec<JoinHandle<Outcome<()>>> = Vec::new();
    for _ in 0..connections {
        let sender = connect(address).await?;
        let (queue, records) = mpsc::channel(QUEUE_RECORDS);
        let lane = Lane::new(address, sender, Rc::clone(&settled))?;
        queues.push(queue);
        lanes.push(spawn_local(lane.run(records)));
    }
    let mut scratch = Vec::new();
    for file in files(folder)? {
        let named = |error| format!("{}: {error}", file.display());
        let mut chunks = Chunks::open(&file).map_err(named)?;
        while let Some(chunk) = chunks.next().map_err(named)? {
            for range in chunk.records {
                let record = chunk.bytes.slice(range);
                let hash = key::order_hash(&Record::parse_checked(&record), &mut scratch);
                let lane = (hash % connections as u64) as usize;
                if queues[lane].send(record).await.is_err() {
                    break;
                }
            }
        }
    }
    drop(queues);
    for lane in lanes {
        lane.await.map_err(|error| error.to_string())??;
    }
    Ok(Done {
        records: settled.get(),
        seconds: begun.elapsed().as_secs_f64(),
    })
}

async fn connect(address: &str) -> Outcome<SendRequest<Full<Bytes>>> {
    let failed = |error: &dyn std::fmt::Display| format!("{address}: {error}");
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| failed(&error))?;
    stream.set_nodelay(true).map_err(|error| failed(&error))?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    spawn_local(connection);
    Ok(sender)
}

fn files(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.sort();
    Ok(files)
}

/// One connection and the records that go over it, in order.
struct Lane {
    sender: SendRequest<Full<Bytes>>,
    settled: Rc<Cell<u64>>,
    template: Template,
    host: HeaderValue,
    authorization: HeaderValue,
    now_unix: u64,
}

impl Lane {
    fn new(
        address: &str,
        sender: SendRequest<Full<Bytes>>,
        settled: Rc<Cell<u64>>,
    ) -> Outcome<Self> {
        let authorization = format!("Basic {}", crate::AUTHORIZATION);
        Ok(Self {
            sender,
            settled,
            // hyper writes the headers; only the target is taken from what this composes.
            template: Template::new("", None),
            host: HeaderValue::from_str(address).map_err(|error| error.to_string())?,
            authorization: HeaderValue::from_str(&authorization)
                .map_err(|error| error.to_string())?,
            now_unix: now_unix(),
        })
    }

    async fn run(mut self, mut records: Receiver<Bytes>) -> Outcome<()> {
        while let Some(bytes) = records.recv().await {
            let request = self.request(&bytes)?;
            self.sender
                .ready()
                .await
                .map_err(|error| error.to_string())?;
            let response = self.sender.send_request(request).await;
            let mut response = response.map_err(|error| error.to_string())?;
            let applied = response.status() == 200
                && response
                    .headers()
                    .get("vererror")
                    .map(HeaderValue::as_bytes)
                    == Some(b"false");
            if !applied {
                return Err(format!("the sink answered {}", response.status()));
            }
            while let Some(frame) = response.body_mut().frame().await {
                frame.map_err(|error| error.to_string())?;
            }
            self.settled.set(self.settled.get() + 1);
        }
        Ok(())
    }

    fn request(&self, bytes: &Bytes) -> Outcome<Request<Full<Bytes>>> {
        let record = Record::parse_checked(bytes);
        let mut head = Vec::with_capacity(128);
        let lifetime = Lifetime::of(&record, 0, self.now_unix);
        let composed = self.template.compose(&record, lifetime, &mut head);
        let (method, start) = if head.starts_with(b"POST ") {
            (Method::POST, 5)
        } else {
            (Method::GET, 4)
        };
        let end = composed.target_bytes - b" HTTP/1.1\r\n".len();
        let target = Uri::from_maybe_shared(Bytes::from(head).slice(start..end));
        let body = match composed.body_bytes {
            0 => Bytes::new(),
            _ => bytes.slice_ref(record.value),
        };
        Request::builder()
            .method(method)
            .uri(target.map_err(|error| error.to_string())?)
            .header(HOST, self.host.clone())
            .header(AUTHORIZATION, self.authorization.clone())
            .body(Full::new(body))
            .map_err(|error| error.to_string())
    }
}
