//! The page of one pipeline.

use std::fmt::{self, Write};

use super::chart::write_chart;
use super::details::{Incident, PipelineDetails, advice};
use super::html::{self, Escaped, HumanDuration, RelativeTime, cut, day, state_class};
use super::lanes::Lane;
use super::page::{consequence, write_lane};
use crate::record::Timestamp;

/// Rows of a table.
const MOST_ROWS: usize = 200;
/// Characters of a text.
const MOST_TEXT: usize = 2_000;

pub(super) fn render(details: &PipelineDetails, refresh: Option<u16>, now: Timestamp) -> String {
    let mut page = String::with_capacity(32_768);
    // Writing to a String cannot fail.
    let _ = write_page(&mut page, details, refresh, now);
    page
}

fn write_page(page: &mut String, details: &PipelineDetails, refresh: Option<u16>, now: Timestamp) -> fmt::Result {
    let name = Escaped(&details.pipeline);
    html::begin(page, &format!("{} – s1-forwarder", details.pipeline), refresh, ("errors", "Skip to the errors"))?;
    write!(page, "<header><nav aria-label=\"Views\"><a href=\"../\">all pipelines</a>")?;
    let link = percent_encoding::utf8_percent_encode(&details.pipeline, percent_encoding::NON_ALPHANUMERIC);
    write!(page, "<a href=\"../api/v1/pipelines/{link}\">this page as JSON</a>")?;
    page.push_str(if refresh.is_some() {
        "<a href=\"?\">stop refreshing</a></nav>"
    } else {
        "<a href=\"?refresh=5\">refresh every 5 s</a></nav>"
    });
    write!(page, "<h1>{name}</h1><p>at <time>{}</time>", Escaped(&details.time))?;
    if let Some(worker) = &details.worker {
        write!(page, ", on worker {}", Escaped(worker))?;
    }
    page.push_str("</p>");
    write_summary(page, details, now)?;
    page.push_str("</header><main>");
    write_files(page, details)?;
    write_errors(page, &details.errors, now)?;
    write_lanes(page, &details.lanes, now)?;
    page.push_str("<h2>The last hours</h2>");
    write_chart(
        page,
        "Events delivered per second",
        &details.history,
        |point| Some(point.delivered_per_second),
        |rate| format!("{rate:.1}/s"),
    )?;
    write_chart(
        page,
        "Largest lag",
        &details.history,
        |point| point.lag_seconds,
        |lag| HumanDuration::of_seconds(f64::from(lag)).to_string(),
    )?;
    write_verification(page, &details.lanes)?;
    write_dead_letters(page, details)?;
    write_settings(page, details)?;
    page.push_str("</main></body></html>\n");
    Ok(())
}

fn write_summary(page: &mut String, details: &PipelineDetails, now: Timestamp) -> fmt::Result {
    let lanes = &details.lanes;
    let up = lanes.iter().filter(|lane| lane.up).count();
    let class = if up == lanes.len() { "up" } else { "down" };
    write!(page, "<ul class=\"cards\"><li><b class=\"{class}\">{up} of {}</b>lanes up</li>", lanes.len())?;
    let delivered: f64 = lanes.iter().fold(0.0, |sum, lane| sum + lane.delivered_per_second);
    write!(page, "<li><b>{delivered:.1}</b>events/s delivered</li>")?;
    if let Some(lag) = lanes.iter().filter_map(|lane| lane.lag_seconds).max_by(f64::total_cmp) {
        write!(page, "<li><b>{}</b>largest lag</li>", HumanDuration::of_seconds(lag))?;
    }
    let dead_letters = lanes.iter().fold(0_u64, |sum, lane| sum.saturating_add(lane.dead_letters));
    write!(page, "<li><b>{dead_letters}</b>dead letters</li>")?;
    let expires = lanes.iter().find_map(|lane| lane.token_expires.as_deref());
    let soon = expires
        .and_then(|text| Timestamp::parse(text).ok())
        .is_some_and(|time| time.since(now).as_secs() < 14 * 86_400);
    let class = if soon { " class=\"down\"" } else { "" };
    write!(page, "<li><b{class}>{}</b>API token expires</li></ul>", Escaped(expires.map_or("unknown", day)))
}

fn write_files(page: &mut String, details: &PipelineDetails) -> fmt::Result {
    for file in &details.files {
        let (state, consequence) = consequence(file);
        let (class, problem) =
            (if file.problem.is_some() { "down" } else { "soft" }, file.problem.as_deref().unwrap_or_default());
        write!(
            page,
            "<p>File <code>{}</code>: <span class=\"{class}\">{}</span> ",
            Escaped(&file.file),
            Escaped(state)
        )?;
        write!(page, "{}{consequence}", Escaped(cut(problem, MOST_TEXT).0))?;
        if details.lanes.is_empty()
            && let Some(worker) = &file.worker
        {
            write!(page, " Worker {} runs it and did not answer.", Escaped(worker))?;
        }
        page.push_str("</p>");
    }
    Ok(())
}

fn write_errors(page: &mut String, errors: &[Incident], now: Timestamp) -> fmt::Result {
    page.push_str("<h2 id=\"errors\">Recent errors</h2>");
    if errors.is_empty() {
        page.push_str("<p>None since the worker started the lanes.</p>");
        return Ok(());
    }
    html::table(page, "The newest first", &["Time", "Lane", "State", "Error", "What to do"])?;
    for error in errors.iter().take(MOST_ROWS) {
        let time = RelativeTime { text: Some(&error.time), now, otherwise: "" };
        let count = if error.count > 1 { format!(", {} times", error.count) } else { String::new() };
        write!(page, "<tr><th scope=\"row\">{time}{count}</th>")?;
        write!(page, "<td data-label=\"Lane\">{}/{}</td>", Escaped(&error.stream), Escaped(&error.sink))?;
        write!(page, "<td data-label=\"State\">{}</td>", Escaped(&error.state.replace('_', " ")))?;
        let (text, more) = cut(&error.text, MOST_TEXT);
        write!(page, "<td data-label=\"Error\" class=\"e\"><span>{}{more}</span></td>", Escaped(text))?;
        write!(
            page,
            "<td data-label=\"What to do\" class=\"e\"><span>{}</span></td></tr>",
            code(advice(&error.state))
        )?;
    }
    page.push_str("</tbody></table>");
    Ok(())
}

/// Text in which commands stand between back quotes.
fn code(text: &str) -> String {
    let mut html = String::new();
    for (index, part) in text.split('`').enumerate() {
        let escaped = Escaped(part);
        // Writing to a String cannot fail.
        let _ = if index % 2 == 1 { write!(html, "<code>{escaped}</code>") } else { write!(html, "{escaped}") };
    }
    html
}

fn write_lanes(page: &mut String, lanes: &[Lane], now: Timestamp) -> fmt::Result {
    page.push_str("<h2>Lanes</h2>");
    if lanes.is_empty() {
        page.push_str("<p>No lane of this pipeline runs here.</p>");
        return Ok(());
    }
    let titles = super::page::titles();
    page.push_str("<div class=\"wide\">");
    html::table(page, "By stream and sink", &titles)?;
    lanes.iter().take(MOST_ROWS).try_for_each(|lane| write_lane(page, lane, "", now))?;
    page.push_str("</tbody></table></div>");
    Ok(())
}

fn write_verification(page: &mut String, lanes: &[Lane]) -> fmt::Result {
    page.push_str("<h2>Compared with the console</h2>");
    let compared: Vec<_> = lanes.iter().filter_map(|lane| Some((lane, lane.verified.as_ref()?))).collect();
    if compared.is_empty() {
        page.push_str("<p>Not compared yet. The worker compares each complete day; <code>s1-forwarder verify</code> does so at once.</p>");
        return Ok(());
    }
    html::table(page, "Records of the last complete day", &["Lane", "Missing", "Up to"])?;
    for (lane, verified) in compared.into_iter().take(MOST_ROWS) {
        let class = state_class("", verified.missing_records == 0);
        write!(page, "<tr><th scope=\"row\">{}/{}</th>", Escaped(&lane.stream), Escaped(&lane.sink))?;
        write!(
            page,
            "<td data-label=\"Missing\" class=\"n\"><span class=\"{class}\">{}</span></td>",
            verified.missing_records
        )?;
        write!(page, "<td data-label=\"Up to\">{}</td></tr>", Escaped(&verified.until))?;
    }
    page.push_str("</tbody></table>");
    Ok(())
}

fn write_dead_letters(page: &mut String, details: &PipelineDetails) -> fmt::Result {
    let count = details.lanes.iter().fold(0_u64, |sum, lane| sum.saturating_add(lane.dead_letters));
    write!(
        page,
        "<h2>Dead letters</h2><p>{count} since the worker started. <code>s1-forwarder dead-letters list --pipeline "
    )?;
    write!(
        page,
        "{}</code> shows all that are stored, <code>dead-letters replay</code> sends them again.</p>",
        Escaped(&details.pipeline)
    )
}

fn write_settings(page: &mut String, details: &PipelineDetails) -> fmt::Result {
    page.push_str("<h2>Settings</h2>");
    if details.settings.is_empty() {
        page.push_str("<p>Not known here.</p>");
        return Ok(());
    }
    html::table(page, "As they apply: defaults are filled in, secrets are not shown", &["Key", "Value"])?;
    for (key, value) in details.settings.iter().take(MOST_ROWS) {
        let (value, more) = cut(value, MOST_TEXT);
        write!(page, "<tr><th scope=\"row\"><code>{}</code></th>", Escaped(key))?;
        write!(page, "<td class=\"e\"><code>{}{more}</code></td></tr>", Escaped(value))?;
    }
    page.push_str("</tbody></table>");
    Ok(())
}
