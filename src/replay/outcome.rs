//! What an answer means for a record: the table of docs/hustdb.md, "Answers", as data in one place.
//!
//! Rules are tried from the top, the first that fits decides. Three are ahead of everything and cannot be overridden,
//! since each is a matter of what hustdb *said*, not of policy; then come an operator's own (`sync.outcomes`), then the table.

use crate::binlog::Method::{self, Del, Hdel, Hset, Sadd, Srem, Zadd, Zrem};
use crate::http::response::Response;

/// How a record ended. Final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Settlement {
    /// The backend applied it.
    Applied,
    /// The backend has a newer version; nothing changed.
    Superseded,
    /// It was to delete what is not there.
    Absent,
    /// A zadd that had been applied before: the backend was asked and has its version.
    AppliedBefore,
    /// It is set aside in rejected.jsonl.
    Rejected,
}

/// What to do after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The record is settled.
    Settle(Settlement),
    /// The record is set aside, for this reason (one word).
    Reject(&'static str),
    /// Our password is wrong: nothing is settled, the backend is paused.
    Refused,
    /// The backend is in trouble: back off, send again.
    Trouble,
}

/// What distinguishes answers of one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Any,
    VersionErrorFalse,
    VersionErrorTrue,
    Version,
    ChallengeWithoutVersion,
}

impl Mark {
    fn fits(self, response: &Response) -> bool {
        match self {
            Self::Any => true,
            Self::VersionErrorFalse => response.version_error == Some(false),
            Self::VersionErrorTrue => response.version_error == Some(true),
            Self::Version => response.version.is_some(),
            Self::ChallengeWithoutVersion => response.challenge && response.version.is_none(),
        }
    }
}

/// One row. No methods: all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    status: u16,
    mark: Mark,
    methods: &'static [Method],
    verdict: Verdict,
}

const fn rule(status: u16, mark: Mark, methods: &'static [Method], verdict: Verdict) -> Rule {
    Rule {
        status,
        mark,
        methods,
        verdict,
    }
}

/// A place to borrow one method from.
static ALL_METHODS: [Method; 11] = Method::ALL;

const SAID: [Rule; 3] = [
    rule(
        200,
        Mark::VersionErrorFalse,
        &[],
        Verdict::Settle(Settlement::Applied),
    ),
    rule(
        200,
        Mark::VersionErrorTrue,
        &[],
        Verdict::Settle(Settlement::Superseded),
    ),
    rule(401, Mark::ChallengeWithoutVersion, &[], Verdict::Refused),
];

const TABLE: [Rule; 8] = [
    rule(
        404,
        Mark::Any,
        &[Del, Hdel, Srem, Zrem],
        Verdict::Settle(Settlement::Absent),
    ),
    rule(
        412,
        Mark::Any,
        &[Hdel, Srem, Zrem],
        Verdict::Settle(Settlement::Absent),
    ),
    rule(404, Mark::Any, &[], Verdict::Reject("not_found")),
    rule(
        412,
        Mark::Any,
        &[Hset, Sadd, Zadd],
        Verdict::Reject("table_type"),
    ),
    rule(400, Mark::Any, &[], Verdict::Reject("bad_request")),
    rule(405, Mark::Any, &[], Verdict::Reject("method_not_allowed")),
    rule(401, Mark::Version, &[], Verdict::Reject("version")),
    // Whatever else there is, 200 without VerError and 403 among it, is no answer of a healthy hustdb.
    rule(0, Mark::Any, &[], Verdict::Trouble),
];

/// The table, with an operator's overrides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    overrides: Vec<Rule>,
}

/// Why an override is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverrideFault {
    /// The left side.
    #[error(
        "`{0}` is no answer: write a status from 200 to 599, and after a space a method for which it holds, as in \"412 put\""
    )]
    Answer(String),
    /// The right side.
    #[error("`{0}` is no outcome: write applied, superseded, absent, rejected or trouble")]
    Outcome(String),
}

impl Outcomes {
    /// Adds an operator's override: `answer` is a status and maybe a method (`"412 put"`), `outcome` is `applied`, `superseded`, `absent`,
    /// `rejected` or `trouble`. Of two that fit, the earlier decides.
    ///
    /// # Errors
    /// When a side is not of that form.
    pub fn override_with(&mut self, answer: &str, outcome: &str) -> Result<(), OverrideFault> {
        let fault = || OverrideFault::Answer(answer.to_owned());
        let (status, method) = match answer.split_once(' ') {
            Some((status, method)) => (status, Some(method)),
            None => (answer, None),
        };
        let status = status
            .parse()
            .ok()
            .filter(|status| (200..600).contains(status))
            .ok_or_else(fault)?;
        let methods = match method {
            None => &[][..],
            Some(name) => {
                let at = Method::ALL.iter().position(|method| method.name() == name);
                let at = at.ok_or_else(fault)?;
                &ALL_METHODS[at..=at]
            }
        };
        let verdict = match outcome {
            "applied" => Verdict::Settle(Settlement::Applied),
            "superseded" => Verdict::Settle(Settlement::Superseded),
            "absent" => Verdict::Settle(Settlement::Absent),
            "rejected" => Verdict::Reject("by_setting"),
            "trouble" => Verdict::Trouble,
            _ => return Err(OverrideFault::Outcome(outcome.to_owned())),
        };
        self.overrides
            .push(rule(status, Mark::Any, methods, verdict));
        Ok(())
    }

    /// What `response` to a request of `method` (the one sent: an expired put is a del) means.
    #[must_use]
    pub fn judge(&self, method: Method, response: &Response) -> Verdict {
        SAID.iter()
            .chain(&self.overrides)
            .chain(&TABLE)
            .find(|rule| {
                (rule.status == response.status || rule.status == 0)
                    && rule.mark.fits(response)
                    && (rule.methods.is_empty() || rule.methods.contains(&method))
            })
            .map_or(Verdict::Trouble, |rule| rule.verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16) -> Response {
        Response {
            status,
            version: None,
            version_error: None,
            challenge: false,
            close: false,
            head_bytes: 0,
            body_bytes: 0,
        }
    }

    fn check(outcomes: &Outcomes, methods: &[Method], response: Response, expected: Verdict) {
        for method in methods {
            assert_eq!(
                outcomes.judge(*method, &response),
                expected,
                "{} {response:?}",
                method.name()
            );
        }
    }

    #[test]
    fn the_table_of_the_specification_holds() {
        use Method::{Put, TbDelete, TbPut, TbUpdate};
        let table = Outcomes::default();
        let settle = Verdict::Settle;
        let with_error = |error| Response {
            version: Some(1),
            version_error: Some(error),
            ..response(200)
        };
        check(
            &table,
            &Method::ALL,
            with_error(false),
            settle(Settlement::Applied),
        );
        check(
            &table,
            &Method::ALL,
            with_error(true),
            settle(Settlement::Superseded),
        );
        check(
            &table,
            &[Del, Hdel, Srem, Zrem],
            response(404),
            settle(Settlement::Absent),
        );
        check(
            &table,
            &[Hdel, Srem, Zrem],
            response(412),
            settle(Settlement::Absent),
        );
        check(
            &table,
            &[Put, Hset, Sadd, Zadd, TbPut, TbUpdate, TbDelete],
            response(404),
            Verdict::Reject("not_found"),
        );
        check(
            &table,
            &[Hset, Sadd, Zadd],
            response(412),
            Verdict::Reject("table_type"),
        );
        check(
            &table,
            &Method::ALL,
            response(400),
            Verdict::Reject("bad_request"),
        );
        check(
            &table,
            &Method::ALL,
            response(405),
            Verdict::Reject("method_not_allowed"),
        );
        check(
            &table,
            &Method::ALL,
            Response {
                version: Some(0),
                ..response(401)
            },
            Verdict::Reject("version"),
        );
        check(
            &table,
            &Method::ALL,
            Response {
                challenge: true,
                ..response(401)
            },
            Verdict::Refused,
        );
        for status in [200, 204, 302, 401, 403, 500, 503] {
            check(&table, &Method::ALL, response(status), Verdict::Trouble);
        }
        check(&table, &[Put, Del], response(412), Verdict::Trouble);
    }

    #[test]
    fn an_operator_overrides_entries_but_not_what_hustdb_said() {
        let mut table = Outcomes::default();
        table.override_with("412 hset", "applied").unwrap();
        table.override_with("401", "rejected").unwrap();
        check(
            &table,
            &[Hset],
            response(412),
            Verdict::Settle(Settlement::Applied),
        );
        check(
            &table,
            &[Sadd],
            response(412),
            Verdict::Reject("table_type"),
        );
        check(
            &table,
            &[Hset],
            Response {
                challenge: true,
                ..response(401)
            },
            Verdict::Refused,
        );
    }

    #[test]
    fn an_override_of_another_form_says_how_to_write_it() {
        let mut table = Outcomes::default();
        for answer in ["", "abc", "99", "412 hest", "412  hset"] {
            assert_eq!(
                table.override_with(answer, "applied"),
                Err(OverrideFault::Answer(answer.into()))
            );
        }
        assert_eq!(
            table.override_with("412", "ok"),
            Err(OverrideFault::Outcome("ok".into()))
        );
    }
}
