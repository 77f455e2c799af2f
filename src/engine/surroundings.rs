//! What the reconciler knows of the world: HA's table, which is read anew when the file has
//! changed, and where masters are.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::config::{BackendName, Config};
use crate::engine::os::files::read_regular;
use crate::engine::resolve::{Resolver, look_up, written_address};
use crate::limits::{RECONCILE_TABLE_GRACE, TABLE_BYTES_MAX};
use crate::reconcile::table::{self, Table};
use crate::replay::controller::action::Wanted;
use crate::replay::reconciler::{Address, Surroundings};

/// What tells one content of a file from another: inode, bytes, and the time of the last change.
type Stamp = (u64, u64, i64, i64);

/// A file that has changed this recently may change again within the tick of its file system's
/// clock, which no stamp tells.
const FRESH: Duration = Duration::from_secs(2);

/// An address that was found longer ago than this is looked up again: whoever asked has not taken
/// it, as when its comparison has ended.
const FOUND_FOR: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct RealSurroundings {
    table_path: PathBuf,
    /// The table as it was last read, and of which file.
    table: Option<(Stamp, Result<Arc<Table>, String>)>,
    /// The last table that could be read, and since when there is none.
    last_good: Option<(Arc<Table>, Option<Instant>)>,
    resolver: Resolver,
    /// What look-ups have found, and when; or that they are under way.
    looked_up: Arc<Mutex<HashMap<String, (Instant, Address)>>>,
}

impl RealSurroundings {
    /// By this configuration: the table is in HA's folder, `sync.ngx_path`.
    #[must_use]
    pub(super) fn new(config: &Config, resolver: Resolver) -> Self {
        Self {
            table_path: table_path(config),
            table: None,
            last_good: None,
            resolver,
            looked_up: Arc::default(),
        }
    }

    fn stamp(&self) -> Result<Stamp, String> {
        let meta = fs::metadata(&self.table_path);
        let meta = meta.map_err(|cause| about(&self.table_path, &cause))?;
        Ok((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
    }

    /// The table that is there now.
    fn table_now(&mut self) -> Result<Arc<Table>, String> {
        let stamp = self.stamp()?;
        match &self.table {
            Some((of, table)) if *of == stamp && !is_fresh(stamp) => table.clone(),
            _ => {
                let table = read_table(&self.table_path).map(Arc::new);
                self.table = Some((stamp, table.clone()));
                table
            }
        }
    }
}

/// Where HA's table is, by this configuration.
#[must_use]
pub(crate) fn table_path(config: &Config) -> PathBuf {
    config.sync.ngx_path.join("conf").join(table::NAME)
}

/// Reads HA's table.
///
/// # Errors
/// A sentence that begins with the path: it cannot be read, or is no table.
pub(crate) fn read_table(path: &Path) -> Result<Table, String> {
    // One byte more than a table may have tells one that is too large from one that is torn.
    let bytes = read_regular(path, TABLE_BYTES_MAX as u64 + 1);
    let bytes = bytes.map_err(|cause| about(path, &cause))?;
    Table::parse(&bytes).map_err(|fault| about(path, &fault))
}

fn about(path: &Path, cause: &dyn std::fmt::Display) -> String {
    format!(
        "{}: {cause}; sync.ngx_path is to be HA's folder, whose conf/{} names the masters",
        path.display(),
        table::NAME
    )
}

/// Whether what has this stamp may have changed since and have the same stamp.
fn is_fresh((_, _, changed_unix, _): Stamp) -> bool {
    let changed = UNIX_EPOCH + Duration::from_secs(u64::try_from(changed_unix).unwrap_or(0));
    changed.elapsed().is_ok_and(|age| age < FRESH)
}

impl Surroundings for RealSurroundings {
    /// HA rewrites its table where it is: one that is not there, or not whole, is looked for again
    /// for some seconds before that counts.
    fn table(&mut self) -> Result<Arc<Table>, String> {
        let fault = match self.table_now() {
            Ok(table) => {
                self.last_good = Some((Arc::clone(&table), None));
                return Ok(table);
            }
            Err(fault) => fault,
        };
        let Some((table, lacks_since)) = &mut self.last_good else {
            return Err(fault);
        };
        let since = *lacks_since.get_or_insert_with(Instant::now);
        match since.elapsed() < RECONCILE_TABLE_GRACE {
            true => Ok(Arc::clone(table)),
            false => Err(fault),
        }
    }

    fn address(&mut self, name: &str, failures: u32) -> Address {
        let parsed = match BackendName::parse(name) {
            Ok(parsed) => parsed,
            Err(fault) => return Address::Unknown(fault.to_string()),
        };
        if let Some(address) = written_address(&parsed) {
            return Address::Known(address);
        }
        let mut looked_up = self
            .looked_up
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match looked_up.get(name) {
            Some((_, Address::Pending)) => return Address::Pending,
            // The next look-up may find another address.
            Some((found_at, _)) => {
                let is_fresh = found_at.elapsed() < FOUND_FOR;
                let found = looked_up.remove(name);
                if let Some((_, found)) = found.filter(|_| is_fresh) {
                    return found;
                }
            }
            None => {}
        }
        let (board, asked) = (Arc::clone(&self.looked_up), name.to_owned());
        let wanted = Wanted {
            proven: None,
            attempt: failures as usize,
        };
        let begun = look_up(&parsed, wanted, &self.resolver, move |address| {
            let address = address.map_or_else(Address::Unknown, Address::Known);
            let mut board = board.lock().unwrap_or_else(PoisonError::into_inner);
            board.insert(asked, (Instant::now(), address));
        });
        match begun {
            Ok(()) => {
                looked_up.insert(name.to_owned(), (Instant::now(), Address::Pending));
                Address::Pending
            }
            Err(why) => Address::Unknown(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, FileTimes};
    use std::time::SystemTime;

    use super::*;
    use crate::engine::resolve::system_resolver;
    use crate::patience::eventually_some;

    const TABLE: &str = r#"{"table": [{"item": {"key": [0, 1024], "val": ["a:1", "b:1"]}}]}"#;

    fn surroundings(home: &tempfile::TempDir) -> RealSurroundings {
        let config = format!(r#"{{"sync": {{"ngx_path": {:?}}}}}"#, home.path());
        let config = Config::parse(config, &home.path().join("sync_server.json")).unwrap();
        fs::create_dir_all(home.path().join("conf")).unwrap();
        RealSurroundings::new(&config, system_resolver())
    }

    /// Writes the table where it is, as HA does.
    fn write(surroundings: &RealSurroundings, text: &str, changed: SystemTime) {
        fs::write(&surroundings.table_path, text).unwrap();
        let file = File::options().append(true).open(&surroundings.table_path);
        let times = FileTimes::new().set_modified(changed);
        file.unwrap().set_times(times).unwrap();
    }

    #[test]
    fn a_table_that_changes_within_a_tick_of_the_clock_is_read_anew() {
        let home = tempfile::tempdir().unwrap();
        let mut surroundings = surroundings(&home);
        let now = SystemTime::now();
        for (text, peer) in [
            (TABLE.to_owned(), "b:1"),
            (TABLE.replace("b:1", "c:1"), "c:1"),
        ] {
            write(&surroundings, &text, now);
            let table = surroundings.table().unwrap();
            assert_eq!(table.neighbours("a:1").collect::<Vec<_>>(), [peer]);
        }
    }

    #[test]
    fn a_table_of_more_bytes_than_any_has_is_told_from_a_torn_one() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("table");
        fs::write(&path, " ".repeat(TABLE_BYTES_MAX + 1)).unwrap();
        let fault = read_table(&path).unwrap_err();
        assert!(fault.contains("has more than 1048576 bytes"), "{fault}");
    }

    #[test]
    fn a_master_that_cannot_be_reached_is_tried_at_the_next_address_of_its_name() {
        let home = tempfile::tempdir().unwrap();
        let mut surroundings = surroundings(&home);
        let addresses = ["10.0.0.1:1", "[::1]:1"].map(|text| text.parse().unwrap());
        surroundings.resolver = Arc::new(move |_, _| Ok(addresses.to_vec()));
        for (failures, expected) in [(0, 0), (1, 1), (2, 0)] {
            let address = eventually_some("an address", || {
                let address = surroundings.address("db7:1", failures);
                (address != Address::Pending).then_some(address)
            });
            assert_eq!(address, Address::Known(addresses[expected]));
        }
    }

    #[test]
    fn a_table_that_is_gone_or_torn_holds_for_a_moment() {
        let home = tempfile::tempdir().unwrap();
        let mut surroundings = surroundings(&home);
        assert!(
            surroundings
                .table()
                .unwrap_err()
                .contains("hustdbtable.json")
        );
        write(&surroundings, TABLE, SystemTime::now());
        let table = surroundings.table().unwrap();
        write(&surroundings, &TABLE[..20], SystemTime::now());
        assert_eq!(surroundings.table(), Ok(Arc::clone(&table)));
        fs::remove_file(&surroundings.table_path).unwrap();
        assert_eq!(surroundings.table(), Ok(table));
    }
}
