//! Charts with logarithmic axes, as SVG.

use std::fmt::Write;

use crate::growth::Law;

/// One line of a chart.
#[derive(Debug, Clone)]
pub struct Series {
    /// What it is.
    pub label: String,
    /// Points that were measured.
    pub points: Vec<(f64, f64)>,
    /// What they say about others.
    pub law: Option<Law>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 270.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 54.0;

/// Distinct for most eyes (Okabe and Ito).
const COLOURS: [&str; 7] = [
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000",
];

/// A chart of these series; fitted laws are drawn dashed up to `until`.
#[must_use]
pub fn draw(title: &str, x_label: &str, y_label: &str, series: &[Series], until: f64) -> String {
    let all = || {
        let measured = series.iter().flat_map(|s| s.points.iter().copied());
        let fitted = series
            .iter()
            .filter_map(|s| Some((until, s.law?.at(until))));
        measured.chain(fitted).filter(|(x, y)| *x > 0.0 && *y > 0.0)
    };
    let range = |of: fn((f64, f64)) -> f64| {
        let (low, high) = all().map(of).fold((f64::MAX, f64::MIN), |(low, high), v| {
            (low.min(v.log10()), high.max(v.log10()))
        });
        (low.floor(), high.ceil().max(low.floor() + 1.0))
    };
    let ((x0, x1), (y0, y1)) = (range(|p| p.0), range(|p| p.1));
    let x = |v: f64| LEFT + (v.log10() - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT);
    let y = |v: f64| HEIGHT - BOTTOM - (v.log10() - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{title}</text>\n"
    );
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for decade in decades(x0, x1) {
        let at = x(decade);
        let _ = writeln!(
            svg,
            "<path d=\"M{at:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 18.0,
            short(decade)
        );
    }
    for decade in decades(y0, y1) {
        let at = y(decade);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            short(decade)
        );
    }
    let _ = writeln!(
        svg,
        "<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" fill=\"none\" stroke=\"black\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{x_label}</text>\
         <text transform=\"translate(18 {:.1}) rotate(-90)\" text-anchor=\"middle\">{y_label}</text>",
        f64::midpoint(LEFT, right),
        HEIGHT - 14.0,
        f64::midpoint(TOP, bottom)
    );
    for (at, one) in series.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let mut path = String::new();
        for (px, py) in one.points.iter().filter(|(px, py)| *px > 0.0 && *py > 0.0) {
            let command = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", x(*px), y(*py));
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                x(*px),
                y(*py)
            );
        }
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        );
        let mut label = one.label.clone();
        if let Some(law) = one.law {
            if let Some((last, _)) = one.points.last() {
                let _ = writeln!(
                    svg,
                    "<path d=\"M{:.1} {:.1}L{:.1} {:.1}\" stroke=\"{colour}\" \
                     stroke-dasharray=\"5 4\"/>",
                    x(*last),
                    y(law.at(*last)),
                    x(until),
                    y(law.at(until))
                );
            }
            let _ = write!(label, " ~ n^{:.2}", law.exponent);
        }
        let row = TOP + 14.0 + 20.0 * at as f64;
        let _ = writeln!(
            svg,
            "<path d=\"M{:.1} {:.1}h18\" stroke=\"{colour}\" stroke-width=\"3\"/>\
             <text x=\"{:.1}\" y=\"{row:.1}\">{label}</text>",
            right + 14.0,
            row - 4.0,
            right + 38.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn decades(from: f64, to: f64) -> impl Iterator<Item = f64> {
    (from as i32..=to as i32).map(|power| 10_f64.powi(power))
}

/// 1, 10, 100, 1k, … 1M.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e12 => format!("{}T", v / 1e12),
        v if v >= 1e9 => format!("{}G", v / 1e9),
        v if v >= 1e6 => format!("{}M", v / 1e6),
        v if v >= 1e3 => format!("{}k", v / 1e3),
        v => format!("{v}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_every_point_and_label() {
        let points = vec![(10.0, 20.0), (100.0, 300.0)];
        let series = [Series {
            label: "links".into(),
            law: Law::of(&points),
            points,
        }];
        let svg = draw("State", "members", "entries", &series, 1e6);
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains("links ~ n^1.18") && svg.contains(">1M<"));
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }
}
