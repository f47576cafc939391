//! Plots: time for one operation over the parameter of the question, both logarithmic.

use std::ops::Range;
use std::path::Path;

use plotters::prelude::*;

use super::answer::Answer;
use super::table::thousands;

const SIZE: (u32, u32) = (900, 500);

/// Draws a curve for each contestant.
pub fn draw(answer: &Answer, file: &Path) {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE).unwrap();
    let root = root.titled(answer.title(), ("sans-serif", 15)).unwrap();
    let (chart_area, legend_area) = root.split_horizontally(600);

    let times = answer.rows.iter().flat_map(|row| row.cells.iter().flatten());
    let micros = times.map(|cell| cell.time.as_secs_f64() * 1e6);
    let (least, most) = micros.fold((f64::MAX, f64::MIN), |(least, most), time| {
        (least.min(time), most.max(time))
    });
    let values: Vec<f64> = answer.values().iter().map(|value| *value as f64).collect();
    let across = values[0] / 1.2..values[values.len() - 1] * 1.2;
    let up = least / 1.5..most * 1.5;
    let marks = round_numbers(&up);
    let mut chart = ChartBuilder::on(&chart_area)
        .margin(10)
        .x_label_area_size(45)
        .y_label_area_size(70)
        .build_cartesian_2d(
            across.log_scale().with_key_points(values),
            up.log_scale().with_key_points(marks),
        )
        .unwrap();
    chart
        .configure_mesh()
        .x_desc(answer.parameter())
        .y_desc("microseconds")
        .x_label_formatter(&|value| thousands(value.round() as usize))
        .y_label_formatter(&|value| {
            if *value < 1.0 {
                format!("{value}")
            } else {
                thousands(value.round() as usize)
            }
        })
        .light_line_style(WHITE)
        .draw()
        .unwrap();
    for (index, row) in answer.rows.iter().enumerate() {
        let color = Palette99::pick(index).stroke_width(2);
        let points: Vec<(f64, f64)> = std::iter::zip(answer.values(), &row.cells)
            .filter_map(|(value, cell)| Some((*value as f64, cell.as_ref()?.time.as_secs_f64() * 1e6)))
            .collect();
        chart.draw_series(LineSeries::new(points.clone(), color)).unwrap();
        chart
            .draw_series(points.iter().map(|point| Circle::new(*point, 3, color.filled())))
            .unwrap();
        let y = 40 + 20 * index as i32;
        legend_area
            .draw(&PathElement::new(vec![(0, y + 6), (20, y + 6)], color))
            .unwrap();
        legend_area
            .draw(&Text::new(row.name, (26, y), ("sans-serif", 13)))
            .unwrap();
    }
    root.present().unwrap();
}

/// 1, 2, 5, 10, 20 and so on, as far as they are in the range.
fn round_numbers(range: &Range<f64>) -> Vec<f64> {
    let tens = (-3..9).map(|exponent| 10f64.powi(exponent));
    let numbers = tens.flat_map(|ten| [ten, 2.0 * ten, 5.0 * ten]);
    numbers.filter(|number| range.contains(number)).collect()
}
