//! Small charts as SVG in the page.

use std::fmt::{self, Write};

use super::details::HistoryPoint;
use super::html::Escaped;
use crate::record::Timestamp;

const WIDTH: f32 = 640.0;
const HEIGHT: f32 = 150.0;
/// Room for the labels at the top and at the bottom.
const MARGIN: f32 = 22.0;

/// Writes the course of one value over the points that have it. `format` writes a value with its unit.
pub(super) fn write_chart(
    page: &mut String,
    title: &str,
    points: &[HistoryPoint],
    value: impl Fn(&HistoryPoint) -> Option<f32>,
    format: impl Fn(f32) -> String,
) -> fmt::Result {
    let known = || points.iter().filter_map(&value).filter(|value| value.is_finite());
    let (Some(first), Some(last), Some(latest)) = (points.first(), points.last(), known().last()) else {
        return write!(
            page,
            "<h3>{title}</h3><p class=\"soft\">No values yet: the first comes within ten minutes.</p>"
        );
    };
    let most = known().fold(0.0_f32, f32::max);
    let span = (last.time - first.time).max(1) as f32;
    let x = |point: &HistoryPoint| (point.time - first.time) as f32 / span * WIDTH;
    let bottom = HEIGHT - MARGIN;
    let y = |value: f32| bottom - if most > 0.0 { value / most * (bottom - MARGIN) } else { 0.0 };
    let summary = format!("{title}: now {}, at most {}", format(latest), format(most));
    write!(
        page,
        "<h3>{title}</h3><svg role=\"img\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" aria-label=\"{}\">",
        Escaped(&summary)
    )?;
    write!(page, "<line x1=\"0\" x2=\"{WIDTH}\" y1=\"{bottom}\" y2=\"{bottom}\"/>")?;
    // Gaps, in which no lane had a value, divide the line.
    for part in points.split(|point| value(point).is_none_or(|value| !value.is_finite())) {
        let (Some(begin), Some(end)) = (part.first(), part.last()) else { continue };
        let mut line = String::new();
        for point in part {
            let command = if line.is_empty() { 'M' } else { 'L' };
            write!(line, "{command}{:.1} {:.1}", x(point), y(value(point).unwrap_or_default()))?;
        }
        write!(page, "<path class=\"area\" d=\"{line}L{:.1} {bottom}L{:.1} {bottom}Z\"/>", x(end), x(begin))?;
        write!(page, "<path d=\"{line}\"/>")?;
    }
    write!(page, "<text x=\"6\" y=\"15\">at most {}</text>", Escaped(&format(most)))?;
    write!(page, "<text x=\"{}\" y=\"15\" text-anchor=\"end\">now {}</text>", WIDTH - 6.0, Escaped(&format(latest)))?;
    let label = HEIGHT - 6.0;
    write!(page, "<text x=\"6\" y=\"{label}\">{}</text>", clock(first.time))?;
    write!(page, "<text x=\"{}\" y=\"{label}\" text-anchor=\"end\">{} UTC</text></svg>", WIDTH - 6.0, clock(last.time))
}

/// Hour and minute.
fn clock(seconds: i64) -> String {
    let time = Timestamp::from_micros(seconds.saturating_mul(1_000_000)).to_string();
    time.get(11..16).unwrap_or_default().to_owned()
}
