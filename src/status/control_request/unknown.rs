//! What a client is told that names a backend which is not known.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::text::nearest;

/// Names that a message repeats.
const NAMES_SHOWN_MAX: usize = 20;
/// How many characters may differ between an unknown name and the name that is suggested.
const SLIPS_MAX: usize = 3;

/// One line: there is no such backend, and which ones there are.
#[must_use]
pub fn unknown_backend(name: &str, names: &[Arc<str>]) -> String {
    let shown: String = name
        .chars()
        .filter(|character| !character.is_control())
        .collect();
    let mut text = format!("there is no backend {shown:?}");
    let near = nearest(name, names.iter().map(|known| (&**known, known)))
        .filter(|(_, slips)| *slips <= SLIPS_MAX);
    // Writing to a `String` cannot fail.
    let _ = match near {
        Some((near, _)) => write!(text, "; did you mean {near}?"),
        None => Ok(()),
    };
    let list: Vec<&str> = names
        .iter()
        .take(NAMES_SHOWN_MAX)
        .map(|name| &**name)
        .collect();
    let more = names.len().saturating_sub(list.len());
    let _ = match (list.is_empty(), more) {
        (true, _) => write!(text, "; no backend has a log folder"),
        (false, 0) => write!(text, "; there is {}", list.join(", ")),
        (false, more) => write!(text, "; there is {}, and {more} more", list.join(", ")),
    };
    text
}
