//! Patterns of names, as arguments.
//!
//! A pattern is compared octet by octet and as a whole: `*` stands for any octets, `?` for one,
//! everything else for itself. So one without either is an exact name, and `user:*` is a prefix.

use std::str::FromStr;

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<u8>);

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("an empty pattern matches nothing; leave the option out for all".to_owned()),
            _ => Ok(Self(text.as_bytes().to_vec())),
        }
    }
}

impl Pattern {
    /// Whether it stands for the whole of `text`. Takes the product of both lengths at the most.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        fits(&self.0, text, |pattern, octet| {
            let stands = [b'?', octet].contains(pattern.first()?);
            stands.then_some(1)
        })
    }
}

/// Whether a pattern stands for the whole of `text`, where `*` stands for any octets. `fits_one`:
/// how many octets at the beginning of the rest of a pattern stand for this octet, if they do.
pub(super) fn fits(
    pattern: &[u8],
    text: &[u8],
    fits_one: impl Fn(&[u8], u8) -> Option<usize>,
) -> bool {
    let (mut at, mut read) = (0, 0);
    // What follows the last `*`, and how far that goes. Only the last one needs to be tried again.
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            star = Some((at, read));
        } else if let Some(after) = fits_one(&pattern[at..], text[read]) {
            (at, read) = (at + after, read + 1);
        } else if let Some((after, to)) = star {
            (at, read) = (after, to + 1);
            star = Some((after, to + 1));
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|octet| *octet == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(pattern: &str, fits: &[&str], not: &[&str]) {
        let pattern: Pattern = pattern.parse().unwrap();
        for text in fits {
            assert!(pattern.matches(text.as_bytes()), "{pattern:?} {text:?}");
        }
        for text in not {
            assert!(!pattern.matches(text.as_bytes()), "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn a_pattern_is_exact_a_prefix_or_more() {
        check("a", &["a"], &["", "ab", "b", "A"]);
        check("user:*", &["user:", "user:7"], &["use", "xuser:7"]);
        check("*:7", &["user:7", ":7", ":7:7"], &["user:77", "7"]);
        check("a*b*c", &["abc", "aXbYc", "abbcbc"], &["acb", "ab", "abcd"]);
        check("a?c", &["abc", "a?c"], &["ac", "abbc"]);
        check("*", &["", "x"], &[]);
        check("**a**", &["a", "bab"], &["", "b"]);
        assert!("".parse::<Pattern>().is_err());
    }

    /// The same by recursion, as one would write it down.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                naive(rest, text) || !text.is_empty() && naive(pattern, &text[1..])
            }
            ([b'?', rest @ ..], [_, text @ ..]) => naive(rest, text),
            ([octet, rest @ ..], [first, text @ ..]) => octet == first && naive(rest, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_definition(pattern in "[ab*?]{1,8}", text in "[ab]{0,10}") {
            let expected = naive(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(Pattern(pattern.into_bytes()).matches(text.as_bytes()), expected);
        }
    }
}
