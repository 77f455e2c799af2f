//! Processes that end with their owner, and what they cost.

use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::Sub;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use crate::Outcome;

/// Linux tells user space 100 ticks a second on every architecture that this runs on.
const TICK_S: f64 = 0.01;

/// CPU time, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cpu {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl Cpu {
    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }

    /// Each part divided, as for a cost a record.
    pub(crate) fn over(self, parts: f64) -> Self {
        Self {
            user: self.user / parts,
            system: self.system / parts,
        }
    }

    /// The time that this process's own ended and awaited children took, in ticks: exact to 10 ms.
    pub(crate) fn of_ended_children() -> Outcome<Self> {
        let ticks = stat_ticks("/proc/self/stat")?;
        Ok(Self {
            user: ticks[2] * TICK_S,
            system: ticks[3] * TICK_S,
        })
    }
}

impl Sub for Cpu {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self {
            user: self.user - other.user,
            system: self.system - other.system,
        }
    }
}

/// Ticks of CPU that this process and its ended and awaited children took.
pub(crate) fn family_ticks() -> Outcome<f64> {
    Ok(stat_ticks("/proc/self/stat")?.iter().sum())
}

/// utime, stime, cutime and cstime of a process.
fn stat_ticks(path: &str) -> Outcome<[f64; 4]> {
    let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    // The name in parentheses may hold anything; utime is the 12th field behind it.
    let behind = text.rsplit_once(')').map_or("", |(_, behind)| behind);
    let mut ticks = behind.split_whitespace().skip(11).map(str::parse::<f64>);
    let mut next = || match ticks.next() {
        Some(Ok(ticks)) => Ok(ticks),
        _ => Err(format!("{path} is not as proc(5) has it")),
    };
    Ok([next()?, next()?, next()?, next()?])
}

/// A process that is killed when its owner lets go of it.
pub(crate) struct Process {
    child: Child,
    what: String,
}

impl Process {
    pub(crate) fn start(what: &str, command: &mut Command) -> Outcome<Self> {
        let child = command
            .spawn()
            .map_err(|error| format!("{what} does not start: {error}"))?;
        Ok(Self {
            child,
            what: what.to_owned(),
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The first line that it says; its output is piped.
    pub(crate) fn first_line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        let output = self.child.stdout.as_mut().expect("it is piped");
        BufReader::new(output)
            .read_line(&mut line)
            .map_err(|error| format!("{} says nothing: {error}", self.what))?;
        Ok(line)
    }

    /// An error where it has ended.
    pub(crate) fn must_run(&mut self) -> Outcome<()> {
        match self.child.try_wait() {
            Ok(Some(status)) => Err(format!("{} has ended early: {status}", self.what)),
            _ => Ok(()),
        }
    }

    /// CPU time of all its threads so far: the scheduler's nanoseconds, shared out between user and
    /// system as the ticks fell.
    pub(crate) fn cpu(&self) -> Outcome<Cpu> {
        // A thread that ends meanwhile is left out.
        let threads = threads(self.id())?.into_iter();
        let ran = threads.filter_map(|(_, folder)| Some(Scheduled::of_thread(&folder).ok()?.ran));
        let total: f64 = ran.sum();
        let ticks = stat_ticks(&format!("/proc/{}/stat", self.id()))?;
        let user_share = match ticks[0] + ticks[1] {
            0.0 => 0.5,
            all => ticks[0] / all,
        };
        Ok(Cpu {
            user: total * user_share,
            system: total * (1.0 - user_share),
        })
    }

    /// How often its threads have gone to sleep so far.
    pub(crate) fn sleeps(&self) -> Outcome<f64> {
        // A thread that ends meanwhile is left out.
        let sleeps = threads(self.id())?.into_iter().filter_map(|(_, folder)| {
            let text = fs::read_to_string(folder.join("status")).ok()?;
            let name = "voluntary_ctxt_switches:";
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse::<f64>().ok()
        });
        Ok(sleeps.sum())
    }

    /// The folder below /proc of its thread of this name.
    pub(crate) fn thread(&self, name: &str) -> Outcome<PathBuf> {
        let mut threads = threads(self.id())?.into_iter();
        let named = threads.find(|(found, _)| found == name);
        let (_, folder) = named.ok_or_else(|| format!("{} has no thread {name}", self.what))?;
        Ok(folder)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A thread in the scheduler's books, in seconds so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scheduled {
    /// It ran.
    pub(crate) ran: f64,
    /// It could have run, and others did.
    pub(crate) waited: f64,
}

impl Scheduled {
    /// The calling thread's.
    pub(crate) fn own() -> Outcome<Self> {
        Self::read("/proc/thread-self/schedstat")
    }

    /// Of the thread whose folder below /proc this is.
    pub(crate) fn of_thread(folder: &Path) -> Outcome<Self> {
        Self::read(folder.join("schedstat"))
    }

    fn read(path: impl AsRef<Path>) -> Outcome<Self> {
        let path = path.as_ref();
        let text =
            fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut nanoseconds = text.split_whitespace().map(str::parse::<f64>);
        match (nanoseconds.next(), nanoseconds.next()) {
            (Some(Ok(ran)), Some(Ok(waited))) => Ok(Self {
                ran: ran * 1e-9,
                waited: waited * 1e-9,
            }),
            _ => Err(format!(
                "{} is not as the kernel documents it",
                path.display()
            )),
        }
    }
}

/// Name and folder of each thread.
fn threads(id: u32) -> Outcome<Vec<(String, PathBuf)>> {
    let folder = format!("/proc/{id}/task");
    let entries = fs::read_dir(&folder).map_err(|error| format!("{folder}: {error}"))?;
    let threads = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = fs::read_to_string(path.join("comm")).ok()?;
        Some((name.trim_end().to_owned(), path))
    });
    Ok(threads.collect())
}
