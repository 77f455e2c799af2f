//! A mutation: what a client asked of the healthy master, and the record that HA kept of it.

use crate::binlog::{Method, Record};

/// What a client asked for, once it was answered 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// What it does.
    pub method: Method,
    /// When, Unix seconds.
    pub unix: u64,
    /// Table, or empty.
    pub table: Vec<u8>,
    /// The key as query text; empty where the member is the body.
    pub key: Vec<u8>,
    /// The body: value, member, or empty.
    pub body: Vec<u8>,
    /// Seconds to live; 0 for ever.
    pub ttl: u32,
    /// A sorted set's score.
    pub score: i64,
    /// -1 subtracts the score, 0 sets it, 1 adds it.
    pub opt: i8,
}

impl Mutation {
    /// The client's request, as HA hands it on to the healthy master: target and body of a GET.
    pub(super) fn live_target(&self, target: &mut Vec<u8>) {
        target.extend_from_slice(b"/hustdb/");
        target.extend_from_slice(self.method.name().as_bytes());
        // An argument that nobody knows, so that all others begin with `&`.
        target.extend_from_slice(b"?ha=1");
        let mut argument = |name: &str, value: &[u8]| {
            target.extend_from_slice(format!("&{name}=").as_bytes());
            target.extend_from_slice(value);
        };
        if !self.table.is_empty() {
            argument("tb", &self.table);
        }
        if !self.key.is_empty() {
            argument("key", &self.key);
        }
        if self.ttl != 0 {
            argument("ttl", self.ttl.to_string().as_bytes());
        }
        if self.method.row().score {
            argument("score", self.score.to_string().as_bytes());
            argument("opt", self.opt.to_string().as_bytes());
        }
    }

    /// The record that HA writes of it, with the version that the healthy master gave it.
    #[must_use]
    pub fn record(&self, version: u32) -> Record<'_> {
        let key = match self.key.is_empty() {
            // HA measures a key by strlen.
            true => &self.body[..memchr::memchr(0, &self.body).unwrap_or(self.body.len())],
            false => &self.key,
        };
        let expires_unix = match self.ttl {
            0 => 0,
            ttl => u32::try_from(self.unix + u64::from(ttl)).unwrap_or(u32::MAX),
        };
        Record {
            method: self.method,
            version,
            key,
            expires_unix,
            table: &self.table,
            score: self.score,
            opt: self.opt,
            value: &self.body,
        }
    }
}
