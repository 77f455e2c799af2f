//! What Linux tells of a process. For the benches and the tests.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// CPU time of a process, which may be `self`: user and system, all threads.
pub(crate) fn cpu_time(process: impl Display) -> Duration {
    cpu_time_in(&fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs"))
}

/// CPU time in the text of a `stat` file, of a process or of a thread.
pub(crate) fn cpu_time_in(stat: &str) -> Duration {
    // The name in parentheses may hold anything; utime and stime are the 12th and 13th behind it.
    let (_, behind) = stat.rsplit_once(')').expect("a name in parentheses");
    let times = behind.split_whitespace().skip(11).take(2);
    let ticks: u64 = times
        .map(|ticks| ticks.parse::<u64>().expect("ticks are a number"))
        .sum();
    // Linux tells user space 100 ticks a second on every architecture that this runs on.
    Duration::from_millis(ticks * 10)
}

/// Files, sockets and the like that a process has open.
pub(crate) fn open_files(process: impl Display) -> usize {
    let folder = format!("/proc/{process}/fd");
    fs::read_dir(folder).expect("it runs").count()
}

/// The rest of the line that begins with `name` in a file below `/proc/<process>`; `None` where the
/// process has ended.
pub(crate) fn field(process: impl Display, file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{process}/{file}")).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(rest.trim().to_owned())
}

/// The number that such a line begins with.
pub(crate) fn number(process: impl Display, file: &str, name: &str) -> u64 {
    field(process, file, name)
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("Linux tells {name} of a process that runs"))
}

/// The port on which a process listens, once it does: a server on port 0 has no other way to say
/// it.
pub(crate) fn listening_port(process: u32) -> Option<u16> {
    let table = fs::read_to_string(format!("/proc/{process}/net/tcp")).ok()?;
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).ok()?;
    let ours: Vec<PathBuf> = descriptors
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .collect();
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, "0A", _, _, _, _, _, inode, ..] = fields[..] else {
            return None;
        };
        let socket = Path::new(&format!("socket:[{inode}]")).to_owned();
        let (_, port) = local.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        ours.contains(&socket).then_some(port)
    })
}
