//! A chunked request body (RFC 9112, 7.1), decoded only to find its end: nothing of it is kept.
//!
//! Strict where the grammar leaves room that request smuggling lives in: CRLF only, no white space
//! around a size, sizes of at most 15 digits, short extensions, bounded trailers.
//!
//! ```text
//!  Size ──CR──▶ SizeLf ──▶ Data ──▶ DataCr ──▶ DataLf ──▶ Size …
//!   └─';'─▶ Extension ─CR─┘  └─ size 0 ─▶ LineStart ──▶ Line ──▶ LineLf ──▶ LineStart
//!                                             └──CR──▶ EndLf ──▶ done
//! ```

use super::answer::Status;
use super::request::Refusal;
use crate::limits::{HTTP_CHUNK_EXTENSION_BYTES_MAX, HTTP_HEAD_BYTES_MAX};

/// Where in a chunked body we are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunked {
    state: State,
    /// Bytes of data announced so far.
    body_bytes: u64,
    /// Bytes of trailers so far.
    trailer_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Size { value: u64, digits: u8 },
    Extension { value: u64, bytes: u32 },
    SizeLf { value: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    LineStart,
    Line,
    LineLf,
    EndLf,
}

/// What a piece of the body came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All of it belongs to the body, and there is more to come.
    More,
    /// The body ended after this many bytes of the piece.
    Done {
        /// Bytes of the piece that belong to the body.
        used: usize,
    },
}

const DIGITS_MAX: u8 = 15;

impl Chunked {
    pub(super) fn new() -> Self {
        Self {
            state: State::Size {
                value: 0,
                digits: 0,
            },
            body_bytes: 0,
            trailer_bytes: 0,
        }
    }

    /// Bytes of data announced so far.
    pub(super) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Takes the next piece of the body.
    pub(super) fn handle_piece(
        &mut self,
        piece: &[u8],
        body_bytes_max: u64,
    ) -> Result<Progress, Refusal> {
        let mut at = 0;
        while at < piece.len() {
            if let State::Data { left } = &mut self.state {
                let skipped = (*left).min((piece.len() - at) as u64);
                *left -= skipped;
                at += usize::try_from(skipped).expect("no more than the piece has");
                if *left == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            let byte = piece[at];
            at += 1;
            if self.handle_byte(byte, body_bytes_max)? {
                return Ok(Progress::Done { used: at });
            }
        }
        Ok(Progress::More)
    }

    /// Takes a byte that is no data; true if it was the body's last.
    fn handle_byte(&mut self, byte: u8, body_bytes_max: u64) -> Result<bool, Refusal> {
        self.state = match (self.state, byte) {
            (State::Size { value, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if digits == DIGITS_MAX {
                    return Err(Refusal::bad("a chunk's size has too many digits"));
                }
                let digit = (byte as char).to_digit(16).expect("matched as one");
                State::Size {
                    value: value << 4 | u64::from(digit),
                    digits: digits + 1,
                }
            }
            (State::Size { value, digits: 1.. }, b'\r') => State::SizeLf { value },
            (State::Size { value, digits: 1.. }, b';') => State::Extension { value, bytes: 1 },
            (State::Extension { value, .. }, b'\r') => State::SizeLf { value },
            (State::Extension { value, bytes }, _) if !byte.is_ascii_control() || byte == b'\t' => {
                if bytes >= HTTP_CHUNK_EXTENSION_BYTES_MAX {
                    return Err(Refusal::bad("a chunk's extension is too long"));
                }
                State::Extension {
                    value,
                    bytes: bytes + 1,
                }
            }
            (State::SizeLf { value: 0 }, b'\n') => State::LineStart,
            (State::SizeLf { value }, b'\n') => {
                self.body_bytes = self.body_bytes.saturating_add(value);
                if self.body_bytes > body_bytes_max {
                    return Err(Refusal::new(
                        Status::ContentTooLarge,
                        "the body is larger than max_body_size",
                    ));
                }
                State::Data { left: value }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size {
                value: 0,
                digits: 0,
            },
            (State::LineStart, b'\r') => State::EndLf,
            (State::EndLf, b'\n') => return Ok(true),
            (State::Line, b'\r') => State::LineLf,
            (State::LineLf, b'\n') => State::LineStart,
            (State::LineStart | State::Line, _) if !byte.is_ascii_control() || byte == b'\t' => {
                self.trailer_bytes += 1;
                if self.trailer_bytes > HTTP_HEAD_BYTES_MAX {
                    return Err(Refusal::new(
                        Status::FieldsTooLarge,
                        "the trailers are too long",
                    ));
                }
                State::Line
            }
            _ => return Err(Refusal::bad("the chunked body is malformed")),
        };
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(bytes: &[u8], pieces: usize) -> Result<Option<usize>, Refusal> {
        let mut chunked = Chunked::new();
        let mut at = 0;
        for piece in bytes.chunks(pieces) {
            if let Progress::Done { used } = chunked.handle_piece(piece, 100)? {
                return Ok(Some(at + used));
            }
            at += piece.len();
        }
        Ok(None)
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<Option<usize>, Status>) {
        for pieces in [1, 2, 3, 7, usize::MAX] {
            let got = decode(bytes, pieces).map_err(|refusal| refusal.status);
            assert_eq!(
                got,
                expected,
                "{:?} in pieces of {pieces}",
                String::from_utf8_lossy(bytes)
            );
        }
    }

    #[test]
    fn the_end_of_a_well_formed_body_is_found() {
        check(b"0\r\n\r\nGET /", Ok(Some(5)));
        check(b"5\r\nhello\r\n0\r\n\r\n", Ok(Some(15)));
        check(
            b"A;x=\"y\"\r\n0123456789\r\n000\r\nT: v\r\nU: w\r\n\r\nrest",
            Ok(Some(40)),
        );
        check(b"5\r\nhel", Ok(None));
        check(b"5\r\n\r\n\r\nx\r\n0\r\n\r\n", Ok(Some(15)));
    }

    #[test]
    fn malformed_forms_are_refused() {
        for bytes in [
            &b"5\nhello\n0\n\n"[..],
            b"5 \r\nhello\r\n0\r\n\r\n",
            b" 5\r\nhello\r\n0\r\n\r\n",
            b"-5\r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"\r\nhello",
            b"5\r\nhelloX\r\n0\r\n\r\n",
            b"5\rhello",
            b"0000000000000000\r\n",
            b"5;a\nhello",
            b"0\r\nA: b\n\r\n",
        ] {
            check(bytes, Err(Status::BadRequest));
        }
        check(
            &[b"5;".as_slice(), &[b'x'; 300]].concat(),
            Err(Status::BadRequest),
        );
    }

    #[test]
    fn a_body_above_its_bound_is_refused_when_it_is_announced() {
        check(b"65\r\n", Err(Status::ContentTooLarge));
        check(b"fffffffffffffff\r\n", Err(Status::ContentTooLarge));
        check(b"1\r\na\r\n64\r\n", Err(Status::ContentTooLarge));
        check(
            &[b"0\r\n".as_slice(), &[b'x'; HTTP_HEAD_BYTES_MAX + 1]].concat(),
            Err(Status::FieldsTooLarge),
        );
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_come_to_the_same(
            bytes in proptest::collection::vec(
                proptest::sample::select(b"0123af;\r\n\r\n x".to_vec()),
                0..60,
            ),
            pieces in 1usize..10,
        ) {
            prop_assert_eq!(decode(&bytes, pieces), decode(&bytes, usize::MAX));
        }
    }
}
