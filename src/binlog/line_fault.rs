//! What can be wrong with a line of a log.

/// What is wrong with a line. Each is final: the line is rejected, never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// Nothing follows the last space, or the line is empty.
    #[error("the line has no payload after its last space")]
    NoPayload,
    /// The payload is not standard base64 with padding.
    #[error("the payload is not base64")]
    NotBase64,
    /// The payload ends before the head's fixed fields do.
    #[error("the record has {bytes} bytes, fewer than a head's {needed}")]
    TooShort {
        bytes: usize,
        /// Bytes that the fixed fields need.
        needed: usize,
    },
    /// A length field points past the record's end.
    #[error("the {field} is said to have {said} bytes, past the record's end at {bytes}")]
    LengthPastEnd {
        field: &'static str,
        /// What its length field says.
        said: u32,
        /// Bytes of the whole record.
        bytes: usize,
    },
    /// `head_len` is not what the other lengths make.
    #[error("the head is said to have {said} bytes, its parts have {found}")]
    HeadLength {
        /// What `head_len` says.
        said: u32,
        /// 38 + key_len + tb_len.
        found: u64,
    },
    /// The key's or table's checksum is off.
    #[error("the {field}'s checksum is {said:#010x}, its bytes have {found:#010x}")]
    Checksum {
        field: &'static str,
        /// What the record says.
        said: u32,
        /// What the bytes have.
        found: u32,
    },
    /// No method has this code.
    #[error("no method has the code {0}")]
    UnknownMethod(u8),
    /// The line is longer than any that HA can write.
    #[error(
        "the line has more than {} bytes, no record is as long",
        crate::limits::LINE_BYTES_MAX
    )]
    TooLong,
}

impl LineFault {
    /// One word, for filters and counters.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoPayload => "no_payload",
            Self::NotBase64 => "not_base64",
            Self::TooShort { .. } => "too_short",
            Self::LengthPastEnd { .. } => "length_past_end",
            Self::HeadLength { .. } => "head_length",
            Self::Checksum { .. } => "checksum",
            Self::UnknownMethod(_) => "unknown_method",
            Self::TooLong => "line_too_long",
        }
    }
}
