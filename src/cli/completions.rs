//! `completions`: what a shell offers, from the definition of the command line itself, and the
//! names of backends from the folders of logs.
//!
//! clap's scripts complete what never changes. Around them goes a function for each shell that asks
//! `hustdbsync completions --backends` where a backend's name is to come.

use std::fmt::Write as _;
use std::fs;

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::{Cli, NAME};
use super::failure::Failure;
use super::output;
use crate::config::{BackendName, Config};

/// What asks for the names; nothing comes where there is no configuration.
const NAMES: &str = "hustdbsync completions --backends 2>/dev/null";

/// Bash splits words at colons, also within a name, so that neither its words nor what it passes to
/// clap's function can be used.
const BASH: &str = r#"
_hustdbsync_backends() {
    local line="${COMP_LINE:0:COMP_POINT}" words word before verb
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    (( ${#words[@]} >= 3 )) || return 1
    word="${words[-1]}" before="${words[-2]}" verb="${words[-3]}"
    case "$verb $before" in
        *" --backend" | "ctl pause" | "ctl resume" | "ctl rate" | "ctl probe" | "ctl forget") ;;
        *) return 1 ;;
    esac
    [[ $word == -* ]] && return 1
    COMPREPLY=( $(compgen -W "$(NAMES)" -- "$word") )
    # Readline replaces what follows the last colon only.
    [[ $word == *:* && $COMP_WORDBREAKS == *:* ]] && COMPREPLY=( "${COMPREPLY[@]#"${word%:*}:"}" )
    return 0
}
_hustdbsync_all() {
    _hustdbsync_backends || _hustdbsync "$@"
}
"#;

const ZSH: &str = r#"
_hustdbsync_backends() {
    local -a names
    names=(${(f)"$(NAMES)"})
    compadd -a names
}
"#;

/// Prints the completions of `shell`.
pub(super) fn script(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    let script = String::from_utf8_lossy(&script);
    output::print("completions", with_backends(shell, &script).as_bytes())
}

fn with_backends(shell: Shell, script: &str) -> String {
    match shell {
        Shell::Bash => {
            let registers = "complete -F _hustdbsync ";
            let at = script.find("\nif [[ \"${BASH_VERSINFO");
            let (functions, end) = script.split_at(at.unwrap_or(script.len()));
            let end = end.replace(registers, "complete -F _hustdbsync_all ");
            format!("{functions}{}{end}", BASH.replace("NAMES", NAMES))
        }
        Shell::Zsh => {
            let ask = ":_hustdbsync_backends";
            let script = script
                .replace(":BACKEND:_default", &format!(":BACKEND{ask}"))
                .replace(
                    "Whom, host\\:port:_default",
                    &format!("Whom, host\\:port{ask}"),
                );
            // The first line says whose completions these are; the last ones run them.
            let at = script.find("\n_hustdbsync() {").unwrap_or(script.len());
            let (head, rest) = script.split_at(at);
            format!("{head}{}{rest}", ZSH.replace("NAMES", NAMES))
        }
        Shell::Fish => {
            let mut all = script.to_owned();
            for (condition, what) in [
                (
                    "__fish_seen_subcommand_from status inspect rejected differences",
                    "-l backend -x",
                ),
                (
                    "__fish_seen_subcommand_from ctl; and __fish_seen_subcommand_from pause resume \
                     rate probe forget",
                    "-f",
                ),
            ] {
                // Writing to a `String` cannot fail.
                let _ = writeln!(
                    all,
                    "complete -c hustdbsync -n \"{condition}\" {what} -a \"({NAMES})\""
                );
            }
            all
        }
        _ => script.to_owned(),
    }
}

/// Prints the names of backends, one a line: what the folder of logs has.
pub(super) fn backends(config: &Config) -> Result<(), Failure> {
    let folders = fs::read_dir(&config.sync.logs_path)?;
    let names = folders.filter_map(|folder| folder.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names
        .filter(|name| BackendName::parse(name).is_ok())
        .collect();
    names.sort();
    let text: String = names.iter().map(|name| format!("{name}\n")).collect();
    output::print("the names", text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn of(shell: Shell) -> String {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
        with_backends(shell, &String::from_utf8(script).unwrap())
    }

    /// What bash offers at the end of `line`, its words being split as readline splits them.
    fn offered(line: &str, words: &[&str]) -> Vec<String> {
        let (word, before) = (words.len() - 1, words[words.len() - 2]);
        let words: String = words.iter().map(|word| format!("'{word}' ")).collect();
        let test = format!(
            "hustdbsync() {{ echo 10.0.0.7:8085; echo 10.0.0.8:8085; echo db7:8085; }}\n\
             {}\nCOMP_WORDBREAKS=' :='\nCOMP_LINE='{line}'\nCOMP_POINT=${{#COMP_LINE}}\n\
             COMP_WORDS=({words})\nCOMP_CWORD={word}\n\
             _hustdbsync_all hustdbsync \"${{COMP_WORDS[-1]}}\" '{before}'\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            of(Shell::Bash)
        );
        let output = Command::new("bash").args(["-c", &test]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{line}");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn bash_offers_backends_where_one_is_to_come() {
        let all = ["10.0.0.7:8085", "10.0.0.8:8085", "db7:8085"];
        assert_eq!(
            offered("hustdbsync ctl pause ", &["hustdbsync", "ctl", "pause", ""]),
            all
        );
        assert_eq!(
            offered(
                "hustdbsync status --backend 10",
                &["hustdbsync", "status", "--backend", "10"]
            ),
            all[..2]
        );
        // What follows the colon is a word of its own.
        assert_eq!(
            offered(
                "hustdbsync ctl probe db7:8",
                &["hustdbsync", "ctl", "probe", "db7", ":", "8"]
            ),
            ["8085"]
        );
    }

    #[test]
    fn bash_offers_the_rest_as_before() {
        let verbs = offered("hustdbsync ctl pa", &["hustdbsync", "ctl", "pa"]);
        assert_eq!(verbs, ["pause"]);
        let options = offered(
            "hustdbsync ctl pause --conf",
            &["hustdbsync", "ctl", "pause", "--conf"],
        );
        assert_eq!(options, ["--config"]);
    }

    #[test]
    fn other_shells_ask_for_the_names_too() {
        let zsh = of(Shell::Zsh);
        assert!(zsh.starts_with("#compdef hustdbsync"), "{zsh:.100}");
        assert_eq!(zsh.matches(":_hustdbsync_backends'").count(), 14, "{zsh}");
        assert_eq!(zsh.matches(NAMES).count(), 1);
        assert_eq!(of(Shell::Fish).matches(NAMES).count(), 2);
    }
}
