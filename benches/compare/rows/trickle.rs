//! Lines that come one by one while all is quiet: how soon each is with its backend, and what it
//! costs.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use hustdbsync::internals::binlog::{Method, Record, line};

use crate::figure::{median, percentile};
use crate::process::Cpu;
use crate::report::{Bound, Row};
use crate::server::{Home, Server};
use crate::{Options, Outcome};

const BETWEEN_LINES: Duration = Duration::from_millis(20);
/// Lines before it is measured, one as soon as the one before has come: all connections are made.
const LINES_BEFORE: u32 = 200;
const LINES: u32 = 250;
/// So long without a request means that something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nVersion: 1\r\n\
                        VerError: false\r\n\r\nok\n";

/// What was seen of one binary.
#[derive(Default)]
struct Seen {
    /// Milliseconds from before a line was written until its request was read.
    ms: Vec<f64>,
    /// µs of CPU a line, one for each round.
    cpu_us: Vec<f64>,
    /// Sleeps a line.
    sleeps: Vec<f64>,
}

/// Measures, and says how it stands.
pub(crate) fn compare(options: &Options) -> Outcome<Vec<Row>> {
    let mut all = vec![("ours", None, Seen::default())];
    if let Some(before) = &options.before {
        all.push(("before", Some(before), Seen::default()));
    }
    for _ in 0..options.rounds {
        for (_, binary, seen) in &mut all {
            let home = Home::make()?.with("threads", 4);
            let home = match binary {
                Some(binary) => home.by(binary),
                None => home,
            };
            trickle(&home, seen)?;
        }
    }
    eprintln!(
        "\nlines at {} ms, {} of each",
        BETWEEN_LINES.as_millis(),
        all[0].2.ms.len()
    );
    for (name, _, seen) in &mut all {
        eprintln!(
            "  {name:8} half within {:.3} ms, 99 % within {:.3} ms, {:.0} µs of CPU and {:.1} \
             sleeps a line",
            percentile(&mut seen.ms, 0.5),
            percentile(&mut seen.ms, 0.99),
            median(seen.cpu_us.clone()),
            median(seen.sleeps.clone()),
        );
    }
    let ours = &mut all[0].2;
    let what = "a line while all is quiet";
    Ok(vec![
        Row::number(
            &format!("{what}: p50 until its request is read"),
            percentile(&mut ours.ms, 0.5),
            "ms",
            Bound::AtMost(0.15),
        ),
        Row::number(
            &format!("{what}: p99"),
            percentile(&mut ours.ms, 0.99),
            "ms",
            Bound::AtMost(1.0),
        ),
        Row::number(
            &format!("{what}, 50 a second: CPU of the whole process a line"),
            median(ours.cpu_us.clone()),
            "µs",
            Bound::AtMost(100.0),
        ),
    ])
}

/// One server's life: lines as fast as they come, then at their pace.
fn trickle(home: &Home, seen: &mut Seen) -> Outcome<()> {
    let named = |error: io::Error| error.to_string();
    let listener = TcpListener::bind("127.0.0.1:0").map_err(named)?;
    let backend = listener.local_addr().map_err(named)?.to_string();
    let (sender, requests) = channel();
    thread::spawn(move || accept(&listener, &sender));
    let folder = home.logs().join(&backend);
    fs::create_dir(&folder).map_err(named)?;
    let minute = jiff::Zoned::now()
        .strftime("%Y-%m-%d-%H-%M.log")
        .to_string();
    let mut log = File::create(folder.join(minute)).map_err(named)?;
    let server = home.start()?;
    for number in 0..LINES_BEFORE {
        append(&mut log, number)?;
        arrival(&requests)?;
    }
    let (cpu, sleeps) = spent(&server)?;
    let begun = Instant::now();
    for number in 0..LINES {
        let due = begun + BETWEEN_LINES * (number + 1);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let before = append(&mut log, LINES_BEFORE + number)?;
        let arrived = arrival(&requests)?;
        seen.ms.push((arrived - before).as_secs_f64() * 1e3);
    }
    let (cpu_after, sleeps_after) = spent(&server)?;
    let cpu = (cpu_after - cpu).over(f64::from(LINES));
    seen.cpu_us.push(cpu.total() * 1e6);
    seen.sleeps.push((sleeps_after - sleeps) / f64::from(LINES));
    Ok(())
}

fn spent(server: &Server) -> Outcome<(Cpu, f64)> {
    Ok((server.process.cpu()?, server.process.sleeps()?))
}

/// Appends a put of a key of its own. Returns when it began to.
fn append(log: &mut File, number: u32) -> Outcome<Instant> {
    let key = format!("key:{number:010}");
    let record = Record::new(Method::Put, key.as_bytes(), &[b'v'; 100]);
    let (mut bytes, mut text) = (Vec::new(), Vec::new());
    record.encode(&mut bytes);
    let prefix = jiff::Zoned::now().strftime("[%Y-%m-%d %H:%M:%S] [DEBUG] | ");
    line::encode(prefix.to_string().as_bytes(), &bytes, &mut text);
    let before = Instant::now();
    log.write_all(&text).map_err(|error| error.to_string())?;
    Ok(before)
}

fn arrival(requests: &Receiver<Instant>) -> Outcome<Instant> {
    requests
        .recv_timeout(PATIENCE)
        .map_err(|_| "a line did not come to its backend".to_owned())
}

/// A backend with a thread for each connection: nobody else is to be woken for a request. It ends
/// with the bench.
fn accept(listener: &TcpListener, requests: &Sender<Instant>) {
    for stream in listener.incoming().map_while(Result::ok) {
        let requests = requests.clone();
        thread::spawn(move || {
            // It ends when the server does.
            let _ = serve(stream, &requests);
        });
    }
}

fn serve(mut stream: TcpStream, requests: &Sender<Instant>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = vec![0; 64 * 1024];
    loop {
        // A short request comes in one piece, and nothing is sent behind it.
        let count = stream.read(&mut bytes)?;
        let arrived = Instant::now();
        if count == 0 {
            return Ok(());
        }
        if bytes.starts_with(b"POST /hustdb/") {
            // The bench may be over.
            let _ = requests.send(arrived);
        }
        stream.write_all(ANSWER)?;
    }
}
