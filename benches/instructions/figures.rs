//! The committed figures: a file of lines that people can compare.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use crate::Outcome;
use crate::callgrind::Counts;
use crate::paths::PATHS;

const FILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/benches/instructions/figures.tsv"
);

/// Figures, and what they hold for.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) conditions: String,
    by_path: BTreeMap<String, Before>,
}

/// A path's committed figures.
#[derive(Debug, Default)]
pub(crate) struct Before {
    pub(crate) all: u64,
    by_function: BTreeMap<String, u64>,
}

/// What the figures depend on besides the code.
pub(crate) fn conditions() -> String {
    let compiler = Command::new("rustc").arg("--version").output();
    let compiler = compiler.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let compiler = compiler.unwrap_or_default();
    let vectors = std::arch::is_x86_feature_detected!("avx2");
    let vectors = if vectors { "AVX2" } else { "no AVX2" };
    format!("{}, {vectors}", compiler.trim())
}

impl Figures {
    pub(crate) fn committed() -> Outcome<Self> {
        let mut figures = Self::default();
        let Ok(text) = fs::read_to_string(FILE) else {
            return Ok(figures);
        };
        for line in text.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let number = |text: &str| {
                let number = text.parse::<u64>();
                number.map_err(|error| format!("{FILE}: {line}: {error}"))
            };
            match fields[..] {
                ["conditions", conditions] => figures.conditions = conditions.to_owned(),
                [path, all] => {
                    figures.by_path.entry(path.to_owned()).or_default().all = number(all)?;
                }
                [path, cost, function] => {
                    let before = figures.by_path.entry(path.to_owned()).or_default();
                    let function = function.to_owned();
                    before.by_function.insert(function, number(cost)?);
                }
                _ => return Err(format!("{FILE}: {line}: no figure")),
            }
        }
        Ok(figures)
    }

    pub(crate) fn of(conditions: String, counted: &[Counts]) -> Self {
        let by_path = PATHS.iter().zip(counted).map(|((name, _), counts)| {
            let before = Before {
                all: counts.all,
                by_function: counts.by_function.clone(),
            };
            ((*name).to_owned(), before)
        });
        Self {
            conditions,
            by_path: by_path.collect(),
        }
    }

    pub(crate) fn of_path(&self, name: &str) -> Option<&Before> {
        self.by_path.get(name)
    }

    pub(crate) fn write(&self) -> Outcome<()> {
        let mut text = format!("conditions\t{}\n", self.conditions);
        for (path, before) in &self.by_path {
            _ = writeln!(text, "{path}\t{}", before.all);
            for (function, cost) in &before.by_function {
                _ = writeln!(text, "{path}\t{cost}\t{function}");
            }
        }
        print!("{text}");
        fs::write(FILE, text).map_err(|error| format!("{FILE}: {error}"))
    }
}

impl Before {
    /// Says which functions cost more than they did.
    pub(crate) fn explain(&self, counts: &Counts) {
        for (function, &cost) in &counts.by_function {
            let before = self.by_function.get(function).copied();
            match before {
                Some(before) if cost * 100 > before * 101 => {
                    println!("         {cost:>12}, was {before:>12}: {function}");
                }
                Some(_) => {}
                None => println!("         {cost:>12}, was not among the dearest: {function}"),
            }
        }
    }
}
