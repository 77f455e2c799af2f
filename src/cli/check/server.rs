//! What the server that runs with this configuration says is wrong.

use super::findings::Findings;
use crate::cli::status::client::{self, ANSWER_TIMEOUT};
use crate::cli::status::{StatusTarget, plain};
use crate::config::Config;
use crate::status::counters::Counts;
use crate::status::report::Report;
use crate::status::snapshot::BackendSnapshot;

/// Of so many backends the names are told.
const NAMED_MAX: usize = 3;

/// Asks it.
pub(super) fn running(config: &Config, findings: &mut Findings) {
    match client::report(&StatusTarget::of(config), ANSWER_TIMEOUT) {
        Ok(report) => tell(&report, findings),
        Err(why) => findings.warning(format!(
            "the server that runs does not say how it is: {why}"
        )),
    }
}

fn tell(report: &Report, findings: &mut Findings) {
    if report.logs_unlisted {
        findings.warning(
            "sync.logs_path: the server that runs has not listed it yet, or cannot; its log says \
             why",
        );
    }
    let faulty = [
        (
            "sync.ngx_path: the server that runs cannot write the state of",
            (|counts: &Counts| counts.state_faulty > 0) as fn(&Counts) -> bool,
        ),
        (
            "sync.logs_path: the server that runs cannot read the logs of",
            |counts| counts.logs_faulty > 0,
        ),
    ];
    for (what, is_faulty) in faulty {
        let backends = report.backends.iter();
        let backends: Vec<_> = backends.filter(|it| is_faulty(&it.counts)).collect();
        if let Some(first) = backends.first() {
            findings.fault(format!("{what} {}{}", names(&backends), why(first)));
        }
    }
}

fn names(backends: &[&BackendSnapshot]) -> String {
    let named = backends.iter().take(NAMED_MAX);
    let named: Vec<String> = named.map(|backend| plain(&backend.name)).collect();
    let more = match backends.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", named.join(", "))
}

fn why(backend: &BackendSnapshot) -> String {
    match &*backend.why {
        "" => "; its log says why".to_owned(),
        why => format!("; it says: {}", plain(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_cannot_write_or_read_is_a_fault_that_names_whose() {
        let backend = |name: &str, state_faulty, logs_faulty, why: &str| BackendSnapshot {
            name: name.to_owned(),
            why: why.to_owned(),
            counts: Counts {
                state_faulty,
                logs_faulty,
                ..Counts::default()
            },
            ..BackendSnapshot::default()
        };
        let check = |backends, faults: &[&str]| {
            let mut findings = Findings::default();
            let report = Report {
                backends,
                ..Report::default()
            };
            tell(&report, &mut findings);
            assert_eq!(findings.faults, faults);
            assert_eq!(findings.warnings, [""; 0]);
        };
        check(vec![backend("a:1", 0, 0, "refused")], &[]);
        check(
            vec![backend("a:1", 0, 0, ""), backend("b:1", 0, 1, "")],
            &["sync.logs_path: the server that runs cannot read the logs of b:1; its log says why"],
        );
        let full = ["a:1", "b:1", "c:1", "d:1", "e:1"].map(|name| backend(name, 1, 0, "full"));
        check(
            full.to_vec(),
            &[
                "sync.ngx_path: the server that runs cannot write the state of a:1, b:1, c:1 and 2 \
               more; it says: full",
            ],
        );
    }
}
