//! A backend's ledger at one instant, as bytes.
//!
//! One file holds everything of a backend, so that it is replaced at once: an acknowledgement is in
//! it only if those of all earlier records of that key are (G3). Integers are little-endian; a
//! *varint* is LEB128, seven bits a byte, the lowest first, in the least number of bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `HUSTCKPT` |
//! | 4 | version of the format: 3 (1 and 2 are read too) |
//! | 4 | zero |
//! | 8 | length of the body |
//! | 8 | XXH3-64 of the 24 bytes above and the body |
//! | … | the body |
//!
//! The body:
//!
//! | bytes | what |
//! |---|---|
//! | 6 × 8 | totals: processed, settled, applied, superseded, absent, rejected |
//! | 4 | number of files, each: |
//! | 2, … | length of the name, the name in UTF-8 |
//! | 8, 8, 8, 4, 8 | identity: device, inode, birth in nanoseconds, prefix: length and XXH3-64 |
//! | 8 | XXH3-64 of the first line; 0 where it is not known (not in format 1) |
//! | 8, 8, 8 | watermark: line, byte; lines read |
//! | 8 | since when it has been away, Unix seconds; 0: it is in its folder (not in format 1) |
//! | 8, 4, 8 | last bytes that were read: from where, how many, XXH3-64 (not before format 3) |
//! | 4 | number of settled runs above the watermark, each: |
//! | varint, varint | lines from the run before (or the watermark) to this one; lines in it |
//! | 4 | number of the original's files that are not yet taken over, each: |
//! | 2, … | length of the name, the name in UTF-8 |
//! | 8, 8, 8 | settled lines from the start; lines read; bytes read |
//! | 8 | since when it has been away (not in format 1) |
//!
//! A name is as [`LogEntry::name`](crate::replay::disk::LogEntry) has it: bytes that are not UTF-8
//! are escaped.
//!
//! What doesn't read back whole and to the last byte is refused with a sentence, never a panic, and
//! never trusted (G11).

#[cfg(test)]
mod tests;

use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use crate::ledger::identity::{Identity, LastRead};
use crate::ledger::plan::{FileResume, LegacyResume, ResumePlan};
use crate::ledger::runs::LineRuns;
use crate::ledger::totals::Totals;
use crate::limits::{IDENTITY_PREFIX_BYTES_MAX, LAST_READ_BYTES_MAX};

const MAGIC: [u8; 8] = *b"HUSTCKPT";
const FORMAT: u32 = 3;
/// The oldest format that is read.
const FORMAT_OLDEST: u32 = 1;
const HEAD_BYTES: usize = 32;
/// The part of the head that the checksum covers.
const SUMMED_HEAD_BYTES: usize = 24;

/// A backend's ledger at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Cumulative numbers.
    pub totals: Totals,
    /// Where to go on.
    pub resume: ResumePlan,
}

/// Why bytes are no checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointFault {
    /// Shorter than a head.
    #[error("it has {0} bytes, fewer than the {HEAD_BYTES} of a checkpoint's head")]
    Short(usize),
    /// Another file, or a torn one.
    #[error("it does not begin as a checkpoint does")]
    Magic,
    /// Of another version of this program.
    #[error("it is of format {0}, this program reads formats {FORMAT_OLDEST} to {FORMAT}")]
    Format(u32),
    /// Torn.
    #[error("its body should have {expected} bytes and has {found}")]
    Length {
        /// As its head says.
        expected: u64,
        found: u64,
    },
    /// Torn or rotten.
    #[error("its checksum is off")]
    Checksum,
    /// The checksum is right, the content impossible: a fault of the program that wrote it.
    #[error("its checksum is right, but {0}")]
    Content(&'static str),
}

impl Checkpoint {
    /// Writes it into `out`, whose old content goes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        out.resize(HEAD_BYTES, 0);
        let totals = self.totals;
        put_u64s(
            out,
            [
                totals.processed,
                totals.settled,
                totals.applied,
                totals.superseded,
                totals.absent,
                totals.rejected,
            ],
        );
        put_count(out, self.resume.files.len());
        for file in &self.resume.files {
            encode_file(out, file);
        }
        put_count(out, self.resume.legacy.len());
        for file in &self.resume.legacy {
            put_name(out, &file.name);
            put_u64s(
                out,
                [file.line, file.lines_read, file.bytes_read, file.away_unix],
            );
        }
        let body_bytes = (out.len() - HEAD_BYTES) as u64;
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        out[16..24].copy_from_slice(&body_bytes.to_le_bytes());
        let sum = checksum(out);
        out[SUMMED_HEAD_BYTES..HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
    }

    /// Reads one back.
    ///
    /// # Errors
    /// When `bytes` are anything but a whole checkpoint.
    pub fn decode(bytes: &[u8]) -> Result<Self, CheckpointFault> {
        let (format, body) = checked_body(bytes)?;
        let mut reader = Reader {
            bytes: body,
            format,
        };
        let checkpoint = decode_body(&mut reader).map_err(CheckpointFault::Content)?;
        if !reader.bytes.is_empty() {
            return Err(CheckpointFault::Content("something follows its last entry"));
        }
        Ok(checkpoint)
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&bytes[..SUMMED_HEAD_BYTES]);
    hasher.update(&bytes[HEAD_BYTES..]);
    hasher.digest()
}

/// The format, and a body of this format.
fn checked_body(bytes: &[u8]) -> Result<(u32, &[u8]), CheckpointFault> {
    let (head, body) = bytes
        .split_at_checked(HEAD_BYTES)
        .ok_or(CheckpointFault::Short(bytes.len()))?;
    let mut head = Reader {
        bytes: head,
        format: 0,
    };
    let complete = "the head is whole";
    if head.array::<8>().expect(complete) != MAGIC {
        return Err(CheckpointFault::Magic);
    }
    let format = head.u32().expect(complete);
    if !(FORMAT_OLDEST..=FORMAT).contains(&format) {
        return Err(CheckpointFault::Format(format));
    }
    let _zero = head.u32().expect(complete);
    let expected = head.u64().expect(complete);
    let found = body.len() as u64;
    if failpoint!(TrustTornCheckpoint) {
        return Ok((format, body));
    }
    if expected != found {
        return Err(CheckpointFault::Length { expected, found });
    }
    if head.u64().expect(complete) != checksum(bytes) {
        return Err(CheckpointFault::Checksum);
    }
    Ok((format, body))
}

fn encode_file(out: &mut Vec<u8>, file: &FileResume) {
    put_name(out, &file.name);
    let identity = &file.identity;
    put_u64s(out, [identity.device, identity.inode, identity.born_nanos]);
    out.extend_from_slice(&identity.prefix_bytes.to_le_bytes());
    put_u64s(out, [identity.prefix_hash, identity.lead_hash]);
    put_u64s(out, [file.line, file.byte, file.lines_read, file.away_unix]);
    let last_read = &file.last_read;
    put_u64s(out, [last_read.byte]);
    out.extend_from_slice(&last_read.bytes.to_le_bytes());
    put_u64s(out, [last_read.hash]);
    put_count(out, file.settled.as_slice().len());
    let mut end = file.line;
    for run in file.settled.as_slice() {
        put_varint(out, run.first - end);
        put_varint(out, run.lines);
        end = run.end();
    }
}

fn decode_body(reader: &mut Reader<'_>) -> Result<Checkpoint, &'static str> {
    let mut totals = Totals::default();
    let numbers = [
        &mut totals.processed,
        &mut totals.settled,
        &mut totals.applied,
        &mut totals.superseded,
        &mut totals.absent,
        &mut totals.rejected,
    ];
    for number in numbers {
        *number = reader.u64()?;
    }
    if !totals.is_plausible() {
        return Err("its totals are not the sum of their parts");
    }
    let mut resume = ResumePlan::default();
    for _ in 0..reader.u32()? {
        resume.files.push(decode_file(reader)?);
    }
    for _ in 0..reader.u32()? {
        let name = reader.name()?;
        let (line, lines_read, bytes_read) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let away_unix = reader.u64_since_format_2()?;
        resume.legacy.push(LegacyResume {
            name,
            line,
            lines_read,
            bytes_read,
            away_unix,
        });
    }
    Ok(Checkpoint { totals, resume })
}

fn decode_file(reader: &mut Reader<'_>) -> Result<FileResume, &'static str> {
    let name = reader.name()?;
    let identity = Identity {
        device: reader.u64()?,
        inode: reader.u64()?,
        born_nanos: reader.u64()?,
        prefix_bytes: reader.u32()?,
        prefix_hash: reader.u64()?,
        lead_hash: reader.u64_since_format_2()?,
    };
    if identity.prefix_bytes as usize > IDENTITY_PREFIX_BYTES_MAX {
        return Err("an identity covers too many bytes");
    }
    let (line, byte, lines_read) = (reader.u64()?, reader.u64()?, reader.u64()?);
    let away_unix = reader.u64_since_format_2()?;
    if lines_read < line {
        return Err("a file has more settled lines than were read");
    }
    let last_read = reader.last_read()?;
    let mut settled = LineRuns::default();
    let mut end = line;
    for _ in 0..reader.u32()? {
        let (gap, lines) = (reader.varint()?, reader.varint()?);
        let first = end.checked_add(gap).ok_or("a line's number is too large")?;
        if lines == 0 || (gap == 0 && !settled.is_empty()) || !settled.try_push(first, lines) {
            return Err("its runs of settled lines don't follow one another");
        }
        end = first + lines;
    }
    Ok(FileResume {
        name,
        identity,
        line,
        byte,
        settled,
        lines_read,
        away_unix,
        sent: LineRuns::default(),
        last_read,
    })
}

fn put_u64s<const N: usize>(out: &mut Vec<u8>, numbers: [u64; N]) {
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("fewer entries than a u32 counts fit into memory");
    out.extend_from_slice(&count.to_le_bytes());
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    let bytes = u16::try_from(name.len()).expect("a file's name has at most 255 bytes");
    out.extend_from_slice(&bytes.to_le_bytes());
    out.extend_from_slice(name.as_bytes());
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// What has not been read yet.
struct Reader<'a> {
    bytes: &'a [u8],
    format: u32,
}

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(bytes)
            .ok_or("it ends within an entry")?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        Ok(self.take(N)?.try_into().expect("N were taken"))
    }

    fn u32(&mut self) -> Result<u32, &'static str> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, &'static str> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// What format 1 does not have: 0 there.
    fn u64_since_format_2(&mut self) -> Result<u64, &'static str> {
        if self.format < 2 { Ok(0) } else { self.u64() }
    }

    /// Not known before format 3.
    fn last_read(&mut self) -> Result<LastRead, &'static str> {
        if self.format < 3 {
            return Ok(LastRead::default());
        }
        let last_read = LastRead {
            byte: self.u64()?,
            bytes: self.u32()?,
            hash: self.u64()?,
        };
        if last_read.bytes as usize > LAST_READ_BYTES_MAX {
            return Err("a file's last bytes are too many");
        }
        let end = last_read.byte.checked_add(last_read.bytes.into());
        end.ok_or("a file's last bytes are beyond any file")?;
        Ok(last_read)
    }

    fn name(&mut self) -> Result<Arc<str>, &'static str> {
        let bytes = u16::from_le_bytes(self.array()?);
        let name = std::str::from_utf8(self.take(bytes.into())?)
            .map_err(|_| "a file's name is not UTF-8")?;
        Ok(name.into())
    }

    fn varint(&mut self) -> Result<u64, &'static str> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7F);
            if bits.leading_zeros() < shift {
                return Err("a number is too large");
            }
            number |= bits << shift;
            if byte < 0x80 {
                return if byte == 0 && shift > 0 {
                    Err("a number is written too long")
                } else {
                    Ok(number)
                };
            }
        }
        Err("a number is too large")
    }
}
