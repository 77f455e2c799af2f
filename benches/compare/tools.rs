//! What has to be installed, and what machine this is.

use std::fs;
use std::process::{Command, Stdio};

/// Programs that the comparison runs, and how to ask them who they are.
const PROGRAMS: [(&str, &str); 2] = [("nginx", "-v"), ("wrk", "-v")];

/// What is missing and how to get it, or nothing.
pub(crate) fn missing() -> Option<String> {
    let missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, ask)| version(program, ask).is_none())
        .map(|(program, _)| *program)
        .collect();
    (!missing.is_empty()).then(|| {
        format!(
            "NOT INSTALLED: {}. The comparison needs nginx as the sink and wrk as the rival.\n\
             On Debian: apt-get install --no-install-recommends nginx-light wrk\n\
             (no service is needed: each run starts an nginx of its own on a free port of 127.0.0.1)",
            missing.join(" and ")
        )
    })
}

fn version(program: &str, ask: &str) -> Option<String> {
    let output = Command::new(program)
        .arg(ask)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    Some(said.lines().next().unwrap_or_default().trim().to_owned())
}

/// Processor, cores, kernel, load and the programs' versions.
pub(crate) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or_else(
            || "processor unknown".to_owned(),
            |(_, name)| name.to_owned(),
        );
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let programs: Vec<String> = PROGRAMS
        .iter()
        .filter_map(|(program, ask)| version(program, ask))
        .map(|said| said.split(" [").next().unwrap_or_default().to_owned())
        .collect();
    format!(
        "{processor}, {cores} cores, Linux {}, load {}; {}",
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg")
            .split_whitespace()
            .next()
            .unwrap_or("?"),
        programs.join("; ")
    )
}
