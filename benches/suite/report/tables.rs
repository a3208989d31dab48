//! The tables of the report.

use comfy_table::{CellAlignment, Table};

use super::table;
use crate::results::{REFERENCE, Results, Row};
use crate::stats;
use crate::targets::{self, Outcome, Target};
use crate::workload::Unit;

const NOTHING: &str = "";

fn right(mut table: Table, from: usize) -> String {
    for column in table.column_iter_mut().skip(from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

fn names(results: &Results) -> impl Iterator<Item = &str> {
    results.columns.iter().map(|column| column.name.as_str())
}

fn shown(ratio: f64) -> String {
    if ratio >= 10.0 { format!("{ratio:.0}x") } else { format!("{ratio:.2}x") }
}

/// Times against those of the kernel's overlayfs, whose own time is shown. `None` without that.
pub fn ratios(results: &Results) -> Option<String> {
    let others: Vec<&str> = names(results).filter(|name| *name != REFERENCE).collect();
    let rows: Vec<&Row> = results.rows.iter().filter(|row| is_time(row) && !row.values.is_empty()).collect();
    if rows.is_empty() {
        return None;
    }
    let header = ["workload", REFERENCE].into_iter().chain(others.iter().copied());
    let mut table = table(header.map(str::to_owned).collect());
    for row in rows {
        let reference = row.median(REFERENCE).map_or_else(String::new, |value| row.unit.show(value));
        // Without overlayfs at least the time itself.
        let cell = |name: &&str| match (row.ratio(name), row.median(name)) {
            (Some(ratio), _) => shown(ratio),
            (None, Some(value)) => row.unit.show(value),
            (None, None) => NOTHING.to_owned(),
        };
        table.add_row([row.id.clone(), reference].into_iter().chain(others.iter().map(cell)));
    }
    let mean = |name: &&str| results.mean(name).map_or_else(String::new, |(mean, _)| shown(mean));
    let count = |name: &&str| results.mean(name).map_or_else(String::new, |(_, count)| count.to_string());
    let line = |title: &str, cells: Vec<String>| [title.to_owned(), String::new()].into_iter().chain(cells);
    table.add_row(line("geometric mean", others.iter().map(mean).collect()));
    table.add_row(line("of so many workloads", others.iter().map(count).collect()));
    Some(right(table, 1))
}

fn is_time(row: &Row) -> bool {
    row.unit == Unit::Seconds
}

/// Every number: medians, with the smallest and the largest value where there are several.
pub fn values(results: &Results) -> Option<String> {
    let rows: Vec<&Row> = results.rows.iter().filter(|row| !row.values.is_empty()).collect();
    if rows.is_empty() {
        return None;
    }
    let header = ["workload"].into_iter().chain(names(results));
    let mut table = table(header.map(str::to_owned).collect());
    for row in rows {
        let cells = names(results).map(|name| value(row, name));
        table.add_row([row.id.clone()].into_iter().chain(cells));
    }
    Some(right(table, 1))
}

fn value(row: &Row, subject: &str) -> String {
    let Some(values) = row.values.get(subject) else { return NOTHING.to_owned() };
    match (stats::median(values), stats::min(values), stats::max(values)) {
        (Some(median), Some(min), Some(max)) if values.len() > 1 => {
            format!("{} ({} – {})", row.unit.show(median), row.unit.show(min), row.unit.show(max))
        }
        (Some(median), ..) => row.unit.show(median),
        _ => NOTHING.to_owned(),
    }
}

/// Requests of each subject, in all and by operation.
pub fn requests(results: &Results) -> Option<String> {
    let rows: Vec<&Row> = results.rows.iter().filter(|row| !row.requests.is_empty()).collect();
    let counted: Vec<&str> =
        names(results).filter(|name| rows.iter().any(|row| row.requests.contains_key(*name))).collect();
    if counted.is_empty() {
        return None;
    }
    let header = ["requests"].into_iter().chain(counted.iter().copied());
    let mut table = table(header.map(str::to_owned).collect());
    for row in rows {
        let cells = counted.iter().map(|name| operations(row, name));
        table.add_row([row.id.clone()].into_iter().chain(cells));
    }
    Some(table.to_string())
}

/// Such as `1204: LOOKUP 800, READDIRPLUS 404`; the most frequent first, and no more than fit.
fn operations(row: &Row, subject: &str) -> String {
    const SHOWN: usize = 4;
    let Some(requests) = row.requests.get(subject) else { return NOTHING.to_owned() };
    let mut sorted: Vec<(&String, &u64)> = requests.iter().collect();
    sorted.sort_by(|a, b| b.1.cmp(a.1));
    let mut parts: Vec<String> =
        sorted.iter().take(SHOWN).map(|(operation, count)| format!("{operation} {count}")).collect();
    if sorted.len() > SHOWN {
        parts.push("…".to_owned());
    }
    match requests.values().sum::<u64>() {
        0 => "0".to_owned(),
        all => format!("{all}: {}", parts.join(", ")),
    }
}

/// What was to be reached, and whether it was.
pub fn targets(results: &Results) -> Option<String> {
    let outcome = |target: &'static Target| Some((target, target.outcome(results)?));
    let outcomes: Vec<(&Target, Outcome)> = targets::ALL.iter().filter_map(outcome).collect();
    if outcomes.is_empty() {
        return None;
    }
    let header = ["target", "subject", "limit", "measured", "met"];
    let mut table = table(header.map(str::to_owned).into());
    for (target, outcome) in outcomes {
        let met = if outcome.met { "yes" } else { "**no**" };
        table.add_row([target.workload, target.subject, &outcome.limit, &outcome.measured, met]);
    }
    if let Some((mean, count)) = results.mean("unionfuse") {
        let met = if mean <= targets::MEAN { "yes" } else { "**no**" };
        let limit = format!("≤ {}x {REFERENCE}", targets::MEAN);
        let title = format!("geometric mean of {count} workloads");
        table.add_row([title.as_str(), "unionfuse", &limit, &format!("{mean:.2}x"), met]);
    }
    Some(table.to_string())
}
