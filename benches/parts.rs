//! The parts of a record's way, each beside a naive or a peer's peer, so that a ratio can be read
//! off.

use std::hint::black_box;
use std::io::Write as _;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hustdbsync::internals::binlog::request::Template;
use hustdbsync::internals::binlog::{Lifetime, Method, Record, key, line};
use hustdbsync::internals::http::response;
use hustdbsync::internals::replay::mailbox::{Mailbox, NoWaker};

const PREFIX: &[u8] = b"[2026-11-22 16:40:38] [DEBUG] | ";
const LOG_BYTES: usize = 4 << 20;
const VALUE_BYTES: [usize; 3] = [100, 1024, 65_536];

fn record<'a>(key: &'a [u8], value: &'a [u8]) -> Record<'a> {
    Record::new(Method::Put, key, value)
}

/// About [`LOG_BYTES`] of log, whole lines, and how many they are.
fn log_of(value_bytes: usize) -> (Vec<u8>, u64) {
    let value = vec![b'v'; value_bytes];
    let (mut log, mut bytes, mut lines) = (Vec::new(), Vec::new(), 0);
    while log.len() < LOG_BYTES {
        bytes.clear();
        record(format!("key:{lines:012}").as_bytes(), &value).encode(&mut bytes);
        line::encode(PREFIX, &bytes, &mut log);
        lines += 1;
    }
    (log, lines)
}

/// Finding where lines end.
fn lines(criterion: &mut Criterion) {
    for value_bytes in VALUE_BYTES {
        let (log, _) = log_of(value_bytes);
        let mut group = criterion.benchmark_group(format!("lines/{value_bytes} B values"));
        group.throughput(Throughput::Bytes(log.len() as u64));
        group.bench_function("memchr", |bench| {
            bench.iter(|| memchr::memchr_iter(b'\n', black_box(&log)).count());
        });
        group.bench_function("naive", |bench| {
            bench.iter(|| black_box(&log).split(|octet| *octet == b'\n').count());
        });
        group.finish();
    }
}

/// A log's payloads decoded and checked, beside base64-simd alone on the same payloads.
fn decode(criterion: &mut Criterion) {
    for value_bytes in VALUE_BYTES {
        let (log, _) = log_of(value_bytes);
        let mut group = criterion.benchmark_group(format!("decode/{value_bytes} B values"));
        group.throughput(Throughput::Bytes(log.len() as u64));
        let each_line = |log: &mut [u8], act: &dyn Fn(&mut [u8])| {
            let mut rest = log;
            while let Some(end) = memchr::memchr(b'\n', rest) {
                let (line, after) = rest.split_at_mut(end + 1);
                act(&mut line[..end]);
                rest = after;
            }
        };
        group.bench_function("line: payload, base64-simd, record", |bench| {
            bench.iter_batched_ref(
                || log.clone(),
                |log| each_line(log, &|line| _ = black_box(line::decode_in_place(line))),
                BatchSize::LargeInput,
            );
        });
        group.bench_function("base64-simd alone", |bench| {
            bench.iter_batched_ref(
                || log.clone(),
                |log| {
                    each_line(log, &|line| {
                        _ = black_box(
                            base64_simd::STANDARD.decode_inplace(&mut line[PREFIX.len()..]),
                        );
                    });
                },
                BatchSize::LargeInput,
            );
        });
        group.finish();
    }
}

/// A decoded record's fields, with and without its checks; and the hash that picks its lane.
fn records(criterion: &mut Criterion) {
    let mut bytes = Vec::new();
    record(b"key:000000000042", &[b'v'; 100]).encode(&mut bytes);
    let mut group = criterion.benchmark_group("record");
    group.bench_function("parse, checked", |bench| {
        bench.iter(|| Record::parse(black_box(&bytes)))
    });
    group.bench_function("parse, checked before", |bench| {
        bench.iter(|| Record::parse_checked(black_box(&bytes)).value.len());
    });
    let mut scratch = Vec::new();
    for (name, text) in [
        ("plain", &b"key:000000000042"[..]),
        ("escaped", b"key%3A000000000042"),
    ] {
        let record = record(text, b"");
        group.bench_function(format!("order hash, {name} key"), |bench| {
            bench.iter(|| key::order_hash(black_box(&record), &mut scratch));
        });
    }
    group.finish();
}

/// A request's head, beside `write!`.
fn requests(criterion: &mut Criterion) {
    let template = Template::new("127.0.0.1:9998", Some("aHVzdHN0b3JlOmh1c3RzdG9yZQ=="));
    let value = [b'v'; 100];
    let record = record(b"key:000000000042", &value);
    let mut head = Vec::with_capacity(4096);
    let mut group = criterion.benchmark_group("request");
    group.bench_function("template", |bench| {
        bench.iter(|| {
            head.clear();
            template.compose(black_box(&record), Lifetime::Unlimited, &mut head)
        });
    });
    group.bench_function("write!", |bench| {
        bench.iter(|| {
            head.clear();
            let record = black_box(&record);
            write!(
                head,
                "POST /hustdb/put?key={}&ver={}&ttl=0&is_dup=true HTTP/1.1\r\nHost: \
                 127.0.0.1:9998\r\nAuthorization: Basic \
                 aHVzdHN0b3JlOmh1c3RzdG9yZQ==\r\nContent-Length: {}\r\n\r\n",
                String::from_utf8_lossy(record.key),
                record.version,
                record.value.len()
            )
        });
    });
    group.finish();
}

/// An answer, by the fast path, by httparse within our parser, and by httparse alone.
fn responses(criterion: &mut Criterion) {
    let usual = b"HTTP/1.1 200 OK\r\nVersion: 1\r\nVerError: false\r\nContent-Length: \
                  0\r\nContent-Type: text/plain\r\n\r\n";
    let other = b"HTTP/1.1 200 OK\r\nVersion: 1\r\nVerError: true\r\nContent-Length: \
                  0\r\nContent-Type: text/plain\r\n\r\n";
    let mut group = criterion.benchmark_group("response");
    group.bench_function("usual", |bench| {
        bench.iter(|| response::parse(black_box(usual)))
    });
    group.bench_function("other", |bench| {
        bench.iter(|| response::parse(black_box(other)))
    });
    group.bench_function("httparse alone", |bench| {
        bench.iter(|| {
            let mut headers = [httparse::EMPTY_HEADER; 8];
            httparse::Response::new(&mut headers).parse(black_box(usual))
        });
    });
    group.finish();
}

/// A message through a mailbox whose reader is awake, beside std's channel.
fn mailboxes(criterion: &mut Criterion) {
    let mailbox = Mailbox::new(1024, Box::new(NoWaker));
    let (sender, receiver) = std::sync::mpsc::sync_channel(1024);
    let mut group = criterion.benchmark_group("hand-off");
    group.bench_function("mailbox", |bench| {
        bench.iter(|| {
            let _ = mailbox.send(black_box(7_u64));
            mailbox.receive()
        });
    });
    group.bench_function("std sync_channel", |bench| {
        bench.iter(|| {
            let _ = sender.try_send(black_box(7_u64));
            receiver.try_recv()
        });
    });
    group.finish();
}

criterion_group!(
    parts, lines, decode, records, requests, responses, mailboxes
);
criterion_main!(parts);
