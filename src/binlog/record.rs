//! A record: the decoded payload of a line (docs/format.md). All integers are little-endian,
//! nothing is padded.
//!
//! ```text
//! ┌ head_len u32 │ method u8 │ ver u32 │ key_len u32 │ key … │ key_crc u32 │ ttl u32
//! │      │ tb_len u32 │ tb … │ tb_crc u32 │ score u64 │ opt i8
//! └ head_len = 38 + key_len + tb_len
//! value …
//! ```

use crate::binlog::line_fault::LineFault;
use crate::binlog::method::{Key, Method, Ttl, Twice};
use crate::limits::RECORD_HEAD_FIXED_BYTES;

/// A record's fields. Key and table are spelt as they stood in the query, where that is where they
/// stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it does.
    pub method: Method,
    /// The version that the healthy master gave it.
    pub version: u32,
    /// The key: query text, percent-escapes and all, or the raw member (see
    /// [`crate::binlog::request`]).
    pub key: &'a [u8],
    /// When it expires, Unix seconds; 0: never.
    pub expires_unix: u32,
    /// The table, query text; empty where the method has none.
    pub table: &'a [u8],
    /// Sorted sets: the score's bits, signed.
    pub score: i64,
    /// Sorted sets: below 0 subtract, 0 set, above 0 add. Clients send any.
    pub opt: i8,
    /// The request's body.
    pub value: &'a [u8],
}

impl<'a> Record<'a> {
    /// One of version 1, with no more than every method has.
    #[must_use]
    pub const fn new(method: Method, key: &'a [u8], value: &'a [u8]) -> Self {
        Self {
            method,
            version: 1,
            key,
            expires_unix: 0,
            table: b"",
            score: 0,
            opt: 0,
            value,
        }
    }
}

/// Takes fields off the front of a record.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let field = self.bytes[self.at..self.at + N]
            .try_into()
            .expect("a slice of N bytes is N bytes");
        self.at += N;
        field
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    /// A run of `len` bytes, behind which the fixed fields that are left must still fit.
    fn run(
        &mut self,
        field: &'static str,
        len: u32,
        fixed_left: usize,
    ) -> Result<&'a [u8], LineFault> {
        let left = self.bytes.len() - self.at - fixed_left;
        if len as usize > left {
            return Err(LineFault::LengthPastEnd {
                field,
                said: len,
                bytes: self.bytes.len(),
            });
        }
        let run = &self.bytes[self.at..self.at + len as usize];
        self.at += len as usize;
        Ok(run)
    }
}

/// Bytes of the fixed fields up to the key, and behind the key.
const BEFORE_KEY_BYTES: usize = 13;
const AFTER_KEY_BYTES: usize = RECORD_HEAD_FIXED_BYTES - BEFORE_KEY_BYTES;
/// Bytes of the fixed fields behind the table.
const AFTER_TABLE_BYTES: usize = 13;

impl<'a> Record<'a> {
    /// Reads a record and checks everything that can be checked: lengths, checksums, method.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, LineFault> {
        let (record, said) = Self::split(bytes)?;
        let found = (RECORD_HEAD_FIXED_BYTES + record.key.len() + record.table.len()) as u64;
        if u64::from(said.head_len) != found {
            return Err(LineFault::HeadLength {
                said: said.head_len,
                found,
            });
        }
        check_sum("key", record.key, said.key_sum)?;
        check_sum("table", record.table, said.table_sum)?;
        Ok(record)
    }

    /// Whether it matters when HA wrote it: its ttl counts from then, or it may be applied already
    /// and be harmful twice.
    #[must_use]
    pub(crate) fn needs_written_time(&self) -> bool {
        self.has_ttl() || self.is_harmful_twice()
    }

    /// Whether it carries an expiry that its method heeds.
    #[must_use]
    pub fn has_ttl(&self) -> bool {
        self.expires_unix != 0 && self.method.row().ttl != Ttl::None
    }

    /// Whether it adds to a score, so that applying it twice counts twice (guarantees, G4).
    #[must_use]
    pub fn adds(&self) -> bool {
        match self.method.row().twice {
            Twice::Same | Twice::HarmsOrder => false,
            Twice::AddsUnlessOptIsZero => self.opt != 0,
        }
    }

    /// Whether applying it twice may do harm: the backend is asked before it is sent again
    /// (guarantees, G4).
    #[must_use]
    pub fn is_harmful_twice(&self) -> bool {
        self.method.row().twice != Twice::Same
    }

    /// Whether it names a key or member, and a table where its method has one, if its value has
    /// `value_bytes`. hustdb answers a lookup of any other as if it were sick, and refuses the
    /// write.
    #[must_use]
    pub(crate) fn has_names(&self, value_bytes: usize) -> bool {
        let row = self.method.row();
        let has_key = match row.key {
            Key::Query => !self.key.is_empty(),
            Key::Body => value_bytes > 0,
            Key::BodyOrQuery => value_bytes > 0 || !self.key.is_empty(),
        };
        has_key && (!row.table || !self.table.is_empty())
    }

    /// Reads a record that [`Record::parse`] has accepted before, without checking it again.
    ///
    /// # Panics
    /// Where it has not.
    #[must_use]
    pub fn parse_checked(bytes: &'a [u8]) -> Self {
        let (record, _) = Self::split(bytes).expect("the reader hands on checked records only");
        record
    }

    fn split(bytes: &'a [u8]) -> Result<(Self, Said), LineFault> {
        if bytes.len() < RECORD_HEAD_FIXED_BYTES {
            return Err(LineFault::TooShort {
                bytes: bytes.len(),
                needed: RECORD_HEAD_FIXED_BYTES,
            });
        }
        let mut fields = Fields { bytes, at: 0 };
        let head_len = fields.u32();
        let [code] = fields.take();
        let method = Method::from_code(code).ok_or(LineFault::UnknownMethod(code))?;
        let version = fields.u32();
        let key_len = fields.u32();
        let key = fields.run("key", key_len, AFTER_KEY_BYTES)?;
        let key_sum = fields.u32();
        let expires_unix = fields.u32();
        let table_len = fields.u32();
        let table = fields.run("table", table_len, AFTER_TABLE_BYTES)?;
        let table_sum = fields.u32();
        let score = i64::from_le_bytes(fields.take());
        let opt = i8::from_le_bytes(fields.take());
        let record = Record {
            method,
            version,
            key,
            expires_unix,
            table,
            score,
            opt,
            value: &bytes[fields.at..],
        };
        let said = Said {
            head_len,
            key_sum,
            table_sum,
        };
        Ok((record, said))
    }

    /// Appends the record's bytes, as HA makes them.
    ///
    /// # Panics
    /// Where key and table together have 4 GiB or more.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let len = |part: &[u8]| u32::try_from(part.len()).expect("a head has less than 4 GiB");
        let table_sum = if self.table.is_empty() {
            0
        } else {
            checksum(self.table)
        };
        let head_len = len(self.key) + len(self.table) + 38;
        bytes.extend_from_slice(&head_len.to_le_bytes());
        bytes.push(self.method as u8);
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&len(self.key).to_le_bytes());
        bytes.extend_from_slice(self.key);
        bytes.extend_from_slice(&checksum(self.key).to_le_bytes());
        bytes.extend_from_slice(&self.expires_unix.to_le_bytes());
        bytes.extend_from_slice(&len(self.table).to_le_bytes());
        bytes.extend_from_slice(self.table);
        bytes.extend_from_slice(&table_sum.to_le_bytes());
        bytes.extend_from_slice(&self.score.to_le_bytes());
        bytes.extend_from_slice(&self.opt.to_le_bytes());
        bytes.extend_from_slice(self.value);
    }
}

/// What a record says of itself, to be compared with what it is.
struct Said {
    head_len: u32,
    key_sum: u32,
    table_sum: u32,
}

/// The checksum of keys and tables (docs/format.md): rotate right by one, add the byte. Of no
/// bytes: 0.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, step_checksum)
}

/// The checksum of what `sum` is of, with one byte more.
pub(super) fn step_checksum(sum: u32, byte: &u8) -> u32 {
    sum.rotate_right(1).wrapping_add(u32::from(*byte))
}

fn check_sum(field: &'static str, bytes: &[u8], said: u32) -> Result<(), LineFault> {
    let found = checksum(bytes);
    if found != said {
        return Err(LineFault::Checksum { field, said, found });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(record: &Record<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        bytes
    }

    const ZADD: Record<'_> = Record {
        method: Method::Zadd,
        version: 7,
        key: b"member",
        expires_unix: 1_800_000_000,
        table: b"zset",
        score: -5,
        opt: -1,
        value: b"member",
    };

    /// Changes one byte of a good record and expects this fault.
    fn check(at: usize, byte: u8, expected: LineFault) {
        let mut bytes = encoded(&ZADD);
        bytes[at] = byte;
        assert_eq!(Record::parse(&bytes), Err(expected));
    }

    #[test]
    fn a_line_of_the_corpus_reads_back() {
        let payload = "NgAAAAcBAAAADAAAAEJfemFkZF9wbGFpbtUAAE4AAAAABAAAAEJfejGOAAAA\
                       NRzc3wIAAAAAQl96YWRkX3BsYWlu";
        let bytes = base64_simd::STANDARD.decode_to_vec(payload).unwrap();
        let record = Record::parse(&bytes).unwrap();
        assert_eq!(record.method, Method::Zadd);
        assert_eq!(record.version, 1);
        assert_eq!(record.key, b"B_zadd_plain");
        assert_eq!(record.table, b"B_z1");
        assert_eq!(record.score, 12_345_678_901);
        assert_eq!(record.opt, 0);
        assert_eq!(record.value, b"B_zadd_plain");
        assert_eq!(encoded(&record), bytes);
    }

    #[test]
    fn each_field_that_is_off_is_named() {
        check(
            0,
            99,
            LineFault::HeadLength {
                said: 99,
                found: 48,
            },
        );
        check(4, 9, LineFault::UnknownMethod(9));
        check(
            9,
            200,
            LineFault::LengthPastEnd {
                field: "key",
                said: 200,
                bytes: 54,
            },
        );
        check(
            27,
            200,
            LineFault::LengthPastEnd {
                field: "table",
                said: 200,
                bytes: 54,
            },
        );
        let (key, table) = (checksum(b"member"), checksum(b"zset"));
        let off = |sum: u32| (sum & !0xff) | u32::from(!sum.to_le_bytes()[0]);
        check(
            19,
            off(key).to_le_bytes()[0],
            LineFault::Checksum {
                field: "key",
                said: off(key),
                found: key,
            },
        );
        check(
            35,
            off(table).to_le_bytes()[0],
            LineFault::Checksum {
                field: "table",
                said: off(table),
                found: table,
            },
        );
    }

    proptest! {
        #[test]
        fn a_record_reads_back_as_it_was_written(
            method in 0..Method::ALL.len(),
            version: u32, expires_unix: u32, score: i64, opt in -1..=1_i8,
            key in proptest::collection::vec(any::<u8>(), 0..80),
            table in proptest::collection::vec(any::<u8>(), 0..70),
            value in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let record = Record {
                method: Method::ALL[method],
                version,
                key: &key,
                expires_unix,
                table: &table,
                score,
                opt,
                value: &value,
            };
            let bytes = encoded(&record);
            prop_assert_eq!(Record::parse(&bytes), Ok(record));
            prop_assert_eq!(Record::parse_checked(&bytes), record);
        }

        #[test]
        fn a_cut_record_is_a_fault_or_has_a_shorter_value(cut in 0..54_usize) {
            let bytes = encoded(&ZADD);
            if let Ok(record) = Record::parse(&bytes[..cut]) {
                prop_assert!(record.value.len() < ZADD.value.len());
            }
        }
    }
}
