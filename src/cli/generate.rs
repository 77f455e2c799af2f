//! `man`: the pages of the manual, from the definition of the command line itself.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::args::{Cli, NAME};
use super::failure::Failure;

/// The section of the manual: administration.
const SECTION: &str = "8";

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
    let mut pages = vec![Page {
        name: NAME.to_owned(),
        above: String::new(),
        command: command.clone(),
    }];
    collect(NAME, &command, &mut pages);
    for page in &pages {
        let path = folder.join(format!("{}.{SECTION}", page.name));
        write(&path, page, &pages).map_err(|error| named(&path, error))?;
    }
    Ok(())
}

/// A page of the manual.
struct Page {
    name: String,
    /// The name of the page above; the program's has none.
    above: String,
    command: Command,
}

impl Page {
    /// Whether this page names the other one: the program's, and those above, below and beside it.
    fn names(&self, other: &Self) -> bool {
        let is_near = [&self.name, &self.above].contains(&&other.above);
        other.name != self.name && (is_near || other.name == self.above || other.name == NAME)
    }
}

/// All commands below `command`, named with dashes, as manuals are.
fn collect(above: &str, command: &Command, pages: &mut Vec<Page>) {
    for below in command.get_subcommands() {
        let name = format!("{above}-{}", below.get_name());
        pages.push(Page {
            name: name.clone(),
            above: above.to_owned(),
            command: below.clone(),
        });
        collect(&name, below, pages);
    }
}

fn write(path: &Path, page: &Page, all: &[Page]) -> io::Result<()> {
    let Page { name, command, .. } = page;
    let has_commands = command.has_subcommands();
    // clap's names are static or its own; a page's is made here.
    let command = command.clone().display_name(name.clone());
    let known = Man::new(command)
        .title(name.to_uppercase())
        .section(SECTION)
        .source(concat!("hustdbsync ", env!("CARGO_PKG_VERSION")))
        .manual("HustDB");
    let mut text = Vec::new();
    known.render_title(&mut text)?;
    known.render_name_section(&mut text)?;
    known.render_synopsis_section(&mut text)?;
    known.render_description_section(&mut text)?;
    known.render_options_section(&mut text)?;
    if has_commands {
        known.render_subcommands_section(&mut text)?;
    }
    more_sections(page, all).to_writer(&mut text)?;
    File::create(path)?.write_all(&text)
}

/// What the definition of a command has no place for.
fn more_sections(page: &Page, all: &[Page]) -> Roff {
    let Page { name, command, .. } = page;
    let notes = command.get_after_long_help().or(command.get_after_help());
    let notes = notes.map(ToString::to_string).unwrap_or_default();
    let (notes, examples) = match notes.split_once("Example") {
        Some((notes, examples)) => (
            notes,
            examples.split_once(":\n").map_or("", |parts| parts.1),
        ),
        None => (&*notes, ""),
    };
    let mut text = Roff::new();
    for (title, lines) in [("NOTES", notes), ("EXAMPLES", examples)] {
        if lines.trim().is_empty() {
            continue;
        }
        text.control("SH", [title]).control("nf", []);
        for line in lines.trim_end().lines() {
            text.text([roman(line)]);
        }
        text.control("fi", []);
    }
    let codes = EXIT_STATUS
        .iter()
        .filter(|(of, ..)| of.is_empty() || of == name);
    list(
        &mut text,
        "EXIT STATUS",
        codes.map(|(_, code, what)| (*code, *what)),
    );
    list(&mut text, "ENVIRONMENT", ENVIRONMENT.iter().copied());
    list(&mut text, "FILES", FILES.iter().copied());
    let others = all.iter().filter(|other| page.names(other));
    let others: Vec<String> = others
        .map(|other| format!("{}({SECTION})", other.name))
        .collect();
    text.control("SH", ["SEE ALSO"]);
    text.text([roman(format!("{}.", others.join(", ")))]);
    text.text([roman(
        "A running server has the operator's guide at /guide.",
    )]);
    text
}

fn list<'a>(page: &mut Roff, title: &str, rows: impl Iterator<Item = (&'a str, &'a str)>) {
    page.control("SH", [title]);
    for (what, text) in rows {
        let term: [Inline; 1] = [bold(what)];
        page.control("TP", []).text(term).text([roman(text)]);
    }
}

/// Exit codes: of which page (none: of all), the code, and what it says.
const EXIT_STATUS: &[(&str, &str, &str)] = &[
    ("", "0", "It is done."),
    ("", "1", "It failed; the reason is on stderr."),
    ("", "2", "The arguments are wrong."),
    (
        "hustdbsync-status",
        "3",
        "Not in sync: with --wait, not within the time, or what is missing has gone from its \
         folders; with --fail-if-not-in-sync, something waits for a backend.",
    ),
    (
        "hustdbsync-run",
        "78",
        "The configuration has faults: starting it again is of no use.",
    ),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "HUSTDBSYNC_USER, HUSTDBSYNC_PASSWD",
        "Who asks the server at --url.",
    ),
    (
        "HUSTDBSYNC_PASSWD, HUSTDBSYNC_VIEWER_PASSWORD",
        "For a server, and for commands without --url: network.passwd and \
         network.viewer_password, before those of the configuration and after those of \
         network.passwd_file and network.viewer_password_file.",
    ),
    ("NO_COLOR", "Set, and not empty: no colours."),
    (
        "RUST_LOG",
        "What is logged, before sync.log_level: as in info or hustdbsync=debug.",
    ),
];

const FILES: &[(&str, &str)] = &[
    (
        "sync_server.json",
        "The configuration, beside the executable.",
    ),
    (
        "/etc/hustdbsync/sync_server.json",
        "The configuration, where that is not there.",
    ),
    (
        "<logs_path>/<backend>/<minute>.log",
        "What HA writes; finished ones are deleted.",
    ),
    (
        "<ngx_path>/status/<backend>/checkpoint",
        "Which lines are completed.",
    ),
    (
        "<ngx_path>/status/<backend>/rejected.jsonl",
        "Lines that cannot be replayed, with the reason.",
    ),
];

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
        for (name, part) in [
            ("hustdbsync-status", ".SH EXAMPLES\n"),
            ("hustdbsync-status", "\n.TP\n\\fB3\\fR\nNot in sync"),
            ("hustdbsync-fake-hustdb", ".SH NOTES\n"),
            ("hustdbsync-ctl-pause", "hustdbsync\\-ctl\\-resume(8)"),
            ("hustdbsync-ctl-pause", "hustdbsync\\-ctl(8)"),
            ("hustdbsync-run", "hustdbsync\\-status(8)"),
            ("hustdbsync", "hustdbsync\\-status(8)"),
        ] {
            assert!(
                read(name).contains(part),
                "no {part:?} in {name}:\n{}",
                read(name)
            );
        }
        let mut pages = Vec::new();
        collect(NAME, &Cli::command(), &mut pages);
        assert!(pages.len() >= 7);
        for Page { name, command, .. } in pages {
            let text = read(&name);
            for section in [
                "SYNOPSIS",
                "EXIT STATUS",
                "ENVIRONMENT",
                "FILES",
                "SEE ALSO",
            ] {
                assert!(text.contains(section), "{name} has no {section}");
            }
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
