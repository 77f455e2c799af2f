//! Which keys `verify` compares: those of logs, or a list.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;
use crate::config::{BackendName, Config};
use crate::engine::files::RealDisk;
use crate::engine::log_timestamp::written_unix;
use crate::reconcile::key::{KeyId, Kind, Logged};
use crate::reconcile::keys::Keys;
use crate::replay::disk::{Area, Disk};
use crate::replay::reconciler::read_keys;

/// A log: the folder of all backends' logs, the backend's folder there, and the log's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Log {
    root: PathBuf,
    backend: String,
    name: String,
}

/// The backends that the arguments name, with their logs.
pub(super) fn sources(
    targets: &[String],
    config: &Config,
) -> Result<BTreeMap<String, Vec<Log>>, Failure> {
    let mut sources: BTreeMap<String, Vec<Log>> = BTreeMap::new();
    for target in targets {
        if is_backend(target) {
            let root = &config.sync.logs_path;
            let logs = sources.entry(target.clone()).or_default();
            for entry in disk(root).entries(Area::Logs, target)? {
                logs.push(Log {
                    root: root.clone(),
                    backend: target.clone(),
                    name: entry.name,
                });
            }
        } else {
            let log = log(target)?;
            sources.entry(log.backend.clone()).or_default().push(log);
        }
    }
    for logs in sources.values_mut() {
        logs.sort_by(|one, other| one.name.cmp(&other.name));
    }
    Ok(sources)
}

/// A log by its path.
fn log(target: &str) -> Result<Log, Failure> {
    let path = fs::canonicalize(target).map_err(|cause| no_log(target, &cause))?;
    let name = |path: &Path| {
        path.file_name()
            .and_then(|name| name.to_str().map(str::to_owned))
    };
    let parts = path.parent().and_then(|folder| {
        let root = folder.parent()?.to_owned();
        let backend = name(folder).filter(|backend| is_backend(backend))?;
        let name = name(&path)?;
        Some(Log {
            root,
            backend,
            name,
        })
    });
    let text = || {
        format!(
            "{} is no backend's name, and no log in a folder that has one: give host:port, or \
             <logs>/<host:port>/<log>",
            path.display()
        )
    };
    parts.ok_or_else(|| text().into())
}

/// Says that there is no such log. What has no folder may have been meant as a backend's name.
fn no_log(target: &str, cause: &io::Error) -> String {
    match BackendName::parse(target) {
        Err(fault) if !target.contains('/') => {
            format!("{target} is no log ({cause}) and no backend's name ({fault})")
        }
        _ => format!("{target}: {cause}"),
    }
}

fn disk(root: &Path) -> RealDisk {
    RealDisk::new(root.to_owned(), PathBuf::new())
}

/// Reads the keys of logs that lie in this pass. Gives how many records have no lookup.
pub(super) fn read(logs: &[Log], keys: &mut Keys) -> io::Result<u64> {
    let mut without_lookup = 0;
    for Log {
        root,
        backend,
        name,
    } in logs
    {
        let disk = &mut disk(root);
        without_lookup += read_keys(disk, backend, name, keys, written_unix)?;
    }
    Ok(without_lookup)
}

/// Takes the keys of a list that lie in this pass. No log says anything of them.
pub(super) fn push(listed: &[KeyId], keys: &mut Keys) {
    for key in listed {
        keys.push(key.borrowed(), Logged::default);
    }
}

/// The keys of a list, one a line.
pub(super) fn listed(path: &Path) -> Result<Vec<KeyId>, Failure> {
    let mut text = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().read_to_end(&mut text)?;
    } else {
        text = fs::read(path).map_err(|cause| format!("{}: {cause}", path.display()))?;
    }
    let mut keys = Vec::new();
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let key = parse(line).ok_or_else(|| {
            format!(
                "line {number} of {}: it should be `key`, tab, a key; or `hash`, `set` or \
                 `sorted_set`, tab, a table, tab, a key",
                path.display()
            )
        })?;
        keys.push(key);
    }
    Ok(keys)
}

fn parse(line: &[u8]) -> Option<KeyId> {
    let mut fields = line.splitn(3, |byte| *byte == b'\t');
    let kind = Kind::from_name(str::from_utf8(fields.next()?).ok()?)?;
    let table = match kind {
        Kind::Key => &b""[..],
        _ => fields.next()?,
    };
    let key = fields.next()?;
    let key = KeyId {
        kind,
        table: table.into(),
        key: key.into(),
        body: None,
    };
    (fields.next().is_none() && key.has_names()).then_some(key)
}

/// Whether a target is a backend's name.
pub(super) fn is_backend(target: &str) -> bool {
    BackendName::parse(target).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_stands_there_twice_is_one_in_whatever_spelling() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("list");
        fs::write(&path, "key\tkey\nkey\t%6bey\nkey\tkey\nkey\tl\n").unwrap();
        let mut keys = Keys::new(1 << 20);
        push(&listed(&path).unwrap(), &mut keys);
        let keys: Vec<_> = keys.take().collect();
        let slots: Vec<_> = keys.iter().map(|key| key.other_slots.len()).collect();
        assert_eq!(slots, [1, 0]);
        assert_eq!(*keys[0].key.key, *b"key");
    }

    #[test]
    fn a_line_of_a_list_names_a_key() {
        let key = |kind, table: &str, key: &str| {
            Some(KeyId {
                kind,
                table: table.as_bytes().into(),
                key: key.as_bytes().into(),
                body: None,
            })
        };
        assert_eq!(parse(b"key\ta%20b"), key(Kind::Key, "", "a%20b"));
        assert_eq!(parse(b"hash\tt\tk"), key(Kind::Hash, "t", "k"));
        assert_eq!(parse(b"set\tt\tm\tn"), key(Kind::Set, "t", "m\tn"));
        for none in [
            &b""[..],
            b"key",
            b"key\t",
            b"hash\tt",
            b"zset\tt\tk",
            b"key\ta\tb",
        ] {
            assert_eq!(parse(none), None, "{}", none.escape_ascii());
        }
    }
}
