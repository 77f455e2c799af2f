//! Colours, where a terminal shows them and nobody has switched them off.

use std::fmt;
use std::io::IsTerminal;

/// Colours or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Paint(bool);

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    /// What is wrong.
    Fault,
    /// What is done.
    Verb,
    /// What is only there to find it again.
    Dim,
}

impl Paint {
    /// None at all.
    #[cfg(test)]
    pub(super) const PLAIN: Self = Self(false);

    /// For what goes to `stream`: only to a terminal, only where `NO_COLOR` is unset or empty, as
    /// its convention has it, and not where the terminal says that it knows none (`TERM=dumb`).
    pub(super) fn of(stream: &impl IsTerminal) -> Self {
        Self(stream.is_terminal() && allowed())
    }

    /// `text` in this ink.
    pub(super) fn ink<T: fmt::Display>(self, ink: Ink, text: T) -> Painted<T> {
        Painted {
            code: self.0.then_some(match ink {
                Ink::Fault => "31",
                Ink::Verb => "32",
                Ink::Dim => "2",
            }),
            text,
        }
    }
}

/// What the environment says of colours.
pub(super) fn allowed() -> bool {
    let is_off = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !is_off && !is_dumb
}

/// Text with its ink. Its width is the text's.
pub(super) struct Painted<T> {
    code: Option<&'static str>,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            None => self.text.fmt(f),
            Some(code) => {
                write!(f, "\u{1b}[{code}m")?;
                self.text.fmt(f)?;
                f.write_str("\u{1b}[0m")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ink_surrounds_the_padded_text_and_none_leaves_it_as_it_is() {
        let text = |paint: Paint| format!("{:<5}|", paint.ink(Ink::Fault, "ab"));
        assert_eq!(text(Paint::PLAIN), "ab   |");
        assert_eq!(text(Paint(true)), "\u{1b}[31mab   \u{1b}[0m|");
    }

    #[test]
    fn a_file_is_no_terminal() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(Paint::of(&file), Paint::PLAIN);
    }
}
