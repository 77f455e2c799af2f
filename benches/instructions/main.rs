//! Instructions of the hot paths for 10,000 puts of 100 bytes, as callgrind counts them: the
//! same on a busy machine. Compared with the committed figures; more than 3 % above one fails.
//!
//! ```text
//! .ci/instructions            compare
//! .ci/instructions --renew    write the figures anew, after a change that is worth its price
//! ```
//!
//! Each path runs in a process of its own under valgrind, which counts only in [`measured`]. The
//! figures are those of one compiler, and of a processor's best instructions: with others nothing
//! is compared, and that is said.
//!
//! Exit codes: 0 none is worse, 1 one is, or could not be counted, 2 valgrind is missing.

mod callgrind;
mod figures;
mod paths;
mod replay;

use std::process::ExitCode;

use figures::Figures;
use paths::PATHS;

/// An error is a sentence.
type Outcome<T> = Result<T, String>;

/// Records that each path handles.
const RECORDS: usize = 10_000;
/// And their values' bytes.
const VALUE_BYTES: usize = 100;

/// A figure may be so much above its committed one.
const WORSE: f64 = 1.03;

/// What is counted: nothing else, and nothing before or after it.
#[inline(never)]
fn measured<T>(path: impl FnOnce() -> T) -> T {
    path()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name] = &arguments[..]
        && flag == "--path"
    {
        let path = PATHS.iter().find(|(known, _)| known == name);
        path.expect("it is one of them").1();
        return ExitCode::SUCCESS;
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        eprintln!("instructions: nothing is counted without `cargo bench`");
        return ExitCode::SUCCESS;
    }
    if !callgrind::is_there() {
        eprintln!("instructions: valgrind is missing (apt-get install valgrind)");
        return ExitCode::from(2);
    }
    let renews = arguments.iter().any(|argument| argument == "--renew");
    match count(renews) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("instructions: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Counts all paths, and compares or renews. Gives whether none is worse.
fn count(renews: bool) -> Outcome<bool> {
    let committed = Figures::committed()?;
    let conditions = figures::conditions();
    if !renews && committed.conditions != conditions {
        eprintln!(
            "SKIPPED: the committed figures are of {}; this is {conditions}. To renew them: \
             .ci/instructions --renew",
            committed.conditions
        );
        return Ok(true);
    }
    let names: Vec<&str> = PATHS.iter().map(|(name, _)| *name).collect();
    let counted = callgrind::count_all(&names)?;
    if renews {
        Figures::of(conditions, &counted).write()?;
        return Ok(true);
    }
    let mut none_is_worse = true;
    for (name, counts) in names.iter().zip(&counted) {
        let Some(before) = committed.of_path(name) else {
            return Err(format!("{name} has no committed figure: --renew"));
        };
        let ratio = counts.all as f64 / before.all as f64;
        let is_worse = ratio > WORSE;
        let verdict = if is_worse { "WORSE" } else { "" };
        println!(
            "{name:8} {:>12} instructions, {:>7.1} a record, {ratio:.3} of the committed {verdict}",
            counts.all,
            counts.all as f64 / RECORDS as f64,
        );
        if is_worse {
            none_is_worse = false;
            before.explain(counts);
        }
    }
    Ok(none_is_worse)
}
