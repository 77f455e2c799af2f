//! Which records must keep their order: those of the same table and key, as hustdb understands
//! them.
//!
//! A key stands in a record as it was spelt in the query (`a%20b`), or raw where it was a body.
//! hustdb decodes a spelling once; two spellings of one key are one key (guarantees, G2). For the
//! order alone a wrong *same* costs nothing, since other keys may share a lane anyhow, and a wrong
//! *different* is a user's wrong data. So keys are folded more than hustdb folds them: every key is
//! percent-decoded, also a raw member; `+` and space are one; and a key ends at a NUL, at `?`
//! (hustdb's decoder stops there, also at an escaped one) and at `;` (which some builds of it take
//! for `&`).
//!
//! What a malformed escape decodes to was read in hustdb's HTTP library: a `%` before no
//! hexadecimal digit is dropped and the octet behind it stands for itself, even another `%`; one
//! before a single digit takes that and the octet behind it along.

use std::borrow::Cow;

use memchr::memchr2;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use crate::binlog::Record;

/// Hash of a record's table and key, the same for all spellings of both. Stable within a process
/// only.
///
/// `scratch` is used for keys that need decoding; it only grows.
#[must_use]
pub fn order_hash(record: &Record<'_>, scratch: &mut Vec<u8>) -> u64 {
    let key = folded_hash(record.key, 0, scratch);
    folded_hash(record.table, key, scratch)
}

fn folded_hash(text: &[u8], seed: u64, scratch: &mut Vec<u8>) -> u64 {
    if failpoint!(SpellingsApart)
        || !text
            .iter()
            .any(|octet| matches!(octet, b'%' | b'+' | b'?' | b';' | 0))
    {
        return xxh3_64_with_seed(text, seed);
    }
    scratch.clear();
    fold(text, scratch);
    xxh3_64_with_seed(scratch, seed)
}

/// The key that hustdb takes `text` for, where it decodes it: once, up to and including a `?`.
/// Unlike folding, it keeps apart the keys that hustdb keeps apart (docs/hustdb.md, "Requests").
#[must_use]
pub fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr2(b'%', b'?', text).is_none() {
        return Cow::Borrowed(text);
    }
    let (mut rest, mut decoded) = (text, Vec::with_capacity(text.len()));
    while !rest.is_empty() {
        let (octet, width) = decode_octet(rest);
        decoded.extend(octet);
        // One that a malformed escape stands for ends nothing.
        if octet == Some(b'?') && width != 2 {
            break;
        }
        rest = &rest[width..];
    }
    Cow::Owned(decoded)
}

/// Appends what `text` is folded to (see the module).
pub fn fold(text: &[u8], folded: &mut Vec<u8>) {
    let _ = fold_down_to(0, text, folded);
}

/// Folds `text` until at most `left` bytes of it are left, which it returns. None: the text has
/// ended before that.
fn fold_down_to<'a>(left: usize, mut text: &'a [u8], folded: &mut Vec<u8>) -> Option<&'a [u8]> {
    while text.len() > left {
        let (octet, width) = decode_octet(text);
        match octet {
            Some(0 | b'?' | b';') => return None,
            Some(b'+') => folded.push(b' '),
            Some(octet) => folded.push(octet),
            None => {}
        }
        text = &text[width..];
    }
    Some(text)
}

/// The longest spelling of one octet. With fewer bytes at hand, how an octet is spelt may depend
/// on what follows.
const SPELLING_BYTES_MAX: usize = 3;

/// [`order_hash`] of a key or a table that comes in pieces.
pub(super) struct FoldedHash {
    hash: Xxh3,
    /// What was not folded yet: fewer bytes than the longest spelling has.
    left: Vec<u8>,
    folded: Vec<u8>,
    is_over: bool,
}

impl FoldedHash {
    /// A key's seed is 0, a table's is its key's hash.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            hash: Xxh3::with_seed(seed),
            left: Vec::new(),
            folded: Vec::new(),
            is_over: false,
        }
    }

    pub(super) fn push(&mut self, text: &[u8]) {
        if failpoint!(SpellingsApart) {
            return self.hash.update(text);
        }
        self.left.extend_from_slice(text);
        self.fold_down_to(SPELLING_BYTES_MAX - 1);
    }

    pub(super) fn finish(&mut self) -> u64 {
        self.fold_down_to(0);
        self.hash.digest()
    }

    fn fold_down_to(&mut self, left: usize) {
        self.folded.clear();
        let kept = if self.is_over {
            None
        } else {
            fold_down_to(left, &self.left, &mut self.folded)
        };
        self.is_over = kept.is_none();
        let kept = kept.map_or(0, <[u8]>::len);
        self.left.drain(..self.left.len() - kept);
        self.hash.update(&self.folded);
    }
}

/// The octet that `text` begins with, none for a malformed escape, and how many bytes spell it.
fn decode_octet(text: &[u8]) -> (Option<u8>, usize) {
    match *text {
        [b'%', high, low, ..] => match (hex(high), hex(low)) {
            (Some(high), Some(low)) => (Some(high << 4 | low), 3),
            (Some(_), None) => (None, 3),
            (None, _) => (Some(high), 2),
        },
        [b'%', last] if hex(last).is_none() => (Some(last), 2),
        [b'%', ..] => (None, text.len()),
        [octet, ..] => (Some(octet), 1),
        [] => (None, 0),
    }
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::binlog::Method;

    fn hash(table: &[u8], key: &[u8]) -> u64 {
        let record = Record {
            table,
            ..Record::new(Method::Hset, key, b"")
        };
        order_hash(&record, &mut Vec::new())
    }

    #[test]
    fn spellings_of_one_key_are_one_key() {
        for spelling in [
            &b"a%20b"[..],
            b"a+b",
            b"%61%20%62",
            b"a b\0rest",
            b"a%20b%00rest",
            b"a b?x",
            b"a b%3Fy",
            b"a b;c",
            b"a b%4z",
            b"a% b%",
            b"a b%2",
        ] {
            assert_eq!(
                hash(b"t", spelling),
                hash(b"t", b"a b"),
                "{}",
                spelling.escape_ascii()
            );
        }
        assert_eq!(hash(b"t", b"%e4%BD"), hash(b"t", b"\xe4\xbd"));
        assert_eq!(hash(b"%74", b"k"), hash(b"t", b"k"));
    }

    /// Found by fuzzing against the fake HustDB's decoder (fuzz/fuzz_targets/record.rs).
    #[test]
    fn what_follows_a_stray_percent_stands_for_itself() {
        for (spelling, stored) in [
            (&b"a%%41"[..], &b"a%2541"[..]),
            (b"a%%%41", b"a%25A"),
            (b"a%z", b"az"),
            (b"a%%", b"a%25"),
            (b"a%+b", b"a b"),
        ] {
            assert_eq!(
                hash(b"t", spelling),
                hash(b"t", stored),
                "{}",
                spelling.escape_ascii()
            );
        }
    }

    /// As the fake HustDB's decoder has it (fuzz/fuzz_targets/record.rs).
    #[test]
    fn a_key_is_decoded_once_and_up_to_a_question_mark() {
        for (spelling, key) in [
            (&b"a%20b"[..], &b"a b"[..]),
            (b"a+b;c", b"a+b;c"),
            (b"a%2541", b"a%41"),
            (b"a?b", b"a?"),
            (b"a%3Fb", b"a?"),
            (b"a%?b%41", b"a?bA"),
            (b"a%%41", b"a%41"),
            (b"%4zb", b"b"),
            (b"a%4", b"a"),
            (b"a%", b"a"),
            (b"%00", b"\0"),
            (b"", b""),
        ] {
            assert_eq!(*decoded(spelling), *key, "{}", spelling.escape_ascii());
        }
    }

    #[test]
    fn other_keys_and_tables_differ() {
        assert_ne!(hash(b"t", b"a"), hash(b"t", b"b"));
        assert_ne!(hash(b"t", b"a"), hash(b"u", b"a"));
        assert_ne!(hash(b"ta", b"b"), hash(b"t", b"ab"));
    }

    proptest! {
        #[test]
        fn escaping_any_octets_of_a_key_changes_nothing(
            key in proptest::collection::vec(any::<u8>(), 0..60),
            mask: u64,
        ) {
            let mut escaped = Vec::new();
            for (i, byte) in key.iter().enumerate() {
                if mask >> (i % 64) & 1 == 1 || *byte == b'%' {
                    escaped.extend_from_slice(format!("%{byte:02X}").as_bytes());
                } else {
                    escaped.push(*byte);
                }
            }
            // `key` itself is raw: spell its percent signs, so that both are query text for the
            // same octets.
            let plain: Vec<u8> = key
                .iter()
                .flat_map(|b| {
                    if *b == b'%' {
                        b"%25".to_vec()
                    } else {
                        vec![*b]
                    }
                })
                .collect();
            prop_assert_eq!(hash(b"t", &escaped), hash(b"t", &plain));
        }
    }
}
