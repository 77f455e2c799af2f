//! What the backends' answers would be taken for: `sync.outcomes` over what hustdb 1.9 means.

use std::fmt::Write as _;

use super::findings::Findings;
use crate::binlog::Method;
use crate::config::Config;
use crate::engine::settings::outcomes;
use crate::http::response::Response;
use crate::replay::outcome::{Outcomes, Settlement, Verdict};

/// Statuses with a meaning of their own. Any other without an override is trouble.
const STATUSES: [u16; 6] = [200, 400, 401, 404, 405, 412];

/// Whether the overrides are such, and the table that they make.
pub(super) fn all(config: &Config, findings: &mut Findings) {
    match outcomes(config) {
        Err(fault) => findings.fault(fault.to_string()),
        Ok(outcomes) => {
            for line in table(&outcomes) {
                findings.fact("answer", line);
            }
        }
    }
}

/// A line for each status: `404 absent (del, hdel); trouble (put)`.
fn table(outcomes: &Outcomes) -> Vec<String> {
    let overridden = outcomes.statuses();
    let mut statuses: Vec<u16> = STATUSES.into_iter().chain(overridden).collect();
    statuses.sort_unstable();
    statuses.dedup();
    let lines = statuses.into_iter().map(|status| line(outcomes, status));
    let other = "any other: trouble of the backend; it is paused, and the record sent again";
    lines.chain([other.to_owned()]).collect()
}

fn line(outcomes: &Outcomes, status: u16) -> String {
    let mut meanings: Vec<(String, Vec<&str>)> = Vec::new();
    for method in Method::ALL {
        let meaning = meaning(outcomes.judge(method, &answer(status)));
        match meanings.iter_mut().find(|(known, _)| *known == meaning) {
            Some((_, methods)) => methods.push(method.name()),
            None => meanings.push((meaning, vec![method.name()])),
        }
    }
    let mut text = format!("{status}: ");
    let several = meanings.len() > 1;
    for (nth, (meaning, methods)) in meanings.into_iter().enumerate() {
        let comma = if nth > 0 { "; " } else { "" };
        // Writing to a string can't fail.
        let _ = write!(text, "{comma}{meaning}");
        if several {
            let _ = write!(text, " ({})", methods.join(", "));
        }
    }
    text
}

/// An answer as hustdb gives it with this status.
fn answer(status: u16) -> Response {
    Response {
        status,
        version: (status == 401).then_some(1),
        version_error: (status == 200).then_some(false),
        challenge: false,
        close: false,
        head_bytes: 0,
        body_bytes: 0,
    }
}

fn meaning(verdict: Verdict) -> String {
    match verdict {
        Verdict::Settle(Settlement::Applied) => "applied, or superseded by VerError".to_owned(),
        Verdict::Settle(Settlement::Superseded) => "superseded".to_owned(),
        Verdict::Settle(Settlement::Absent) => "absent".to_owned(),
        Verdict::Settle(Settlement::AppliedBefore) => "applied before".to_owned(),
        Verdict::Settle(Settlement::Rejected) => "rejected".to_owned(),
        Verdict::Reject(reason) => format!("rejected as {reason}"),
        Verdict::Refused => "the password is refused".to_owned(),
        Verdict::Trouble => "trouble".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::check::harness::Home;

    #[test]
    fn an_override_that_is_none_is_a_fault_and_one_that_is_shows_in_the_table() {
        let mut home = Home::new();
        home.config.sync.outcomes = vec![("412 hset".into(), "gone".into())];
        home.check(
            &[
                "sync.outcomes: it has \"gone\", which is no outcome; write applied, superseded, \
                 absent, rejected or trouble",
            ],
            &[],
        );
        home.config.sync.outcomes = vec![
            ("412 hset".into(), "rejected".into()),
            ("503".into(), "absent".into()),
        ];
        home.check(&[], &[]);
        let facts = home.examine().facts;
        let lines: Vec<&str> = facts
            .iter()
            .filter(|(label, _)| *label == "answer")
            .map(|(_, text)| text.as_str())
            .collect();
        assert_eq!(lines[0], "200: applied, or superseded by VerError");
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("412: ") && line.contains("by_setting (hset)")),
            "{lines:?}"
        );
        assert!(lines.contains(&"503: absent"), "{lines:?}");
    }
}
