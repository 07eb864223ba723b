//! Small charts as SVG in the page.

use std::fmt::Write;

use maud::{Markup, html};

use super::details::HistoryPoint;
use crate::record::Timestamp;

const WIDTH: f32 = 640.0;
const HEIGHT: f32 = 150.0;
/// Room for the labels at the top and at the bottom.
const MARGIN: f32 = 22.0;

/// Returns the chart of one value over the points that have it. `format` writes a value with its unit.
pub(super) fn chart(
    title: &str,
    points: &[HistoryPoint],
    value: impl Fn(&HistoryPoint) -> Option<f32>,
    format: impl Fn(f32) -> String,
) -> Markup {
    let known = || points.iter().filter_map(&value).filter(|value| value.is_finite());
    let (Some(first), Some(last), Some(latest)) = (points.first(), points.last(), known().last()) else {
        return html! {
            h3 { (title) }
            p.soft { "No values yet: the first comes within ten minutes." }
        };
    };
    let most = known().fold(0.0_f32, f32::max);
    let span = (last.time - first.time).max(1) as f32;
    let x = |point: &HistoryPoint| (point.time - first.time) as f32 / span * WIDTH;
    let bottom = HEIGHT - MARGIN;
    let y = |value: f32| bottom - if most > 0.0 { value / most * (bottom - MARGIN) } else { 0.0 };
    // Gaps, in which no lane had a value, divide the line.
    let parts = points.split(|point| value(point).is_none_or(|value| !value.is_finite()));
    let lines = parts.filter_map(|part| {
        let mut line = String::new();
        for point in part {
            let command = if line.is_empty() { 'M' } else { 'L' };
            // Writing to a String cannot fail.
            let _ = write!(line, "{command}{:.1} {:.1}", x(point), y(value(point).unwrap_or_default()));
        }
        if part.len() == 1 {
            // A dot, with round ends.
            line += "h.1";
        }
        let area = format!("{line}L{:.1} {bottom}L{:.1} {bottom}Z", x(part.last()?), x(part.first()?));
        Some((line, area))
    });
    let now = format(latest);
    let largest = format(most);
    let right = WIDTH - 6.0;
    let below = HEIGHT - 6.0;
    html! {
        h3 { (title) }
        svg role="img" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) }
            aria-label={ (title) ": now " (now) ", at most " (largest) } {
            line x1="0" x2=(WIDTH) y1=(bottom) y2=(bottom) {}
            @for (line, area) in lines {
                path.area d=(area) {}
                path d=(line) {}
            }
            text x="6" y="15" { "at most " (largest) }
            text x=(right) y="15" text-anchor="end" { "now " (now) }
            text x="6" y=(below) { (clock(first.time)) }
            text x=(right) y=(below) text-anchor="end" { (clock(last.time)) " UTC" }
        }
    }
}

/// Returns hour and minute.
fn clock(seconds: i64) -> String {
    let time = Timestamp::from_micros(seconds.saturating_mul(1_000_000)).to_string();
    time.get(11..16).unwrap_or_default().to_owned()
}
