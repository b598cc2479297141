//! The rows of the result: collected, written after each case, shown in the end.

use std::path::PathBuf;

use serde_json::{Value, json};

/// What an aim compares.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// Ours is at most so many times stock.
    Ratio(f64),
    /// Ours is at most that.
    AtMost(f64),
    /// Ours is at least that.
    AtLeast(f64),
    /// Ours is at most so many times stock, or so much more.
    RatioOrMore(f64, f64),
    /// There is none; the number is there to be seen.
    None,
}

impl Target {
    fn text(self) -> String {
        match self {
            Self::Ratio(ratio) => format!("<= {ratio} x stock"),
            Self::AtMost(most) => format!("<= {most}"),
            Self::AtLeast(least) => format!(">= {least}"),
            Self::RatioOrMore(ratio, more) => format!("<= {ratio} x stock or + {more}"),
            Self::None => String::new(),
        }
    }

    /// Whether it is met; `None` where there is nothing to compare.
    fn met(self, stock: Option<f64>, ours: Option<f64>) -> Option<bool> {
        let ours = ours?;
        match self {
            Self::Ratio(ratio) => Some(ours <= ratio * stock?),
            Self::AtMost(most) => Some(ours <= most),
            Self::AtLeast(least) => Some(ours >= least),
            Self::RatioOrMore(ratio, more) => {
                stock.map(|stock| ours <= ratio * stock || ours <= stock + more)
            }
            Self::None => None,
        }
    }
}

/// One result.
pub(crate) struct Row<'a> {
    pub(crate) case: &'a str,
    pub(crate) flower: &'a str,
    pub(crate) unit: &'a str,
    pub(crate) stock: Option<f64>,
    pub(crate) ours: Option<f64>,
    pub(crate) target: Target,
    /// Everything that was measured for it.
    pub(crate) runs: Value,
}

/// All results, those of earlier times too.
pub(crate) struct Table {
    rows: Vec<Value>,
    path: PathBuf,
    /// How many runs have failed.
    pub(crate) failures: usize,
}

impl Table {
    pub(crate) fn open() -> Self {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("link.json");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let rows = serde_json::from_str(&text).unwrap_or_default();
        Self { rows, path, failures: 0 }
    }

    /// Notes a failed run.
    pub(crate) fn failed(&mut self, why: &str) {
        self.failures += 1;
        println!("FAILED: {why}");
    }

    /// Adds a result in the place of an earlier one.
    pub(crate) fn add(&mut self, row: &Row<'_>) {
        let round = |number: Option<f64>| number.map(|number| (number * 1e4).round() / 1e4);
        let ratio =
            row.stock.zip(row.ours).filter(|(stock, _)| *stock != 0.0).map(|(stock, ours)| ours / stock);
        let value = json!({
            "case": row.case,
            "flower": row.flower,
            "unit": row.unit,
            "stock": round(row.stock),
            "ours": round(row.ours),
            "ratio": round(ratio),
            "target": row.target.text(),
            "met": row.target.met(row.stock, row.ours),
            "runs": row.runs,
        });
        println!("{}", line(&value));
        let same = |old: &Value| old["case"] == row.case && old["flower"] == row.flower;
        match self.rows.iter_mut().find(|old| same(old)) {
            Some(old) => *old = value,
            None => self.rows.push(value),
        }
        let text = serde_json::to_string_pretty(&self.rows).unwrap();
        std::fs::write(&self.path, text + "\n").unwrap();
    }

    /// All rows.
    pub(crate) fn show(&self) {
        println!(
            "\n{:34} {:7} {:>9} {:>9} {:>6}  {:24} {:4} unit",
            "case", "Flower", "stock", "ours", "ratio", "target", "met"
        );
        for row in &self.rows {
            println!("{}", line(row));
        }
        println!("\nwritten to {}", self.path.canonicalize().unwrap_or_else(|_| self.path.clone()).display());
    }
}

fn line(row: &Value) -> String {
    let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str, places: usize| match row[key].as_f64() {
        Some(number) => format!("{number:.places$}"),
        None => "-".to_owned(),
    };
    let met = match row["met"].as_bool() {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "",
    };
    format!(
        "{:34} {:7} {:>9} {:>9} {:>6}  {:24} {met:4} {}",
        text("case"),
        text("flower"),
        number("stock", 2),
        number("ours", 2),
        number("ratio", 2),
        text("target"),
        text("unit")
    )
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(numbers: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = numbers.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}
