//! The ratios as a picture: a line for each workload, a dot for each subject.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::results::{REFERENCE, Results, Row};
use crate::workload::Unit;

const WIDTH: u32 = 1100;
const LINE: u32 = 20;
const MARGINS: u32 = 130;

/// Writes an SVG, if there is anything to compare.
pub fn draw(results: &Results, path: &Path) -> Result<()> {
    let compared = |row: &&Row| row.unit == Unit::Seconds && row.median(REFERENCE).is_some();
    let rows: Vec<&Row> = results.rows.iter().filter(compared).collect();
    let subjects: Vec<&str> =
        results.columns.iter().map(|column| column.name.as_str()).filter(|name| *name != REFERENCE).collect();
    if rows.is_empty() || subjects.is_empty() {
        return Ok(());
    }
    draw_rows(&rows, &subjects, path).map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn draw_rows(
    rows: &[&Row],
    subjects: &[&str],
    path: &Path,
) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    let height = MARGINS + LINE * (rows.len() as u32 + subjects.len().div_ceil(4) as u32);
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let ratios = rows.iter().flat_map(|row| subjects.iter().filter_map(|subject| row.ratio(subject)));
    let (low, high) =
        ratios.fold((0.5, 2.0), |(low, high): (f64, f64), ratio| (low.min(ratio), high.max(ratio)));
    let lines = rows.len();
    let (legend, plot) = area.split_vertically(LINE * subjects.len().div_ceil(4) as u32 + 40);
    draw_legend(&legend, subjects)?;
    let mut chart = ChartBuilder::on(&plot)
        .margin(10)
        .x_label_area_size(45)
        .y_label_area_size(150)
        .build_cartesian_2d((low / 1.2..high * 1.2).log_scale(), 0..lines)?;
    let name = |place: &usize| {
        lines.checked_sub(*place).and_then(|n| rows.get(n)).map_or(String::new(), |row| row.id.clone())
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .y_labels(lines + 1)
        .y_label_formatter(&name)
        .x_label_formatter(&|ratio| format!("{ratio}x"))
        .x_desc("time against the kernel's overlayfs: left is faster")
        .label_style(("sans-serif", 12))
        .light_line_style(TRANSPARENT)
        .draw()?;
    chart.draw_series([PathElement::new(vec![(1.0, 0), (1.0, lines)], BLACK)])?;
    for (n, subject) in subjects.iter().enumerate() {
        let place = |(line, row): (usize, &&Row)| Some((row.ratio(subject)?, lines - line));
        let color = color(n);
        let dots = rows.iter().enumerate().filter_map(place);
        // The subject of this project is drawn larger, and so seen behind others.
        let size = if *subject == "unionfuse" { 6 } else { 4 };
        chart.draw_series(dots.map(|at| Circle::new(at, size, color.filled())))?;
    }
    area.present()
}

fn draw_legend<DB: DrawingBackend>(
    area: &DrawingArea<DB, plotters::coord::Shift>,
    subjects: &[&str],
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    area.draw(&Text::new("Times against the kernel's overlayfs (1x)", (20, 12), ("sans-serif", 16)))?;
    for (n, subject) in subjects.iter().enumerate() {
        let at = (30 + (n % 4) as i32 * 260, 44 + (n / 4) as i32 * LINE as i32);
        area.draw(&Circle::new(at, 5, color(n).filled()))?;
        area.draw(&Text::new((*subject).to_owned(), (at.0 + 12, at.1 - 6), ("sans-serif", 13)))?;
    }
    Ok(())
}

fn color(n: usize) -> PaletteColor<Palette99> {
    Palette99::pick(n)
}
