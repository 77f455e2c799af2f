//! The backends' folders: names that are backends, names that resolve, permissions.

use std::collections::HashMap;
use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;

use super::findings::Findings;
use crate::config::{BackendName, Config, Host};
use crate::engine::files::is_folder;
use crate::engine::os::process::may_change;
use crate::replay::disk::is_hidden;

/// A system's own folders, which can stand at the top of a file system of HA's logs.
const PASSED_OVER: &str = "lost+found";

/// Looks at every folder under `sync.logs_path`, and gives those that are backends. Files there are
/// HA's own and none of ours.
pub(super) fn all(config: &Config, findings: &mut Findings) -> Vec<BackendName> {
    // That the folder can't be read is told already.
    let Ok(entries) = fs::read_dir(&config.sync.logs_path) else {
        return Vec::new();
    };
    let folders = entries.flatten().filter(is_folder);
    let mut folders: Vec<PathBuf> = folders.map(|entry| entry.path()).collect();
    folders.sort();
    let mut backends = Vec::new();
    let (mut files, mut bytes) = (0, 0);
    for folder in &folders {
        let name = folder.file_name().unwrap_or_default();
        if name.as_bytes().starts_with(b".") || name == PASSED_OVER {
            continue;
        }
        match BackendName::parse(name.as_bytes()) {
            Ok(name) => backends.push(name),
            Err(error) => findings.fault(format!(
                "backend folder {}: {error}; a backend's folder is named host:port, so rename or \
                 move this one",
                folder.display()
            )),
        }
        if let Err(error) = may_change(folder) {
            findings.fault(format!(
                "backend folder {}: {error}; it must be readable and writable, \
                since finished logs are deleted",
                folder.display()
            ));
        }
        hidden(folder, findings);
        let (more_files, more_bytes) = backlog(folder);
        files += more_files;
        bytes += more_bytes;
    }
    resolve(&backends, findings);
    let fact = match backends.len() {
        0 => "none yet; each is taken in when HA makes its folder".to_owned(),
        count => format!("{count}: {}; {files} logs, {bytes} bytes", list(&backends)),
    };
    findings.fact("backends", fact);
    backends
}

/// Files that NFS or FUSE keep for whoever has them open.
fn hidden(folder: &Path, findings: &mut Findings) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.metadata().is_ok_and(|meta| meta.len() > 0))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| is_hidden(name))
        .collect();
    names.sort();
    let Some(first) = names.first() else {
        return;
    };
    let others = match names.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    findings.warning(format!(
        "backend folder {}: {first}{others}: deleted while somebody has it open (lsof says who). A \
         log that an earlier run had begun is read to its end; nothing is known of any other, \
         which is not read: if it was never replayed, copy it to a log's name",
        folder.display()
    ));
}

/// Log files and their bytes.
fn backlog(folder: &Path) -> (u64, u64) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries
        .filter_map(|entry| entry.metadata().ok())
        .filter(fs::Metadata::is_file)
        .map(|metadata| metadata.len());
    sizes.fold((0, 0), |(files, bytes), size| (files + 1, bytes + size))
}

fn list(backends: &[BackendName]) -> String {
    const SHOWN: usize = 5;
    let mut names: Vec<&str> = backends
        .iter()
        .take(SHOWN)
        .map(BackendName::as_str)
        .collect();
    if backends.len() > SHOWN {
        names.push("…");
    }
    names.join(", ")
}

/// Resolves all names at once, since a resolver that is away takes many seconds for each.
fn resolve(backends: &[BackendName], findings: &mut Findings) {
    thread::scope(|scope| {
        let names = backends.iter().filter_map(|backend| match &backend.host {
            Host::Name(name) => Some((backend, name)),
            Host::Address(_) => None,
        });
        let lookups: Vec<_> = names
            .map(|(backend, name)| (backend, scope.spawn(move || lookup(name, backend.port))))
            .collect();
        let mut known = HashMap::new();
        for backend in backends {
            if let Host::Address(address) = backend.host {
                let address = SocketAddr::new(address, backend.port);
                second_name(backend, &[address], &mut known, findings);
            }
        }
        for (backend, lookup) in lookups {
            match lookup.join() {
                Ok(Ok(addresses)) => second_name(backend, &addresses, &mut known, findings),
                Ok(Err(reason)) => findings.fault(format!(
                    "backend {backend}: its name doesn't resolve: {reason}; add \
                    it to the DNS or to /etc/hosts"
                )),
                Err(_) => {}
            }
        }
    });
}

fn lookup(name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let addresses = (name, port).to_socket_addrs();
    let addresses: Vec<_> = addresses.map_err(|error| error.to_string())?.collect();
    match addresses.is_empty() {
        true => Err("it has no address".to_owned()),
        false => Ok(addresses),
    }
}

/// Two folders that lead to one hustdb, as after a backend was renamed.
fn second_name<'a>(
    backend: &'a BackendName,
    addresses: &[SocketAddr],
    known: &mut HashMap<SocketAddr, &'a BackendName>,
    findings: &mut Findings,
) {
    let first = addresses.iter().find_map(|address| known.get(address));
    if let Some(first) = first {
        findings.warning(format!(
            "backend {backend}: it has the address of {first}, and nothing keeps the order of one \
             key's records between their logs; if it was renamed, move the older folder's logs \
             into the newer one (the guide: A backend has moved to another address)"
        ));
    }
    for address in addresses {
        known.entry(*address).or_insert(backend);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::cli::check::harness::Home;

    /// The fact about backends with these folders.
    fn fact(folders: &[&str]) -> String {
        let home = Home::new();
        fs::remove_dir_all(home.path("logs")).unwrap();
        fs::create_dir(home.path("logs")).unwrap();
        for folder in folders {
            fs::create_dir(home.path("logs").join(folder)).unwrap();
            fs::write(
                home.path("logs").join(folder).join("2026-11-22-16-41.log"),
                "12345",
            )
            .unwrap();
        }
        home.check(&[], &[]);
        let findings = home.examine();
        findings
            .facts
            .iter()
            .find(|(label, _)| *label == "backends")
            .unwrap()
            .1
            .clone()
    }

    #[test]
    fn backends_and_their_backlog_are_counted() {
        assert_eq!(
            fact(&[]),
            "none yet; each is taken in when HA makes its folder"
        );
        assert_eq!(
            fact(&["10.0.0.2:1", "[::1]:2"]),
            "2: 10.0.0.2:1, [::1]:2; 2 logs, 10 bytes"
        );
        let many = [
            "10.0.0.1:1",
            "10.0.0.1:2",
            "10.0.0.1:3",
            "10.0.0.1:4",
            "10.0.0.1:5",
            "10.0.0.1:6",
        ];
        assert_eq!(
            fact(&many),
            "6: 10.0.0.1:1, 10.0.0.1:2, 10.0.0.1:3, 10.0.0.1:4, 10.0.0.1:5, …; 6 logs, 30 bytes"
        );
    }

    #[test]
    fn files_and_the_systems_own_folders_are_no_backends() {
        let home = Home::new();
        fs::write(home.path("logs/error.log"), "").unwrap();
        fs::write(home.path("logs/nginx.pid"), "1").unwrap();
        fs::create_dir(home.path("logs/lost+found")).unwrap();
        fs::create_dir(home.path("logs/.snapshot")).unwrap();
        home.check(&[], &[]);
    }

    #[test]
    fn two_names_of_one_address_are_a_warning() {
        let home = Home::new();
        fs::create_dir_all(home.path("logs/localhost:9998")).unwrap();
        home.check(
            &[],
            &[
                "backend localhost:9998: it has the address of 127.0.0.1:9998, and nothing keeps \
                 the order of one key's records between their logs; if it was renamed, move the \
                 older folder's logs into the newer one (the guide: A backend has moved to another \
                 address)",
            ],
        );
    }

    #[test]
    fn a_log_that_was_deleted_while_it_was_open_is_a_warning() {
        let home = Home::new();
        let folder = home.path("logs/127.0.0.1:9998");
        fs::write(folder.join(".nfs0001"), "").unwrap();
        home.check(&[], &[]);
        fs::write(folder.join(".nfs0002"), "x").unwrap();
        fs::write(folder.join(".fuse_hidden0003"), "x").unwrap();
        home.check(
            &[],
            &[
                "backend folder ~/logs/127.0.0.1:9998: .fuse_hidden0003 and 1 more: deleted while \
                 somebody has it open (lsof says who). A log that an earlier run had begun is read \
                 to its end; nothing is known of any other, which is not read: if it was never \
                 replayed, copy it to a log's name",
            ],
        );
    }

    #[test]
    fn folders_that_are_no_backends_are_faults_each() {
        let home = Home::new();
        fs::create_dir(home.path("logs/127.0.0.1_9998")).unwrap();
        fs::create_dir(home.path("logs/db:port")).unwrap();
        home.check(
            &[
                "backend folder ~/logs/127.0.0.1_9998: it has no colon before a port; a backend's \
                 folder is named host:port, so rename or move this one",
                "backend folder ~/logs/db:port: \"port\" is no port: it takes a number from 1 to \
                 65535 without leading zeros; a backend's folder is named host:port, so rename or \
                 move this one",
            ],
            &[],
        );
    }

    #[test]
    fn a_name_that_does_not_resolve_is_a_fault_and_one_that_does_is_none() {
        let home = Home::new();
        fs::create_dir(home.path("logs/localhost:1")).unwrap();
        home.check(&[], &[]);
        // Reserved never to exist, by RFC 6761.
        fs::create_dir(home.path("logs/nowhere.invalid:1")).unwrap();
        let faults = home.examine().faults;
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(
            faults[0].starts_with("backend nowhere.invalid:1: its name doesn't resolve: "),
            "{faults:?}"
        );
    }
}
