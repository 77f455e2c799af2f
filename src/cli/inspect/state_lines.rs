//! The lines of state files that have some: `rejected.jsonl` and `differences.jsonl`.

use std::io::Write;
use std::path::Path;

use super::entry::Form;
use super::{Inspection, decode};
use crate::cli::differences::{write_difference, write_settlement};
use crate::cli::lines::Line;
use crate::ledger::rejected::RejectedLine;
use crate::reconcile::difference::{Difference, Line as DifferenceLine};

impl<W: Write> Inspection<W> {
    /// One line of `rejected.jsonl`, into `entry`.
    pub(super) fn rejected(&mut self, path: &Path, line: &Line<'_>) {
        let parsed =
            whole(line).and_then(|text| RejectedLine::parse(text).map_err(|why| why.to_string()));
        let rejected = match parsed {
            Ok(rejected) => rejected,
            Err(why) => return self.unrecognized((path, line.number), &why),
        };
        if !self.filter.admits_backend(rejected.backend.as_bytes()) {
            return;
        }
        let mut raw = rejected.raw.clone();
        let record = decode(Some(&mut raw)).ok();
        let admitted = match &record {
            Some(record) => self.filter.admits(record, &mut self.scratch),
            None => !self.filter.is_about_records(),
        };
        if !admitted {
            return;
        }
        if let Some(record) = &record {
            self.tally.add_record(record);
        }
        match (&mut self.statistics, self.format.form) {
            (Some(statistics), _) => {
                if let Some(record) = &record {
                    statistics.add(record);
                }
            }
            (None, Form::Raw) => {
                self.entry.extend_from_slice(&rejected.raw);
                self.entry.push(b'\n');
            }
            (None, _) => self
                .format
                .rejected(&rejected, record.as_ref(), &mut self.entry),
        }
    }

    /// One line of `differences.jsonl`, into `entry`.
    pub(super) fn difference(&mut self, path: &Path, line: &Line<'_>) {
        let parsed = whole(line).and_then(|text| {
            let parsed = DifferenceLine::parse(text).map_err(|why| why.to_string())?;
            Ok((text, parsed))
        });
        let (text, parsed) = match parsed {
            Ok(parsed) => parsed,
            Err(why) => return self.unrecognized((path, line.number), &why),
        };
        // Neither is a line that HA wrote.
        if self.statistics.is_some() || self.format.form == Form::Raw {
            return;
        }
        let is_admitted = match &parsed {
            DifferenceLine::Difference(_, difference) => {
                let Difference { table, key, .. } = &**difference;
                self.filter.methods.is_empty()
                    && self.filter.admits_names(table, key, &mut self.scratch)
                    && self.filter.admits_backend(difference.backend.as_bytes())
            }
            DifferenceLine::Settlement(_) => !self.filter.is_about_records(),
        };
        if !is_admitted {
            return;
        }
        if self.format.form == Form::Json {
            self.entry.extend_from_slice(text);
            self.entry.push(b'\n');
            return;
        }
        // Writing to a vector can't fail.
        let _ = match &parsed {
            DifferenceLine::Difference(id, difference) => {
                write_difference(*id, difference, &mut self.entry)
            }
            DifferenceLine::Settlement(settlement) => write_settlement(settlement, &mut self.entry),
        };
    }

    /// A line of a state file that is none of ours.
    fn unrecognized(&mut self, place: (&Path, u64), why: &str) {
        self.tally.add_unrecognized();
        if self.statistics.is_none() && self.format.form != Form::Raw {
            self.format.fault(place, "strange", why, &mut self.entry);
        }
    }
}

/// The text of a state file's line, where that counts.
fn whole<'a>(line: &'a Line<'_>) -> Result<&'a [u8], String> {
    match (&line.text, line.ended) {
        (None, _) => Err("it is too long".to_owned()),
        (_, false) => Err("it is torn, and does not count".to_owned()),
        (Some(text), true) => Ok(text),
    }
}
