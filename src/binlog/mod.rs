//! The log that HA writes, and the requests that replay it.
//!
//! ```text
//! [2026-11-22 16:40:38] [DEBUG] | MQAAAAECAAAA…\n
//! └─ prefix, the operator's ────┘ └─ base64 of ─▶ record ─▶ request
//! ```
//!
//! `line` finds and decodes the payload, `long_line` does the same in pieces, `record` reads its
//! fields, `method` has a row for each method, `key` tells which records must stay in order,
//! `lifetime` what is left of a ttl, `version` which one hustdb keeps, `request` writes what is
//! sent. Everything here is pure and takes any bytes.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod key;
pub mod lifetime;
pub mod line;
pub mod line_fault;
pub mod line_start;
pub mod long_line;
pub mod method;
mod query_text;
pub mod record;
pub mod request;
pub mod version;

pub use lifetime::Lifetime;
pub use line_fault::LineFault;
pub use method::Method;
pub use record::Record;
