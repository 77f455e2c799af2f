//! The ways in which clients spell one key.
//!
//! A key in a query is decoded once by hustdb, so `a%20b` and `%61%20b` are the same key and must
//! keep their order. Each number names one key (or member) and has several spellings; which of them
//! a record uses is the second number's choice.

/// Most keys are short; one of so many is long.
const LONG_ONE_IN: u64 = 61;
const LONG_PADDING: usize = 200;

/// Query text for the key with this number. Different numbers are different keys, whatever the
/// spelling.
pub(super) fn query(number: u64, spelling: u64, text: &mut Vec<u8>) {
    let spellings: &[&[u8]] = match number % 10 {
        4 => &[b"a%20b:", b"%61%20b:", b"a%20b%3a"],
        5 => &[b"caf%C3%A9:", b"caf%c3%a9:", b"caf\xc3\xa9:"],
        6 => &[b"50%25+", b"50%25%2B", b"%350%25+"],
        7 => &[b"q=a/b%26c'(1)*~@,", b"q%3Da%2Fb%26c'(1)*~@,"],
        8 => &[b"line%0Aend%0D%23", b"line%0aend%0d%23"],
        _ => &[b"user:", b"%75ser:", b"user%3A"],
    };
    let chosen = usize::try_from(spelling).unwrap_or(0) % spellings.len();
    text.extend_from_slice(spellings[chosen]);
    text.extend_from_slice(number.to_string().as_bytes());
    if number.is_multiple_of(LONG_ONE_IN) {
        text.resize(text.len() + LONG_PADDING, b'x');
    }
    if number % 10 == 9 {
        // hustdb's decoder ends a key at a question mark, escaped or not, and keeps the mark.
        text.extend_from_slice(if spelling.is_multiple_of(2) {
            b"%3F"
        } else {
            b"?"
        });
    }
}

/// A member of a set: octets, which nobody decodes. Different numbers are different members.
pub(super) fn member(number: u64, octets: &mut Vec<u8>) {
    let start: &[u8] = match number % 6 {
        1 => b"\xff\x80\xe4 ",
        2 => b"two\r\nlines ",
        3 => b"100%25 %zz & # ",
        // HA's record has the key only up to the NUL; the value has it whole.
        4 => b"nul\0",
        _ => b"member ",
    };
    octets.extend_from_slice(start);
    octets.extend_from_slice(number.to_string().as_bytes());
}
