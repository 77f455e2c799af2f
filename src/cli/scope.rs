//! Which lines of the state's files a command is about, as far as `rejected` and `differences` ask
//! alike.

use clap::Args;

use super::values::{backend_name, id, unix};

/// Those for which all that is given holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(super) struct Scope {
    /// Of this backend, host:port
    #[arg(long, value_name = "BACKEND", value_parser = backend_name)]
    pub(super) backend: Option<String>,
    /// Written at this time or later: 2026-11-22, "2026-11-22 16:40", seconds since 1970, or 30m,
    /// 2h, 3d ago
    #[arg(long, value_name = "TIME", value_parser = unix)]
    pub(super) since: Option<u64>,
    /// Written at this time or before
    #[arg(long, value_name = "TIME", value_parser = unix)]
    pub(super) until: Option<u64>,
    /// These, by the ids that `list` shows
    #[arg(long = "id", value_name = "ID", value_delimiter = ',', value_parser = id)]
    pub(super) ids: Vec<u64>,
}
