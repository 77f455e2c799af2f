//! Debian's promtool, where it is installed.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs it in `folder` with `input`; it must say nothing but that all is well.
#[track_caller]
pub(crate) fn promtool(args: &[&str], folder: &Path, input: &str) {
    let started = Command::new("promtool")
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let what = format!("`promtool {}` was not run", args.join(" "));
            crate::observe::say_skipped("promtool", "prometheus", &what);
            return;
        }
        Err(error) => panic!("promtool does not start: {error}"),
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    // Its lint ends well although it has complained.
    let complains = args == ["check", "metrics"] && !said.trim().is_empty();
    assert!(
        output.status.success() && !complains,
        "promtool {}:\n{said}",
        args.join(" ")
    );
}
