//! What a run found out, as it is kept.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::bed::Found;
use crate::machine::Machine;
use crate::requests::Requests;
use crate::stats;
use crate::workload::{Measure, Unit};

/// One row of the report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    pub id: String,
    pub title: String,
    pub unit: Unit,
    pub in_mean: bool,
    /// All results, by subject.
    pub values: BTreeMap<String, Vec<f64>>,
    /// FUSE requests of one pass, by subject.
    pub requests: BTreeMap<String, Requests>,
}

/// A subject and what it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    pub about: String,
}

/// Something that was not measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    pub what: String,
    pub reason: String,
}

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Results {
    pub machine: Machine,
    pub backing: String,
    pub repeats: usize,
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
    pub skipped: Vec<Skipped>,
}

/// What all ratios refer to.
pub const REFERENCE: &str = "overlayfs";

impl Row {
    pub fn new(measure: &Measure) -> Self {
        Self {
            id: measure.id.to_owned(),
            title: measure.title.to_owned(),
            unit: measure.unit,
            in_mean: measure.in_mean,
            values: BTreeMap::new(),
            requests: BTreeMap::new(),
        }
    }

    /// Takes what one pass found. Times of a pass that counted requests mean nothing.
    pub fn add(&mut self, subject: &str, found: &Found, counting: bool) {
        if let Some(requests) = found.requests.get(self.id.as_str()) {
            self.requests.insert(subject.to_owned(), requests.clone());
        }
        if let Some(value) = found.values.get(self.id.as_str()).filter(|_| !counting) {
            self.values.entry(subject.to_owned()).or_default().push(*value);
        }
    }

    pub fn median(&self, subject: &str) -> Option<f64> {
        stats::median(self.values.get(subject)?)
    }

    /// The median against that of the kernel's overlayfs.
    pub fn ratio(&self, subject: &str) -> Option<f64> {
        let reference = self.median(REFERENCE).filter(|reference| *reference > 0.0)?;
        Some(self.median(subject)? / reference)
    }

    /// How many requests a pass took.
    pub fn request_count(&self, subject: &str) -> Option<u64> {
        Some(self.requests.get(subject)?.values().sum())
    }

    fn has_anything(&self) -> bool {
        !self.values.is_empty() || !self.requests.is_empty()
    }
}

impl Results {
    pub fn row(&self, id: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.id == id)
    }

    /// The geometric mean of a subject's ratios, and of how many.
    pub fn mean(&self, subject: &str) -> Option<(f64, usize)> {
        let ratios: Vec<f64> =
            self.rows.iter().filter(|row| row.in_mean).filter_map(|row| row.ratio(subject)).collect();
        Some((stats::geometric_mean(&ratios)?, ratios.len()))
    }

    /// Says at once, and in the report, that something is not measured.
    pub fn skip(&mut self, what: String, reason: String) {
        let skipped = Skipped { what, reason };
        if !self.skipped.contains(&skipped) {
            eprintln!("SKIPPED: {}: {}", skipped.what, skipped.reason);
            self.skipped.push(skipped);
        }
    }

    /// Leaves out what nothing is known of.
    pub fn tidy(&mut self) {
        self.rows.retain(Row::has_anything);
        let rows = &self.rows;
        self.columns.retain(|column| {
            rows.iter()
                .any(|row| row.values.contains_key(&column.name) || row.requests.contains_key(&column.name))
        });
    }

    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)?;
        serde_json::from_str(&text).with_context(|| format!("{} is not a result", path.display()))
    }

    pub fn save(&self, path: &Path) -> Result<()> {
        Ok(fs::write(path, serde_json::to_string_pretty(self)? + "\n")?)
    }
}
