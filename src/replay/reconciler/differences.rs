//! A backend's `differences.jsonl`: the keys on which the masters still differ (R6).
//!
//! The reconciler appends differences, and settlements of those that are equal by now; an
//! operator's command appends settlements too. Nothing is ever overwritten.

use std::io;
use std::sync::Arc;

use crate::limits::{RECONCILE_DIFFERENCE_BYTES, RECONCILE_READ_BYTES};
use crate::reconcile::check::{Outcome, WhyLeft};
use crate::reconcile::comparison::Compared;
use crate::reconcile::decision::Seen;
use crate::reconcile::difference::{
    Difference, DifferencesLeft, FILE_NAME, Held, How, Settlement, id_of,
};
use crate::reconcile::key::{KeyId, Kind};
use crate::replay::disk::{Area, Disk, OpenFile, unless_missing};

/// See the module.
#[derive(Debug)]
pub(super) struct Differences {
    backend: Arc<str>,
    left: DifferencesLeft,
    /// How far the file was read.
    read_bytes: u64,
    /// A line whose end has not been read yet, and where it begins.
    line: Vec<u8>,
    /// Lines that are not on disk yet.
    unwritten: Vec<u8>,
    /// The last write has failed, and may have left a part of a line.
    has_failed: bool,
}

impl Differences {
    pub(super) fn new(backend: Arc<str>) -> Self {
        Self {
            backend,
            left: DifferencesLeft::default(),
            read_bytes: 0,
            line: Vec::new(),
            unwritten: Vec::new(),
            has_failed: false,
        }
    }

    /// How many keys are left different.
    pub(super) fn left(&self) -> u64 {
        self.left.len() as u64 + self.left.beyond()
    }

    /// Reads what was appended to the file since it was last read.
    ///
    /// # Errors
    /// What the disk says; the next call goes on.
    pub(super) fn read(&mut self, disk: &mut impl Disk) -> io::Result<()> {
        let file = unless_missing(disk.open(Area::State, &self.backend, FILE_NAME))?;
        let bytes = match &file {
            Some(file) => file.meta()?.bytes,
            None => 0,
        };
        if bytes < self.read_bytes {
            // Somebody has replaced it.
            self.left = DifferencesLeft::default();
            self.read_bytes = 0;
            self.line.clear();
        }
        let Some(file) = file else {
            return Ok(());
        };
        let new_bytes = usize::try_from(bytes - self.read_bytes).unwrap_or(usize::MAX);
        let mut piece = vec![0; RECONCILE_READ_BYTES.min(new_bytes)];
        while self.read_bytes < bytes {
            let read = file.read_at(self.read_bytes, &mut piece)?;
            if read == 0 {
                break;
            }
            for part in piece[..read].split_inclusive(|byte| *byte == b'\n') {
                self.line.extend_from_slice(part);
                self.read_bytes += part.len() as u64;
                if self.line.pop_if(|byte| *byte == b'\n').is_some() {
                    self.left.handle_line(&self.line);
                    self.line.clear();
                }
            }
        }
        Ok(())
    }

    /// A key was compared: it is left different, or is no longer.
    pub(super) fn handle(&mut self, backend: &str, compared: &Compared, unix: u64) {
        let difference = |left: WhyLeft| difference_of(backend, compared, left, unix);
        let how = match compared.outcome {
            Outcome::Reported(left) => return difference(left).encode(&mut self.unwritten),
            Outcome::Skipped(_) => return,
            Outcome::Equal => How::Equal,
            Outcome::Mended(_) => How::Mended,
        };
        if self.has(&compared.key) {
            let settlement = Settlement {
                id: id_of(&compared.key),
                line: None,
                how,
                unix,
            };
            settlement.encode(&mut self.unwritten);
        }
    }

    /// Whether a key is left different.
    pub(super) fn has(&self, key: &KeyId) -> bool {
        !self.left.is_empty() && self.left.has_key(id_of(key))
    }

    /// Whether lines are to be written before there are more.
    pub(super) fn is_full(&self) -> bool {
        self.unwritten.len() >= RECONCILE_DIFFERENCE_BYTES
    }

    /// Forgets the lines that are not on disk.
    pub(super) fn drop_unwritten(&mut self) {
        self.unwritten.clear();
    }

    /// Writes the lines that are not on disk, durably.
    ///
    /// # Errors
    /// What the disk says; the next call tries again.
    pub(super) fn write(&mut self, disk: &mut impl Disk) -> io::Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        // Behind what a crash or a failed write has left of a line, a newline begins the next.
        if !self.line.is_empty() || self.has_failed {
            disk.append(Area::State, &self.backend, FILE_NAME, b"\n")?;
        }
        self.has_failed = true;
        disk.append(Area::State, &self.backend, FILE_NAME, &self.unwritten)?;
        disk.sync(Area::State, &self.backend, FILE_NAME)?;
        disk.sync_folder(Area::State, &self.backend)?;
        self.has_failed = false;
        self.unwritten.clear();
        self.read(disk)
    }
}

/// What is written of a key that is left different.
#[must_use]
pub fn difference_of(backend: &str, compared: &Compared, left: WhyLeft, unix: u64) -> Difference {
    let KeyId {
        kind,
        table,
        key,
        body,
    } = &compared.key;
    let held = |seen| match seen {
        Seen::Absent => None,
        Seen::Present { version, score } => Some(Held {
            version,
            score: (*kind == Kind::SortedSet).then_some(score),
        }),
    };
    Difference {
        unix,
        backend: backend.to_owned(),
        peer: compared.peer.to_string(),
        kind: kind.name().to_owned(),
        table: table.to_vec(),
        key: key.to_vec(),
        member: body.as_ref().map(|body| body.to_vec()),
        on_backend: held(compared.on_backend),
        on_peer: held(compared.on_peer),
        had_ttl: compared.had_ttl,
        why: left.code().to_owned(),
        detail: left.text().to_owned(),
    }
}
