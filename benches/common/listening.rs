//! Where a process listens, by what Linux tells: a server on port 0 has no other way to say it.

use std::fs;
use std::path::{Path, PathBuf};

/// The port on which a process listens, once it does.
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
