//! The status page: one HTML document without scripts and without external resources.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter, Write};
use std::time::Duration;

use super::lanes::{Cluster, File, Lane, Status};
use crate::record::Timestamp;

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:14px/1.45 system-ui,sans-serif;margin:1.5rem;max-width:110rem}\
h1{font-size:1.25rem;margin:0 0 .3rem}h2{font-size:1.05rem;margin:1.6rem 0 .4rem}\
p{margin:.3rem 0}nav a{margin-right:1rem}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #8884;vertical-align:top}\
th{white-space:nowrap}td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\
td.e{overflow-wrap:anywhere;min-width:14rem}\
.up{color:#137333}.down{color:#c5221f;font-weight:600}.idle{color:#80868b}\
@media(prefers-color-scheme:dark){.up{color:#81c995}.down{color:#f28b82}.idle{color:#9aa0a6}}";

/// `refresh` makes the browser reload the page after this number of seconds.
pub(super) fn render(status: &Status, not_ready: &[String], refresh: Option<u16>, now: Timestamp) -> String {
    let mut page = String::with_capacity(4096 + status.lanes.len() * 700);
    // Writing to a String cannot fail.
    let _ = write_page(&mut page, status, not_ready, refresh, now);
    page
}

fn write_page(
    page: &mut String,
    status: &Status,
    not_ready: &[String],
    refresh: Option<u16>,
    now: Timestamp,
) -> fmt::Result {
    page.push_str("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">");
    if let Some(seconds) = refresh {
        write!(page, "<meta http-equiv=\"refresh\" content=\"{seconds}\">")?;
    }
    write!(page, "<title>s1-forwarder</title><style>{STYLE}</style></head><body>")?;
    write!(page, "<h1>s1-forwarder {}</h1>", Escaped(&status.version))?;
    let up = status.lanes.iter().filter(|lane| lane.up).count();
    let failing = status.lanes.len() - up;
    let class = if failing == 0 { "up" } else { "down" };
    write!(
        page,
        "<p><span class=\"{class}\">{up} lanes up, {failing} failing</span> at {}</p>",
        Escaped(&status.time)
    )?;
    for reason in not_ready {
        write!(page, "<p class=\"down\">not ready: {}</p>", Escaped(reason))?;
    }
    page.push_str("<nav><a href=\"/metrics\">metrics</a><a href=\"/api/v1/lanes\">lanes as JSON</a>");
    page.push_str("<a href=\"/?refresh=5\">refresh every 5 s</a><a href=\"/\">stop refreshing</a></nav>");
    write_files(page, &status.files)?;
    if let Some(cluster) = &status.cluster {
        write_cluster(page, cluster, &status.files)?;
    }
    write_lanes(page, &status.lanes, now)?;
    page.push_str("</body></html>\n");
    Ok(())
}

/// Writes only the files that are paused or invalid.
fn write_files(page: &mut String, files: &[File]) -> fmt::Result {
    let is_running = |file: &File| matches!(&*file.state, "running" | "elsewhere") && file.problem.is_none();
    let mut files = files.iter().filter(|file| !is_running(file)).peekable();
    if files.peek().is_none() {
        return Ok(());
    }
    page.push_str("<h2>Paused and invalid pipeline files</h2><table><thead><tr>");
    page.push_str("<th>Pipeline</th><th>File</th><th>State</th><th>Problem</th></tr></thead><tbody>");
    for file in files {
        let class = if file.problem.is_some() { "down" } else { "idle" };
        let (state, consequence) = match (&*file.state, &file.problem) {
            ("running", Some(_)) => {
                ("invalid", " — The last good version keeps running; a restart would not start this pipeline.")
            }
            ("paused", Some(_)) => ("paused, invalid", " — A restart would not read this pipeline."),
            (_, Some(_)) => ("invalid", " — Not running; a restart would not start this pipeline."),
            ("paused", None) => ("paused", "Paused by its file; its checkpoints are kept."),
            (state, None) => (state, ""),
        };
        write!(
            page,
            "<tr><td>{}</td><td>{}</td><td class=\"{class}\">{state}</td><td class=\"e\">{}{consequence}</td></tr>",
            Escaped(&file.pipeline),
            Escaped(&file.file),
            Escaped(file.problem.as_deref().unwrap_or_default()),
        )?;
    }
    page.push_str("</tbody></table>");
    Ok(())
}

/// Writes the workers, and the pipelines that other workers run.
fn write_cluster(page: &mut String, cluster: &Cluster, files: &[File]) -> fmt::Result {
    let held: usize = cluster.workers.values().map(BTreeSet::len).sum();
    write!(page, "<h2>Workers</h2><p>Workers hold {held} of {} shards.</p><table><thead><tr>", cluster.shards)?;
    page.push_str("<th>Worker</th><th>Pipelines</th><th>Shards</th><th>Shard numbers</th></tr></thead><tbody>");
    for (name, shards) in &cluster.workers {
        let pipelines = files.iter().filter(|file| file.shard.is_some_and(|shard| shards.contains(&shard))).count();
        let here = if *name == cluster.worker { " (this one)" } else { "" };
        let numbers: Vec<String> = shards.iter().map(u32::to_string).collect();
        write!(
            page,
            "<tr><td>{}{here}</td><td class=\"n\">{pipelines}</td><td class=\"n\">{}</td><td class=\"e\">{}</td></tr>",
            Escaped(name),
            shards.len(),
            numbers.join(" "),
        )?;
    }
    page.push_str("</tbody></table><details><summary>Pipelines on other workers</summary><table><tbody>");
    for file in files.iter().filter(|file| file.state == "elsewhere") {
        let worker = file.worker.as_deref().unwrap_or("handover");
        write!(page, "<tr><td>{}</td><td>{}</td></tr>", Escaped(&file.pipeline), Escaped(worker))?;
    }
    page.push_str("</tbody></table></details>");
    Ok(())
}

fn write_lanes(page: &mut String, lanes: &[Lane], now: Timestamp) -> fmt::Result {
    page.push_str("<h2>Lanes</h2>");
    if lanes.is_empty() {
        page.push_str("<p>No lane runs.</p>");
        return Ok(());
    }
    page.push_str("<table><thead><tr>");
    for title in [
        "Pipeline",
        "Stream",
        "Sink",
        "State",
        "Last success",
        "Lag",
        "Pulled",
        "/s",
        "Delivered",
        "/s",
        "Skipped",
        "Requeued",
        "Dead letters",
        "Token expires",
        "Last error",
    ] {
        write!(page, "<th>{title}</th>")?;
    }
    page.push_str("</tr></thead><tbody>");
    lanes.iter().try_for_each(|lane| write_lane(page, lane, now))?;
    page.push_str("</tbody></table>");
    Ok(())
}

fn write_lane(page: &mut String, lane: &Lane, now: Timestamp) -> fmt::Result {
    let class = match &*lane.state {
        "starting" | "done" => "idle",
        _ if lane.up => "up",
        _ => "down",
    };
    let names = (Escaped(&lane.pipeline), Escaped(&lane.stream), Escaped(&lane.sink));
    write!(page, "<tr><td>{}</td><td>{}</td><td>{}</td>", names.0, names.1, names.2)?;
    write!(page, "<td class=\"{class}\">{}</td>", lane.state.replace('_', " "))?;
    write!(page, "<td class=\"n\">{}</td>", RelativeTime(lane.last_success.as_deref(), now))?;
    match lane.lag_seconds {
        Some(lag) => write!(page, "<td class=\"n\">{}</td>", HumanDuration(Duration::from_secs_f64(lag)))?,
        None => page.push_str("<td class=\"n\">–</td>"),
    }
    write!(page, "<td class=\"n\">{}</td><td class=\"n\">{:.1}</td>", lane.pulled, lane.pulled_per_second)?;
    write!(page, "<td class=\"n\">{}</td><td class=\"n\">{:.1}</td>", lane.delivered, lane.delivered_per_second)?;
    write!(page, "<td class=\"n\">{}</td>", Escaped(&lane.describe_skipped()))?;
    write!(page, "<td class=\"n\">{}</td><td class=\"n\">{}</td>", lane.requeued, lane.dead_letters)?;
    write!(page, "<td class=\"n\">{}</td>", Escaped(lane.token_expires.as_deref().map_or("–", day)))?;
    match &lane.last_error {
        Some(error) => {
            let ago = RelativeTime(Some(&error.time), now);
            write!(page, "<td class=\"e\">{} <span class=\"idle\">({ago})</span></td></tr>", Escaped(&error.text))
        }
        None => write!(page, "<td class=\"e\">{}</td></tr>", Escaped(&lane.remap_problem().unwrap_or_default())),
    }
}

/// The day of an RFC 3339 time. Consoles report a year such as 2999 for a token that never expires.
fn day(time: &str) -> &str {
    if time > "2900" { "never" } else { time.get(..10).unwrap_or(time) }
}

/// A past time as "… ago", with the full time as tooltip.
struct RelativeTime<'a>(Option<&'a str>, Timestamp);

impl Display for RelativeTime<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Some((text, time)) = self.0.and_then(|text| Some((text, Timestamp::parse(text).ok()?))) else {
            return formatter.write_str("never");
        };
        write!(formatter, "<span title=\"{}\">{} ago</span>", Escaped(text), HumanDuration(self.1.since(time)))
    }
}

/// A duration in its two largest units.
struct HumanDuration(Duration);

impl Display for HumanDuration {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            seconds @ 0..60 => write!(formatter, "{seconds} s"),
            seconds @ 60..3_600 => write!(formatter, "{} min {} s", seconds / 60, seconds % 60),
            seconds @ 3_600..86_400 => write!(formatter, "{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
            seconds => write!(formatter, "{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
        }
    }
}

/// Text in HTML, in elements and in quoted attributes.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => formatter.write_str("&amp;")?,
                '<' => formatter.write_str("&lt;")?,
                '>' => formatter.write_str("&gt;")?,
                '"' => formatter.write_str("&quot;")?,
                '\'' => formatter.write_str("&#39;")?,
                other => formatter.write_char(other)?,
            }
        }
        Ok(())
    }
}
