//! Arguments to a [`Cli`], and wrong ones to one line and exit code 2.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use super::args::{Cli, NAME};
use crate::cli::output;

/// Says that arguments are wrong.
const WRONG: u8 = 2;

/// Reads the arguments, the program's name first.
///
/// # Errors
/// The exit code, where all is said already: help and version went to stdout, what is wrong to
/// stderr.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, ExitCode> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    Cli::try_parse_from(&arguments).map_err(|error| {
        let is_asked = matches!(
            error.kind(),
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
        );
        if is_asked {
            // Whoever reads it has seen enough where it can't be written.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        refuse(&sentence(&error), command_of(&arguments))
    })
}

/// Says what is wrong with the arguments of `command`, and where to read what is right; gives the
/// exit code.
pub(super) fn refuse(why: &str, command: &str) -> ExitCode {
    let space = if command.is_empty() { "" } else { " " };
    output::complain(format_args!(
        "{NAME}: {why} (see `{NAME} {command}{space}--help`)"
    ));
    ExitCode::from(WRONG)
}

/// The command that was meant, if its name stands where it belongs.
fn command_of(arguments: &[OsString]) -> &str {
    use clap::CommandFactory;
    let name = arguments
        .get(1)
        .and_then(|name| name.to_str())
        .unwrap_or("");
    let is_known = Cli::command().find_subcommand(name).is_some();
    if is_known { name } else { "" }
}

/// What clap says, without its usage, in a line.
fn sentence(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty());
    let mut said = String::new();
    for line in lines {
        let line = line.strip_prefix("error: ").unwrap_or(line);
        // A list follows a colon.
        let between = match said.chars().last() {
            None => "",
            Some(':') => " ",
            Some(_) => "; ",
        };
        said.push_str(between);
        said.push_str(line);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str], expected: &str) {
        let error = Cli::try_parse_from([NAME].iter().chain(words)).unwrap_err();
        assert_eq!(sentence(&error), expected, "{words:?}");
    }

    #[test]
    fn what_is_wrong_is_one_line() {
        check(
            &["--frobnicate"],
            "unexpected argument '--frobnicate' found",
        );
        check(
            &["chekc"],
            "unrecognized subcommand 'chekc'; tip: a similar subcommand exists: 'check'",
        );
        check(
            &["inspect"],
            "the following required arguments were not provided: <LOG>...",
        );
        check(&["-d", "-q"], "the argument '-d' cannot be used with '-q'");
        check(
            &["inspect", "--method", "frob", "l"],
            "invalid value 'frob' for '--method <METHOD>': it is one of put, del, hset, hdel, \
             sadd, srem, zadd, zrem, tb_put, tb_update, tb_delete",
        );
    }

    #[test]
    fn the_help_that_is_named_is_the_commands_own() {
        let command = |words: &[&str]| {
            let words: Vec<OsString> = [&NAME].into_iter().chain(words).map(Into::into).collect();
            command_of(&words).to_owned()
        };
        assert_eq!(command(&["inspect", "--frob"]), "inspect");
        assert_eq!(command(&["frob"]), "");
        assert_eq!(command(&[]), "");
    }
}
