//! The status page: an overview, and one page of the pipelines.

use std::collections::BTreeSet;

use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::html::{
    Document, cut_before_command, day, elapsed, error_row, lag, lane_state, relative_time, shortened, state_class,
    table, without_fraction,
};
use super::lanes::{ClusterRow, EqualErrors, FileRow, PipelineRow, SourceProblem, Status, at_least};
use super::query::{DEFAULT_ROWS, LaneQuery, MAX_ROWS, MAX_WANTED, STATES, Sort};
use crate::record::Timestamp;
use crate::telemetry::HumanDuration;

/// Rows of a table that has no pages.
const MAX_FILES: usize = 50;
/// Number of characters of an error in a row. The pipeline's page has the whole text.
const MAX_TEXT: usize = 300;

/// Errors that several pipelines have.
const MAX_ERRORS: usize = 10;

/// Titles of the columns, each with its sort order if it has one.
const COLUMNS: [(&str, Option<Sort>); 12] = [
    ("Pipeline", Some(Sort::Name)),
    ("Lanes", None),
    ("State", Some(Sort::State)),
    ("Lag", Some(Sort::Lag)),
    ("Last success", Some(Sort::LastSuccess)),
    ("Newest record", None),
    ("Events/s", Some(Sort::Rate)),
    ("Today", None),
    ("Yesterday", None),
    ("Delivered", None),
    ("Dead letters", Some(Sort::DeadLetters)),
    ("Token expires", Some(Sort::TokenExpiry)),
];

pub(super) fn render(status: &Status, query: &LaneQuery, not_ready: &[String], now: Timestamp) -> String {
    let summary = &status.summary;
    let failing = summary.lanes.saturating_sub(summary.up);
    let without_lanes = status.files.iter().filter(|file| file.runs_nothing()).count();
    let body = html! {
        header {
            h1 { "s1-forwarder " (status.version) }
            p {
                span class=(if failing == 0 { "up" } else { "down" }) {
                    (summary.up) " lanes up, " (failing) " failing"
                }
                @if let Some(text) = status.describe_files() { ", " span.down { (text) } }
                " at " time { (without_fraction(&status.time)) }
            }
            @for reason in not_ready {
                p.down { "not ready: " (reason) }
            }
            (cards(status, query))
            (navigation(status, query))
        }
        main {
            (source_problems(&status.source_problems))
            (files(&status.files))
            @if let Some(cluster) = &status.cluster { (workers(cluster, status)) }
            (errors(&status.errors, now))
            (pipelines(status, query, now))
        }
    };
    let skip = ("pipelines", "Skip to the pipelines");
    Document { title: "s1-forwarder", failing: failing + without_lanes, refresh: query.refresh, skip, body }
        .into_string()
}

/// Returns the sums as cards. The cards of the states are links to the lanes in that state, the worst first.
fn cards(status: &Status, query: &LaneQuery) -> Markup {
    let summary = &status.summary;
    html! {
        ul.cards {
            @for state in STATES {
                @if let Some(count) = summary.states.get(state).filter(|count| **count > 0) {
                    @let up = matches!(state, "starting" | "running" | "renamed" | "done");
                    @let filtered = LaneQuery { state: state.to_owned(), page: 1, ..query.clone() };
                    li {
                        b class=(state_class(state, up)) { (count) }
                        a href={ (filtered.link()) "#pipelines" } { (state.replace('_', " ")) }
                    }
                }
            }
            @for (state, count, words) in [("silent", summary.silent, "silent"), ("warned", summary.warned, "with a warning")] {
                @if count > 0 {
                    @let filtered = LaneQuery { state: state.to_owned(), page: 1, ..query.clone() };
                    li {
                        b.soft { (count) }
                        a href={ (filtered.link()) "#pipelines" } { (words) }
                    }
                }
            }
            li { b { (format_args!("{:.1}", summary.delivered_per_second)) } "events/s delivered" }
            li { b { (format_args!("{:.1}", summary.pulled_per_second)) } "records/s pulled" }
            @if let Some(lag) = summary.lag_seconds {
                li { b { (HumanDuration::of_seconds(lag)) } "largest lag" }
            }
            li { b { (summary.dead_letters) } "dead letters" }
        }
    }
}

fn navigation(status: &Status, query: &LaneQuery) -> Markup {
    let still = LaneQuery { refresh: None, ..query.clone() }.link();
    html! {
        nav aria-label="Views" {
            a href="metrics" { "metrics" }
            a href={ "api/v1/pipelines" (still) } { "pipelines as JSON" }
            a href={ "api/v1/lanes" (still) } { "lanes as JSON" }
            @if query.refresh.is_some() {
                a href=(still) { "stop refreshing" }
            } @else {
                a href=(LaneQuery { refresh: Some(5), ..query.clone() }.link()) { "refresh every 5 s" }
            }
            @if status.cluster.is_some() {
                @if query.all_workers == Some(false) {
                    a href=(LaneQuery { all_workers: None, ..query.clone() }.link()) { "all workers" }
                } @else {
                    a href=(LaneQuery { all_workers: Some(false), ..query.clone() }.link()) { "only this worker" }
                }
            }
        }
    }
}

fn source_problems(problems: &[SourceProblem]) -> Markup {
    let rows = html! {
        @for SourceProblem { place, problem } in problems.iter().take(MAX_FILES) {
            tr {
                th scope="row" { (place) }
                td.e data-label="Problem" {
                    span.down { (shortened(problem, MAX_TEXT)) }
                    " — What runs continues as it is; a restart would start no pipeline that depends on this."
                }
            }
        }
    };
    html! {
        @if !problems.is_empty() {
            h2 { "Where pipelines come from" }
            (table("Defaults and places that cannot be used", &["Place", "Problem"], &rows))
        }
    }
}

/// Returns the files that are paused, invalid or gone, those with a problem first.
fn files(files: &[FileRow]) -> Markup {
    let is_running = |file: &&FileRow| matches!(&*file.state, "running" | "elsewhere") && file.problem.is_none();
    let mut files: Vec<&FileRow> = files.iter().filter(|file| !is_running(file)).collect();
    files.sort_by_key(|file| file.problem.is_none());
    let rows = html! {
        @for file in files.iter().take(MAX_FILES) {
            @let (state, consequence) = file.consequence();
            tr {
                th scope="row" { (file.pipeline) }
                td data-label="File" { (file.file) }
                td data-label="State" class=(if file.problem.is_some() { "down" } else { "soft" }) { (state) }
                td.e data-label="Problem" {
                    (shortened(file.problem.as_deref().unwrap_or_default(), MAX_TEXT)) (consequence)
                }
            }
        }
    };
    html! {
        @if !files.is_empty() {
            h2 { "Pipeline files to look at" }
            (table("Files that do not run as they are", &["Pipeline", "File", "State", "Problem"], &rows))
            (rest(files.len(), "files: `check` lists all of them"))
        }
    }
}

fn rest(rows: usize, what: &str) -> Markup {
    let rest = rows.saturating_sub(MAX_FILES);
    html! { @if rest > 0 { p.soft { "and " (rest) " more " (what) } } }
}

/// Returns the workers and their answers.
fn workers(cluster: &ClusterRow, status: &Status) -> Markup {
    let held: usize = cluster.workers.values().map(BTreeSet::len).sum();
    let rows = html! {
        @for (name, shards) in cluster.workers.iter().take(MAX_FILES) {
            @let pipelines = status.files.iter().filter(|file| file.shard.is_some_and(|it| shards.contains(&it))).count();
            @let answer = status.workers.iter().find(|answer| answer.worker == *name);
            tr {
                th scope="row" { (name) @if *name == cluster.worker { " (this one)" } }
                td.n data-label="Pipelines" { (pipelines) }
                td.n data-label="Shards" { (shards.len()) }
                td data-label="Lanes" {
                    @if let Some(summary) = answer.and_then(|answer| answer.summary.as_ref()) {
                        (summary.up) " up, " (summary.lanes.saturating_sub(summary.up)) " failing"
                    }
                }
                td.e data-label="Shard numbers" { @for shard in shards { (shard) " " } }
            }
        }
    };
    html! {
        h2 { "Workers" }
        p { "Workers hold " (held) " of " (cluster.shards) " shards." }
        @for answer in &status.workers {
            @if let Some(problem) = &answer.problem {
                p.down {
                    "no answer from " (answer.worker) " (" (answer.address.as_deref().unwrap_or("no address")) "): "
                    (problem) ". Its lanes are missing below."
                }
            }
        }
        (table("What each worker has", &["Worker", "Pipelines", "Shards", "Lanes", "Shard numbers"], &rows))
        (rest(cluster.workers.len(), "workers"))
    }
}

/// Errors that several pipelines have: most likely they have one cause.
fn errors(errors: &[EqualErrors], now: Timestamp) -> Markup {
    let shared: Vec<_> = errors.iter().filter(|error| error.pipelines > 1).take(MAX_ERRORS).collect();
    let rows = html! {
        @for error in &shared {
            tr {
                th.n scope="row" { (error.lanes) " lanes" }
                td.down data-label="State" { (error.state.replace('_', " ")) }
                td.e data-label="Error" {
                    span {
                        (cut_before_command(&error.error, MAX_TEXT))
                        " " span.soft { "(for " (elapsed(error.failing_since.as_deref(), now)) ")" }
                    }
                }
                td data-label="Pipelines" {
                    span {
                        @for (index, name) in error.names.iter().enumerate() {
                            @if index > 0 { ", " }
                            (pipeline_link(name))
                        }
                        @let more = error.pipelines.saturating_sub(error.names.len());
                        @if more > 0 { " and " (more) " more" }
                    }
                }
            }
        }
    };
    html! {
        @if !shared.is_empty() {
            h2 { "Errors of several pipelines" }
            (table("Lanes with the same error", &["Lanes", "State", "Error", "Pipelines"], &rows))
        }
    }
}

fn pipelines(status: &Status, query: &LaneQuery, now: Timestamp) -> Markup {
    let rows = &status.pipelines;
    let first = query.rows().start;
    let with_worker = rows.iter().any(|row| row.worker.is_some());
    let columns = COLUMNS.len() + usize::from(with_worker);
    html! {
        h2 #pipelines { "Pipelines" }
        (form(query))
        @if rows.is_empty() {
            p {
                @match (status.summary.lanes, status.matching) {
                    (0, _) => "No lane runs.",
                    (_, 0) => "No lane matches the filter.",
                    _ => "There is no such page: fewer pipelines match than before.",
                }
            }
        } @else {
            div.wide {
                table.lanes {
                    caption { "Pipelines " (first + 1) " to " (first + rows.len()) " of " (status.matching) }
                    thead {
                        tr {
                            @for (title, sort) in COLUMNS { (column(title, sort, query)) }
                            @if with_worker { th scope="col" { "Worker" } }
                        }
                    }
                    @for row in rows { (pipeline_row(row, columns, now)) }
                }
            }
            (pages(status.matching, query))
        }
    }
}

/// Returns the head of a column. A second click on its link reverses the order.
fn column(title: &str, sort: Option<Sort>, query: &LaneQuery) -> Markup {
    let Some(sort) = sort else { return html! { th scope="col" { (title) } } };
    let is_current = query.sort() == sort;
    let descending = if is_current { Some(!query.is_descending()) } else { None };
    let link = LaneQuery { sort: Some(sort), descending, page: 1, ..query.clone() }.link();
    let (order, mark) = match (is_current, query.is_descending()) {
        (false, _) => (None, ""),
        (true, true) => (Some("descending"), " ↓"),
        (true, false) => (Some("ascending"), " ↑"),
    };
    html! { th scope="col" aria-sort=[order] { a href={ (link) "#pipelines" } { (title) } (mark) } }
}

/// Returns the form of the filter. It works without scripts: the browser sends the fields as the query of a link.
fn form(query: &LaneQuery) -> Markup {
    let states = [
        ("", "all"),
        ("failing", "all that fail"),
        ("up", "all that are up"),
        ("silent", "all that are silent"),
        ("warned", "all with a warning"),
    ];
    let fields =
        [("Pipeline", "pipeline", &query.pipeline), ("Stream", "stream", &query.stream), ("Sink", "sink", &query.sink)];
    html! {
        form method="get" action="./#pipelines" aria-label="Filter of the pipelines by their lanes" {
            @for (label, key, value) in fields {
                label { (label) input name=(key) value=(value) size="14"; }
            }
            label {
                "State"
                select name="state" {
                    @for (value, words) in states { (option(value, words, query.state == value)) }
                    @for state in STATES { (option(state, &state.replace('_', " "), query.state == state)) }
                }
            }
            label {
                "Sorted by"
                select name="sort" {
                    @for sort in Sort::ALL { (option(sort.name(), sort.words(), query.sort() == sort)) }
                }
            }
            label {
                "Rows"
                select name="limit" {
                    @for rows in [20, DEFAULT_ROWS, MAX_ROWS] {
                        (option(&rows.to_string(), &rows.to_string(), query.limit == Some(rows)))
                    }
                }
            }
            @if query.all_workers == Some(false) { input type="hidden" name="workers" value="this"; }
            button { "Show" }
            a href="./" { "reset" }
        }
    }
}

fn option(value: &str, words: &str, is_selected: bool) -> Markup {
    html! { option value=(value) selected[is_selected] { (words) } }
}

fn pages(matching: usize, query: &LaneQuery) -> Markup {
    let limit = query.limit.unwrap_or(DEFAULT_ROWS);
    let pages = matching.div_ceil(limit).min(MAX_WANTED / limit).max(1);
    let links = [
        (1, None, "first"),
        (query.page - 1, Some("prev"), "previous"),
        (query.page + 1, Some("next"), "next"),
        (pages, None, "last"),
    ];
    html! {
        @if pages > 1 {
            nav.pages aria-label="Pages" {
                span { "Page " (query.page) " of " (pages) }
                @for (to, rel, words) in links {
                    @if to != query.page && (1..=pages).contains(&to) {
                        a href={ (LaneQuery { page: to, ..query.clone() }.link()) "#pipelines" } rel=[rel] { (words) }
                    }
                }
            }
            @if matching > MAX_WANTED {
                p.soft { "Only the first " (MAX_WANTED) " pipelines have pages: narrow the filter." }
            }
        }
    }
}

fn pipeline_row(row: &PipelineRow, columns: usize, now: Timestamp) -> Markup {
    let failing = row.lanes - row.up.min(row.lanes);
    let worst = &row.worst;
    html! {
        tbody {
            tr {
                th.name scope="row" { (pipeline_link(&row.pipeline)) }
                td.t data-label="Lanes" {
                    @if failing > 0 { (failing) " of " (row.lanes) " failing" } @else { (row.lanes) " up" }
                    @if row.silent > 0 { ", " (row.silent) " silent" }
                    @if row.warned > 0 { ", " (row.warned) " with a warning" }
                }
                td data-label="State" { (lane_state(worst, now)) }
                td.n data-label="Lag" { (lag(row.lag_seconds)) }
                td.t data-label="Last success" { (relative_time(row.last_success.as_deref(), now, "never")) }
                td.t data-label="Newest record" { (relative_time(row.newest_record.as_deref(), now, "–")) }
                td.n data-label="Events/s" { (format_args!("{:.1}", row.delivered_per_second)) }
                td.n data-label="Today" { (at_least((row.events_today, row.today_has_gap))) }
                td.n data-label="Yesterday" { (at_least((row.events_yesterday, row.yesterday_has_gap))) }
                td.n data-label="Delivered" { (row.delivered) }
                td.n data-label="Dead letters" { (row.dead_letters) }
                td.n data-label="Token expires" {
                    @match &worst.token_expires { Some(expires) => (day(expires, now)), None => "–" }
                 }
                @if let Some(worker) = &row.worker { td data-label="Worker" { span { (worker) } } }
            }
            (error_row(worst, row.equal_errors, columns, now))
        }
    }
}

fn pipeline_link(name: &str) -> Markup {
    html! { a href={ "pipelines/" (utf8_percent_encode(name, NON_ALPHANUMERIC)) } { (name) } }
}
