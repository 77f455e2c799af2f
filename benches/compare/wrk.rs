//! wrk, posting one request for ever: the same bytes as one of ours, made once, without Lua a
//! request.

use std::fs;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::figure::Figure;
use crate::process::Cpu;
use crate::{AUTHORIZATION, CONNECTIONS, Outcome};

/// wrk, ready to run.
pub(crate) struct Wrk {
    folder: TempDir,
    target: String,
    seconds: u32,
    connections: u32,
}

impl Wrk {
    /// Posts bodies of `value_bytes` to the sink at `address` for `seconds` a run.
    pub(crate) fn new(address: &str, value_bytes: usize, seconds: u32) -> Outcome<Self> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        // Keys of a workload have ten digits, its versions begin at 1. At the top level of the file
        // this is run once; wrk adds Host and Content-Length.
        let script = format!(
            "wrk.method = \"POST\"\n\
             wrk.path = \"/hustdb/put?key=key:0000000042&ver=1&ttl=0&is_dup=true\"\n\
             wrk.body = string.rep(\"v\", {value_bytes})\n\
             wrk.headers[\"Authorization\"] = \"Basic {AUTHORIZATION}\"\n"
        );
        fs::write(folder.path().join("put.lua"), script).map_err(|error| error.to_string())?;
        Ok(Self {
            folder,
            target: format!("http://{address}/"),
            seconds,
            connections: CONNECTIONS,
        })
    }

    /// The same over so many connections.
    pub(crate) fn over(self, connections: u32) -> Self {
        Self {
            connections,
            ..self
        }
    }

    /// One run. wrk's CPU is known when it has ended, so no other child may end meanwhile.
    pub(crate) fn run(&self) -> Outcome<Figure> {
        let before = Cpu::of_ended_children()?;
        let output = Command::new("wrk")
            .args([
                "--threads",
                "1",
                "--connections",
                &self.connections.to_string(),
            ])
            .args(["--duration", &format!("{}s", self.seconds), "--script"])
            .arg(self.folder.path().join("put.lua"))
            .arg(&self.target)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("wrk does not start: {error}"))?;
        let cpu = Cpu::of_ended_children()? - before;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || text.contains("Non-2xx") || text.contains("Socket errors") {
            let complaint = String::from_utf8_lossy(&output.stderr);
            return Err(format!("wrk failed:\n{text}{complaint}"));
        }
        parse(&text, cpu).ok_or_else(|| format!("wrk's report is not understood:\n{text}"))
    }
}

/// Takes the figures out of `  558123 requests in 3.00s, 98.1MB read` and `Requests/sec:
/// 186041.21`.
fn parse(text: &str, cpu: Cpu) -> Option<Figure> {
    let requests = text.lines().find_map(|line| {
        let (count, _) = line.split_once(" requests in ")?;
        count.trim().parse::<f64>().ok()
    })?;
    let rate = text.lines().find_map(|line| {
        let rate = line.strip_prefix("Requests/sec:")?;
        rate.trim().parse::<f64>().ok()
    })?;
    Some(Figure {
        rate,
        cpu: cpu.over(requests),
        sleeps: 0.0,
    })
}
