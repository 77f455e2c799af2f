//! Other processes, as `/proc` shows them.
//!
//! Each function takes the folder of `/proc`, so that tests can make one.

use std::fs;
use std::path::Path;

/// Where the system shows its processes.
pub(super) const PROC: &str = "/proc";

/// The name that the original and this server run under.
const NAME: &str = "hustdbsync";

/// Whether a process with this number lives and is a `hustdbsync`, the original or ours. One that
/// has ended and only waits to be collected doesn't live.
pub(super) fn is_hustdbsync(proc: &Path, pid: u32) -> bool {
    let folder = proc.join(pid.to_string());
    let by_name = name(proc, pid).is_some_and(|name| name == NAME);
    let by_file = || {
        let target = fs::read_link(folder.join("exe")).ok();
        let file = target
            .as_deref()
            .and_then(Path::file_name)
            .and_then(|file| file.to_str().map(str::to_owned));
        // An executable that was replaced since, as an upgrade does, shows so.
        file.is_some_and(|file| file.strip_suffix(" (deleted)").unwrap_or(&file) == NAME)
    };
    !has_ended(&folder) && (by_name || by_file())
}

/// The name of a process, where it can be read.
pub(super) fn name(proc: &Path, pid: u32) -> Option<String> {
    let comm = fs::read_to_string(proc.join(pid.to_string()).join("comm")).ok()?;
    Some(comm.trim_end_matches('\n').to_owned())
}

/// Whether a process with this number lives, whatever it is.
pub(super) fn lives(proc: &Path, pid: u32) -> bool {
    let folder = proc.join(pid.to_string());
    folder.exists() && !has_ended(&folder)
}

fn has_ended(folder: &Path) -> bool {
    // `pid (name) state …`; the name can hold anything, parentheses too.
    let stat = fs::read_to_string(folder.join("stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some('Z' | 'X'))
}

/// Processes for tests.
#[cfg(test)]
pub(super) mod fake {
    use std::fs;
    use std::path::Path;

    /// Makes the process `pid` under `proc`.
    pub(in crate::cli) fn process(proc: &Path, pid: u32, comm: &str, exe: &str, state: char) {
        let folder = proc.join(pid.to_string());
        fs::create_dir_all(folder.join("fd")).unwrap();
        fs::write(folder.join("comm"), format!("{comm}\n")).unwrap();
        fs::write(folder.join("stat"), format!("{pid} ({comm}) {state} 1 1")).unwrap();
        std::os::unix::fs::symlink(exe, folder.join("exe")).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(comm: &str, exe: &str, state: char, expected: bool) {
        let proc = tempfile::tempdir().unwrap();
        fake::process(proc.path(), 7, comm, exe, state);
        assert_eq!(
            is_hustdbsync(proc.path(), 7),
            expected,
            "{comm} {exe} {state}"
        );
        assert!(!is_hustdbsync(proc.path(), 8));
    }

    #[test]
    fn a_hustdbsync_is_known_by_name_or_file_while_it_lives() {
        check("hustdbsync", "/usr/bin/valgrind", 'S', true);
        check("main", "/opt/hustdbsync", 'R', true);
        check("main", "/opt/hustdbsync (deleted)", 'R', true);
        check("nginx", "/usr/sbin/nginx", 'S', false);
        check("hustdbsync2", "/opt/hustdbsync-old", 'S', false);
        check("hustdbsync", "/opt/hustdbsync", 'Z', false);
        check("a) Z", "/opt/hustdbsync", 'S', true);
    }

    #[test]
    fn a_process_lives_until_it_has_ended_whatever_its_name() {
        let proc = tempfile::tempdir().unwrap();
        fake::process(proc.path(), 7, "renamed", "/opt/renamed", 'S');
        fake::process(proc.path(), 8, "renamed", "/opt/renamed", 'Z');
        let is_alive = [7, 8, 9].map(|pid| lives(proc.path(), pid));
        assert_eq!(is_alive, [true, false, false]);
    }
}
