//! The reader's path: read, split, decode, check, lane; from a file to batches in the workers'
//! mailboxes. In bytes of log; from memory, and from a disk.

mod common;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use common::feeding::{BACKEND, feed, feed_reading, payloads};
use common::{Home, now_unix};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hustdbsync::internals::workload::Workload;

/// Value sizes, and records that make about 64 MB of log.
const SIZES: [(usize, u64); 3] = [(100, 260_000), (1024, 44_000), (65_536, 730)];

fn reader(criterion: &mut Criterion) {
    for (value_bytes, records) in SIZES {
        let home = Home::make();
        let written = Workload::uniform(records, value_bytes, now_unix())
            .write(&home.logs(), BACKEND)
            .expect("the logs can be written");
        let mut group = criterion.benchmark_group(format!("reader/{value_bytes} B values"));
        group
            .throughput(Throughput::Bytes(written.bytes))
            .sample_size(20);
        group.bench_function("read, split, decode, check, lane", |bench| {
            bench.iter_custom(|iterations| (0..iterations).map(|_| feed(&home, records)).sum());
        });
        let payloads = payloads(&written.files);
        group.bench_function("base64-simd alone", |bench| {
            bench.iter_batched_ref(
                || payloads.clone(),
                |payloads| {
                    for payload in payloads {
                        let decoded = base64_simd::STANDARD.decode_inplace(payload);
                        assert!(decoded.is_ok());
                    }
                },
                criterion::BatchSize::LargeInput,
            );
        });
        group.finish();
    }
}

/// Values of 1 KB, about 1 GB of log: a small one the disk has in a cache of its own.
const ON_DISK: (usize, u64) = (1024, 700_000);

/// Logs that nobody has in memory: as after a long outage.
fn from_disk(criterion: &mut Criterion) {
    let (value_bytes, records) = ON_DISK;
    let home = Home::make();
    let written = Workload::uniform(records, value_bytes, now_unix())
        .write(&home.logs(), BACKEND)
        .expect("the logs can be written");
    let mut group = criterion.benchmark_group("reader/1024 B values, from disk");
    group
        .throughput(Throughput::Bytes(written.bytes))
        .sample_size(10);
    let ways = [
        ("as the kernel reads ahead by itself", false),
        ("asked for", true),
    ];
    for (name, reads_ahead) in ways {
        group.bench_function(name, |bench| {
            bench.iter_custom(|iterations| {
                let feed = |_| {
                    evict(&written.files);
                    feed_reading(&home, records, reads_ahead)
                };
                (0..iterations).map(feed).sum()
            });
        });
    }
    group.finish();
}

/// Has the files written to disk and forgotten in memory.
fn evict(files: &[PathBuf]) {
    for path in files {
        let file = File::open(path).expect("it was just written");
        file.sync_all().expect("it can be synced");
        #[allow(unsafe_code, reason = "std has no advice")]
        // SAFETY: the descriptor is open; no pointer is passed.
        let refused =
            unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        assert_eq!(refused, 0, "{}", path.display());
    }
}

criterion_group!(benches, reader, from_disk);
criterion_main!(benches);
