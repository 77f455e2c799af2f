//! Which of the differences that are left.

use clap::Args;

use crate::cli::scope::Scope;
use crate::cli::values::word;
use crate::reconcile::difference::Difference;

/// Those for which all that is given holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(in crate::cli) struct Selection {
    #[command(flatten)]
    pub(super) scope: Scope,
    /// Of which this was seen, as `differences list` shows it
    #[arg(long, value_name = "WORD", value_parser = word)]
    pub(super) seen: Option<String>,
    /// Not mended for this reason, as `differences list` shows it
    #[arg(long, value_name = "REASON", value_parser = word)]
    pub(super) why: Option<String>,
}

impl Selection {
    /// Whether a difference with this id is one of them.
    pub(super) fn admits(&self, id: u64, difference: &Difference) -> bool {
        let Scope {
            since, until, ids, ..
        } = &self.scope;
        let seen = self.seen.as_deref();
        let why = self.why.as_deref();
        seen.is_none_or(|seen| seen == difference.seen())
            && why.is_none_or(|why| why == difference.why)
            && since.is_none_or(|since| since <= difference.unix)
            && until.is_none_or(|until| difference.unix <= until)
            && (ids.is_empty() || ids.contains(&id))
    }
}
