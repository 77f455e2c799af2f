//! Which of the differences that are left.

use clap::Args;

use crate::cli::scope::Scope;
use crate::cli::values::one_of;
use crate::reconcile::difference::{Difference, SEEN};
use crate::reconcile::outcome::WhyLeft;

/// The reasons that a difference can have.
const WHYS: [WhyLeft; 7] = [
    WhyLeft::ReportOnly,
    WhyLeft::BackendNewer,
    WhyLeft::PeerLacks,
    WhyLeft::TtlUnknown,
    WhyLeft::StillDiffers,
    WhyLeft::Declined,
    WhyLeft::PeerUnsettled,
];

/// Those for which all that is given holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(in crate::cli) struct Selection {
    #[command(flatten)]
    pub(super) scope: Scope,
    /// Of which this was seen, as `differences list` shows it
    #[arg(long, value_name = "WORD", value_parser = seen)]
    pub(super) seen: Option<String>,
    /// Not mended for this reason, as `differences list` shows it
    #[arg(long, value_name = "REASON", value_parser = why)]
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

fn seen(word: &str) -> Result<String, String> {
    one_of(&SEEN, word)
}

fn why(word: &str) -> Result<String, String> {
    one_of(&WHYS.map(WhyLeft::code), word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_nothing_has_is_refused_with_those_that_there_are() {
        let refused = why("ttl_unkown").unwrap_err();
        assert_eq!(
            refused,
            "it is one of report_only, backend_newer, peer_lacks, ttl_unknown, still_differs, \
             declined, peer_unsettled"
        );
        assert!(
            seen("peer_new")
                .unwrap_err()
                .starts_with("it is one of both_lack, ")
        );
        assert!(seen("peer_newer").is_ok());
        for known in WHYS {
            // Whoever adds a reason adds it to those that can be asked for.
            match known {
                WhyLeft::ReportOnly
                | WhyLeft::BackendNewer
                | WhyLeft::PeerLacks
                | WhyLeft::TtlUnknown
                | WhyLeft::StillDiffers
                | WhyLeft::Declined
                | WhyLeft::PeerUnsettled => assert!(why(known.code()).is_ok()),
            }
        }
    }
}
