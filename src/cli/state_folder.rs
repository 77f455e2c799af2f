//! The folder of the state that a command reads, and whether the server that it asks has the same
//! one: with another server's configuration it would show this state and change that one.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use super::status::client::{self, StatusError};
use super::status::{StatusTarget, plain};
use crate::config::Config;
use crate::engine::os::facts::absolute_path;
use crate::status::report::Report;

/// A server that runs on this host answers in milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// An error where there is no state folder: nothing that is read there would be no answer.
pub(super) fn must_exist(config: &Config) -> Result<(), String> {
    let state = config.state_path();
    let shown = state.display();
    match std::fs::metadata(&state) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(format!(
            "there is no state folder {shown}: no server has run with this sync.ngx_path; give the \
             configuration of the one that is meant (--config)"
        )),
        Err(error) => Err(format!("{shown}: {error}")),
    }
}

/// An error where a server answers at this configuration's address that has another state. Where
/// none answers, nobody knows.
pub(super) fn must_not_be_anothers(config: &Config) -> Result<(), String> {
    match client::report(&StatusTarget::of(config), ANSWER_TIMEOUT) {
        Ok(report) => must_be_of(&config.state_path(), &report),
        Err(_) => Ok(()),
    }
}

/// An error where the server that answers at `target` has another state than this, or does not
/// answer.
pub(super) fn must_be_of_server(state: &Path, target: &StatusTarget) -> Result<(), StatusError> {
    let report = client::report(target, client::ANSWER_TIMEOUT)?;
    must_be_of(state, &report).map_err(|why| StatusError::Refused { why })
}

/// An error where the server of this report has another state than this. One that does not tell is
/// of an older version.
pub(super) fn must_be_of(state: &Path, report: &Report) -> Result<(), String> {
    let (ours, theirs) = (absolute_path(state), &report.state_path);
    let real = |path: &str| Path::new(path).canonicalize().ok();
    let is_same = *theirs == ours || real(&ours).is_some_and(|ours| real(theirs) == Some(ours));
    if theirs.is_empty() || is_same {
        return Ok(());
    }
    Err(format!(
        "the server at network.port of this configuration has its state in {}, and this \
         sync.ngx_path means {ours}: give the configuration that it runs with (--config); where it \
         runs in a container, or sync.ngx_path is relative, run this where the server runs",
        plain(theirs)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_with_another_state_is_told_from_one_with_the_same_by_whatever_path() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        std::fs::create_dir_all(path("one/status")).unwrap();
        std::fs::create_dir_all(path("two/status")).unwrap();
        std::os::unix::fs::symlink(path("one"), path("link")).unwrap();
        let of = |ours: &str, theirs: &str| {
            let state_path = match theirs {
                "" => String::new(),
                theirs => path(theirs).display().to_string(),
            };
            let report = Report {
                state_path,
                ..Report::default()
            };
            must_be_of(&path(ours), &report)
        };
        for (ours, theirs, is_same) in [
            ("one/status", "one/status", true),
            ("one//status/", "one/status", true),
            ("link/status", "one/status", true),
            ("one/status", "", true),
            ("gone/status", "gone/status", true),
            ("two/status", "one/status", false),
            ("gone/status", "one/status", false),
            ("gone/status", "away/status", false),
        ] {
            let told = of(ours, theirs);
            assert_eq!(told.is_ok(), is_same, "{ours} {theirs}: {told:?}");
        }
        let why = of("two/status", "one/status").unwrap_err();
        for name in ["one/status", "two/status"] {
            assert!(why.contains(path(name).to_str().unwrap()), "{why}");
        }
    }
}
