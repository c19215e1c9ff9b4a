//! Memory over the number of channels.
//!
//! In:  lines of points: channels, and MiB. Out: an SVG file.

use std::path::Path;

use plotters::element::DashedPathElement;
use plotters::prelude::*;

use crate::error::{Result, unexpected};

const SIZE: (u32, u32) = (1000, 480);
const FONT: &str = "sans-serif";

pub(super) struct Line {
    pub(super) name: String,
    pub(super) color: RGBColor,
    pub(super) is_dashed: bool,
    pub(super) points: Vec<(f64, f64)>,
}

pub(super) struct Lines<'a> {
    pub(super) title: &'a str,
    pub(super) lines: Vec<Line>,
}

impl Lines<'_> {
    pub(super) fn draw(&self, file: &Path) -> Result<()> {
        self.on(file).map_err(|error| unexpected(format!("{}: {error}", file.display())))
    }

    fn on(&self, file: &Path) -> std::result::Result<(), Box<dyn std::error::Error>> {
        let area = SVGBackend::new(file, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let most = points().map(|(_, mib)| *mib).fold(1.0, f64::max);
        let (fewest, highest) =
            points().fold((f64::INFINITY, 1.0_f64), |(low, high), (n, _)| (low.min(*n), high.max(*n)));
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, (FONT, 17))
            .margin(14)
            .margin_right(24)
            .x_label_area_size(46)
            .y_label_area_size(64)
            .build_cartesian_2d((fewest * 0.85..highest * 1.2).log_scale(), 0.0..most * 1.25)?;
        chart
            .configure_mesh()
            .x_desc("channels, logarithmic")
            .y_desc("MiB")
            .x_label_formatter(&|n| format!("{n:.0}"))
            .y_label_formatter(&|mib| format!("{mib:.0}"))
            .label_style((FONT, 13))
            .axis_desc_style((FONT, 14))
            .light_line_style(RGBColor(242, 242, 242))
            .bold_line_style(RGBColor(215, 215, 215))
            .draw()?;
        for line in self.lines.iter().filter(|line| !line.points.is_empty()) {
            let style = line.color.stroke_width(2);
            let sample = move |(x, y)| PathElement::new(vec![(x, y), (x + 26, y)], style);
            if line.is_dashed {
                let dashes = DashedPathElement::new(line.points.clone(), 7, 5, style);
                let sample = move |(x, y)| DashedPathElement::new([(x, y), (x + 26, y)], 7, 5, style);
                chart.draw_series([dashes])?.label(&line.name).legend(sample);
            } else {
                let path = PathElement::new(line.points.clone(), style);
                chart.draw_series([path])?.label(&line.name).legend(sample);
            }
            let dots = line.points.iter().map(|point| Circle::new(*point, 4, line.color.filled()));
            chart.draw_series(dots)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .label_font((FONT, 13))
            .legend_area_size(34)
            .background_style(WHITE.mix(0.9))
            .border_style(RGBColor(200, 200, 200))
            .draw()?;
        Ok(area.present()?)
    }
}
