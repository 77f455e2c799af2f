//! Running a path under callgrind, and reading what it has counted.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use crate::Outcome;

/// Functions of a path that are told: the dearest ones.
const FUNCTIONS: usize = 12;

/// Instructions of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) all: u64,
    /// Of the dearest functions, without what they call.
    pub(crate) by_function: BTreeMap<String, u64>,
}

pub(crate) fn is_there() -> bool {
    let version = Command::new("valgrind").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// Counts each path, as many at a time as there are cores.
pub(crate) fn count_all(names: &[&str]) -> Outcome<Vec<Counts>> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut counts = Vec::new();
    // The last is the longest: it begins first.
    let backwards: Vec<&str> = names.iter().rev().copied().collect();
    for together in backwards.chunks(cores) {
        let outcomes: Vec<Outcome<Counts>> = thread::scope(|scope| {
            let begun: Vec<_> = together
                .iter()
                .map(|name| scope.spawn(|| count(name, folder.path())))
                .collect();
            begun
                .into_iter()
                .map(|thread| thread.join().expect("it does not panic"))
                .collect()
        });
        for outcome in outcomes {
            counts.push(outcome?);
        }
    }
    counts.reverse();
    Ok(counts)
}

fn count(name: &str, folder: &Path) -> Outcome<Counts> {
    let file = folder.join(name);
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--toggle-collect=*instructions*measured*",
        ])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(own)
        .args(["--path", name])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind does not start: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name} under valgrind: {}\n{said}", output.status));
    }
    let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
    parse(&text).ok_or_else(|| format!("{name}: callgrind has counted nothing"))
}

/// Reads callgrind's file: costs of lines below the function that they are in; those below a call
/// are of what is called, which has its own.
fn parse(text: &str) -> Option<Counts> {
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    let mut by_function: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut function, mut is_call, mut all) = ("", false, 0);
    for line in text.lines() {
        if let Some(named) = line.strip_prefix("fn=") {
            function = name_of(named, &mut names)?;
        } else if let Some(named) = line.strip_prefix("cfn=") {
            name_of(named, &mut names)?;
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse().ok());
            let cost: u64 = cost.unwrap_or(0);
            if !std::mem::take(&mut is_call) {
                *by_function.entry(function).or_default() += cost;
                all += cost;
            }
        }
    }
    if all == 0 {
        return None;
    }
    let mut dearest: Vec<(&str, u64)> = by_function.into_iter().collect();
    dearest.sort_by_key(|&(name, cost)| (std::cmp::Reverse(cost), name));
    let dearest = dearest.into_iter().take(FUNCTIONS);
    Some(Counts {
        all,
        by_function: dearest
            .map(|(name, cost)| (name.to_owned(), cost))
            .collect(),
    })
}

/// `(7) name` where it occurs first, `(7)` from then on.
fn name_of<'a>(named: &'a str, names: &mut BTreeMap<&'a str, &'a str>) -> Option<&'a str> {
    match named.split_once(' ') {
        Some((number, name)) => {
            names.insert(number, name);
            Some(name)
        }
        None => names.get(named).copied(),
    }
}
