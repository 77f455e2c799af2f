//! Statistics of records: how many of each method, how large their values are, which keys repeat.
//! In bounded memory.

use std::collections::BTreeMap;
use std::fmt;

use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use super::frequent::Keys;
use crate::binlog::key::order_hash;
use crate::binlog::{Method, Record};

/// Keys shown.
const KEYS_SHOWN: usize = 20;

/// Columns of the longest bar.
const BAR_COLUMNS: u64 = 40;

/// Counts of what was added.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    records: u64,
    methods: BTreeMap<Method, u64>,
    /// By the number of bits of the value's length: 0 is empty, n is 2ⁿ⁻¹ to 2ⁿ - 1 bytes.
    sizes: BTreeMap<u32, u64>,
    value_bytes: u64,
    keys: Keys,
    scratch: Vec<u8>,
}

impl Statistics {
    pub(super) fn add(&mut self, record: &Record<'_>) {
        self.records += 1;
        *self.methods.entry(record.method).or_default() += 1;
        let bytes = record.value.len() as u64;
        *self.sizes.entry(bits(bytes)).or_default() += 1;
        self.value_bytes += bytes;
        let hash = order_hash(record, &mut self.scratch);
        self.keys.add(hash, record.table, record.key);
    }

    /// An object in one line, for programs.
    pub(super) fn to_json(&self) -> String {
        let json = Json {
            records: self.records,
            value_bytes: self.value_bytes,
            methods: self
                .methods
                .iter()
                .map(|(method, count)| (method.name(), *count))
                .collect(),
            sizes: self
                .sizes
                .iter()
                .map(|(bits, &records)| SizeJson {
                    from_bytes: least(*bits),
                    to_bytes: most(*bits),
                    records,
                })
                .collect(),
            repeated_keys: self
                .keys
                .top(KEYS_SHOWN)
                .into_iter()
                .map(|found| KeyJson {
                    table: (!found.table.is_empty())
                        .then(|| found.table.escape_ascii().to_string()),
                    key: found.key.escape_ascii().to_string(),
                    records_at_most: found.count,
                    records_at_least: found.count - found.error,
                })
                .collect(),
        };
        serde_json::to_string(&json).expect("its keys are strings")
    }
}

#[derive(Serialize)]
struct Json {
    records: u64,
    value_bytes: u64,
    methods: BTreeMap<&'static str, u64>,
    sizes: Vec<SizeJson>,
    repeated_keys: Vec<KeyJson>,
}

#[derive(Serialize)]
struct SizeJson {
    from_bytes: u64,
    to_bytes: u64,
    records: u64,
}

#[derive(Serialize)]
struct KeyJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<String>,
    key: String,
    records_at_most: u64,
    records_at_least: u64,
}

fn bits(bytes: u64) -> u32 {
    u64::BITS - bytes.leading_zeros()
}

fn least(bits: u32) -> u64 {
    1_u64.checked_shl(bits.wrapping_sub(1)).unwrap_or(0)
}

fn most(bits: u32) -> u64 {
    match bits {
        0 => 0,
        _ => u64::MAX >> (u64::BITS - bits),
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} records, {} of values",
            HumanCount(self.records),
            HumanBytes(self.value_bytes)
        )?;
        if self.records == 0 {
            return Ok(());
        }
        writeln!(f, "\nmethods")?;
        let rows = self.methods.iter();
        let rows: Vec<_> = rows
            .map(|(method, count)| (method.name().to_owned(), *count))
            .collect();
        bars(f, &rows)?;
        writeln!(f, "\nbytes of a value")?;
        // Those between the least and the greatest too, so that a gap is seen.
        let first = self.sizes.keys().next().copied().unwrap_or(0);
        let last = self.sizes.keys().last().copied().unwrap_or(0);
        let rows: Vec<_> = (first..=last)
            .map(|bits| {
                let label = match bits {
                    0 | 1 => least(bits).to_string(),
                    _ => format!("{} to {}", least(bits), most(bits)),
                };
                (label, self.sizes.get(&bits).copied().unwrap_or(0))
            })
            .collect();
        bars(f, &rows)?;
        let top = self.keys.top(KEYS_SHOWN);
        if top.is_empty() {
            return writeln!(f, "\nno key is known to repeat");
        }
        writeln!(f, "\nkeys that repeat, the most frequent first")?;
        for found in top {
            let count = match found.error {
                0 => HumanCount(found.count).to_string(),
                error => format!(
                    "{} to {}",
                    HumanCount(found.count - error),
                    HumanCount(found.count)
                ),
            };
            write!(f, "  {count:>12}  ")?;
            if !found.table.is_empty() {
                write!(f, "table \"{}\" ", found.table.escape_ascii())?;
            }
            writeln!(f, "key \"{}\"", found.key.escape_ascii())?;
        }
        Ok(())
    }
}

/// A row for each: its label, its count, its share, and a bar.
fn bars(f: &mut fmt::Formatter<'_>, rows: &[(String, u64)]) -> fmt::Result {
    let width = rows.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    let total: u64 = rows.iter().map(|(_, count)| count).sum();
    let greatest = rows
        .iter()
        .map(|(_, count)| *count)
        .max()
        .unwrap_or(0)
        .max(1);
    for (label, count) in rows {
        let of = |whole: u64, part: u64| {
            u64::try_from(u128::from(*count) * u128::from(part) / u128::from(whole.max(1)))
                .unwrap_or(part)
        };
        let columns = of(greatest, BAR_COLUMNS).max(u64::from(*count > 0));
        let bar = "█".repeat(usize::try_from(columns).unwrap_or(0));
        let line = format!(
            "  {label:>width$}  {:>12}  {:>3} %  {bar}",
            HumanCount(*count).to_string(),
            of(total, 100)
        );
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Statistics {
        let mut statistics = Statistics::default();
        statistics.add(&Record::new(Method::Put, b"a b", b"123"));
        // Another spelling of the same key.
        statistics.add(&Record::new(Method::Put, b"a%20b", &[0; 9]));
        statistics.add(&Record::new(Method::Del, b"c", b""));
        statistics
    }

    #[test]
    fn buckets_are_powers_of_two() {
        for (bytes, from, to) in [
            (0, 0, 0),
            (1, 1, 1),
            (2, 2, 3),
            (3, 2, 3),
            (4, 4, 7),
            (1024, 1024, 2047),
            (u64::MAX, 1 << 63, u64::MAX),
        ] {
            let bits = bits(bytes);
            assert_eq!((least(bits), most(bits)), (from, to), "{bytes}");
        }
    }

    #[test]
    fn people_see_bars_gaps_and_keys_that_repeat_in_any_spelling() {
        let text = some().to_string();
        let bar = "█".repeat(40);
        let half = "█".repeat(20);
        assert_eq!(
            text,
            format!(
                "3 records, 12 B of values\n\n\
                 methods\n  \
                   put             2   66 %  {bar}\n  \
                   del             1   33 %  {half}\n\n\
                 bytes of a value\n        \
                         0             1   33 %  {bar}\n        \
                         1             0    0 %\n   \
                    2 to 3             1   33 %  {bar}\n   \
                    4 to 7             0    0 %\n  \
                   8 to 15             1   33 %  {bar}\n\n\
                 keys that repeat, the most frequent first\n             \
                              2  key \"a b\"\n"
            )
        );
        assert_eq!(
            Statistics::default().to_string(),
            "0 records, 0 B of values\n"
        );
    }

    #[test]
    fn programs_get_an_object() {
        let json: serde_json::Value = serde_json::from_str(&some().to_json()).unwrap();
        assert_eq!(json["records"], 3);
        assert_eq!(json["methods"]["put"], 2);
        assert_eq!(json["sizes"][1]["from_bytes"], 2);
        assert_eq!(json["sizes"][1]["to_bytes"], 3);
        assert_eq!(json["repeated_keys"][0]["key"], "a b");
        assert_eq!(json["repeated_keys"][0]["records_at_least"], 2);
    }
}
