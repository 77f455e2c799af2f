//! A line that is too long to be held: measured and checked in pieces, in one pass.
//!
//! ```text
//!  line     prefix … last space │ base64 of ─▶ head │ value
//!                               payload_at          value_at (in the decoded payload)
//! ```
//!
//! What is found is all that a lane needs in order to send the record: its head, how many bytes the
//! value has, and that every byte of the payload decodes. The value is then read and decoded again,
//! piece by piece, by whoever sends it ([`LongRecord::piece`]), and compared with `value_digest`.
//! [`decode_in_place`](crate::binlog::line::decode_in_place) is the peer that holds the whole line.

use std::fmt;

use memchr::memrchr;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::binlog::key::FoldedHash;
use crate::binlog::record::step_checksum;
use crate::binlog::{LineFault, Method, Record};
use crate::limits::{KEY_KEPT_BYTES_MAX, RECORD_HEAD_FIXED_BYTES, REJECTED_HEAD_BYTES};

/// What a pass over a line has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Its first bytes, [`REJECTED_HEAD_BYTES`] at most.
    pub start: Vec<u8>,
    /// Hash (xxh3) of the line's bytes, its newline not counted.
    pub digest: u64,
    pub record: Result<LongRecord, LineFault>,
}

/// A record without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LongRecord {
    /// The record as [`Record::parse_checked`] reads it, without a value. A key or table of more
    /// than [`KEY_KEPT_BYTES_MAX`] is cut.
    pub head: Vec<u8>,
    /// [`order_hash`](crate::binlog::key::order_hash) of the whole record.
    pub order: u64,
    /// Where the payload begins in the line, in bytes.
    pub payload_at: u64,
    /// Where the value begins in the decoded payload, in bytes.
    pub value_at: u64,
    pub value_bytes: u64,
    /// Hash (xxh3) of the value.
    pub value_digest: u64,
}

/// Which bytes of a line have a piece of the value in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceAt {
    /// Where they begin in the line.
    pub at: u64,
    /// How many they are.
    pub bytes: usize,
    /// Decoded bytes of them that come before the piece.
    pub skip: usize,
}

impl LongRecord {
    /// Where the value from `value_at` on stands in the line, as much of it as `bytes_max` bytes of
    /// the line hold. `bytes_max` is at least one group of base64, 4 bytes.
    #[must_use]
    pub fn piece(&self, from: u64, bytes_max: usize) -> PieceAt {
        let decoded = self.value_at + from;
        let end = (self.value_at + self.value_bytes).div_ceil(3) * 4;
        let begin = decoded / 3 * 4;
        let most = (bytes_max / 4 * 4) as u64;
        PieceAt {
            at: self.payload_at + begin,
            bytes: usize::try_from(most.min(end - begin)).expect("at most bytes_max"),
            skip: (decoded % 3) as usize,
        }
    }
}

/// Takes a line's bytes in, in order and in pieces of any length.
pub struct Scanner {
    start: Vec<u8>,
    line: Xxh3,
    /// Bytes that were taken in.
    taken: u64,
    payload: Payload,
    /// For decoding.
    scratch: Vec<u8>,
}

impl fmt::Debug for Scanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scanner")
            .field("taken", &self.taken)
            .finish_non_exhaustive()
    }
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            start: Vec::new(),
            line: Xxh3::new(),
            taken: 0,
            payload: Payload::new(0),
            scratch: Vec::new(),
        }
    }
}

impl Scanner {
    /// Takes the next bytes in; never the newline.
    pub fn push(&mut self, bytes: &[u8]) {
        let start_left = REJECTED_HEAD_BYTES - self.start.len();
        self.start
            .extend_from_slice(&bytes[..bytes.len().min(start_left)]);
        self.line.update(bytes);
        let payload = match memrchr(b' ', bytes) {
            None => bytes,
            Some(space) => {
                self.payload = Payload::new(self.taken + space as u64 + 1);
                &bytes[space + 1..]
            }
        };
        self.payload.push(payload, &mut self.scratch);
        self.taken += bytes.len() as u64;
    }

    /// The line has ended.
    #[must_use]
    pub fn finish(self) -> Scanned {
        Scanned {
            record: self.payload.finish(self.taken),
            start: self.start,
            digest: self.line.digest(),
        }
    }
}

/// What may be the payload: the bytes behind the last space so far.
struct Payload {
    /// Where it begins in the line.
    at: u64,
    /// Fewer bytes than a group of base64 has.
    left: Vec<u8>,
    /// Padding has come: nothing may follow.
    is_padded: bool,
    is_base64: bool,
    record: RecordScan,
}

impl Payload {
    fn new(at: u64) -> Self {
        Self {
            at,
            left: Vec::new(),
            is_padded: false,
            is_base64: true,
            record: RecordScan::new(),
        }
    }

    fn push(&mut self, bytes: &[u8], scratch: &mut Vec<u8>) {
        if !self.is_base64 || bytes.is_empty() {
            return;
        }
        scratch.clear();
        scratch.extend_from_slice(&self.left);
        scratch.extend_from_slice(bytes);
        let whole = scratch.len() / 4 * 4;
        self.left.clear();
        self.left.extend_from_slice(&scratch[whole..]);
        if whole == 0 {
            return;
        }
        let decoded = base64_simd::STANDARD.decode_inplace(&mut scratch[..whole]);
        match decoded {
            Ok(decoded) if !self.is_padded => {
                self.is_padded = decoded.len() < whole / 4 * 3;
                self.record.push(decoded);
            }
            _ => self.is_base64 = false,
        }
    }

    fn finish(self, line_bytes: u64) -> Result<LongRecord, LineFault> {
        if self.at == line_bytes {
            return Err(LineFault::NoPayload);
        }
        if !self.is_base64 || !self.left.is_empty() {
            return Err(LineFault::NotBase64);
        }
        self.record.finish(self.at)
    }
}

/// A key or a table that comes in pieces.
struct Text {
    /// Bytes that it is said to have.
    said: u32,
    /// Bytes that have not come.
    missing: u32,
    kept: Vec<u8>,
    sum: u32,
    hash: FoldedHash,
}

impl Text {
    fn new(said: u32, seed: u64) -> Self {
        Self {
            said,
            missing: said,
            kept: Vec::new(),
            sum: 0,
            hash: FoldedHash::new(seed),
        }
    }

    /// Takes its bytes off the front of `bytes`.
    fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let count = bytes.len().min(self.missing as usize);
        let (own, rest) = bytes.split_at(count);
        let room = KEY_KEPT_BYTES_MAX - self.kept.len();
        self.kept.extend_from_slice(&own[..count.min(room)]);
        self.sum = own.iter().fold(self.sum, step_checksum);
        self.hash.push(own);
        self.missing -= u32::try_from(count).expect("no more than is missing");
        rest
    }
}

/// Bytes of the head before the key, between key and table, and behind the table.
const BEFORE_KEY_BYTES: usize = 13;
const BEFORE_TABLE_BYTES: usize = BEFORE_KEY_BYTES + 12;

/// A record's decoded bytes, in order.
struct RecordScan {
    /// Bytes that have come.
    bytes: u64,
    /// The fixed fields that have come, one behind the other.
    fixed: Vec<u8>,
    key: Option<Text>,
    table: Option<Text>,
    value: Xxh3,
}

impl RecordScan {
    fn new() -> Self {
        Self {
            bytes: 0,
            fixed: Vec::new(),
            key: None,
            table: None,
            value: Xxh3::new(),
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let rest = self.take_fixed(bytes, BEFORE_KEY_BYTES);
        if self.fixed.len() < BEFORE_KEY_BYTES {
            return;
        }
        let said = self.u32_at(9);
        let key = self.key.get_or_insert_with(|| Text::new(said, 0));
        let rest = key.take(rest);
        if key.missing > 0 {
            return;
        }
        let rest = self.take_fixed(rest, BEFORE_TABLE_BYTES);
        if self.fixed.len() < BEFORE_TABLE_BYTES {
            return;
        }
        let said = self.u32_at(BEFORE_TABLE_BYTES - 4);
        let key = self.key.as_mut().expect("it has come");
        let table = self
            .table
            .get_or_insert_with(|| Text::new(said, key.hash.finish()));
        let rest = table.take(rest);
        if table.missing > 0 {
            return;
        }
        let value = self.take_fixed(rest, RECORD_HEAD_FIXED_BYTES);
        self.value.update(value);
    }

    /// Takes bytes off the front of `bytes` until `upto` of the fixed ones have come.
    fn take_fixed<'a>(&mut self, bytes: &'a [u8], upto: usize) -> &'a [u8] {
        let missing = upto.saturating_sub(self.fixed.len());
        let (own, rest) = bytes.split_at(missing.min(bytes.len()));
        self.fixed.extend_from_slice(own);
        rest
    }

    fn u32_at(&self, at: usize) -> u32 {
        let field = self.fixed[at..at + 4].try_into();
        u32::from_le_bytes(field.expect("a slice of 4 bytes is 4 bytes"))
    }

    /// The same faults, in the same order, as [`Record::parse`] finds.
    fn finish(mut self, payload_at: u64) -> Result<LongRecord, LineFault> {
        let bytes = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        if bytes < RECORD_HEAD_FIXED_BYTES {
            let needed = RECORD_HEAD_FIXED_BYTES;
            return Err(LineFault::TooShort { bytes, needed });
        }
        let code = self.fixed[4];
        let method = Method::from_code(code).ok_or(LineFault::UnknownMethod(code))?;
        let past_end = |field, said| LineFault::LengthPastEnd { field, said, bytes };
        let key_said = self.u32_at(9);
        if u64::from(key_said) + RECORD_HEAD_FIXED_BYTES as u64 > self.bytes {
            return Err(past_end("key", key_said));
        }
        let table_said = self.u32_at(BEFORE_TABLE_BYTES - 4);
        let said = u64::from(key_said) + u64::from(table_said);
        let head_bytes = said + RECORD_HEAD_FIXED_BYTES as u64;
        if head_bytes > self.bytes {
            return Err(past_end("table", table_said));
        }
        let (Some(key), Some(mut table)) = (self.key.take(), self.table.take()) else {
            unreachable!("a record that is long enough has both");
        };
        if u64::from(self.u32_at(0)) != head_bytes {
            let said = self.u32_at(0);
            let found = head_bytes;
            return Err(LineFault::HeadLength { said, found });
        }
        check_sum("key", &key, self.u32_at(BEFORE_KEY_BYTES))?;
        check_sum("table", &table, self.u32_at(BEFORE_TABLE_BYTES))?;
        let score = self.fixed[RECORD_HEAD_FIXED_BYTES - 9..][..8].try_into();
        let record = Record {
            method,
            version: self.u32_at(5),
            key: &key.kept,
            expires_unix: self.u32_at(BEFORE_KEY_BYTES + 4),
            table: &table.kept,
            score: i64::from_le_bytes(score.expect("a slice of 8 bytes is 8 bytes")),
            opt: i8::from_le_bytes([self.fixed[RECORD_HEAD_FIXED_BYTES - 1]]),
            value: b"",
        };
        let mut head = Vec::new();
        record.encode(&mut head);
        Record::parse(&head)?;
        Ok(LongRecord {
            order: table.hash.finish(),
            head,
            payload_at,
            value_at: head_bytes,
            value_bytes: self.bytes - head_bytes,
            value_digest: self.value.digest(),
        })
    }
}

fn check_sum(field: &'static str, text: &Text, said: u32) -> Result<(), LineFault> {
    debug_assert_eq!(text.missing, 0, "{field} of {} bytes has come", text.said);
    if text.sum == said {
        return Ok(());
    }
    let found = text.sum;
    Err(LineFault::Checksum { field, said, found })
}

/// What a value's pieces come to: the same bytes as when the line was scanned, or not.
#[derive(Clone, Default)]
pub struct ValueDigest {
    hash: Xxh3,
    /// Bytes of the value that have come.
    bytes: u64,
}

impl fmt::Debug for ValueDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueDigest")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl ValueDigest {
    /// Bytes of the value that have come: where the next piece begins.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes the next piece in. False: it is the last one, and this is not the value that was
    /// scanned.
    #[must_use]
    pub fn push(&mut self, piece: &[u8], record: &LongRecord) -> bool {
        self.hash.update(piece);
        self.bytes += piece.len() as u64;
        self.bytes < record.value_bytes || self.hash.digest() == record.value_digest
    }
}

/// The hash that [`Scanned::digest`] is, of a line that is held.
#[must_use]
pub(crate) fn line_digest(line: &[u8]) -> u64 {
    xxh3_64(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::binlog::key::order_hash;
    use crate::binlog::line;

    /// Scans `line` in pieces that end at `cuts`.
    fn scan(line: &[u8], cuts: &[prop::sample::Index]) -> Scanned {
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(line.len() + 1)).collect();
        ends.push(line.len());
        ends.sort_unstable();
        let mut scanner = Scanner::default();
        let mut from = 0;
        for end in ends {
            scanner.push(&line[from..end]);
            from = end;
        }
        scanner.finish()
    }

    /// Holds what is scanned of `line` against its peer, and the value's pieces against the value.
    fn check(line: &[u8], cuts: &[prop::sample::Index], piece_bytes: usize) {
        let scanned = scan(line, cuts);
        assert_eq!(scanned.start, line[..line.len().min(REJECTED_HEAD_BYTES)]);
        assert_eq!(scanned.digest, line_digest(line));
        let mut held = line.to_vec();
        let whole = line::decode_in_place(&mut held).map(|range| &held[range]);
        let (found, whole) = match (scanned.record, whole) {
            (Ok(found), Ok(whole)) => (found, whole),
            (found, whole) => return assert_eq!(found.err(), whole.err()),
        };
        let record = Record::parse(whole).expect("it has been checked");
        let cut = |text: &'_ [u8]| text[..text.len().min(KEY_KEPT_BYTES_MAX)].to_vec();
        let (key, table) = (cut(record.key), cut(record.table));
        let head = Record {
            key: &key,
            table: &table,
            value: b"",
            ..record
        };
        assert_eq!(Record::parse_checked(&found.head), head);
        assert_eq!(found.order, order_hash(&record, &mut Vec::new()));
        assert_eq!(found.value_bytes, record.value.len() as u64);
        let (mut value, mut digest) = (Vec::new(), ValueDigest::default());
        while digest.bytes() < found.value_bytes {
            let at = found.piece(digest.bytes(), piece_bytes);
            let from = usize::try_from(at.at).unwrap();
            let text = &line[from..from + at.bytes];
            let piece = base64_simd::STANDARD.decode_to_vec(text).unwrap();
            assert!(digest.push(&piece[at.skip..], &found));
            value.extend_from_slice(&piece[at.skip..]);
        }
        assert_eq!(value, record.value);
    }

    fn line_of(record: &Record<'_>) -> Vec<u8> {
        let (mut bytes, mut text) = (Vec::new(), Vec::new());
        record.encode(&mut bytes);
        line::encode(b"[2026-11-22 16:40:38] [DEBUG] | ", &bytes, &mut text);
        text.pop();
        text
    }

    #[test]
    fn another_value_is_told_from_the_one_that_was_scanned() {
        let record = |value| Record::new(Method::Put, b"k", value);
        let found = scan(&line_of(&record(b"value")), &[]).record.unwrap();
        let mut digest = ValueDigest::default();
        assert!(digest.push(b"va", &found));
        assert!(!digest.push(b"lux", &found));
    }

    #[test]
    fn a_member_that_goes_in_the_body_may_be_as_long_as_it_likes() {
        let member = vec![b'%'; 3 * KEY_KEPT_BYTES_MAX];
        let record = Record {
            table: b"t",
            ..Record::new(Method::Sadd, &member, &member)
        };
        check(&line_of(&record), &[], 4096);
    }

    proptest! {
        #[test]
        fn any_record_in_any_pieces_is_what_a_plain_reading_says(
            method in 0..Method::ALL.len(),
            version: u32, expires_unix: u32, score: i64, opt in -2..=2_i8,
            key in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(b'%'), Just(b'?')],
                0..80,
            ),
            table in proptest::collection::vec(any::<u8>(), 0..70),
            value in proptest::collection::vec(any::<u8>(), 0..300),
            flip in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
            piece_bytes in 4..40_usize,
        ) {
            let mut record = Vec::new();
            Record {
                method: Method::ALL[method],
                version,
                key: &key,
                expires_unix,
                table: &table,
                score,
                opt,
                value: &value,
            }
            .encode(&mut record);
            if let Some((at, byte)) = flip {
                let at = at.index(record.len());
                record[at] = byte;
            }
            let mut text = Vec::new();
            line::encode(b"[2026-11-22 16:40:38] [DEBUG] | ", &record, &mut text);
            text.pop();
            check(&text, &cuts, piece_bytes);
        }

        #[test]
        fn any_bytes_in_any_pieces_are_what_a_plain_reading_says(
            pieces in proptest::collection::vec(prop_oneof!["[A-Za-z0-9+/]{0,90}", "[A-Z=! \
                ]{0,9}", Just("MQ==".to_owned())], 0..6),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            check(pieces.concat().as_bytes(), &cuts, 8);
        }
    }
}
