//! Plots on logarithmic axes as SVG, readable on light and dark backgrounds.

use std::fmt::Write;

use super::fit::Line;

/// A plot of a quantity per image against the images of a job.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What is plotted.
    pub title: String,
    /// A line below the title, such as the slope.
    pub subtitle: String,
    /// Images, and the total for all of them.
    pub points: Vec<(f64, f64)>,
    /// The line through the totals.
    pub fit: Line,
}

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 330.0;
/// The space around the axes: left, top, right, bottom.
const MARGINS: (f64, f64, f64, f64) = (64.0, 60.0, 18.0, 46.0);

/// The steps in which a fitted curve is drawn.
const STEPS: u32 = 48;

/// The colors follow the scheme of the reader.
const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-size:14px;\
    font-weight:600}.quiet{fill:#59636e}.grid{stroke:#d1d9e0}.axis{stroke:#59636e}\
    .fit{stroke:#0969da;fill:none;stroke-width:1.5}.point{fill:#bc4c00}\
    @media(prefers-color-scheme:dark){text{fill:#f0f6fc}.quiet{fill:#9198a1}\
    .grid{stroke:#3d444d}.axis{stroke:#9198a1}.fit{stroke:#4493f8}.point{fill:#f0883e}}";

/// Returns the panels next to each other as one SVG document.
pub fn svg(panels: &[Panel]) -> String {
    let width = WIDTH * panels.len() as f64;
    let names: Vec<&str> = panels.iter().map(|panel| panel.title.as_str()).collect();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {HEIGHT}\" \
         width=\"{width}\" height=\"{HEIGHT}\" role=\"img\">\n<title>{}</title>\n\
         <style>{STYLE}</style>\n",
        escaped(&names.join("; "))
    );
    for (number, panel) in panels.iter().enumerate() {
        let left = WIDTH * number as f64;
        let _ = writeln!(svg, "<g transform=\"translate({left} 0)\">");
        draw(panel, &mut svg);
        svg += "</g>\n";
    }
    svg + "</svg>\n"
}

/// A logarithmic axis over whole decades.
struct Axis {
    first: i32,
    last: i32,
    from: f64,
    to: f64,
}

impl Axis {
    /// Returns the axis that shows all values between two positions.
    fn of(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let decade = |value: f64| value.log10();
        let lowest = values.clone().map(decade).fold(f64::INFINITY, f64::min);
        let highest = values.map(decade).fold(f64::NEG_INFINITY, f64::max);
        let first = lowest.floor() as i32;
        Self {
            first,
            last: (highest.ceil() as i32).max(first + 1),
            from,
            to,
        }
    }

    /// Returns the position of a value.
    fn at(&self, value: f64) -> f64 {
        let share = (value.log10() - f64::from(self.first)) / f64::from(self.last - self.first);
        self.from + share * (self.to - self.from)
    }

    /// Returns the values of the decades.
    fn decades(&self) -> impl Iterator<Item = f64> {
        (self.first..=self.last).map(|decade| 10_f64.powi(decade))
    }
}

fn draw(panel: &Panel, svg: &mut String) {
    let (left, top, right, bottom) = MARGINS;
    let (right, bottom) = (WIDTH - right, HEIGHT - bottom);
    let per_image = |(images, total): &(f64, f64)| (*images, total / images);
    let points: Vec<(f64, f64)> = panel.points.iter().map(per_image).collect();
    let across = Axis::of(points.iter().map(|(x, _)| *x), left, right);
    let up = Axis::of(points.iter().map(|(_, y)| *y), bottom, top);

    // The texts and the grid.
    let mut text = |class: &str, x: f64, y: f64, anchor: &str, text: &str| {
        let _ = writeln!(
            svg,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            escaped(text)
        );
    };
    text("title", left, 22.0, "start", &panel.title);
    text("quiet", left, 42.0, "start", &panel.subtitle);
    text(
        "quiet",
        f64::midpoint(left, right),
        HEIGHT - 10.0,
        "middle",
        "images of a job",
    );
    for value in across.decades() {
        text(
            "quiet",
            across.at(value),
            bottom + 18.0,
            "middle",
            &number(value),
        );
    }
    for value in up.decades() {
        text(
            "quiet",
            left - 8.0,
            up.at(value) + 4.0,
            "end",
            &number(value),
        );
    }
    for value in across.decades() {
        line(
            svg,
            "grid",
            (across.at(value), top),
            (across.at(value), bottom),
        );
    }
    for value in up.decades() {
        line(svg, "grid", (left, up.at(value)), (right, up.at(value)));
    }
    line(svg, "axis", (left, bottom), (right, bottom));
    line(svg, "axis", (left, top), (left, bottom));

    // The fitted line is a curve here, because it is divided by the images.
    let (lowest, highest) = (10_f64.powi(across.first), 10_f64.powi(across.last));
    let curve: Vec<String> = (0..=STEPS)
        .map(|step| {
            let share = f64::from(step) / f64::from(STEPS);
            let images = lowest * (highest / lowest).powf(share);
            (images, panel.fit.intercept / images + panel.fit.slope)
        })
        .filter(|(_, y)| *y > 0.0 && (top..=bottom).contains(&up.at(*y)))
        .map(|(x, y)| format!("{:.1},{:.1}", across.at(x), up.at(y)))
        .collect();
    let _ = writeln!(
        svg,
        "<polyline class=\"fit\" points=\"{}\"/>",
        curve.join(" ")
    );
    for (x, y) in points {
        let _ = writeln!(
            svg,
            "<circle class=\"point\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"/>",
            across.at(x),
            up.at(y)
        );
    }
}

fn line(svg: &mut String, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = writeln!(
        svg,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

/// Returns a power of ten as people write it: `1k`, `0.01`.
fn number(value: f64) -> String {
    match value {
        1e6.. => format!("{}M", value / 1e6),
        1e3.. => format!("{}k", value / 1e3),
        1.0.. => value.to_string(),
        _ => {
            let digits = (-value.log10()).ceil() as usize;
            format!("{value:.digits$}")
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(points: Vec<(f64, f64)>) -> Panel {
        Panel {
            title: "requests < images & more".to_owned(),
            subtitle: "slope".to_owned(),
            fit: Line::through(&points),
            points,
        }
    }

    #[test]
    fn every_point_and_the_line_are_within_the_axes() {
        let points = vec![(1e3, 9_500.0), (1e4, 91_000.0), (1e5, 901_000.0)];
        let svg = svg(&[panel(points.clone()), panel(points)]);
        assert_eq!(svg.matches("<circle").count(), 6);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("requests &lt; images &amp; more"));
        assert!(svg.contains("prefers-color-scheme:dark"));
        let numbers = |attribute: &str| -> Vec<f64> {
            let before = format!(" {attribute}=\"");
            let parts = svg.split(&before).skip(1);
            let value = |part: &str| part.split('"').next().unwrap().parse::<f64>();
            parts.map(|part| value(part).unwrap()).collect()
        };
        assert!(numbers("cx").iter().all(|x| (64.0..=402.0).contains(x)));
        assert!(numbers("cy").iter().all(|y| (60.0..=284.0).contains(y)));
    }

    #[test]
    fn decades_are_short() {
        let shown = [0.01, 0.1, 1.0, 10.0, 1e3, 1e5, 1e6].map(number);
        assert_eq!(shown, ["0.01", "0.1", "1", "10", "1k", "100k", "1M"]);
    }
}
