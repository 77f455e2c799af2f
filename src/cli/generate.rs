//! `completions` and `man`: what a package needs besides the program, from the definition of the
//! command line itself.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Cli, Failure, NAME, output};

/// The section of the manual: administration.
const SECTION: &str = "8";

/// Prints the completions of `shell`.
pub(super) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    output::print("completions", &script)
}

/// Writes a page for the program and for each command into `folder`.
pub(super) fn man(folder: &Path) -> Result<(), Failure> {
    let named = |path: &Path, error: io::Error| {
        Failure(format!(
            "the man page {} can't be written: {error}",
            path.display()
        ))
    };
    fs::create_dir_all(folder).map_err(|error| named(folder, error))?;
    // Built, so that commands know the whole of their names.
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = vec![(NAME.to_owned(), command.clone())];
    collect(NAME, &command, &mut pages);
    for (name, command) in pages {
        let path = folder.join(format!("{name}.{SECTION}"));
        write(&path, &name, command).map_err(|error| named(&path, error))?;
    }
    Ok(())
}

/// All commands below `command`, named with dashes, as manuals are.
fn collect(name: &str, command: &Command, pages: &mut Vec<(String, Command)>) {
    for below in command.get_subcommands() {
        let name = format!("{name}-{}", below.get_name());
        pages.push((name.clone(), below.clone()));
        collect(&name, below, pages);
    }
}

fn write(path: &Path, name: &str, command: Command) -> io::Result<()> {
    // clap's names are static or its own; a page's is made here.
    let command = command.display_name(name.to_owned());
    let page = Man::new(command)
        .title(name.to_uppercase())
        .section(SECTION)
        .source(concat!("hustdbsync ", env!("CARGO_PKG_VERSION")))
        .manual("HustDB");
    let mut text = Vec::new();
    page.render(&mut text)?;
    File::create(path)?.write_all(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_each_command_at_any_depth() {
        let folder = tempfile::tempdir().unwrap();
        man(&folder.path().join("man8")).unwrap_or_else(|Failure(why)| panic!("{why}"));
        let read = |name: &str| {
            let path = folder.path().join("man8").join(format!("{name}.8"));
            fs::read_to_string(path).unwrap_or_else(|why| panic!("{name}: {why}"))
        };
        let all = read(NAME);
        assert!(all.contains(".TH HUSTDBSYNC 8 "), "{all}");
        let mut pages = Vec::new();
        collect(NAME, &Cli::command(), &mut pages);
        assert!(pages.len() >= 7);
        for (name, command) in pages {
            let text = read(&name);
            assert!(text.contains("SYNOPSIS"), "{name}");
            // What `--help` says of each option stands in it.
            for argument in command.get_arguments() {
                if let Some(long) = argument.get_long().filter(|_| !argument.is_hide_set()) {
                    let long = long.replace('-', "\\-");
                    assert!(text.contains(&long), "{name} does not tell of --{long}");
                }
            }
        }
    }

    #[test]
    fn a_folder_that_can_not_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let Err(Failure(why)) = man(&file.path().join("man8")) else {
            panic!("it is made");
        };
        assert!(why.contains("/man8 can't be written: "), "{why}");
    }
}
