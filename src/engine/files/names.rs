//! A log's name as text, without loss: GBK names exist, and logs, JSON and checkpoints are UTF-8.
//!
//! A byte that is not UTF-8 is written as `\xb0`, a backslash as two. Names of HA's have neither,
//! and stay as they are.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The name as text.
pub(super) fn escape(name: &OsStr) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            text.push(character);
            if character == '\\' {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("a string takes everything");
        }
    }
    text
}

/// The name that was written so. What is no escape stands for itself.
pub(super) fn unescape(text: &str) -> OsString {
    let mut name = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'\\').then(|| unescape_one(after)).flatten();
        let (byte, length) = escaped.unwrap_or((first, 0));
        name.push(byte);
        rest = &after[length..];
    }
    OsString::from_vec(name)
}

/// What a backslash and this stand for, and how many bytes of this.
fn unescape_one(after: &[u8]) -> Option<(u8, usize)> {
    match after {
        [b'\\', ..] => Some((b'\\', 1)),
        [b'x', high, low, ..] => {
            let digits = [*high, *low];
            let digits = std::str::from_utf8(&digits).ok()?;
            Some((u8::from_str_radix(digits, 16).ok()?, 3))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(name: &[u8], text: &str) {
        assert_eq!(escape(OsStr::from_bytes(name)), text);
        assert_eq!(unescape(text).as_bytes(), name);
    }

    #[test]
    fn names_of_has_stay_as_they_are_and_others_are_escaped() {
        check(b"2026-11-22-16-40.log", "2026-11-22-16-40.log");
        // "Log" in GBK, of which two bytes happen to be a character in UTF-8.
        check(b"\xc8\xd5\xd6\xbe.log", "\\xc8\\xd5\u{5be}.log");
        check(b"a\\xb0", r"a\\xb0");
        assert_eq!(unescape(r"a\").as_bytes(), br"a\");
        assert_eq!(unescape(r"\xg0").as_bytes(), br"\xg0");
    }

    proptest! {
        #[test]
        fn any_name_comes_back(name in proptest::collection::vec(any::<u8>(), 0..40)) {
            let name = OsStr::from_bytes(&name);
            prop_assert_eq!(unescape(&escape(name)), name.to_owned());
        }
    }
}
