//! Bars side by side on a logarithmic scale of time.
//!
//! In:  groups of bars, one bar for each series. Out: an SVG file.

use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::combinators::LogCoord;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::{Result, unexpected};

const SIZE: (u32, u32) = (1080, 480);
const FONT: &str = "sans-serif";
/// Of a group's width, for all its bars.
const FILLED: f64 = 0.78;

pub(super) enum Bar {
    Absent,
    /// In milliseconds.
    Took {
        p50: f64,
        p99: f64,
    },
    /// No answer came.
    Never,
}

pub(super) struct Group {
    pub(super) name: String,
    pub(super) bars: Vec<Bar>,
}

pub(super) struct Bars<'a> {
    pub(super) title: &'a str,
    pub(super) series: &'a [(&'a str, RGBColor)],
    pub(super) groups: Vec<Group>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, LogCoord<f64>>>;
type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

/// Where one bar stands, in the groups' units.
struct Place {
    left: f64,
    right: f64,
}

impl Bars<'_> {
    pub(super) fn draw(&self, file: &Path) -> Result<()> {
        let area = SVGBackend::new(file, SIZE).into_drawing_area();
        self.on(&area).map_err(|error| unexpected(format!("{}: {error}", file.display())))
    }

    fn on(&self, area: &Area<'_>) -> Drawn {
        area.fill(&WHITE)?;
        let (lowest, highest) = self.decades();
        let count = u32::try_from(self.groups.len()).map(f64::from)?;
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, (FONT, 17))
            .margin(12)
            .margin_top(8)
            .x_label_area_size(54)
            .y_label_area_size(74)
            .build_cartesian_2d(0.0..count, (lowest..highest).log_scale())?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .y_label_formatter(&|ms| time(*ms))
            .label_style((FONT, 13))
            .axis_desc_style((FONT, 14))
            .y_desc("time, logarithmic")
            .light_line_style(RGBColor(242, 242, 242))
            .bold_line_style(RGBColor(215, 215, 215))
            .draw()?;
        for (left, group) in (0_u32..).map(f64::from).zip(&self.groups) {
            for (place, bar, color) in self.places(left, group) {
                paint(&mut chart, area, (lowest, highest), &place, bar, color)?;
            }
            let (x, y) = chart.backend_coord(&(left + 0.5, lowest));
            let style = (FONT, 14).into_font().color(&BLACK).pos(Pos::new(HPos::Center, VPos::Top));
            area.draw(&Text::new(group.name.clone(), (x, y + 8), style))?;
        }
        self.legend(area)?;
        Ok(area.present()?)
    }

    fn places<'g>(&self, left: f64, group: &'g Group) -> Vec<(Place, &'g Bar, RGBColor)> {
        let count = u32::try_from(self.series.len()).map_or(1.0, f64::from);
        let (begin, width) = (left + (1.0 - FILLED) / 2.0, FILLED / count);
        let bars = group.bars.iter().zip(self.series).zip((0_u32..).map(f64::from));
        bars.map(|((bar, (_, color)), number)| {
            let left = begin + number * width;
            (Place { left: left + width * 0.04, right: left + width * 0.96 }, bar, *color)
        })
        .collect()
    }

    /// The powers of ten around all figures.
    fn decades(&self) -> (f64, f64) {
        let bars = self.groups.iter().flat_map(|group| &group.bars);
        let (mut lowest, mut highest) = (f64::INFINITY, 0.0_f64);
        for bar in bars {
            if let Bar::Took { p50, p99 } = bar {
                (lowest, highest) = (lowest.min(*p50), highest.max(*p99));
            }
        }
        let lowest = lowest.clamp(1e-3, 1e3) * 0.7;
        (10_f64.powf(lowest.log10().floor()), 10_f64.powf((highest.max(1.0) * 1.5).log10().ceil()))
    }

    /// Below the groups' names.
    fn legend(&self, area: &Area<'_>) -> Drawn {
        let (_, height) = area.dim_in_pixel();
        let y = i32::try_from(height)? - 22;
        let mut x = 90;
        for (name, color) in self.series {
            area.draw(&Rectangle::new([(x, y), (x + 14, y + 12)], color.filled()))?;
            area.draw(&Text::new((*name).to_owned(), (x + 20, y), (FONT, 14).into_font().color(&BLACK)))?;
            x += 44 + i32::try_from(name.len())? * 8;
        }
        Ok(())
    }
}

/// One bar, from the lowest time of the scale, and its figure.
fn paint(
    chart: &mut Chart<'_, '_>,
    area: &Area<'_>,
    (lowest, highest): (f64, f64),
    place: &Place,
    bar: &Bar,
    color: RGBColor,
) -> Drawn {
    let middle = f64::midpoint(place.left, place.right);
    let (value, top, label) = match bar {
        Bar::Absent => return Ok(()),
        Bar::Never => (highest, highest, "no answer".to_owned()),
        Bar::Took { p50, p99 } => (*p50, p99.max(*p50), time(*p50)),
    };
    let is_never = matches!(bar, Bar::Never);
    let style = if is_never { color.mix(0.35).filled() } else { color.filled() };
    chart.draw_series([Rectangle::new([(place.left, lowest), (place.right, value)], style)])?;
    let whisker = vec![(middle, value), (middle, top)];
    chart.draw_series([PathElement::new(whisker, color.stroke_width(2))])?;
    let (x, y) = chart.backend_coord(&(middle, top));
    caption(area, &label, (x, if is_never { y + 6 } else { y - 3 }), is_never)
}

/// A bar's figure, at its end; for a bar without end along it.
fn caption(area: &Area<'_>, text: &str, at: (i32, i32), is_upright: bool) -> Drawn {
    let font = (FONT, 11).into_font();
    let (font, place) = if is_upright {
        (font.transform(FontTransform::Rotate90), Pos::new(HPos::Left, VPos::Center))
    } else {
        (font, Pos::new(HPos::Center, VPos::Bottom))
    };
    Ok(area.draw(&Text::new(text.to_owned(), at, font.color(&BLACK).pos(place)))?)
}

/// Milliseconds in the unit that people would say them in.
fn time(ms: f64) -> String {
    let digits = |value: f64| if value < 9.95 && value.fract() > 0.01 { 1 } else { 0 };
    let (value, unit) = match ms {
        ms if ms < 0.9995 => (ms * 1000.0, "µs"),
        ms if ms < 999.5 => (ms, "ms"),
        ms => (ms / 1000.0, "s"),
    };
    format!("{value:.*} {unit}", digits(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_unit_that_people_would_say() {
        assert_eq!(
            [0.033, 1.0, 5.84, 212.0, 1514.0].map(time),
            ["33 µs", "1 ms", "5.8 ms", "212 ms", "1.5 s"]
        );
    }
}
