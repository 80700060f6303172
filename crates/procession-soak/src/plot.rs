//! Resident memory and CPU over time, as a picture and on a terminal.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use textplots::{Chart, Plot as _, Shape};

use crate::samples::{Sample, to_float};

/// Of the picture.
const SIZE: (u32, u32) = (960, 720);

/// A line of a chart: what it is called, its colour, and its value at a sample.
type Line = (&'static str, RGBColor, fn(&Sample) -> f64);

const MEMORY: [Line; 2] = [
    ("agent, resident", RGBColor(31, 119, 180), |sample| mib(sample.resident_bytes)),
    ("of which its table of processes", RGBColor(44, 160, 44), |sample| mib(sample.table_bytes)),
];
const CPU: [Line; 2] = [
    ("agent", RGBColor(31, 119, 180), |sample| 100.0 * sample.agent_cpu),
    ("storm", RGBColor(200, 200, 200), |sample| 100.0 * sample.storm_cpu),
];

fn mib(bytes: u64) -> f64 {
    to_float(bytes) / f64::from(1 << 20)
}

/// Draws both into an SVG file.
pub(crate) fn draw(path: &Path, samples: &[Sample]) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| anyhow!("cannot draw {}: {error}", path.display());
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(|error| failed(&error))?;
    let (above, below) = root.split_vertically(SIZE.1 / 2);
    chart(&above, "Memory of the agent (MiB)", samples, &MEMORY).map_err(|error| failed(&error))?;
    chart(&below, "CPU (% of one processor)", samples, &CPU).map_err(|error| failed(&error))?;
    root.present().map_err(|error| failed(&error))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn chart(area: &Area<'_>, caption: &str, samples: &[Sample], lines: &[Line]) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| anyhow!("{error}");
    let end = samples.last().map_or(1.0, |sample| sample.time / 60.0);
    let values = lines.iter().flat_map(|line| samples.iter().map(line.2));
    let top = 1.1 * values.fold(1.0, f64::max);
    let mut builder = ChartBuilder::on(area);
    builder.caption(caption, ("sans-serif", 18)).margin(12).x_label_area_size(32).y_label_area_size(56);
    let mut chart = builder.build_cartesian_2d(0.0..end, 0.0..top).map_err(|error| failed(&error))?;
    chart
        .configure_mesh()
        .x_desc("minutes")
        .light_line_style(WHITE)
        .draw()
        .map_err(|error| failed(&error))?;
    // What is drawn first is behind.
    for (name, color, value) in lines.iter().rev() {
        let points = samples.iter().map(|sample| (sample.time / 60.0, value(sample)));
        let series = chart.draw_series(LineSeries::new(points, color)).map_err(|error| failed(&error))?;
        let color = *color;
        series.label(*name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color));
    }
    let mut legend = chart.configure_series_labels();
    legend.background_style(WHITE.mix(0.8)).draw().map_err(|error| failed(&error))
}

/// Both as text.
pub(crate) fn text(samples: &[Sample]) -> String {
    let of = |caption: &str, value: fn(&Sample) -> f64| {
        let points: Vec<(f32, f32)> =
            samples.iter().map(|sample| (narrow(sample.time), narrow(value(sample)))).collect();
        let end = points.last().map_or(1.0, |point| point.0.max(1.0));
        let top = points.iter().map(|point| point.1).fold(1.0, f32::max);
        let shape = Shape::Lines(&points);
        let mut chart = Chart::new_with_y_range(140, 40, 0.0, end, 0.0, 1.1 * top);
        let chart = chart.lineplot(&shape);
        chart.axis();
        chart.figures();
        format!("{caption}\n{chart}\n")
    };
    of("Memory of the agent (MiB) over seconds", MEMORY[0].2)
        + &of("CPU of the agent (% of one processor)", CPU[0].2)
}

#[expect(clippy::cast_possible_truncation, reason = "what can be seen on a terminal is coarser")]
fn narrow(number: f64) -> f32 {
    number as f32
}
