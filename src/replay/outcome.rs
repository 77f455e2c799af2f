//! What an answer means for a record (docs/hustdb.md, "Answers").
//!
//! The first that applies decides: what hustdb *said*, which is no matter of policy and cannot be
//! overridden; then an operator's own rules (`sync.outcomes`); then the usual meaning, which for
//! 404 and 412 is in each method's row ([`crate::binlog::method`]).

use crate::binlog::Method;
use crate::binlog::method::Missing;
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
    /// It is rejected in rejected.jsonl.
    Rejected,
}

/// What to do after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The record is settled.
    Settle(Settlement),
    /// The record is rejected, for this reason (one word).
    Reject(&'static str),
    /// Our password is wrong: nothing is settled, the backend is paused.
    Refused,
    /// The backend is in trouble: back off, send again.
    Trouble,
}

/// An operator's word on an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Override {
    status: u16,
    /// `None`: all methods.
    method: Option<Method>,
    verdict: Verdict,
}

/// The table, with an operator's overrides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    overrides: Vec<Override>,
}

/// Why an override is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverrideFault {
    /// The left side.
    #[error("{0:?}, which is no answer")]
    Answer(String),
    /// The left side is what hustdb says itself, which cannot be overridden.
    #[error("{0:?}, whose meaning hustdb says itself (VerError)")]
    Said(String),
    /// The right side.
    #[error("{0:?}, which is no outcome")]
    Outcome(String),
}

impl OverrideFault {
    /// What to do.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Answer(_) => {
                "write a status from 201 to 599, and after a space a method for which it holds, as \
                 in \"412 put\""
            }
            Self::Said(_) => {
                "leave it out: a 200 without VerError is no answer of a hustdb, and stays trouble"
            }
            Self::Outcome(_) => "write applied, superseded, absent, rejected or trouble",
        }
    }
}

impl Outcomes {
    /// What hustdb 1.9 means, with an operator's overrides, each as in
    /// [`override_with`](Self::override_with).
    ///
    /// # Errors
    /// One of them is none.
    pub fn with_overrides(overrides: &[(String, String)]) -> Result<Self, OverrideFault> {
        let mut outcomes = Self::default();
        for (answer, outcome) in overrides {
            outcomes.override_with(answer, outcome)?;
        }
        Ok(outcomes)
    }

    /// Adds an operator's override: `answer` is a status and maybe a method (`"412 put"`),
    /// `outcome` is `applied`, `superseded`, `absent`, `rejected` or `trouble`. Of two that fit,
    /// the earlier decides.
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
        let method = match method {
            None => None,
            Some(name) => Some(Method::from_name(name).ok_or_else(fault)?),
        };
        if status == 200 {
            return Err(OverrideFault::Said(answer.to_owned()));
        }
        let verdict = match outcome {
            "applied" => Verdict::Settle(Settlement::Applied),
            "superseded" => Verdict::Settle(Settlement::Superseded),
            "absent" => Verdict::Settle(Settlement::Absent),
            "rejected" => Verdict::Reject("by_setting"),
            "trouble" => Verdict::Trouble,
            _ => return Err(OverrideFault::Outcome(outcome.to_owned())),
        };
        self.overrides.push(Override {
            status,
            method,
            verdict,
        });
        Ok(())
    }

    /// The statuses that an operator has overridden.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = u16> {
        self.overrides.iter().map(|rule| rule.status)
    }

    /// What `response` to a request of `method` (the one sent: an expired put is a del) means.
    #[must_use]
    pub fn judge(&self, method: Method, response: &Response) -> Verdict {
        said(response)
            .or_else(|| self.overridden(method, response.status))
            .unwrap_or_else(|| usual(method, response))
    }

    fn overridden(&self, method: Method, status: u16) -> Option<Verdict> {
        let fits = |rule: &&Override| {
            rule.status == status && rule.method.is_none_or(|only| only == method)
        };
        self.overrides.iter().find(fits).map(|rule| rule.verdict)
    }
}

/// What hustdb said itself. No setting changes it.
fn said(response: &Response) -> Option<Verdict> {
    match (response.status, response.version_error) {
        (200, Some(false)) => Some(Verdict::Settle(Settlement::Applied)),
        (200, Some(true)) => Some(Verdict::Settle(Settlement::Superseded)),
        (401, _) if response.challenge && response.version.is_none() => Some(Verdict::Refused),
        _ => None,
    }
}

/// What any other answer means. Whatever is not listed, 403 and a 200 without `VerError` among it,
/// is no answer of a healthy hustdb.
fn usual(method: Method, response: &Response) -> Verdict {
    match response.status {
        404 => Verdict::of_missing(method.row().on_404),
        412 => Verdict::of_missing(method.row().on_412),
        400 => Verdict::Reject("bad_request"),
        405 => Verdict::Reject("method_not_allowed"),
        401 if response.version.is_some() => Verdict::Reject("version"),
        _ => Verdict::Trouble,
    }
}

impl Verdict {
    fn of_missing(missing: Missing) -> Self {
        match missing {
            Missing::Absent => Self::Settle(Settlement::Absent),
            Missing::Rejected(reason) => Self::Reject(reason),
            Missing::Trouble => Self::Trouble,
        }
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
        use Method::{Del, Hdel, Hset, Put, Sadd, Srem, TbDelete, TbPut, TbUpdate, Zadd, Zrem};
        use Verdict::{Refused, Reject, Settle, Trouble};
        let all = &Method::ALL[..];
        let with_error = |error| Response {
            version: Some(1),
            version_error: Some(error),
            ..response(200)
        };
        let version_0 = Response {
            version: Some(0),
            ..response(401)
        };
        let challenge = Response {
            challenge: true,
            ..response(401)
        };
        let writes = &[Put, Hset, Sadd, Zadd, TbPut, TbUpdate, TbDelete];
        let table = Outcomes::default();
        for (methods, response, expected) in [
            (all, with_error(false), Settle(Settlement::Applied)),
            (all, with_error(true), Settle(Settlement::Superseded)),
            (
                &[Del, Hdel, Srem, Zrem],
                response(404),
                Settle(Settlement::Absent),
            ),
            (
                &[Hdel, Srem, Zrem],
                response(412),
                Settle(Settlement::Absent),
            ),
            (writes, response(404), Reject("not_found")),
            (&[Hset, Sadd, Zadd], response(412), Reject("table_type")),
            (all, response(400), Reject("bad_request")),
            (all, response(405), Reject("method_not_allowed")),
            (all, version_0, Reject("version")),
            (all, challenge, Refused),
            (
                &[Put, Del, TbPut, TbUpdate, TbDelete],
                response(412),
                Trouble,
            ),
        ] {
            check(&table, methods, response, expected);
        }
        for status in [200, 204, 302, 401, 403, 500, 503] {
            check(&table, all, response(status), Trouble);
        }
    }

    #[test]
    fn an_operator_overrides_entries_but_not_what_hustdb_said() {
        let mut table = Outcomes::default();
        table.override_with("412 hset", "applied").unwrap();
        table.override_with("401", "rejected").unwrap();
        check(
            &table,
            &[Method::Hset],
            response(412),
            Verdict::Settle(Settlement::Applied),
        );
        check(
            &table,
            &[Method::Sadd],
            response(412),
            Verdict::Reject("table_type"),
        );
        check(
            &table,
            &[Method::Hset],
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
        for answer in ["200", "200 put"] {
            assert_eq!(
                table.override_with(answer, "applied"),
                Err(OverrideFault::Said(answer.into()))
            );
        }
        assert_eq!(
            table.override_with("412", "ok"),
            Err(OverrideFault::Outcome("ok".into()))
        );
    }
}
