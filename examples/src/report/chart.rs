//! Step charts as SVG: every value holds until the next one.

use std::fmt::Write as _;

use super::{clock, escape, push};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 26.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 20.0;
/// Points closer than this many pixels are drawn as their span.
const PIXEL: f64 = 0.5;

/// A plot.
pub(super) struct Chart {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) shape: Shape,
    pub(super) series: Vec<Series>,
    /// Before every number.
    pub(super) unit: &'static str,
}

/// How series are drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Filled to the axis.
    Area,
    /// Lines over each other.
    Lines,
    /// Filled, each on top of the one before.
    Stack,
}

/// Values over time.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) colour: String,
    pub(super) points: Vec<(f64, f64)>,
}

impl Chart {
    /// Adds the figure to the page; the time axis goes from 0 to `end` seconds.
    pub(super) fn render(mut self, page: &mut String, end: f64) {
        let end = end.max(1.0);
        let data = self.data();
        if self.shape == Shape::Stack {
            self.stack();
        }
        let highest = self
            .series
            .iter()
            .flat_map(|series| &series.points)
            .map(|(_, value)| *value)
            .fold(0.0, f64::max);
        let step = tick_step(highest);
        let top = (highest / step).ceil().max(1.0) * step;
        let scale = Scale { end, top };
        push(
            page,
            format_args!(
                "<figure id=\"{}\" data-end=\"{end}\" data-series=\"{}\">\n<figcaption>{}{}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
                self.id,
                escape(&data),
                escape(self.title),
                self.legend(),
                escape(self.title)
            ),
        );
        self.axes(page, scale, step);
        // The top of a stack is drawn first, so that what lies under it stays visible.
        let order: Vec<&Series> = if self.shape == Shape::Stack {
            self.series.iter().rev().collect()
        } else {
            self.series.iter().collect()
        };
        for series in order {
            series.draw(page, scale, self.shape);
        }
        push(
            page,
            format_args!(
                "<line class=\"cross\" y1=\"{TOP}\" y2=\"{}\"/>\n</svg>\n</figure>\n",
                HEIGHT - BOTTOM
            ),
        );
    }

    /// Each series becomes the sum of itself and those before; all have the same times.
    fn stack(&mut self) {
        for index in 1..self.series.len() {
            let (below, rest) = self.series.split_at_mut(index);
            let (Some(below), Some(series)) = (below.last(), rest.first_mut()) else {
                continue;
            };
            for (point, under) in series.points.iter_mut().zip(&below.points) {
                point.1 += under.1;
            }
        }
    }

    fn legend(&self) -> String {
        if self.series.len() < 2 {
            return String::new();
        }
        self.series.iter().fold(String::new(), |mut legend, series| {
            push(
                &mut legend,
                format_args!(
                    " <span class=\"key\" style=\"--colour:{}\">{}</span>",
                    escape(&series.colour),
                    escape(&series.name)
                ),
            );
            legend
        })
    }

    /// The changes of every series for the crosshair: `[{name, unit, points: [[t, value], ...]}]`.
    fn data(&self) -> String {
        let series: Vec<_> = self
            .series
            .iter()
            .map(|series| {
                let mut points: Vec<(f64, f64)> = Vec::new();
                for point in &series.points {
                    if points.last().is_none_or(|last| last.1 != point.1) {
                        points.push(*point);
                    }
                }
                serde_json::json!({"name": series.name, "unit": self.unit, "points": points})
            })
            .collect();
        serde_json::Value::from(series).to_string()
    }

    fn axes(&self, page: &mut String, scale: Scale, step: f64) {
        let mut value = 0.0;
        while value <= scale.top + step / 2.0 {
            let y = scale.y(value);
            push(
                page,
                format_args!(
                    "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}{}</text>\n",
                    WIDTH - RIGHT,
                    LEFT - 6.0,
                    y + 4.0,
                    self.unit,
                    number(value)
                ),
            );
            value += step;
        }
        let every = time_step(scale.end);
        let mut t = 0.0;
        while t <= scale.end {
            push(
                page,
                format_args!(
                    "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
                    scale.x(t),
                    HEIGHT - 5.0,
                    clock(t)
                ),
            );
            t += every;
        }
    }
}

#[derive(Clone, Copy)]
struct Scale {
    end: f64,
    top: f64,
}

impl Scale {
    fn x(self, t: f64) -> f64 {
        LEFT + t / self.end * (WIDTH - LEFT - RIGHT)
    }

    fn y(self, value: f64) -> f64 {
        HEIGHT - BOTTOM - value / self.top * (HEIGHT - TOP - BOTTOM)
    }
}

impl Series {
    fn draw(&self, page: &mut String, scale: Scale, shape: Shape) {
        let path = self.path(scale);
        if path.is_empty() {
            return;
        }
        let colour = escape(&self.colour);
        if shape != Shape::Lines {
            let (from, to, base) = (scale.x(self.points[0].0), scale.x(scale.end), scale.y(0.0));
            let opacity = if shape == Shape::Stack { "1" } else { ".25" };
            push(
                page,
                format_args!(
                    "<path d=\"M{from:.1} {base:.1}L{}V{base:.1}H{to:.1}Z\" fill=\"{colour}\" fill-opacity=\"{opacity}\"/>\n",
                    &path[1..]
                ),
            );
        }
        if shape != Shape::Stack {
            push(
                page,
                format_args!("<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\n"),
            );
        }
    }

    /// `M..` and then steps; what falls on one pixel column is drawn as its span.
    fn path(&self, scale: Scale) -> String {
        let mut path = String::new();
        let Some(first) = self.points.first() else {
            return path;
        };
        let mut x = scale.x(first.0);
        let mut y = scale.y(first.1);
        push(&mut path, format_args!("M{x:.1} {y:.1}"));
        let mut points = self.points[1..].iter().peekable();
        while let Some(&(t, value)) = points.next() {
            x = scale.x(t);
            let (mut low, mut high, mut last) = (value, value, value);
            while let Some(&&(_, value)) = points.peek().filter(|(t, _)| scale.x(*t) - x < PIXEL) {
                (low, high, last) = (low.min(value), high.max(value), value);
                points.next();
            }
            let before = y;
            y = scale.y(last);
            if low == high && (y - before).abs() < f64::EPSILON {
                continue;
            }
            push(&mut path, format_args!("H{x:.1}"));
            if low != high {
                push(
                    &mut path,
                    format_args!("V{:.1}V{:.1}", scale.y(low), scale.y(high)),
                );
            }
            push(&mut path, format_args!("V{y:.1}"));
        }
        push(&mut path, format_args!("H{:.1}", scale.x(scale.end)));
        path
    }
}

/// A step of 1, 2 or 5 times a power of ten that makes about four of the highest value.
fn tick_step(highest: f64) -> f64 {
    if highest <= 0.0 {
        return 1.0;
    }
    let raw = highest / 4.0;
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|factor| factor * power >= raw)
        .unwrap_or(10.0)
        * power;
    if highest >= 4.0 { step.max(1.0) } else { step }
}

fn time_step(end: f64) -> f64 {
    [
        10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14_400.0, 43_200.0,
    ]
    .into_iter()
    .find(|step| end / step <= 12.0)
    .unwrap_or(86_400.0)
}

fn number(value: f64) -> String {
    let mut text = String::new();
    let _infallible = write!(text, "{:.2}", value);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        for (highest, step) in [
            (0.0, 1.0),
            (3.0, 1.0),
            (82.0, 50.0),
            (80.0, 20.0),
            (9.0, 5.0),
            (1.3, 0.5),
        ] {
            assert_eq!(tick_step(highest), step, "{highest}");
        }
    }

    #[test]
    fn a_path_goes_by_steps_and_keeps_peaks_within_a_pixel() {
        let series = Series {
            name: "x".to_owned(),
            colour: "#000".to_owned(),
            points: vec![(0.0, 0.0), (50.0, 10.0), (50.001, 100.0), (50.002, 0.0)],
        };
        let path = series.path(Scale {
            end: 100.0,
            top: 100.0,
        });
        assert_eq!(path, "M48.0 130.0H491.0V130.0V8.0V130.0H934.0");
    }
}
