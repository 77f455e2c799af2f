//! HA's polls while it replays at full rate: how long they wait, and what they cost the replay.
//!
//! One process replays; short windows with 1,000 polls a second and without take turns, so that
//! both see the same machine. The poller is paced by the clock, not by the answers: a poll that is
//! due while an earlier one waits counts from when it was due. If the poller itself was late, which
//! is the bench's own fault, a poll counts from when it was sent.
//!
//! Where others use the machine, most of a long wait is that the thread that asks or the one that
//! answers waits for a CPU. The scheduler tells how long that was, and the waits are told without
//! it as well; the goal is judged with it.
//!
//! What is judged is the sink of the other comparisons, nginx. The fake HustDB, which takes five
//! times as many records a second, leaves none of two cores to whoever polls: it is told.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use hustdbsync::internals::engine::os::priority::set_nice;
use serde_json::json;

use crate::backlog::Backlog;
use crate::figure::{median, percentile};
use crate::process::Scheduled;
use crate::report::{Bound, Row};
use crate::rows::wire::SMALL;
use crate::server::{Home, Server};
use crate::sink::Sink;
use crate::{Options, Outcome};

/// Logs of a run: some three seconds' worth.
const PARTS_FOR_NGINX: u32 = 2;
const PARTS_FOR_FAKE_HUSTDB: u32 = 6;
const BETWEEN_POLLS: Duration = Duration::from_millis(1);
const POLLS_A_WINDOW: u32 = 100;
const WINDOW: Duration = Duration::from_millis(100);
/// Processes a round, each of which replays all of it.
const RUNS_A_ROUND: u32 = 2;

/// Windows of polls behind each run, when nothing is left to do.
const IDLE_WINDOWS: u32 = 10;

/// The thread that polls stands for a machine of its own, so where it may, it gets a core before
/// whoever replays.
const POLLER_NICE: i32 = -20;

/// Milliseconds that polls waited: all of it, the answering thread's wait for a CPU, and what is
/// left without that and the looking up one's.
#[derive(Default)]
struct Waits {
    all: Vec<f64>,
    answering: Vec<f64>,
    net: Vec<f64>,
}

/// What was seen.
#[derive(Default)]
struct Seen {
    busy: Waits,
    /// The same polls when nothing is left to replay: what the machine adds.
    idle: Waits,
    /// CPU seconds of the thread that answers, in all windows with polls, and in those without.
    answering: [f64; 2],
    /// Of each pair of windows: rate with polls over rate without, and the same in records a CPU
    /// second.
    rates: Vec<f64>,
    rates_a_cpu_second: Vec<f64>,
}

/// A moment: records settled, when, CPU seconds.
type Mark = (u64, Instant, f64);

/// Measures, and says how it stands.
pub(crate) fn compare(options: &Options) -> Outcome<Vec<Row>> {
    let mut rows = watched(options, "nginx", &Sink::nginx(1)?, PARTS_FOR_NGINX, true)?;
    let fake_hustdb = Sink::fake_hustdb()?;
    rows.extend(watched(
        options,
        "the fake HustDB at once",
        &fake_hustdb,
        PARTS_FOR_FAKE_HUSTDB,
        false,
    )?);
    Ok(rows)
}

fn watched(
    options: &Options,
    name: &str,
    sink: &Sink,
    parts: u32,
    judged: bool,
) -> Outcome<Vec<Row>> {
    let backlog = Backlog::make_parts(parts, SMALL.records, SMALL.value_bytes)?;
    let mut seen = Seen::default();
    for _ in 0..options.rounds * RUNS_A_ROUND {
        let home = Home::make()?;
        backlog.link(&home.logs(), sink.name())?;
        let mut server = home.start()?;
        server.look_until(1)?;
        let control = server.process.thread("control")?;
        watch(&mut server, &control, backlog.records, &mut seen)?;
        server.look_until(backlog.records)?;
        for _ in 0..IDLE_WINDOWS {
            poll(&mut server, &control, &mut seen.idle)?;
        }
    }
    if seen.rates.len() < 3 {
        return Err("the backlog was gone before it could be polled".to_owned());
    }
    Ok(rows(name, judged, seen))
}

fn watch(server: &mut Server, control: &Path, records: u64, seen: &mut Seen) -> Outcome<()> {
    let mut polled_first = false;
    loop {
        let mut rates = [(0.0, 0.0); 2];
        let mut answering = [0.0; 2];
        for polled in [polled_first, !polled_first] {
            let before = mark(server)?;
            let control_before = Scheduled::of_thread(control)?.ran;
            if polled {
                poll(server, control, &mut seen.busy)?;
            } else {
                thread::sleep(WINDOW);
            }
            answering[usize::from(polled)] = Scheduled::of_thread(control)?.ran - control_before;
            let after = mark(server)?;
            // A window that saw the end is no window at full rate.
            if after.0 == records {
                return Ok(());
            }
            let moved = (after.0 - before.0) as f64;
            rates[usize::from(polled)] = (
                moved / (after.1 - before.1).as_secs_f64(),
                moved / (after.2 - before.2),
            );
        }
        polled_first = !polled_first;
        let [without, with] = rates;
        seen.rates.push(with.0 / without.0);
        seen.rates_a_cpu_second.push(with.1 / without.1);
        for (sum, seconds) in seen.answering.iter_mut().zip(answering) {
            *sum += seconds;
        }
    }
}

fn mark(server: &mut Server) -> Outcome<Mark> {
    let settled = server.http_server.settled()?;
    Ok((settled, Instant::now(), server.process.cpu()?.total()))
}

/// A window of polls.
fn poll(server: &mut Server, control: &Path, waits: &mut Waits) -> Outcome<()> {
    // Not for longer: what is started meanwhile would inherit it.
    let preferred = set_nice(POLLER_NICE).is_ok();
    let polled = poll_paced(server, control, waits);
    if preferred {
        set_nice(0).map_err(|error| error.to_string())?;
    }
    polled
}

fn poll_paced(server: &mut Server, control: &Path, waits: &mut Waits) -> Outcome<()> {
    let begin = Instant::now();
    let mut answered = begin;
    for number in 0..POLLS_A_WINDOW {
        let due = begin + BETWEEN_POLLS * number;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let for_cpu = || {
            Outcome::Ok((
                Scheduled::own()?.waited,
                Scheduled::of_thread(control)?.waited,
            ))
        };
        let (own_before, answering_before) = for_cpu()?;
        let sent = Instant::now();
        let since = if answered > due { due } else { sent };
        server.http_server.poll()?;
        answered = Instant::now();
        let (own, answering) = for_cpu()?;
        let (own, answering) = (own - own_before, answering - answering_before);
        let net = (answered - sent).as_secs_f64() - own - answering;
        waits.all.push((answered - since).as_secs_f64() * 1e3);
        waits.answering.push(answering * 1e3);
        waits.net.push(net.max(0.0) * 1e3);
    }
    Ok(())
}

fn rows(sink: &str, judged: bool, mut seen: Seen) -> Vec<Row> {
    let p50 = percentile(&mut seen.busy.all, 0.5);
    let p99 = percentile(&mut seen.busy.all, 0.99);
    let p99_answering = percentile(&mut seen.busy.answering, 0.99);
    let p99_net = percentile(&mut seen.busy.net, 0.99);
    let p99_idle = percentile(&mut seen.idle.all, 0.99);
    let error = 100.0 * median_error(&seen.rates);
    let error_cpu = 100.0 * median_error(&seen.rates_a_cpu_second);
    let (pairs, polls) = (seen.rates.len(), seen.busy.all.len());
    let polls_paired = (pairs * POLLS_A_WINDOW as usize) as f64;
    let one = 1e6 * (seen.answering[1] - seen.answering[0]) / polls_paired;
    let loss = 100.0 * (1.0 - median(seen.rates));
    let loss_cpu = 100.0 * (1.0 - median(seen.rates_a_cpu_second));
    let goal = |goal: &str| if judged { goal } else { "–" }.to_owned();
    eprintln!(
        "\n/sync_status at 1,000 polls/s while replaying to {sink}\n  \
         {polls} polls: half within {p50:.3} ms, 99 % within {p99:.2} ms; the thread that answers \
         waits for a CPU {p99_answering:.2} ms at p99; without waits for a CPU 99 % within \
         {p99_net:.3} ms; idle 99 % within {p99_idle:.2} ms\n  \
         {pairs} pairs of windows: rate down {loss:.1} % ± {error:.1} %, records a CPU second down \
         {loss_cpu:.1} % ± {error_cpu:.1} %; a poll costs {one:.1} µs of CPU"
    );
    vec![
        Row {
            what: format!("/sync_status at 1,000 polls/s, replaying to {sink} at full rate: p99"),
            goal: goal("< 1 ms"),
            figure: format!(
                "{p99:.2} ms ({p99_net:.3} ms without waits for a CPU; idle {p99_idle:.2} ms)"
            ),
            passed: judged.then(|| Bound::AtMost(1.0).holds(p99)),
            numbers: json!({
                "p50_ms": p50,
                "p99_ms": p99,
                "p99_net_ms": p99_net,
                "p99_idle_ms": p99_idle,
                "polls": polls,
            }),
        },
        Row {
            what: format!("/sync_status at 1,000 polls/s: rate of the replay to {sink} down by"),
            goal: goal("< 2 %"),
            figure: format!(
                "{loss:.1} % ± {error:.1} % (a CPU second {loss_cpu:.1} % ± {error_cpu:.1} %; \
                 {one:.0} µs a poll)"
            ),
            passed: judged.then(|| Bound::AtMost(2.0).holds(loss)),
            numbers: json!({
                "percent": loss, "percent_error": error, "percent_a_cpu_second": loss_cpu,
                "percent_a_cpu_second_error": error_cpu, "microseconds_a_poll": one
            }),
        },
    ]
}

/// Standard error of the median, from the spread of the middle half: 1.253 σ / √n, where that half
/// is 1.349 σ wide.
fn median_error(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    let spread = percentile(&mut values, 0.75) - percentile(&mut values, 0.25);
    1.253 * spread / 1.349 / (values.len() as f64).sqrt()
}
