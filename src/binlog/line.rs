//! A line of a log: find the payload, decode it in place.

use std::ops::Range;

use jiff::civil::DateTime;
use memchr::memrchr;

use crate::binlog::line_fault::LineFault;
use crate::binlog::record::Record;

/// Bytes of `2026-11-22 16:40:38`.
const CLOCK_BYTES: usize = 19;

/// Where the payload is in a line without its newline: all behind the last space, or all where
/// there is no space.
///
/// # Errors
/// [`LineFault::NoPayload`] where that is nothing.
pub fn payload(line: &[u8]) -> Result<Range<usize>, LineFault> {
    let start = memrchr(b' ', line).map_or(0, |space| space + 1);
    if start == line.len() {
        return Err(LineFault::NoPayload);
    }
    Ok(start..line.len())
}

/// Decodes a line in place. Gives where in `line` the record's bytes now stand; they have been
/// checked.
///
/// # Errors
/// Whatever is wrong with the line. Its payload's bytes are then partly overwritten.
pub fn decode_in_place(line: &mut [u8]) -> Result<Range<usize>, LineFault> {
    let range = payload(line)?;
    let start = range.start;
    let decoded = base64_simd::STANDARD
        .decode_inplace(&mut line[range])
        .map_err(|_| LineFault::NotBase64)?;
    let bytes = decoded.len();
    Record::parse(decoded)?;
    Ok(start..start + bytes)
}

/// Writes a line as HA does, newline included: `prefix`, the record in base64.
pub fn encode(prefix: &[u8], record: &[u8], line: &mut Vec<u8>) {
    line.extend_from_slice(prefix);
    let text = base64_simd::STANDARD.encode_to_string(record);
    line.extend_from_slice(text.as_bytes());
    line.push(b'\n');
}

/// What the clock of a line's prefix shows, in whatever time zone: HA writes
/// `[2026-11-22 16:40:38]`, unless its operator changed the format. `None` for any other prefix.
pub(crate) fn line_clock(line: &[u8]) -> Option<DateTime> {
    let (time, rest) = line.strip_prefix(b"[")?.split_at_checked(CLOCK_BYTES)?;
    if rest.first() != Some(&b']') {
        return None;
    }
    str::from_utf8(time).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::binlog::Method;

    const PREFIX: &[u8] = b"[2026-11-22 16:40:38] [DEBUG] | ";

    fn put(key: &'static [u8], value: &'static [u8]) -> Record<'static> {
        Record {
            version: 2,
            ..Record::new(Method::Put, key, value)
        }
    }

    fn check(line: &[u8], expected: Result<&Record<'_>, LineFault>) {
        let mut line = line.to_vec();
        let found = decode_in_place(&mut line).map(|range| line[range].to_vec());
        match (found, expected) {
            (Ok(bytes), Ok(record)) => assert_eq!(&Record::parse(&bytes).unwrap(), record),
            (Err(found), Err(expected)) => assert_eq!(found, expected),
            (found, expected) => panic!("found {found:?}, expected {expected:?}"),
        }
    }

    fn line_of(prefix: &[u8], record: &Record<'_>) -> Vec<u8> {
        let (mut bytes, mut line) = (Vec::new(), Vec::new());
        record.encode(&mut bytes);
        encode(prefix, &bytes, &mut line);
        line.pop();
        line
    }

    #[test]
    fn the_payload_is_what_follows_the_last_space_whatever_the_prefix() {
        let record = put(b"k", b"v");
        check(&line_of(PREFIX, &record), Ok(&record));
        check(&line_of(b"", &record), Ok(&record));
        check(
            &line_of(b"\0\0\0 half of ano[ther] line ", &record),
            Ok(&record),
        );
    }

    #[test]
    fn a_line_without_payload_says_so() {
        check(b"", Err(LineFault::NoPayload));
        check(PREFIX, Err(LineFault::NoPayload));
    }

    #[test]
    fn what_is_no_base64_says_so() {
        check(b"| !!!!", Err(LineFault::NotBase64));
        check(b"| MQAAAAE", Err(LineFault::NotBase64));
        check(&[0; 64], Err(LineFault::NotBase64));
        check(b"| MQ-_", Err(LineFault::NotBase64));
    }

    #[test]
    fn a_record_that_is_too_short_says_so() {
        check(
            b"| AAAA",
            Err(LineFault::TooShort {
                bytes: 3,
                needed: 38,
            }),
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_record_or_a_fault(
            mut line in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = decode_in_place(&mut line);
        }

        #[test]
        fn any_payload_is_a_record_or_a_fault(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut line = Vec::new();
            encode(PREFIX, &bytes, &mut line);
            line.pop();
            prop_assert_eq!(decode_in_place(&mut line).is_ok(), Record::parse(&bytes).is_ok());
        }
    }
}
