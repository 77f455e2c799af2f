//! The feeder's path: read, split, decode, check, lane; from a file to batches in the workers' mailboxes. In bytes of log.

mod common;

use common::feeding::{BACKEND, feed, payloads};
use common::{Home, now_unix};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hustdbsync::workload::Workload;

/// Value sizes, and records that make about 64 MB of log.
const SIZES: [(usize, u64); 3] = [(100, 260_000), (1024, 44_000), (65_536, 730)];

fn feeder(criterion: &mut Criterion) {
    for (value_bytes, records) in SIZES {
        let home = Home::make();
        let written = Workload::uniform(records, value_bytes, now_unix())
            .write(&home.logs(), BACKEND)
            .expect("the logs can be written");
        let mut group = criterion.benchmark_group(format!("feeder/{value_bytes} B values"));
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

criterion_group!(benches, feeder);
criterion_main!(benches);
