//! The goal table: what, goal, figure, pass or miss.

use serde_json::{Value as Json, json};

/// One goal and what was found.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) goal: String,
    pub(crate) figure: String,
    /// None: told for comparison, no goal.
    pub(crate) passed: Option<bool>,
    /// The figure as numbers, for scripts.
    pub(crate) numbers: Json,
}

/// A bound on a figure.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    pub(crate) fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(bound) => figure >= bound,
            Self::AtMost(bound) => figure <= bound,
        }
    }

    fn words(self) -> String {
        match self {
            Self::AtLeast(bound) => format!("≥ {bound}"),
            Self::AtMost(bound) => format!("≤ {bound}"),
        }
    }
}

impl Row {
    /// A ratio against its bound; `of` is what it is a ratio to.
    pub(crate) fn ratio(what: &str, of: &str, ratio: f64, bound: Option<Bound>) -> Self {
        Self {
            what: what.to_owned(),
            goal: bound.map_or_else(
                || "–".to_owned(),
                |bound| format!("{} × {of}", bound.words()),
            ),
            figure: format!("{ratio:.2} × {of}"),
            passed: bound.map(|bound| bound.holds(ratio)),
            numbers: json!({ "ratio": ratio }),
        }
    }

    /// A figure in a unit against its bound.
    pub(crate) fn number(what: &str, figure: f64, unit: &str, bound: Bound) -> Self {
        let digits = if figure < 10.0 { 3 } else { 1 };
        Self {
            what: what.to_owned(),
            goal: format!("{} {unit}", bound.words()).trim_end().to_owned(),
            figure: format!("{figure:.digits$} {unit}").trim_end().to_owned(),
            passed: Some(bound.holds(figure)),
            numbers: json!({ "figure": figure }),
        }
    }

    /// A part that failed: its goals are not met. The reason is on stderr.
    pub(crate) fn unmeasured(part: impl std::fmt::Debug) -> Self {
        Self {
            what: format!("{part:?}"),
            goal: "its goals".to_owned(),
            figure: "could not be measured".to_owned(),
            passed: Some(false),
            numbers: Json::Null,
        }
    }

    fn verdict(&self) -> &'static str {
        match self.passed {
            Some(true) => "pass",
            Some(false) => "MISS",
            None => "",
        }
    }
}

/// The table in Markdown, columns aligned.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut cells = vec![["what", "goal", "figure", ""].map(str::to_owned)];
    cells.extend(rows.iter().map(|row| {
        [
            row.what.clone(),
            row.goal.clone(),
            row.figure.clone(),
            row.verdict().to_owned(),
        ]
    }));
    let widths: [usize; 4] = std::array::from_fn(|column| {
        let widths = cells.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0).max(3)
    });
    let mut text = String::new();
    for (place, row) in cells.iter().enumerate() {
        for (cell, width) in row.iter().zip(widths) {
            text.push_str(&format!("| {cell:width$} "));
        }
        text.push_str("|\n");
        if place == 0 {
            for width in widths {
                text.push_str(&format!("|{}", "-".repeat(width + 2)));
            }
            text.push_str("|\n");
        }
    }
    text
}

/// The same for scripts, with the machine.
pub(crate) fn json(rows: &[Row], machine: &str) -> String {
    let rows: Vec<Json> = rows
        .iter()
        .map(|row| {
            json!({
                "what": row.what,
                "goal": row.goal,
                "figure": row.figure,
                "passed": row.passed,
                "numbers": row.numbers,
            })
        })
        .collect();
    json!({ "machine": machine, "rows": rows }).to_string()
}
