//! Pictures of the measurements, readable on a light and on a dark page.

use std::error::Error;
use std::path::Path;

use plotters::coord::combinators::IntoLogRange;
use plotters::prelude::*;

type Drawn = Result<(), Box<dyn Error>>;

/// A line of a figure.
#[derive(Debug)]
pub struct Line<'a> {
    pub name: &'a str,
    pub points: Vec<(f64, f64)>,
}

const SIZE: (u32, u32) = (860, 420);

/// The room for the names of the lines, right of them.
const NAMES: i32 = 190;

/// Grey is readable on white and on black.
const INK: RGBColor = RGBColor(128, 128, 128);

const COLORS: [RGBColor; 8] = [
    RGBColor(230, 80, 60),
    RGBColor(140, 140, 140),
    RGBColor(170, 170, 170),
    RGBColor(60, 130, 240),
    RGBColor(240, 160, 30),
    RGBColor(30, 170, 120),
    RGBColor(160, 100, 230),
    RGBColor(220, 90, 170),
];

/// Draws lines over two logarithmic axes.
///
/// # Errors
///
/// The file cannot be written.
pub fn lines(path: &Path, title: &str, axes: [&str; 2], lines: &[Line<'_>]) -> Drawn {
    let points = || lines.iter().flat_map(|line| &line.points);
    let range = |of: fn(&(f64, f64)) -> f64| {
        let least = points().map(of).reduce(f64::min).unwrap_or(1.0);
        let most = points().map(of).reduce(f64::max).unwrap_or(10.0);
        (least / 1.3..most * 1.3).log_scale()
    };
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    let text = ("sans-serif", 13).into_font().color(&INK);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 16).into_font().color(&INK))
        .margin(12)
        .margin_right(NAMES)
        .x_label_area_size(44)
        .y_label_area_size(76)
        .build_cartesian_2d(range(|point| point.0), range(|point| point.1))?;
    chart
        .configure_mesh()
        .axis_style(INK)
        .bold_line_style(INK.mix(0.3))
        .light_line_style(TRANSPARENT)
        .label_style(text.clone())
        .x_desc(axes[0])
        .y_desc(axes[1])
        .x_label_formatter(&|value| short(*value))
        .y_label_formatter(&|value| short(*value))
        .draw()?;
    for ((row, line), color) in (0..).zip(lines).zip(COLORS) {
        let style = color.stroke_width(2);
        chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
        let (x, y) = (SIZE.0 as i32 - NAMES + 8, 60 + 22 * row);
        area.draw(&PathElement::new([(x, y), (x + 18, y)], style))?;
        area.draw(&Text::new(
            line.name.to_owned(),
            (x + 26, y - 6),
            text.clone(),
        ))?;
        let dots = line.points.iter();
        chart.draw_series(dots.map(|point| Circle::new(*point, 3, color.filled())))?;
    }
    Ok(area.present()?)
}

/// Draws a horizontal bar for each value.
///
/// # Errors
///
/// The file cannot be written.
pub fn bars(path: &Path, title: &str, unit: &str, values: &[(&str, f64)]) -> Drawn {
    const ROW: i32 = 34;
    const LEFT: i32 = 190;
    const TOP: i32 = 46;
    let height = TOP + ROW * i32::try_from(values.len())? + 12;
    let area = SVGBackend::new(path, (SIZE.0, u32::try_from(height)?)).into_drawing_area();
    let text = ("sans-serif", 13).into_font().color(&INK);
    let caption = ("sans-serif", 16).into_font().color(&INK);
    area.draw(&Text::new(title.to_owned(), (12, 14), caption))?;
    let most = values.iter().map(|value| value.1).reduce(f64::max);
    let scale = f64::from(SIZE.0 as i32 - LEFT - 130) / most.unwrap_or(1.0);
    for ((row, (name, value)), color) in (0..).zip(values).zip(COLORS) {
        let top = TOP + ROW * row;
        let right = LEFT + (value * scale).max(1.0) as i32;
        area.draw(&Text::new((*name).to_owned(), (12, top + 4), text.clone()))?;
        area.draw(&Rectangle::new(
            [(LEFT, top), (right, top + 20)],
            color.filled(),
        ))?;
        let label = format!("{} {unit}", short(*value));
        area.draw(&Text::new(label, (right + 8, top + 4), text.clone()))?;
    }
    Ok(area.present()?)
}

/// Writes a number with at most three digits and a unit.
fn short(value: f64) -> String {
    let (value, unit) = match value {
        1e6.. => (value / 1e6, " M"),
        1e3.. => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let digits = if value < 10.0 && value.fract() > 0.0 {
        1
    } else {
        0
    };
    match value {
        ..0.1 if unit.is_empty() => format!("{value}"),
        _ => format!("{value:.digits$}{unit}"),
    }
}
