//! What a log had, in numbers.

use std::collections::BTreeMap;
use std::fmt;

use indicatif::HumanBytes;

use crate::binlog::{LineFault, Method, Record};

/// Counts of all that was read.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) files: u64,
    lines: u64,
    log_bytes: u64,
    /// Files whose last line has no newline.
    unended: u64,
    /// Records are counted only where they are what was asked for.
    is_filtered: bool,
    /// Lines of `rejected.jsonl` that are none.
    unrecognized: u64,
    methods: BTreeMap<Method, Count>,
    faults: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Default)]
struct Count {
    records: u64,
    value_bytes: u64,
}

impl Tally {
    pub(super) fn new(is_filtered: bool) -> Self {
        Self {
            is_filtered,
            ..Self::default()
        }
    }

    /// A line of `rejected.jsonl` that is none.
    pub(super) fn add_unrecognized(&mut self) {
        self.unrecognized += 1;
    }

    pub(super) fn add_line(&mut self, log_bytes: u64, ended: bool) {
        self.lines += 1;
        self.log_bytes += log_bytes;
        self.unended += u64::from(!ended);
    }

    pub(super) fn add_record(&mut self, record: &Record<'_>) {
        let count = self.methods.entry(record.method).or_default();
        count.records += 1;
        count.value_bytes += record.value.len() as u64;
    }

    pub(super) fn add_fault(&mut self, fault: LineFault) {
        *self.faults.entry(fault.code()).or_default() += 1;
    }

    pub(super) fn has_faults(&self) -> bool {
        !self.faults.is_empty() || self.unrecognized > 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}, {}, {}",
            plural(self.files, "file"),
            plural(self.lines, "line"),
            HumanBytes(self.log_bytes)
        )?;
        if self.is_filtered {
            let shown = self.methods.values().map(|count| count.records).sum();
            writeln!(f, "  of them {} asked for", plural(shown, "record"))?;
        }
        for (method, count) in &self.methods {
            write!(f, "  {:<10} {:>10}", method.name(), count.records)?;
            if count.value_bytes > 0 {
                write!(f, "  {} of values", HumanBytes(count.value_bytes))?;
            }
            writeln!(f)?;
        }
        for (code, count) in &self.faults {
            writeln!(f, "  {:<10} {count:>10}  {code}", "FAULT")?;
        }
        if self.unrecognized > 0 {
            writeln!(
                f,
                "  {:<10} {:>10}  not as this server writes it",
                "FAULT", self.unrecognized
            )?;
        }
        if !self.has_faults() && self.lines > 0 {
            writeln!(f, "  no fault")?;
        }
        if self.unended > 0 {
            writeln!(
                f,
                "  {} without newline: still being written, or cut off",
                plural(self.unended, "last line")
            )?;
        }
        Ok(())
    }
}

fn plural(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
