//! Who listens on a TCP port, as far as `/proc` tells: another user's processes show their names
//! but not their sockets.

use std::fs;
use std::path::Path;

use super::process;

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// The process that listens on `port`, such as `process 123 (nginx)`.
pub(super) fn owner(proc: &Path, port: u16) -> Option<String> {
    let sockets = sockets(proc, port);
    let processes = fs::read_dir(proc).ok()?.flatten();
    let mut numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let pid: u32 = numbers.find(|pid| holds_any(proc, *pid, &sockets))?;
    let name = process::name(proc, pid).unwrap_or_else(|| "?".to_owned());
    Some(format!("process {pid} ({name})"))
}

/// Whether process `pid` listens on `port`, or has the socket from who does.
pub(super) fn listens(proc: &Path, pid: u32, port: u16) -> bool {
    holds_any(proc, pid, &sockets(proc, port))
}

/// The sockets that listen on `port`.
fn sockets(proc: &Path, port: u16) -> Vec<String> {
    ["net/tcp", "net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(proc.join(table)).ok())
        .flat_map(|table| listening(&table, port))
        .collect()
}

/// The sockets that listen on `port`, as links in `/proc/<pid>/fd` name them.
fn listening(table: &str, port: u16) -> Vec<String> {
    let row = |line: &str| {
        // sl, local address, remote address, state, queues, timer, retransmits, uid, timeout, inode
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (_, hex) = fields.get(1)?.rsplit_once(':')?;
        let here = u16::from_str_radix(hex, 16).ok()? == port && *fields.get(3)? == LISTEN;
        here.then(|| fields.get(9).map(|inode| format!("socket:[{inode}]")))?
    };
    table.lines().filter_map(row).collect()
}

fn holds_any(proc: &Path, pid: u32, sockets: &[String]) -> bool {
    let Ok(files) = fs::read_dir(proc.join(pid.to_string()).join("fd")) else {
        return false;
    };
    let mut targets = files
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok());
    targets.any(|target| {
        sockets
            .iter()
            .any(|socket| target.as_os_str() == socket.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listener_of_this_very_test_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = owner(Path::new("/proc"), port).unwrap();
        assert!(
            found.starts_with(&format!("process {} (", std::process::id())),
            "{found}"
        );
        let listens = || listens(Path::new("/proc"), std::process::id(), port);
        assert!(listens());
        drop(listener);
        assert_eq!(owner(Path::new("/proc"), port), None);
        assert!(!listens());
    }

    #[test]
    fn rows_of_other_ports_other_states_and_other_forms_are_passed_over() {
        let row = |begin: &str, inode: u32| {
            format!(
                "{begin} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0 100 0 0 \
                 10 0\n"
            )
        };
        let table = [
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  \
             timeout inode\n",
            &row("   0: 0100007F:1F99 00000000:0000 0A", 42),
            &row("   1: 0100007F:1F99 0100007F:9999 01", 43),
            &row("   2: 0100007F:1F98 00000000:0000 0A", 44),
            "short\n 3: nonsense x 0A\n",
        ];
        assert_eq!(listening(&table.concat(), 8089), ["socket:[42]"]);
    }
}
