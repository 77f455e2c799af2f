//! The demo's folder: HA's home in small.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use crate::cli::failure::Failure;
use crate::config::{Config, FILE_NAME};
use crate::fake_hustdb::{FakeHustdb, Options};
use crate::reconcile::table;

const USER: &str = "demo";
const PASSWORD: &str = "demo";

/// A folder with `logs`, `htpasswd` and `sync_server.json`; the state will be in `status`.
pub(super) struct Home {
    folder: TempDir,
}

impl Home {
    pub(super) fn make(threads: Option<u16>, reconciles: bool) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new()
            .prefix("hustdbsync-demo-")
            .tempdir()
            .map_err(|error| format!("no temporary folder could be made: {error}"))?;
        let home = Self { folder };
        home.fill(threads, reconciles)
            .map_err(|error| format!("{}: {error}", home.folder.path().display()))?;
        Ok(home)
    }

    fn fill(&self, threads: Option<u16>, reconciles: bool) -> io::Result<()> {
        fs::create_dir(self.logs())?;
        let mut login = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path("htpasswd"))?;
        writeln!(login, "{USER}:{PASSWORD}")?;
        let mut config = json!({
            "network": { "port": 0 },
            "sync": {
                "logs_path": self.logs(),
                "ngx_path": self.folder.path(),
                "auth_path": self.path("htpasswd"),
                // A fake HustDB's clock is right from the start, so nothing has to wait for it.
                "ttl_hold": "0s",
                "checkdb_interval": "500ms",
                "release_interval": "200ms",
            }
        });
        if let Some(threads) = threads {
            config["sync"]["threads"] = threads.into();
        }
        if reconciles {
            config["sync"]["reconcile"] = "repair".into();
            config["sync"]["reconcile_delay"] = 0.into();
            config["sync"]["reconcile_values"] = true.into();
            config["sync"]["reconcile_deletes"] = true.into();
        }
        fs::write(self.path(FILE_NAME), format!("{config:#}\n"))
    }

    pub(super) fn config(&self) -> Result<Config, Failure> {
        Ok(Config::load(&self.path(FILE_NAME))?)
    }

    /// Writes HA's table.
    pub(super) fn write_table(&self, text: &str) -> io::Result<()> {
        fs::create_dir_all(self.path("conf"))?;
        fs::write(self.path("conf").join(table::NAME), text)
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.path("logs")
    }

    pub(super) fn credentials(&self) -> (String, String) {
        (USER.to_owned(), PASSWORD.to_owned())
    }

    /// Doesn't go away any more.
    pub(super) fn keep(self) -> PathBuf {
        self.folder.keep()
    }

    fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(below)
    }
}

pub(super) fn start_fake_hustdb(home: &Home) -> Result<FakeHustdb, Failure> {
    let options = Options {
        credentials: Some(home.credentials()),
        ..Options::default()
    };
    FakeHustdb::start(options)
        .map_err(|error| format!("a fake HustDB could not start: {error}").into())
}
