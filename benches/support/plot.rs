//! Plots: time for one operation over the parameter of the question, both logarithmic.

use std::path::Path;

use plotters::prelude::*;

use super::report::Answer;

const SIZE: (u32, u32) = (900, 500);

/// Draws a curve for each contestant.
pub fn draw(answer: &Answer, file: &Path) {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE).unwrap();
    let (chart_area, legend_area) = root.split_horizontally(600);

    let times = answer.rows.iter().flat_map(|row| row.cells.iter().flatten());
    let micros = times.map(|cell| cell.time.as_secs_f64() * 1e6);
    let (least, most) = micros.fold((f64::MAX, f64::MIN), |(least, most), time| {
        (least.min(time), most.max(time))
    });
    let (first, last) = (
        answer.values()[0] as f64,
        answer.values()[answer.values().len() - 1] as f64,
    );
    let mut chart = ChartBuilder::on(&chart_area)
        .margin(10)
        .x_label_area_size(45)
        .y_label_area_size(70)
        .caption(answer.title(), ("sans-serif", 15))
        .build_cartesian_2d(
            (first / 1.2..last * 1.2).log_scale(),
            (least / 1.5..most * 1.5).log_scale(),
        )
        .unwrap();
    chart
        .configure_mesh()
        .x_desc(answer.parameter())
        .y_desc("microseconds")
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&|value| format!("{value}"))
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
