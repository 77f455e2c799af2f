//! What has to be installed, and what machine this is.

use std::fs;
use std::process::{Command, Stdio};

use crate::Outcome;
use crate::process::family_ticks;

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
             (no service is needed: each run starts an nginx of its own on a free port of \
             127.0.0.1)",
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

/// What everybody else on the machine used while it was measured.
pub(crate) struct Bystanders {
    busy: f64,
    all: f64,
    ours: f64,
}

impl Bystanders {
    /// From now on.
    pub(crate) fn watch() -> Outcome<Self> {
        let path = "/proc/stat";
        let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        let first = text.lines().next().unwrap_or_default();
        let ticks: Vec<f64> = first
            .split_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|ticks| ticks.parse().ok())
            .collect();
        let [user, nice, system, idle, waiting, interrupts, soft, stolen] = ticks[..] else {
            return Err(format!("{path} is not as proc(5) has it"));
        };
        let busy = user + nice + system + interrupts + soft + stolen;
        Ok(Self {
            busy,
            all: busy + idle + waiting,
            ours: family_ticks()?,
        })
    }

    /// A sentence on how far the figures can be trusted. To be asked when all that was started has
    /// ended.
    pub(crate) fn told(&self) -> Outcome<String> {
        let now = Self::watch()?;
        let others = (now.busy - self.busy) - (now.ours - self.ours);
        let percent = (100.0 * others / (now.all - self.all).max(1.0)).max(0.0);
        let judgement = match percent {
            0.0..5.0 => "which hardly matters",
            5.0..20.0 => "so rates and waits are rough, CPU figures less so",
            _ => "so rates and waits say little, and CPU figures are to be read with care",
        };
        Ok(format!(
            "Others used {percent:.0} % of this machine's CPU meanwhile, {judgement}."
        ))
    }
}
