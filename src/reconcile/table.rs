//! HA's table: which masters hold a key.
//!
//! HA cuts all keys into 1,024 slots by a hash, and `hustdbtable.json` gives a range of slots to a
//! pair of masters:
//!
//! ```json
//! {"table": [{"item": {"key": [0, 512], "val": ["10.0.0.7:8085", "10.0.0.8:8085"]}}, …]}
//! ```
//!
//! While masters are added or removed, a row has two pairs (`increase`) or names the master that
//! goes and the one that comes (`decrease`). HA then writes by these, and so they are read here.
//! The rules are those of HA's source, save that HA takes exactly two masters a row, and no slot
//! without a row.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::binlog::Method;
use crate::limits::{TABLE_BYTES_MAX, TABLE_MASTER_BYTES_MAX, TABLE_MASTERS_PER_ROW_MAX};
use crate::reconcile::key::{KeyId, KeyRef};

/// Slots that keys are cut into.
pub const SLOTS: usize = 1024;

/// The file's name, in HA's folder `conf`.
pub const NAME: &str = "hustdbtable.json";

/// Who holds which slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The masters of each row, each named once, in the row's order.
    rows: Vec<Box<[Box<str>]>>,
    /// Each slot's row; `None` where no row has the slot.
    slots: Box<[Option<u16>; SLOTS]>,
}

/// Why bytes are no table: the end of a sentence that begins with the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableFault {
    /// More bytes than any table has.
    #[error("has more than {TABLE_BYTES_MAX} bytes, which no table of HA's has")]
    TooLarge,
    /// No JSON, or not with these members.
    #[error("is not as HA reads it: {0}")]
    Json(String),
    /// No row at all.
    #[error("has no row")]
    Empty,
    /// HA refuses this too.
    #[error("has rows with \"increase\" and rows with \"decrease\", and HA takes one of them only")]
    BothWays,
    /// A row is wrong. Rows count from 1.
    #[error("row {row}: {fault}")]
    Row {
        /// Its number, from 1.
        row: usize,
        /// What is wrong with it.
        fault: RowFault,
    },
}

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowFault {
    /// Not two numbers.
    #[error("\"key\" has {0} numbers; it takes two, the first slot and the one behind the last")]
    Ends(usize),
    /// Empty, backwards, or beyond the slots.
    #[error("\"key\" is [{0}, {1}], which is no range of slots from 0 to 1024")]
    Range(i64, i64),
    /// Another row has it.
    #[error("it has slot {slot}, which row {other} has too")]
    Overlap {
        /// The first slot that both have.
        slot: u16,
        /// The other row's number, from 1.
        other: usize,
    },
    /// None, or more than there can be.
    #[error("\"val\" names {0} masters; it takes 1 to {TABLE_MASTERS_PER_ROW_MAX}, and HA takes 2")]
    Masters(usize),
    /// Not `host:port`.
    #[error("{0:?} is no master: it takes host:port")]
    Name(String),
    /// `remove` names nobody.
    #[error("\"decrease\" removes {0:?}, which is none of its masters")]
    Removes(String),
}

/// Why a key has no peer to compare it with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPeer {
    /// The key's slot is in no row.
    #[error("HA's table has no row for slot {slot}")]
    NoRow {
        /// The key's slot.
        slot: u16,
    },
    /// The table has another name for the backend, or it is no longer one.
    #[error("HA's table does not name this backend")]
    NotInTable,
    /// The table names it, but other masters for this slot: it was changed since.
    #[error("HA's table gives slot {slot} to other masters")]
    OtherMasters {
        /// The key's slot.
        slot: u16,
    },
    /// The key has another spelling, which has other masters.
    #[error("the key is spelt in two ways, and HA's table gives slot {slot}, of one, to others")]
    SpellingsApart {
        /// The slot of the other spelling.
        slot: u16,
    },
    /// The backend is the slot's only master.
    #[error("HA's table names only this backend for slot {slot}")]
    Alone {
        /// The key's slot.
        slot: u16,
    },
}

impl NoPeer {
    /// One word, for metrics and files.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NoRow { .. } => "slot_without_row",
            Self::NotInTable => "not_in_table",
            Self::OtherMasters { .. } | Self::SpellingsApart { .. } => "other_masters",
            Self::Alone { .. } => "no_other_master",
        }
    }
}

#[derive(Deserialize)]
struct File {
    table: Vec<Element>,
}

#[derive(Deserialize)]
struct Element {
    item: Pair,
    increase: Option<Increase>,
    decrease: Option<Decrease>,
}

#[derive(Deserialize)]
struct Pair {
    key: Vec<i64>,
    val: Vec<String>,
}

/// HA passes over one that lacks a half.
#[derive(Deserialize)]
struct Increase {
    low: Option<Pair>,
    high: Option<Pair>,
}

#[derive(Deserialize)]
struct Decrease {
    remove: String,
    replace_by: String,
}

impl Table {
    /// Reads the file's bytes.
    ///
    /// # Errors
    /// What HA would refuse, or what cannot tell who holds a key; the first fault only.
    pub fn parse(bytes: &[u8]) -> Result<Self, TableFault> {
        if bytes.len() > TABLE_BYTES_MAX {
            return Err(TableFault::TooLarge);
        }
        let file: File =
            serde_json::from_slice(bytes).map_err(|error| TableFault::Json(error.to_string()))?;
        if file.table.is_empty() {
            return Err(TableFault::Empty);
        }
        let increases = file.table.iter().any(|element| element.increase.is_some());
        let decreases = file.table.iter().any(|element| element.decrease.is_some());
        if increases && decreases {
            return Err(TableFault::BothWays);
        }
        let mut table = Self {
            rows: Vec::new(),
            slots: Box::new([None; SLOTS]),
        };
        // Each row of the table's own is an element's, or half of one.
        let mut elements = Vec::new();
        for (element, number) in file.table.into_iter().zip(1..) {
            for pair in element.pairs(number)? {
                elements.push(number);
                table
                    .add(pair, &elements)
                    .map_err(|fault| TableFault::Row { row: number, fault })?;
            }
        }
        Ok(table)
    }

    /// Adds a row. `elements` has the number of the file's row for each that there is, and for
    /// this one.
    fn add(&mut self, pair: Pair, elements: &[usize]) -> Result<(), RowFault> {
        let &[start, end] = pair.key.as_slice() else {
            return Err(RowFault::Ends(pair.key.len()));
        };
        let slots = match (usize::try_from(start), usize::try_from(end)) {
            (Ok(start), Ok(end)) if start < end && end <= SLOTS => start..end,
            _ => return Err(RowFault::Range(start, end)),
        };
        let masters = masters(pair.val)?;
        let row = u16::try_from(self.rows.len()).expect("each row has a slot that no other has");
        for slot in slots {
            if let Some(other) = self.slots[slot] {
                return Err(RowFault::Overlap {
                    slot: slot as u16,
                    other: elements[usize::from(other)],
                });
            }
            self.slots[slot] = Some(row);
        }
        self.rows.push(masters);
        Ok(())
    }

    /// Who holds a slot, in the row's order: HA writes to the first one first. `None`: the table
    /// has no row for it, or there is no such slot.
    #[must_use]
    pub fn masters(&self, slot: u16) -> Option<&[Box<str>]> {
        let row = (*self.slots.get(usize::from(slot))?)?;
        Some(&self.rows[usize::from(row)])
    }

    /// The masters beside `backend` that hold a slot; one at least.
    ///
    /// # Errors
    /// There is none, and why.
    fn peers<'a>(
        &'a self,
        backend: &'a str,
        slot: u16,
    ) -> Result<impl Iterator<Item = &'a str> + Clone + use<'a>, NoPeer> {
        let masters = self.masters(slot).ok_or(NoPeer::NoRow { slot })?;
        if !masters.iter().any(|master| **master == *backend) {
            return Err(match self.names(backend) {
                true => NoPeer::OtherMasters { slot },
                false => NoPeer::NotInTable,
            });
        }
        if masters.len() == 1 {
            return Err(NoPeer::Alone { slot });
        }
        let masters = masters.iter().map(|master| &**master);
        Ok(masters.filter(move |master| *master != backend))
    }

    /// The master that a key of `backend` is compared with: the first other one of its row.
    ///
    /// # Errors
    /// There is none, and why.
    pub fn peer<'a>(&'a self, backend: &'a str, key: &KeyId) -> Result<&'a str, NoPeer> {
        let mut peers = self.peers(backend, slot_of(&key.borrowed()))?;
        Ok(peers.next().expect("there is one at least"))
    }

    /// The same for a key of which other spellings are in these slots.
    ///
    /// # Errors
    /// There is none, and why; or they have other masters, and each of the two peers may have
    /// writes that the other lacks.
    pub fn peer_of_all<'a>(
        &'a self,
        backend: &'a str,
        key: &KeyId,
        other_slots: &BTreeSet<u16>,
    ) -> Result<&'a str, NoPeer> {
        let masters = |slot| self.masters(slot).map(BTreeSet::from_iter);
        let own = masters(slot_of(&key.borrowed()));
        match other_slots.iter().find(|slot| masters(**slot) != own) {
            Some(slot) => Err(NoPeer::SpellingsApart { slot: *slot }),
            None => self.peer(backend, key),
        }
    }

    /// Every master that shares a row with `backend`; one may be named several times.
    pub fn neighbours<'a>(&'a self, backend: &'a str) -> impl Iterator<Item = &'a str> {
        let rows = self.rows.iter();
        let rows = rows.filter(move |row| row.iter().any(|master| **master == *backend));
        let masters = rows.flat_map(|row| row.iter().map(|master| &**master));
        masters.filter(move |master| *master != backend)
    }

    /// Whether any row names it.
    #[must_use]
    pub fn names(&self, backend: &str) -> bool {
        self.rows
            .iter()
            .flatten()
            .any(|master| **master == *backend)
    }
}

impl Element {
    /// By which pairs HA writes.
    fn pairs(self, number: usize) -> Result<impl Iterator<Item = Pair>, TableFault> {
        let (first, second) = match (self.increase, self.decrease) {
            (
                Some(Increase {
                    low: Some(low),
                    high: Some(high),
                }),
                _,
            ) => (low, Some(high)),
            (_, Some(decrease)) => {
                let pair = decrease.remaining(self.item);
                (
                    pair.map_err(|fault| TableFault::Row { row: number, fault })?,
                    None,
                )
            }
            _ => (self.item, None),
        };
        Ok(std::iter::once(first).chain(second))
    }
}

impl Decrease {
    /// The pair with the master that comes in place of the one that goes.
    fn remaining(self, mut item: Pair) -> Result<Pair, RowFault> {
        let before = item.val.len();
        item.val.retain(|master| *master != self.remove);
        if item.val.len() == before {
            return Err(RowFault::Removes(self.remove));
        }
        item.val.push(self.replace_by);
        Ok(item)
    }
}

/// A row's masters, each once.
fn masters(names: Vec<String>) -> Result<Box<[Box<str>]>, RowFault> {
    if names.is_empty() || names.len() > TABLE_MASTERS_PER_ROW_MAX {
        return Err(RowFault::Masters(names.len()));
    }
    let mut masters: Vec<Box<str>> = Vec::with_capacity(names.len());
    for name in names {
        if !is_host_and_port(&name) {
            let shown = name.chars().take(TABLE_MASTER_BYTES_MAX).collect();
            return Err(RowFault::Name(shown));
        }
        if !masters.iter().any(|master| **master == *name) {
            masters.push(name.into());
        }
    }
    Ok(masters.into())
}

/// Whether a name can be one of HA's log folders, and so a backend's.
fn is_host_and_port(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
    let Some((host, port)) = name.rsplit_once(':') else {
        return false;
    };
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port > 0);
    name.len() <= TABLE_MASTER_BYTES_MAX
        && !host.is_empty()
        && is_port
        && name.bytes().all(is_plain)
}

/// The octets by whose hash HA finds the masters of a record: the table of a sorted set, whose
/// members all have the same masters; for every other method the key (or member) as it stands in
/// the record.
#[must_use]
pub fn hashed_octets<'a>(method: Method, table: &'a [u8], key: &'a [u8]) -> &'a [u8] {
    match method {
        Method::Zadd | Method::Zrem => table,
        Method::Put
        | Method::Del
        | Method::Hset
        | Method::Hdel
        | Method::Sadd
        | Method::Srem
        | Method::TbPut
        | Method::TbUpdate
        | Method::TbDelete => key,
    }
}

/// The slot that holds a key in this spelling.
#[must_use]
pub fn slot_of(key: &KeyRef<'_>) -> u16 {
    slot(hashed_octets(key.kind.methods().write, key.table, key.key))
}

/// The slot of these octets: nginx's `ngx_hash_key`, modulo the number of slots. HA's strings end
/// at a NUL, and so does what it hashes.
#[must_use]
pub fn slot(hashed: &[u8]) -> u16 {
    let octets = hashed.iter().take_while(|octet| **octet != 0);
    let hash = octets.fold(0u64, |hash, octet| {
        hash.wrapping_mul(31).wrapping_add(u64::from(*octet))
    });
    // Below 1,024.
    (hash % SLOTS as u64) as u16
}
