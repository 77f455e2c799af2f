//! What is settled, beside a set of line numbers; a checkpoint, beside the original's status file;
//! and those of many backends, one after the other and on threads.

mod common;

use std::collections::HashSet;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use common::{Home, cpu_time};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hustdbsync::internals::engine::files::RealDisk;
use hustdbsync::internals::engine::waker::PollWaker;
use hustdbsync::internals::ledger::acks::{OpenSegment, OpenSegments};
use hustdbsync::internals::ledger::checkpoint::Checkpoint;
use hustdbsync::internals::ledger::file::Place;
use hustdbsync::internals::ledger::identity::{Identity, LastRead};
use hustdbsync::internals::ledger::ids::{FileId, SegmentId};
use hustdbsync::internals::ledger::plan::FileResume;
use hustdbsync::internals::ledger::runs::LineRuns;
use hustdbsync::internals::replay::checkpointer::replace_checkpoint;
use hustdbsync::internals::replay::disk::Disk;
use hustdbsync::internals::replay::durable_write::{Completed, DurableWrite, JobId, Submitted};
use mio::{Events, Poll, Token};

/// Lines of a chunk of 100 B values, and chunks in flight.
const LINES: u32 = 1000;
const SEGMENTS: u64 = 64;
/// Lanes among which lines are shared out: they are settled in their order, lane by lane a burst at
/// a time.
const LANES: u32 = 16;
const BURST: u32 = 12;

/// Segments and lines in an order in which lanes may settle them.
fn settlements() -> Vec<(SegmentId, u32)> {
    let mut all = Vec::new();
    for segment in 0..SEGMENTS {
        for first in (0..LINES).step_by((LANES * BURST) as usize) {
            for lane in 0..LANES {
                let lines = (0..BURST).map(|at| first + at * LANES + lane);
                all.extend(
                    lines
                        .filter(|line| *line < LINES)
                        .map(|line| (SegmentId(segment), line)),
                );
            }
        }
    }
    all
}

fn acks(criterion: &mut Criterion) {
    let settlements = settlements();
    let mut group = criterion.benchmark_group("acks");
    group.throughput(Throughput::Elements(settlements.len() as u64));
    group.bench_function("a bit a line", |bench| {
        bench.iter_batched_ref(
            || {
                let mut open = OpenSegments::default();
                for id in 0..SEGMENTS {
                    let first = Place {
                        line: id * u64::from(LINES),
                        byte: 0,
                    };
                    open.push(OpenSegment::new(
                        SegmentId(id),
                        FileId(1),
                        first,
                        LINES,
                        1 << 18,
                        0,
                        &[],
                    ));
                }
                open
            },
            |open| {
                for (segment, line) in &settlements {
                    black_box(open.settle(*segment, *line));
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("a set of lines", |bench| {
        bench.iter_batched_ref(
            || settlements.iter().copied().collect::<HashSet<_>>(),
            |unsettled| {
                for settlement in &settlements {
                    black_box(unsettled.remove(settlement));
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// Of a backend with an hour of logs, of which two are being replayed: some hundred runs of settled
/// lines.
fn checkpoint() -> Checkpoint {
    let mut checkpoint = Checkpoint::default();
    for minute in 0..60 {
        let mut settled = LineRuns::default();
        if minute < 2 {
            (0..500).for_each(|run| settled.push(100 + run * 10, 7));
        }
        checkpoint.resume.files.push(FileResume {
            name: format!("202611221640{minute:02}.log").into(),
            identity: Identity::new(1, minute, 0, &[b'x'; 64]),
            line: 0,
            byte: 0,
            settled,
            lines_read: 10_000,
            away_unix: 0,
            sent: LineRuns::default(),
            last_read: LastRead::default(),
        });
    }
    checkpoint
}

/// Writes a file anew, durably, as a checkpoint is: a new file, synced, renamed.
fn replace(folder: &Path, bytes: &[u8]) {
    let new = folder.join("checkpoint.new");
    let mut file = File::create(&new).expect("a file can be made");
    file.write_all(bytes).expect("there is room");
    file.sync_all().expect("the disk is well");
    fs::rename(new, folder.join("checkpoint")).expect("a file can be renamed");
    let folder = File::open(folder).expect("a folder can be opened");
    folder.sync_all().expect("the disk is well");
}

fn checkpoints(criterion: &mut Criterion) {
    let (checkpoint, mut bytes) = (checkpoint(), Vec::new());
    checkpoint.encode(&mut bytes);
    let home = Home::make();
    let mut group = criterion.benchmark_group("checkpoint");
    group.sample_size(20);
    group.bench_function(format!("encode, {} bytes", bytes.len()), |bench| {
        let mut out = Vec::new();
        bench.iter(|| black_box(&checkpoint).encode(&mut out));
    });
    group.bench_function("decode", |bench| {
        bench.iter(|| Checkpoint::decode(black_box(&bytes)));
    });
    group.bench_function("replace, synced", |bench| {
        bench.iter(|| replace(&home.logs(), &bytes));
    });
    group.bench_function("the original's 10,000,000 bytes, synced", |bench| {
        let bytes = vec![b'0'; 10_000_000];
        bench.iter(|| replace(&home.logs(), &bytes));
    });
    group.finish();
}

/// Backends whose checkpoints are due at one time.
const BACKENDS: usize = 64;

/// A disk below `home`, and the poll that is woken when a durable write has ended.
fn disk(home: &Home, has_threads: bool) -> (RealDisk, Poll) {
    let (logs, poll) = (home.logs(), Poll::new().expect("there is epoll"));
    let disk = RealDisk::new(logs.clone(), logs.with_file_name("status"));
    if !has_threads {
        return (disk, poll);
    }
    let waker = PollWaker::new(&poll, Token(0)).expect("there is an eventfd");
    (disk.with_threads(Arc::new(waker)), poll)
}

/// Writes a checkpoint of each backend, as the checkpointer does, and waits for the last.
fn write_all(disk: &mut RealDisk, poll: &mut Poll, durable_writes: &mut Vec<DurableWrite>) {
    let mut ended = Vec::with_capacity(BACKENDS);
    for durable_write in durable_writes.drain(..) {
        if let Submitted::Completed(at_once) = disk.begin(JobId(0), durable_write) {
            ended.push(at_once);
        }
    }
    let mut events = Events::with_capacity(4);
    while ended.len() < BACKENDS {
        // Signals end it too.
        let _ = poll.poll(&mut events, None);
        ended.extend(std::iter::from_fn(|| disk.completed()));
    }
    for Completed {
        durable_write,
        result,
        ..
    } in ended
    {
        result.expect("the disk is well");
        durable_writes.push(durable_write);
    }
}

fn many_checkpoints(criterion: &mut Criterion) {
    let mut bytes = Vec::new();
    checkpoint().encode(&mut bytes);
    let mut group = criterion.benchmark_group(format!("checkpoints, {BACKENDS} backends"));
    group.sample_size(10);
    for (name, has_threads) in [("one after the other", false), ("on threads", true)] {
        let home = Home::make();
        let (mut disk, mut poll) = disk(&home, has_threads);
        let durable_write = |place| {
            let mut durable_write =
                DurableWrite::new(format!("127.0.0.1:{}", 10_000 + place).into());
            replace_checkpoint(&mut durable_write.steps, false);
            durable_write.bytes.clone_from(&bytes);
            durable_write
        };
        let mut durable_writes: Vec<DurableWrite> = (0..BACKENDS).map(durable_write).collect();
        write_all(&mut disk, &mut poll, &mut durable_writes);
        let (before, mut rounds) = (cpu_time(), 0);
        group.bench_function(name, |bench| {
            bench.iter(|| {
                rounds += 1;
                write_all(&mut disk, &mut poll, &mut durable_writes);
            });
        });
        if rounds > 0 {
            let cpu = (cpu_time() - before) / rounds;
            eprintln!("{name}: {cpu:?} of CPU a round");
        }
    }
    group.finish();
}

criterion_group!(benches, acks, checkpoints, many_checkpoints);
criterion_main!(benches);
