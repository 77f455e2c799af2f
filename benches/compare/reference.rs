//! A program that the product is compared with: this bench, started once more to be that.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::Outcome;
use crate::figure::Figure;
use crate::process::Process;

/// One run of the reference of this name over the logs in `folder`, which have `records` records.
/// It prints how many it has done and in how many seconds, and waits to be measured.
pub(crate) fn run(name: &str, address: &str, folder: &Path, records: u64) -> Outcome<Figure> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut process = Process::start(
        &format!("the {name}"),
        Command::new(program)
            .args(["--bench", &format!("--{name}"), address])
            .arg(format!("--{name}-logs"))
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped()),
    )?;
    let line = process.first_line()?;
    let said: Vec<f64> = line
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let [done, seconds] = said[..] else {
        return Err(format!("the {name} failed; what it said is above"));
    };
    if done != records as f64 {
        return Err(format!("the {name} did {done} of {records} records"));
    }
    Ok(Figure {
        rate: done / seconds,
        cpu: process.cpu()?.over(done),
        sleeps: 0.0,
    })
}
