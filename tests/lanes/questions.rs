//! What the console is asked for: what the settings say, in the words of each of its lists.

use std::collections::BTreeSet;
use std::time::Duration;

use s1_forwarder::record::{Frame, Stream};
use s1_forwarder::source::{PullSettings, StreamOptions, TimeField, UnifiedAlertFilter, Window, is_by_scope};

use super::script::{Talk, ago, all, counted, findings_of, hidden, no_history, of_types, page, snapshots, unified};

fn window(by: TimeField) -> Window {
    Window { from: ago(7_200), to: ago(3_600), time: by }
}

/// The streams that are lists, of which `is_meant` says which are meant.
fn lists(is_meant: impl Fn(Stream) -> bool) -> BTreeSet<Stream> {
    let is_list = |stream: &Stream| stream.description().frame == Frame::List && is_meant(*stream);
    Stream::ALL.into_iter().filter(is_list).collect()
}

/// What a poll of this pass asks for first, save for times.
async fn question(pull: PullSettings, pass: usize) -> String {
    let answer = if pull.stream == Stream::UnifiedAlerts { unified("1", "", None) } else { page(&[], None) };
    let mut talk = Talk::of_pass(pull, pass, no_history);
    talk.hears(answer).await.unwrap();
    short(&talk.asked_last())
}

/// What is asked for when the records of a window are counted, save for times.
async fn count(pull: &PullSettings, by: TimeField, answers: &[String]) -> (u64, Vec<String>) {
    let talk = Talk::new(pull.clone(), no_history);
    answers.iter().for_each(|answer| talk.script.push(answer.clone()));
    let count = pull.count(&talk.client, window(by), Some(&talk.meter)).await.unwrap();
    let asked = talk.script.requests().iter().map(|asked| short(asked)).collect();
    (count, asked)
}

fn short(asked: &str) -> String {
    let (_, variables) = asked.split_once(r#""variables":"#).unwrap_or_default();
    if !variables.is_empty() {
        return variables.trim_end_matches('}').replace('"', "");
    }
    let kept = asked
        .split('&')
        .filter(|part| !["limit=100", "sortOrder=asc", "skipCount=true", "countOnly=true"].contains(part));
    let name = |part: &str| match part.split_once('=') {
        Some((name, _)) if name.contains("__") => name.to_owned(),
        _ => part.replace("%2C", ","),
    };
    kept.map(name).collect::<Vec<_>>().join(" ")
}

#[tokio::test(start_paused = true)]
async fn a_poll_asks_for_what_the_settings_say() {
    let activities =
        PullSettings { filters: vec![hidden()], own: of_types(vec![5, 27], Vec::new()), ..all(Stream::Activities) };
    let decommissioned = ("isDecommissioned", "True,False".to_owned());
    let decommissioned = PullSettings { filters: vec![decommissioned], ..all(Stream::Agents) };
    let snapshot = PullSettings { own: snapshots(false), ..all(Stream::Agents) };
    let cases = [
        (activities, &["sortBy=createdAt createdAt__gte createdAt__lte activityTypes=5,27 includeHidden=true"][..]),
        (all(Stream::Activities), &["sortBy=createdAt createdAt__gte createdAt__lte"]),
        (all(Stream::Threats), &["sortBy=updatedAt updatedAt__gte updatedAt__lte"]),
        (all(Stream::Groups), &["sortBy=updatedAt updatedAt__gte updatedAt__lte"]),
        (decommissioned, &["sortBy=updatedAt updatedAt__gte updatedAt__lte isDecommissioned=True,False"]),
        (snapshot, &["sortBy=createdAt createdAt__gte createdAt__lte"]),
        (all(Stream::Alerts), &["sortBy=alertInfoCreatedAt createdAt__gte createdAt__lte"; 2]),
        (
            PullSettings { own: StreamOptions::Alerts(Duration::ZERO), ..all(Stream::Alerts) },
            &["sortBy=alertInfoCreatedAt createdAt__gte createdAt__lte"],
        ),
        (all(Stream::Vulnerabilities), &["sortBy=id includeRemovals=false"]),
    ];
    let streams: BTreeSet<Stream> = cases.iter().map(|(pull, _)| pull.stream).collect();
    assert_eq!(streams, lists(|_| true));
    for (pull, questions) in cases {
        assert_eq!(pull.passes().len(), questions.len(), "{}", pull.stream);
        for (pass, wanted) in questions.iter().enumerate() {
            assert_eq!(question(pull.clone(), pass).await, *wanted, "{}", pull.stream);
        }
    }
}

/// Docs name these, and a pass that comes too rarely misses what is visible for a while only.
#[test]
fn each_pass_comes_as_often_and_reaches_as_far_back_as_documented() {
    let minute = Duration::from_mins(1);
    let day = Duration::from_hours(24);
    let cases = [
        (Stream::Activities, &[(minute / 2, 5 * minute)][..]),
        (Stream::Threats, &[(minute, 5 * minute)]),
        (Stream::Agents, &[(15 * minute, 5 * minute)]),
        (Stream::Groups, &[(15 * minute, 5 * minute)]),
        (Stream::Alerts, &[(minute, 5 * minute), (10 * minute, 7 * day)]),
        (Stream::UnifiedAlerts, &[(minute, 5 * minute), (15 * minute, day)]),
        (Stream::Vulnerabilities, &[(360 * minute, 70 * minute)]),
    ];
    assert_eq!(BTreeSet::from(cases.map(|(stream, _)| stream)), Stream::ALL.into());
    for (stream, passes) in cases {
        let pull = all(stream);
        let reported: Vec<_> = pull.passes().iter().map(|pass| (pass.every, pass.late_window)).collect();
        assert_eq!(reported, passes, "{stream}");
        assert!(pull.passes().iter().all(|pass| pass.reads_findings() == is_by_scope(stream)), "{stream}");
        assert_eq!(pull.within(window(TimeField::Order)).passes().len(), 1, "a window is read once");
    }
}

/// Unified alerts are looked for by their last change and, what was never changed, by their detection.
#[tokio::test(start_paused = true)]
async fn unified_alerts_are_asked_for_by_change_and_by_detection() {
    let own = UnifiedAlertFilter {
        products: vec!["EDR".into(), "STAR".into()],
        view: Some("IDENTITY"),
        ..UnifiedAlertFilter::default()
    };
    let pull = PullSettings { own: StreamOptions::UnifiedAlerts(own), ..all(Stream::UnifiedAlerts) };
    // Both begin at `since`: only the second pass shows alerts that were never updated.
    for (pass, by) in ["updatedAt", "detectedAt"].into_iter().enumerate() {
        let asked = question(pull.clone(), pass).await;
        for wanted in [
            &format!("fieldId:{by}}},{{fieldId:detectionProduct,stringIn:{{values:[EDR,STAR]}}}}]"),
            "dateTimeRange:{end:1790000000000,endInclusive:true,start:0,startInclusive:true}",
            &format!("sort:{{by:{by},order:ASC}},viewType:IDENTITY"),
        ] {
            assert!(asked.contains(wanted), "{wanted}: {asked}");
        }
    }
    for by in [TimeField::Order, TimeField::Creation] {
        assert!(question(pull.within(window(by)), 0).await.contains("sort:{by:detectedAt,"));
        let (reported, asked) = count(&pull, by, &[unified("1", "", None)]).await;
        assert_eq!(reported, 1);
        let range = "dateTimeRange:{end:1789996399999,endInclusive:true,start:1789992800000,startInclusive:true},fieldId:detectedAt";
        let narrowed = "{fieldId:detectionProduct,stringIn:{values:[EDR,STAR]}}],first:1,";
        for wanted in [range, narrowed, "viewType:IDENTITY"] {
            assert!(asked[0].contains(wanted), "{asked:?}");
        }
    }
}

/// The records of a window are asked for, and counted, by the time that says so.
#[tokio::test(start_paused = true)]
async fn a_window_is_read_and_counted_by_the_same_time() {
    let snapshot = PullSettings { own: snapshots(false), ..all(Stream::Agents) };
    let cases = [
        (all(Stream::Activities), TimeField::Order, "createdAt", "createdAt"),
        (all(Stream::Activities), TimeField::Creation, "createdAt", "createdAt"),
        (all(Stream::Threats), TimeField::Order, "updatedAt", "updatedAt"),
        (all(Stream::Threats), TimeField::Creation, "createdAt", "createdAt"),
        (all(Stream::Agents), TimeField::Order, "updatedAt", "updatedAt"),
        (all(Stream::Agents), TimeField::Creation, "createdAt", "createdAt"),
        (snapshot.clone(), TimeField::Order, "createdAt", "createdAt"),
        (snapshot, TimeField::Creation, "createdAt", "createdAt"),
        (all(Stream::Alerts), TimeField::Order, "alertInfoCreatedAt", "createdAt"),
        (all(Stream::Alerts), TimeField::Creation, "alertInfoCreatedAt", "createdAt"),
        (all(Stream::Groups), TimeField::Order, "updatedAt", "updatedAt"),
        (all(Stream::Groups), TimeField::Creation, "updatedAt", "updatedAt"),
    ];
    for by in [TimeField::Order, TimeField::Creation] {
        let streams: BTreeSet<Stream> =
            cases.iter().filter(|case| case.1 == by).map(|(pull, ..)| pull.stream).collect();
        assert_eq!(streams, lists(|stream| !is_by_scope(stream)), "{by:?}");
    }
    for (pull, by, sort, time) in cases {
        let asked = question(pull.within(window(by)), 0).await;
        assert_eq!(asked, format!("sortBy={sort} {time}__gte {time}__lte"), "{} {by:?}", pull.stream);
        let wanted = (7, vec![format!("sortBy={sort} {time}__gte {time}__lt")]);
        assert_eq!(count(&pull, by, &[counted(7)]).await, wanted, "{} {by:?}", pull.stream);
    }
}

#[tokio::test(start_paused = true)]
async fn types_that_are_left_out_are_counted_apart_where_there_are_any() {
    let window = "sortBy=createdAt createdAt__gte createdAt__lt";
    let narrowed = |types: &str| format!("{window} activityTypes={types}");
    let pull = |types: &[u32], exclude: &[u32]| PullSettings {
        own: of_types(types.to_vec(), exclude.to_vec()),
        ..all(Stream::Activities)
    };
    for (pull, answers, left, questions) in [
        (pull(&[], &[27, 30]), &[7, 3][..], 4, vec![window.to_owned(), narrowed("27,30")]),
        (pull(&[5, 27], &[27, 30]), &[7, 3], 4, vec![narrowed("5,27"), narrowed("27")]),
        (pull(&[5], &[27]), &[7], 7, vec![narrowed("5")]),
        (pull(&[], &[27]), &[0], 0, vec![window.to_owned()]),
        (pull(&[], &[27]), &[7, 9], 0, vec![window.to_owned(), narrowed("27")]),
    ] {
        let answers: Vec<String> = answers.iter().map(|count| counted(*count)).collect();
        assert_eq!(count(&pull, TimeField::Order, &answers).await, (left, questions));
    }
}

#[tokio::test(start_paused = true)]
async fn findings_are_read_and_counted_scope_by_scope() {
    let pull = findings_of(&["100000000000000007", "100000000000000008"]);
    let window = "detectionDate__gte detectionDate__lte includeRemovals=true siteIds=10000000000000000";
    let wanted = (12, vec![format!("{window}7"), format!("{window}8")]);
    assert_eq!(count(&pull, TimeField::Creation, &[counted(7), counted(5)]).await, wanted);
    for (pass, site) in [7, 8].into_iter().enumerate() {
        let asked = question(pull.clone(), pass).await;
        assert_eq!(asked, format!("sortBy=id includeRemovals=false siteIds=10000000000000000{site}"));
    }
}

/// Where the console does not say how many there are, nothing is known.
#[tokio::test(start_paused = true)]
async fn a_count_that_cannot_be_read_is_none() {
    let alerts = r#"{"data":{"alerts":{"edges":[],"pageInfo":{"hasNextPage":false}}}}"#;
    for (pull, answer) in [
        (all(Stream::Threats), page(&[], None)),
        (findings_of(&["100000000000000007"]), page(&[], None)),
        (all(Stream::UnifiedAlerts), alerts.to_owned()),
    ] {
        let talk = Talk::new(pull.clone(), no_history);
        talk.script.push(answer);
        assert!(
            pull.count(&talk.client, window(TimeField::Order), Some(&talk.meter)).await.is_err(),
            "{}",
            pull.stream
        );
    }
}
