//! Findings, scope by scope: which scopes are read, and what becomes of the others where the console refuses one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder::emulator::{Fault, Faults, Kind, LastPage, Quirks, Scope, Setup, Token};
use s1_forwarder::lane::LaneEnd;
use s1_forwarder::record::Stream;
use s1_forwarder::sink::memory::MemorySink;
use s1_forwarder::source::{PullSettings, Since, TimeField, Window};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::harness::{LaneHarness, Running, START, assert_counts_balance};
use super::script::{all, findings_of};

const HOUR: Duration = Duration::from_hours(1);
/// Every emulated site has findings of some agents.
const FINDINGS: usize = 400;

fn harness() -> LaneHarness {
    LaneHarness::new(|setup| (setup.vulnerabilities, setup.agents, setup.span) = (FINDINGS, 60, HOUR * 24 * 90))
}

fn start(harness: &LaneHarness, pull: PullSettings, sink: &Arc<MemorySink>) -> Running {
    harness.start(harness.lane(pull, "siem", sink.clone()))
}

/// The token has these sites, and the console wants findings to be asked for by one of them.
fn give_sites(harness: &LaneHarness, sites: &[u64], quirks: Quirks) {
    harness.console.set_quirks(Quirks { risks_require_one_scope: true, ..quirks });
    harness.console.set_token(Token::new(Setup::TOKEN).scoped(Scope::Sites(sites.to_vec())));
}

/// The ids of the open findings of these sites.
fn open(harness: &LaneHarness, sites: &[u64]) -> BTreeSet<String> {
    let open = harness.console.visible_versions(Kind::Vulnerabilities, &Scope::Sites(sites.to_vec()));
    open.iter().map(|version| version.id.to_string()).collect()
}

/// The ids that arrived, less those of removed findings, which come with windows and not with sweeps.
fn arrived(harness: &LaneHarness, sink: &MemorySink) -> BTreeSet<String> {
    let shown = harness.console.visible_versions(Kind::Vulnerabilities, &Scope::Global);
    let shown: BTreeSet<String> = shown.iter().map(|version| version.id.to_string()).collect();
    sink.accepted().iter().map(|(_, id, _)| id.clone()).filter(|id| shown.contains(id)).collect()
}

fn of_sites(sites: &[u64]) -> PullSettings {
    let sites: Vec<String> = sites.iter().map(u64::to_string).collect();
    findings_of(&sites.iter().map(String::as_str).collect::<Vec<_>>())
}

/// How often the findings of a site were asked for.
fn asked(harness: &LaneHarness, site: u64) -> usize {
    let filter = format!("siteIds={site}");
    harness.console.request_log().iter().filter(|request| request.query.contains(&filter)).count()
}

/// How often all findings of a site were asked for.
fn swept(harness: &LaneHarness, site: u64) -> usize {
    let filter = format!("siteIds={site}");
    let is_first_page = |query: &str| query.contains("sortBy=id") && !query.contains("cursor=");
    let is_sweep = |query: &str| query.contains(&filter) && is_first_page(query) && !query.contains("Date__gte");
    harness.console.request_log().iter().filter(|request| is_sweep(&request.query)).count()
}

/// A finding of an agent that is in the site from now on.
fn finding_in(harness: &LaneHarness, site: u64) -> String {
    let copy = |kind, change: &dyn Fn(&mut Value)| {
        let id = harness.console.generate(kind, START.minus(HOUR).micros());
        let mut record: Value = serde_json::from_slice(&harness.console.record(kind, id).unwrap()).unwrap();
        change(&mut record);
        harness.console.insert(kind, record.to_string().as_bytes()).unwrap()
    };
    let agent = copy(Kind::Agents, &|agent| agent["siteId"] = json!(site.to_string()));
    copy(Kind::Vulnerabilities, &|finding| finding["endpointId"] = json!(agent.to_string())).to_string()
}

/// The console lists a thousand at a time, and says in one of several ways that there are no more.
#[tokio::test(start_paused = true)]
async fn a_token_of_more_than_a_thousand_sites_is_read_to_the_last_site() {
    for (last_page, accounts_empty_for_sites, repeats_cursor) in
        [(LastPage::Null, false, true), (LastPage::ExtraPage, true, false), (LastPage::Absent, true, false)]
    {
        let harness = harness();
        if repeats_cursor {
            let always = Faults { max_consecutive: u32::MAX, ..Faults::default() };
            harness.console.set_faults(always.with_on(Kind::Sites, Fault::RepeatedCursor, 1.0));
        }
        (0..1_005).for_each(|_| _ = harness.console.generate(Kind::Sites, START.minus(HOUR).micros()));
        let mut sites = harness.console.ids(Kind::Sites);
        sites.sort_unstable();
        let last = finding_in(&harness, sites[sites.len() - 1]);
        give_sites(&harness, &sites, Quirks { last_page, accounts_empty_for_sites, ..Quirks::default() });
        let sink = MemorySink::accepting(harness.clock);
        let lane = harness.lane(all(Stream::Vulnerabilities), "siem", sink.clone());
        assert_eq!(harness.run_once(lane).await, LaneEnd::Complete);
        assert!(sites.len() > 1_000 && arrived(&harness, &sink).contains(&last), "{last_page:?}");
        assert_eq!(arrived(&harness, &sink), open(&harness, &sites));
        let stored = harness.checkpoint(Stream::Vulnerabilities, "siem").unwrap().position;
        assert_eq!(stored.pass_positions().filter(|(name, _)| name.starts_with("siteIds=")).count(), sites.len());
    }
}

/// An answer without sites, whatever the reason, is not the answer that there are none: nothing was read.
#[tokio::test(start_paused = true)]
async fn a_list_of_sites_that_fails_ends_no_sweep() {
    for fault in [Fault::ErrorsOnly, Fault::NullData, Fault::HtmlPage, Fault::InternalError] {
        let harness = harness();
        let sites = harness.console.ids(Kind::Sites);
        give_sites(&harness, &sites, Quirks::default());
        let always = Faults { max_consecutive: u32::MAX, ..Faults::default() };
        harness.console.set_faults(always.with_on(Kind::Sites, fault, 1.0));
        let sink = MemorySink::accepting(harness.clock);
        let running = start(&harness, all(Stream::Vulnerabilities), &sink);
        sleep(Duration::from_mins(10)).await;
        assert!(!running.metrics.state().is_up() && sink.total() == 0, "{fault:?}");
        let stored = harness.checkpoint(Stream::Vulnerabilities, "siem").unwrap().position;
        assert_eq!(stored.complete(), None, "{fault:?}: nothing was read");
        harness.console.set_faults(Faults::default());
        sleep(HOUR).await;
        let metrics = running.drain().await;
        assert_eq!(arrived(&harness, &sink), open(&harness, &sites), "{fault:?}");
        assert_counts_balance(&metrics);
    }
}

/// The console asks for a scope, so there is one: it must be named.
#[tokio::test(start_paused = true)]
async fn a_token_that_is_shown_no_site_says_what_to_do_and_reads_nothing() {
    let harness = harness();
    let sites = harness.console.ids(Kind::Sites);
    give_sites(&harness, &sites[..2], Quirks { accounts_empty_for_sites: true, ..Quirks::default() });
    sites.iter().for_each(|site| _ = harness.console.remove(Kind::Sites, *site));
    let sink = MemorySink::accepting(harness.clock);
    let running = start(&harness, all(Stream::Vulnerabilities), &sink);
    sleep(Duration::from_mins(1)).await;
    let state = running.metrics.state();
    assert!(state.error().is_some_and(|error| error.contains("name them in `console.sites`")), "{state:?}");
    running.drain().await;
    assert_eq!(harness.checkpoint(Stream::Vulnerabilities, "siem").unwrap().position.complete(), None);
    let lane = harness.lane(all(Stream::Vulnerabilities), "siem", sink.clone());
    assert_eq!((harness.run_once(lane).await, sink.total()), (LaneEnd::Refused, 0));
}

/// One site is refused, missing, or does not answer: named in the settings, or found.
#[tokio::test(start_paused = true)]
async fn a_site_that_cannot_be_read_keeps_no_other_waiting() {
    for fault in [Fault::Forbidden, Fault::NotFound, Fault::GatewayTimeout] {
        for found in [false, true] {
            let harness = harness();
            let sites = harness.console.ids(Kind::Sites)[..3].to_vec();
            let pull = if found { all(Stream::Vulnerabilities) } else { of_sites(&sites) };
            let pull = PullSettings { interval: HOUR, ..pull };
            if found {
                give_sites(&harness, &sites, Quirks::default());
            }
            harness.console.set_faults(Faults { sites: vec![(sites[1], fault)], ..Faults::default() });
            let sink = MemorySink::accepting(harness.clock);
            let running = start(&harness, pull.clone(), &sink);
            sleep(HOUR / 2).await;
            let others = [sites[0], sites[2]];
            assert_eq!(arrived(&harness, &sink), open(&harness, &others), "{fault:?} {found}");
            let state = running.metrics.state();
            let named = format!("siteIds={}: ", sites[1]);
            assert!(state.error().is_some_and(|error| error.starts_with(&named)), "it is visible: {state:?}");
            // The other sites are polled again, and the lane goes on saying what fails.
            let before = others.map(|site| asked(&harness, site));
            sleep(HOUR * 3).await;
            assert!(others.into_iter().zip(before).all(|(site, before)| asked(&harness, site) >= before + 4));
            assert!(!running.metrics.state().is_up(), "{fault:?} {found}");
            assert!(asked(&harness, sites[1]) < 400, "{}", asked(&harness, sites[1]));
            let lag = harness.clock.now().since(running.metrics.complete_until().unwrap_or_default());
            assert!(lag > HOUR * 3, "the lane is as far as its last scope: {lag:?}");

            // It is read from where it was once it can be read.
            harness.console.set_faults(Faults::default());
            sleep(HOUR * 2).await;
            assert!(running.metrics.state().is_up(), "{fault:?} {found}: {:?}", running.metrics.state());
            let metrics = running.drain().await;
            assert_eq!(arrived(&harness, &sink), open(&harness, &sites));
            assert_eq!(others.map(|site| swept(&harness, site)), [1, 1], "{fault:?} {found}");
            assert_counts_balance(&metrics);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_reads_the_other_sites_and_says_that_one_was_refused() {
    let harness = harness();
    let sites = harness.console.ids(Kind::Sites)[..3].to_vec();
    harness.console.set_faults(Faults { sites: vec![(sites[0], Fault::Forbidden)], ..Faults::default() });
    let sink = MemorySink::accepting(harness.clock);
    let lane = harness.lane(of_sites(&sites), "siem", sink.clone());
    assert_eq!(harness.run_once(lane).await, LaneEnd::Refused);
    assert_eq!(arrived(&harness, &sink), open(&harness, &sites[1..]));
}

/// What was not read for lack of a licence is owed when there is one.
#[tokio::test(start_paused = true)]
async fn a_site_that_gets_its_licence_begins_with_a_sweep() {
    let harness = harness();
    let sites = harness.console.ids(Kind::Sites)[..2].to_vec();
    harness.console.set_quirks(Quirks { unlicensed_sites: vec![sites[0]], ..Quirks::default() });
    let sink = MemorySink::accepting(harness.clock);
    let running = start(&harness, PullSettings { interval: HOUR, ..of_sites(&sites) }, &sink);
    sleep(HOUR * 5).await;
    assert!(running.metrics.state().is_up(), "this is no failure");
    assert_eq!(arrived(&harness, &sink), open(&harness, &sites[1..]));
    let lag = harness.clock.now().since(running.metrics.complete_until().unwrap());
    assert!(lag < HOUR * 2, "nothing is missing: {lag:?}");
    harness.console.set_quirks(Quirks::default());
    sleep(HOUR * 2).await;
    running.drain().await;
    assert_eq!(arrived(&harness, &sink), open(&harness, &sites));
}

/// Sites come and go at the console. What is remembered of one that is gone is forgotten.
#[tokio::test(start_paused = true)]
async fn found_sites_are_followed_and_their_positions_with_them() {
    let harness = harness();
    let sites = harness.console.ids(Kind::Sites)[..4].to_vec();
    give_sites(&harness, &sites[..3], Quirks::default());
    let pull = PullSettings { interval: HOUR, ..all(Stream::Vulnerabilities) };
    let sink = MemorySink::accepting(harness.clock);
    let names = |harness: &LaneHarness| {
        let stored = harness.checkpoint(Stream::Vulnerabilities, "siem").unwrap().position;
        stored.pass_positions().map(|(name, _)| name.to_owned()).filter(|name| name != "main").collect::<BTreeSet<_>>()
    };
    let named = |sites: &[u64]| sites.iter().map(|site| format!("siteIds={site}")).collect::<BTreeSet<_>>();
    let running = start(&harness, pull.clone(), &sink);
    sleep(HOUR / 2).await;
    running.drain().await;
    assert_eq!((names(&harness), arrived(&harness, &sink)), (named(&sites[..3]), open(&harness, &sites[..3])));

    // A restart knows what it read. One site is gone, another has come.
    harness.console.set_token(Token::new(Setup::TOKEN).scoped(Scope::Sites(sites[1..].to_vec())));
    let running = start(&harness, pull.clone(), &sink);
    sleep(HOUR * 3).await;
    running.drain().await;
    assert_eq!((names(&harness), arrived(&harness, &sink)), (named(&sites[1..]), open(&harness, &sites)));
    assert_eq!(sites.clone().into_iter().map(|site| swept(&harness, site)).collect::<Vec<_>>(), [1; 4]);

    // The token sees all there is at once.
    harness.console.set_token(Token::new(Setup::TOKEN));
    let running = start(&harness, pull, &sink);
    sleep(HOUR).await;
    running.drain().await;
    assert_eq!(names(&harness), BTreeSet::new());
    assert_eq!(arrived(&harness, &sink), open(&harness, &harness.console.ids(Kind::Sites)));
}

/// The console refuses the list of all sites, too, while it has no licence for any of them.
#[tokio::test(start_paused = true)]
async fn what_was_read_of_found_sites_is_known_when_they_get_their_licence_back() {
    let harness = harness();
    let sites = harness.console.ids(Kind::Sites)[..3].to_vec();
    give_sites(&harness, &sites, Quirks::default());
    let sink = MemorySink::accepting(harness.clock);
    let pull = PullSettings { interval: HOUR, ..all(Stream::Vulnerabilities) };
    let running = start(&harness, pull.clone(), &sink);
    sleep(HOUR / 2).await;
    give_sites(&harness, &sites, Quirks { unlicensed_sites: sites.clone(), ..Quirks::default() });
    sleep(HOUR * 3).await;
    running.drain().await;
    // It is not known any more which sites there are.
    let running = start(&harness, pull, &sink);
    sleep(HOUR * 3).await;
    assert!(running.metrics.state().is_up(), "this is no failure");
    let lag = harness.clock.now().since(running.metrics.complete_until().unwrap());
    assert!(lag < HOUR * 2, "nothing is missing: {lag:?}");
    give_sites(&harness, &sites, Quirks::default());
    sleep(HOUR * 3).await;
    running.drain().await;
    assert_eq!(arrived(&harness, &sink), open(&harness, &sites));
    assert_eq!(sites.into_iter().map(|site| swept(&harness, site)).collect::<Vec<_>>(), [1; 3]);
}

#[tokio::test(start_paused = true)]
async fn the_findings_of_a_site_are_remembered_for_that_site() {
    let harness = harness();
    let sites = harness.console.ids(Kind::Sites)[..3].to_vec();
    let pull = PullSettings { since: Since::At(START.minus(HOUR * 2_000)), ..of_sites(&sites) };
    let sink = MemorySink::accepting(harness.clock);
    harness.run_once(harness.lane(pull, "siem", sink.clone())).await;
    let position = harness.checkpoint(Stream::Vulnerabilities, "siem").unwrap().position;
    assert!(position.pass_positions().all(|(_, pass_position)| (1..sink.total()).contains(&pass_position.key_count())));
    assert_eq!(position.key_count(), sink.total(), "each once");
}

/// A backfill has one poll for its window: the lists of all scopes are read in it, but for those that are refused.
#[tokio::test(start_paused = true)]
async fn a_window_is_read_scope_by_scope_if_the_console_wants_that() {
    let harness = harness();
    let sites = harness.console.ids(Kind::Sites);
    give_sites(&harness, &sites[1..4], Quirks { unlicensed_sites: vec![sites[1]], ..Quirks::default() });
    let sink = MemorySink::accepting(harness.clock);
    let window = Window { from: START.minus(HOUR * 24 * 91), to: START, time: TimeField::Order };
    let end = harness.run_once(harness.lane(findings_of(&[]).within(window), "siem", sink.clone())).await;
    assert_eq!(end, LaneEnd::Complete);
    assert_eq!(arrived(&harness, &sink), open(&harness, &sites[2..4]));
}
