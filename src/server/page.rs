//! The status page: an overview, and one page of the lanes.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use super::html::{self, Escaped, HumanDuration, RelativeTime, cut, day, state_class};
use super::lanes::{Cluster, File, Lane, SourceProblem, Status, WorkerAnswer};
use super::query::{DEFAULT_ROWS, LaneQuery, MOST_ROWS, MOST_WANTED, STATES, Sort};
use crate::record::Timestamp;

/// Rows of a table that has no pages.
const MOST_FILES: usize = 50;
/// Characters of an error in a row. The pipeline's page has all of it.
const MOST_TEXT: usize = 300;

/// The columns of the lanes, and what those are sorted by that can be.
const COLUMNS: [(&str, Option<Sort>); 13] = [
    ("Pipeline", Some(Sort::Name)),
    ("Stream", None),
    ("Sink", None),
    ("State", Some(Sort::State)),
    ("Last error", None),
    ("Lag", Some(Sort::Lag)),
    ("Last success", Some(Sort::LastSuccess)),
    ("Next attempt", None),
    ("Events/s", Some(Sort::Rate)),
    ("Delivered", None),
    ("Skipped", None),
    ("Dead letters", Some(Sort::DeadLetters)),
    ("Token expires", Some(Sort::TokenExpiry)),
];

pub(super) fn render(status: &Status, query: &LaneQuery, not_ready: &[String], now: Timestamp) -> String {
    let mut page = String::with_capacity(16_384 + status.lanes.len() * 1_500);
    // Writing to a String cannot fail.
    let _ = write_page(&mut page, status, query, not_ready, now);
    page
}

fn write_page(
    page: &mut String,
    status: &Status,
    query: &LaneQuery,
    not_ready: &[String],
    now: Timestamp,
) -> fmt::Result {
    html::begin(page, "s1-forwarder", query.refresh, ("lanes", "Skip to the lanes"))?;
    write!(page, "<header><h1>s1-forwarder {}</h1>", Escaped(&status.version))?;
    let summary = &status.summary;
    let failing = summary.lanes.saturating_sub(summary.up);
    let class = if failing == 0 { "up" } else { "down" };
    write!(
        page,
        "<p><span class=\"{class}\">{} lanes up, {failing} failing</span> at <time>{}</time></p>",
        summary.up,
        Escaped(&status.time)
    )?;
    for reason in not_ready {
        write!(page, "<p class=\"down\">not ready: {}</p>", Escaped(reason))?;
    }
    write_summary(page, status, query)?;
    write_navigation(page, status, query)?;
    page.push_str("</header><main>");
    write_source_problems(page, &status.source_problems)?;
    write_files(page, &status.files)?;
    if let Some(cluster) = &status.cluster {
        write_cluster(page, cluster, status)?;
    }
    write_lanes(page, status, query, now)?;
    page.push_str("</main></body></html>\n");
    Ok(())
}

/// The sums as cards. Those of the states are links to the lanes in that state, the worst first.
fn write_summary(page: &mut String, status: &Status, query: &LaneQuery) -> fmt::Result {
    let summary = &status.summary;
    page.push_str("<ul class=\"cards\">");
    for state in STATES {
        let Some(count) = summary.states.get(state).filter(|count| **count > 0) else { continue };
        let up = matches!(state, "starting" | "running" | "done");
        let filtered = LaneQuery { state: state.to_owned(), page: 1, ..query.clone() };
        let (class, words) = (state_class(state, up), state.replace('_', " "));
        write!(
            page,
            "<li><b class=\"{class}\">{count}</b><a href=\"{}#lanes\">{words}</a></li>",
            Escaped(&filtered.link())
        )?;
    }
    write!(page, "<li><b>{:.1}</b>events/s delivered</li>", summary.delivered_per_second)?;
    write!(page, "<li><b>{:.1}</b>records/s pulled</li>", summary.pulled_per_second)?;
    if let Some(lag) = summary.lag_seconds {
        write!(page, "<li><b>{}</b>largest lag</li>", HumanDuration::of_seconds(lag))?;
    }
    write!(page, "<li><b>{}</b>dead letters</li></ul>", summary.dead_letters)
}

fn write_navigation(page: &mut String, status: &Status, query: &LaneQuery) -> fmt::Result {
    let link = |change: fn(&mut LaneQuery)| {
        let mut query = query.clone();
        change(&mut query);
        query.link()
    };
    page.push_str("<nav aria-label=\"Views\"><a href=\"metrics\">metrics</a>");
    write!(page, "<a href=\"api/v1/lanes{}\">lanes as JSON</a>", Escaped(&link(|query| query.refresh = None)))?;
    if query.refresh.is_some() {
        write!(page, "<a href=\"{}\">stop refreshing</a>", Escaped(&link(|query| query.refresh = None)))?;
    } else {
        write!(page, "<a href=\"{}\">refresh every 5 s</a>", Escaped(&link(|query| query.refresh = Some(5))))?;
    }
    if status.cluster.is_some() && query.all_workers == Some(false) {
        write!(page, "<a href=\"{}\">all workers</a>", Escaped(&link(|query| query.all_workers = None)))?;
    } else if status.cluster.is_some() {
        write!(page, "<a href=\"{}\">only this worker</a>", Escaped(&link(|query| query.all_workers = Some(false))))?;
    }
    page.push_str("</nav>");
    Ok(())
}

fn write_source_problems(page: &mut String, problems: &[SourceProblem]) -> fmt::Result {
    if problems.is_empty() {
        return Ok(());
    }
    page.push_str("<h2>Where pipelines come from</h2>");
    html::table(page, "Defaults and places that cannot be used", &["Place", "Problem"])?;
    for SourceProblem { place, problem } in problems.iter().take(MOST_FILES) {
        let (text, more) = cut(problem, MOST_TEXT);
        write!(page, "<tr><th scope=\"row\">{}</th>", Escaped(place))?;
        write!(page, "<td data-label=\"Problem\" class=\"e\"><span class=\"down\">{}{more}</span>", Escaped(text))?;
        page.push_str(
            " — What runs continues as it is; a restart would start no pipeline that depends on this.</td></tr>",
        );
    }
    page.push_str("</tbody></table>");
    Ok(())
}

/// Writes only the files that are paused or invalid, those with a problem first.
fn write_files(page: &mut String, files: &[File]) -> fmt::Result {
    let is_running = |file: &&File| matches!(&*file.state, "running" | "elsewhere") && file.problem.is_none();
    let mut files: Vec<&File> = files.iter().filter(|file| !is_running(file)).collect();
    files.sort_by_key(|file| file.problem.is_none());
    if files.is_empty() {
        return Ok(());
    }
    page.push_str("<h2>Paused and invalid pipeline files</h2>");
    html::table(page, "Files that do not run as they are", &["Pipeline", "File", "State", "Problem"])?;
    for file in files.iter().take(MOST_FILES) {
        let class = if file.problem.is_some() { "down" } else { "soft" };
        let (state, consequence) = consequence(file);
        let (problem, more) = cut(file.problem.as_deref().unwrap_or_default(), MOST_TEXT);
        write!(page, "<tr><th scope=\"row\">{}</th>", Escaped(&file.pipeline))?;
        write!(page, "<td data-label=\"File\">{}</td>", Escaped(&file.file))?;
        write!(page, "<td data-label=\"State\" class=\"{class}\">{state}</td>")?;
        write!(page, "<td data-label=\"Problem\" class=\"e\">{}{more}{consequence}</td></tr>", Escaped(problem))?;
    }
    page.push_str("</tbody></table>");
    write_rest(page, files.len(), "files: `s1-forwarder check` lists all of them")
}

/// The state of a file that does not run as it is, and what that means.
pub(super) fn consequence(file: &File) -> (&str, &'static str) {
    match (&*file.state, &file.problem) {
        ("running", Some(_)) => {
            ("invalid", " — The last good version keeps running; a restart would not start this pipeline.")
        }
        ("paused", Some(_)) => ("paused, invalid", " — A restart would not read this pipeline."),
        (_, Some(_)) => ("invalid", " — Not running; a restart would not start this pipeline."),
        ("paused", None) => ("paused", "Paused by its file; its checkpoints are kept."),
        (state, None) => (state, ""),
    }
}

fn write_rest(page: &mut String, rows: usize, what: &str) -> fmt::Result {
    match rows.saturating_sub(MOST_FILES) {
        0 => Ok(()),
        rest => write!(page, "<p class=\"soft\">and {rest} more {what}</p>"),
    }
}

/// Writes the workers, and what they answered.
fn write_cluster(page: &mut String, cluster: &Cluster, status: &Status) -> fmt::Result {
    let held: usize = cluster.workers.values().map(BTreeSet::len).sum();
    write!(page, "<h2>Workers</h2><p>Workers hold {held} of {} shards.</p>", cluster.shards)?;
    for WorkerAnswer { worker, address, problem, .. } in &status.workers {
        let Some(problem) = problem else { continue };
        let address = address.as_deref().unwrap_or("no address");
        let names = (Escaped(worker), Escaped(address), Escaped(problem));
        write!(
            page,
            "<p class=\"down\">no answer from {} ({}): {}. Its lanes are missing below.</p>",
            names.0, names.1, names.2
        )?;
    }
    let columns = ["Worker", "Pipelines", "Shards", "Lanes", "Shard numbers"];
    html::table(page, "What each worker has", &columns)?;
    for (name, shards) in cluster.workers.iter().take(MOST_FILES) {
        let has = |file: &&File| file.shard.is_some_and(|shard| shards.contains(&shard));
        let pipelines = status.files.iter().filter(has).count();
        let here = if *name == cluster.worker { " (this one)" } else { "" };
        let numbers: Vec<String> = shards.iter().map(u32::to_string).collect();
        let answer = status.workers.iter().find(|answer| answer.worker == *name);
        let lanes = match answer.and_then(|answer| answer.summary.as_ref()) {
            Some(summary) => format!("{} up, {} failing", summary.up, summary.lanes.saturating_sub(summary.up)),
            None => String::new(),
        };
        write!(page, "<tr><th scope=\"row\">{}{here}</th>", Escaped(name))?;
        write!(page, "<td data-label=\"Pipelines\" class=\"n\">{pipelines}</td>")?;
        write!(page, "<td data-label=\"Shards\" class=\"n\">{}</td>", shards.len())?;
        write!(page, "<td data-label=\"Lanes\">{lanes}</td>")?;
        write!(page, "<td data-label=\"Shard numbers\" class=\"e\">{}</td></tr>", numbers.join(" "))?;
    }
    page.push_str("</tbody></table>");
    write_rest(page, cluster.workers.len(), "workers")
}

fn write_lanes(page: &mut String, status: &Status, query: &LaneQuery, now: Timestamp) -> fmt::Result {
    page.push_str("<h2 id=\"lanes\">Lanes</h2>");
    write_form(page, query)?;
    let lanes = &status.lanes;
    if lanes.is_empty() {
        let words = match (status.summary.lanes, status.matching) {
            (0, _) => "No lane runs.",
            (_, 0) => "No lane matches the filter.",
            _ => "There is no such page: fewer lanes match than before.",
        };
        return write!(page, "<p>{words}</p>");
    }
    let first = query.rows().start;
    write!(
        page,
        "<div class=\"wide\"><table><caption>Lanes {} to {} of {}</caption><thead><tr>",
        first + 1,
        first + lanes.len(),
        status.matching
    )?;
    for (title, sort) in COLUMNS {
        write_column(page, title, sort, query)?;
    }
    if lanes.iter().any(|lane| lane.worker.is_some()) {
        page.push_str("<th scope=\"col\">Worker</th>");
    }
    page.push_str("</tr></thead><tbody>");
    lanes.iter().try_for_each(|lane| write_lane(page, lane, "pipelines/", now))?;
    page.push_str("</tbody></table></div>");
    write_pages(page, status.matching, query)
}

fn write_column(page: &mut String, title: &str, sort: Option<Sort>, query: &LaneQuery) -> fmt::Result {
    let Some(sort) = sort else { return write!(page, "<th scope=\"col\">{title}</th>") };
    let is_current = query.sort() == sort;
    // A second click reverses the order.
    let descending = if is_current { Some(!query.is_descending()) } else { None };
    let link = LaneQuery { sort: Some(sort), descending, page: 1, ..query.clone() }.link();
    let (order, mark) = match (is_current, query.is_descending()) {
        (false, _) => ("", ""),
        (true, true) => (" aria-sort=\"descending\"", " ↓"),
        (true, false) => (" aria-sort=\"ascending\"", " ↑"),
    };
    write!(page, "<th scope=\"col\"{order}><a href=\"{}#lanes\">{title}</a>{mark}</th>", Escaped(&link))
}

/// The filter. It works without scripts: the browser sends the fields as the query of a link.
fn write_form(page: &mut String, query: &LaneQuery) -> fmt::Result {
    page.push_str("<form method=\"get\" action=\"./#lanes\" aria-label=\"Filter of the lanes\">");
    for (label, key, value) in
        [("Pipeline", "pipeline", &query.pipeline), ("Stream", "stream", &query.stream), ("Sink", "sink", &query.sink)]
    {
        write!(page, "<label>{label}<input name=\"{key}\" value=\"{}\" size=\"14\"></label>", Escaped(value))?;
    }
    let option = |page: &mut String, value: &str, words: &str, selected: bool| {
        let selected = if selected { " selected" } else { "" };
        write!(page, "<option value=\"{value}\"{selected}>{words}</option>")
    };
    page.push_str("<label>State<select name=\"state\">");
    for (value, words) in [("", "all"), ("failing", "all that fail"), ("up", "all that are up")] {
        option(page, value, words, query.state == value)?;
    }
    for state in STATES {
        option(page, state, &state.replace('_', " "), query.state == state)?;
    }
    page.push_str("</select></label><label>Sorted by<select name=\"sort\">");
    for sort in Sort::ALL {
        option(page, sort.name(), sort.words(), query.sort() == sort)?;
    }
    page.push_str("</select></label><label>Rows<select name=\"limit\">");
    for rows in [20, DEFAULT_ROWS, MOST_ROWS] {
        option(page, &rows.to_string(), &rows.to_string(), query.limit == Some(rows))?;
    }
    page.push_str("</select></label>");
    if query.all_workers == Some(false) {
        page.push_str("<input type=\"hidden\" name=\"workers\" value=\"this\">");
    }
    page.push_str("<button>Show</button><a href=\"./\">reset</a></form>");
    Ok(())
}

fn write_pages(page: &mut String, matching: usize, query: &LaneQuery) -> fmt::Result {
    let limit = query.limit.unwrap_or(DEFAULT_ROWS);
    let pages = matching.div_ceil(limit).min(MOST_WANTED / limit).max(1);
    if pages == 1 {
        return Ok(());
    }
    write!(page, "<nav class=\"pages\" aria-label=\"Pages\"><span>Page {} of {pages}</span>", query.page)?;
    for (to, rel, words) in
        [(1, "", "first"), (query.page - 1, "prev", "previous"), (query.page + 1, "next", "next"), (pages, "", "last")]
    {
        if to == query.page || !(1..=pages).contains(&to) {
            continue;
        }
        let link = LaneQuery { page: to, ..query.clone() }.link();
        let rel = if rel.is_empty() { String::new() } else { format!(" rel=\"{rel}\"") };
        write!(page, "<a href=\"{}#lanes\"{rel}>{words}</a>", Escaped(&link))?;
    }
    page.push_str("</nav>");
    if matching > MOST_WANTED {
        write!(page, "<p class=\"soft\">Only the first {MOST_WANTED} lanes have pages: narrow the filter.</p>")?;
    }
    Ok(())
}

/// A row. `base` is the way to the pages of pipelines.
pub(super) fn write_lane(page: &mut String, lane: &Lane, base: &str, now: Timestamp) -> fmt::Result {
    let name = Escaped(&lane.pipeline);
    let link = percent_encoding::utf8_percent_encode(&lane.pipeline, percent_encoding::NON_ALPHANUMERIC);
    write!(page, "<tr><th scope=\"row\"><a href=\"{base}{link}\">{name}</a></th>")?;
    write!(page, "<td data-label=\"Stream\">{}</td>", Escaped(&lane.stream))?;
    write!(page, "<td data-label=\"Sink\">{}</td>", Escaped(&lane.sink))?;
    let (class, words) = (state_class(&lane.state, lane.up), lane.state.replace('_', " "));
    write!(page, "<td data-label=\"State\" class=\"{class}\">{}</td>", Escaped(&words))?;
    match &lane.last_error {
        Some(error) => {
            let (text, more) = cut(&error.text, MOST_TEXT);
            let ago = RelativeTime { text: Some(&error.time), now, otherwise: "" };
            let text = Escaped(text);
            write!(
                page,
                "<td data-label=\"Last error\" class=\"e\"><span>{text}{more} <span class=\"soft\">({ago})</span></span></td>"
            )?;
        }
        None => {
            let problem = lane.remap_problem().unwrap_or_default();
            write!(page, "<td data-label=\"Last error\" class=\"e\"><span>{}</span></td>", Escaped(&problem))?;
        }
    }
    let time = |text: &Option<String>, otherwise| RelativeTime { text: text.as_deref(), now, otherwise }.to_string();
    let mut cell =
        |label: &str, text: &dyn fmt::Display| write!(page, "<td data-label=\"{label}\" class=\"n\">{text}</td>");
    match lane.lag_seconds {
        Some(lag) => cell("Lag", &HumanDuration::of_seconds(lag))?,
        None => cell("Lag", &"–")?,
    }
    cell("Last success", &time(&lane.last_success, "never"))?;
    cell("Next attempt", &time(&lane.next_attempt, "now"))?;
    cell("Events/s", &format_args!("{:.1}", lane.delivered_per_second))?;
    cell("Delivered", &lane.delivered)?;
    cell("Skipped", &lane.skipped.values().fold(0_u64, |sum, count| sum.saturating_add(*count)))?;
    cell("Dead letters", &lane.dead_letters)?;
    cell("Token expires", &Escaped(lane.token_expires.as_deref().map_or("–", day)))?;
    if let Some(worker) = &lane.worker {
        write!(page, "<td data-label=\"Worker\">{}</td>", Escaped(worker))?;
    }
    page.push_str("</tr>");
    Ok(())
}

/// The titles of the columns that [`write_lane`] fills.
pub(super) fn titles() -> [&'static str; COLUMNS.len()] {
    COLUMNS.map(|(title, _)| title)
}
