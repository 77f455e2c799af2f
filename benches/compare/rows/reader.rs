//! The reader's path beside base64 alone on the same payloads, in CPU time of the one thread that
//! does it.

use hustdbsync::internals::workload::Workload;
use serde_json::json;

use crate::common::feeding::{BACKEND, feed, payloads};
use crate::common::{Home, now_unix};
use crate::figure::{median, ratio};
use crate::process::Scheduled;
use crate::report::{Bound, Row};
use crate::{Options, Outcome};

const VALUE_BYTES: usize = 1024;
/// About 64 MB of log.
const RECORDS: u64 = 44_000;
/// A run takes some 20 ms.
const RUNS_A_ROUND: u32 = 8;

/// Measures, and says how it stands.
pub(crate) fn compare(options: &Options) -> Outcome<Vec<Row>> {
    let home = Home::make();
    let written = Workload::uniform(RECORDS, VALUE_BYTES, now_unix())
        .write(&home.logs(), BACKEND)
        .map_err(|error| format!("the logs can't be written: {error}"))?;
    let payloads = payloads(&written.files);
    let (mut fed, mut decoded) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds * RUNS_A_ROUND {
        let before = Scheduled::own()?.ran;
        feed(&home, RECORDS);
        fed.push(Scheduled::own()?.ran - before);

        let mut payloads = payloads.clone();
        let before = Scheduled::own()?.ran;
        for payload in &mut payloads {
            base64_simd::STANDARD
                .decode_inplace(payload)
                .map_err(|error| error.to_string())?;
        }
        decoded.push(Scheduled::own()?.ran - before);
    }
    let share = ratio(&decoded, &fed);
    let speed = written.bytes as f64 / median(fed) / 1e9;
    let alone = written.bytes as f64 / median(decoded) / 1e9;
    eprintln!(
        "\nreader, 1 KB values\n  read, split, decode, check, lane {speed:.2} GB/s of log a CPU \
         second\n  \
         base64-simd alone                {alone:.2} GB/s"
    );
    let goal = Bound::AtLeast(2.0);
    Ok(vec![
        Row {
            what: "reader, 1 KB values: log a core".to_owned(),
            goal: "≥ 2 GB/s".to_owned(),
            figure: format!("{speed:.2} GB/s"),
            passed: Some(goal.holds(speed)),
            numbers: json!({ "gigabytes_per_cpu_second": speed }),
        },
        Row::ratio(
            "reader, 1 KB values: speed",
            "base64-simd alone",
            share,
            None,
        ),
    ])
}
