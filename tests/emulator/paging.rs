//! Section 3 of the contract.

use std::collections::BTreeSet;

use s1_forwarder::emulator::{Counts, Kind, LastPage, Quirks, Scope, Setup};

use super::client::{Client, NOW, SECOND, distinct, ids_of};

#[tokio::test]
async fn every_record_comes_once_though_many_share_a_timestamp() {
    let client = Client::new(&Setup { activities: 12_000, ..Setup::new(NOW) }).await;
    let expected = client.console.visible_versions(Kind::Activities, &Scope::Global);
    let tied = expected.iter().map(|version| version.created).collect::<BTreeSet<_>>().len();
    assert!(tied + 1500 < expected.len(), "one moment fills more than a page: {tied} moments");

    for (order, limit) in [("asc", 1000), ("desc", 700)] {
        let target = format!("/activities?limit={limit}&sortBy=createdAt&sortOrder={order}");
        let (ids, pages) = client.walk(&target).await;
        assert_eq!(ids.len(), expected.len());
        assert_eq!(distinct(&ids), expected.len());
        assert_eq!(pages, expected.len().div_ceil(limit));
        let mut wanted: Vec<_> = expected.iter().map(|version| (version.created, version.id)).collect();
        wanted.sort_unstable();
        if order == "desc" {
            wanted.reverse();
        }
        assert!(wanted.iter().map(|(_, id)| id.to_string()).eq(ids));
    }
    client.stop().await;
}

#[tokio::test]
async fn cursors_are_taken_encoded_once_and_twice() {
    let client = Client::new(&Setup { activities: 500, threats: 50, ..Setup::new(NOW) }).await;
    for limit in 1..30 {
        let target = format!("/activities?limit={limit}&sortBy=createdAt&sortOrder=asc");
        let page = client.page(&target).await;
        let cursor = page["pagination"]["nextCursor"].as_str().unwrap();
        assert!(cursor.ends_with("%3D") && !cursor.contains('='), "the padding is percent-encoded already");
        let verbatim = client.page(&format!("{target}&cursor={cursor}")).await;
        let twice = client.page(&format!("{target}&cursor={}", cursor.replace('%', "%25"))).await;
        assert_eq!(ids_of(&verbatim), ids_of(&twice));
        assert_ne!(ids_of(&verbatim), ids_of(&page));
    }
    client.stop().await;
}

#[tokio::test]
async fn foreign_and_broken_cursors_are_refused() {
    let client = Client::new(&Setup { activities: 50, threats: 50, ..Setup::new(NOW) }).await;
    let page = client.page("/activities?limit=5&sortBy=createdAt&sortOrder=asc").await;
    let cursor = page["pagination"]["nextCursor"].as_str().unwrap();
    let refused = "Invalid cursor value received";
    assert_eq!(client.refusal("/threats?cursor=test").await, refused);
    assert_eq!(client.refusal(&format!("/threats?sortBy=createdAt&cursor={cursor}")).await, refused);
    assert_eq!(client.refusal(&format!("/activities?sortBy=id&cursor={cursor}")).await, refused);
    assert_eq!(client.refusal(&format!("/activities?sortBy=createdAt&sortOrder=desc&cursor={cursor}")).await, refused);
    assert!(client.refusal(&format!("/activities?sortBy=createdAt&skip=1&cursor={cursor}")).await.contains("skip"));
    let first = client.page("/activities?limit=5&sortBy=createdAt&sortOrder=asc&cursor=").await;
    assert_eq!(ids_of(&first), ids_of(&page), "an empty cursor is the first page");
    client.stop().await;
}

#[tokio::test]
async fn limits_defaults_and_counts() {
    let client = Client::new(&Setup { activities: 3_000, agents: 40, ..Setup::new(NOW) }).await;
    assert_eq!(ids_of(&client.page("/activities").await).len(), 10);
    assert_eq!(ids_of(&client.page("/activities?limit=1000").await).len(), 1000);
    assert_eq!(client.refusal("/activities?limit=1001").await, "limit: Must be less than or equal to 1000.");
    assert_eq!(client.refusal("/groups?limit=301").await, "limit: Must be less than or equal to 300.");
    assert_eq!(client.page("/groups?limit=300").await["pagination"]["totalItems"], 15);
    for bad in ["limit=0", "limit=-1", "limit=ten", "skip=1001", "sortBy=updatedAt", "sortOrder=up", "countOnly=yes"] {
        client.refusal(&format!("/activities?{bad}")).await;
    }
    assert_eq!(
        client.refusal("/activities?siteIds=1").await,
        "siteIds: 0: Must be greater than or equal to 100000000000000000."
    );
    let many: Vec<String> = (0..501).map(|n| (225_494_730_938_000_000_u64 + n).to_string()).collect();
    client.refusal(&format!("/activities?siteIds={}", many.join(","))).await;
    client.page(&format!("/activities?ids={}", many.join(","))).await;

    let total = client.console.visible_versions(Kind::Activities, &Scope::Global).len();
    let first = client.page("/activities?limit=5&sortBy=createdAt").await;
    assert_eq!(first["pagination"]["totalItems"], total);
    let cursor = first["pagination"]["nextCursor"].as_str().unwrap();
    let second = client.page(&format!("/activities?limit=5&sortBy=createdAt&cursor={cursor}")).await;
    assert_eq!(second["pagination"]["totalItems"], 0, "totals are on the first page only");
    assert_eq!(client.page("/activities?skipCount=true").await["pagination"]["totalItems"], 0);
    let counted = client.page("/activities?countOnly=True").await;
    assert_eq!((ids_of(&counted).len(), &counted["pagination"]["totalItems"]), (0, &total.into()));
    let second = format!("/activities?countOnly=true&createdAt__gte={0}&createdAt__lt={0}", "2026-01-01T00:00:00Z");
    assert_eq!(client.page(&second).await["pagination"]["totalItems"], 0);
    for (by, counted) in [(3, total as i64 + 3), (-2, total as i64 - 2), (i64::MIN, 0)] {
        client.console.set_quirks(Quirks { counts: Counts::Off(by), ..Quirks::default() });
        assert_eq!(client.page("/activities?countOnly=true").await["pagination"]["totalItems"], counted);
        assert_eq!(
            client.page("/activities?limit=5").await["pagination"]["totalItems"],
            total,
            "only counts are wrong"
        );
    }
    client.console.set_quirks(Quirks { counts: Counts::Refused, ..Quirks::default() });
    client.refusal("/activities?countOnly=true").await;
    client.console.set_quirks(Quirks { max_total: Some(1000), ..Quirks::default() });
    assert_eq!(client.page("/activities?countOnly=true").await["pagination"]["totalItems"], 1000);

    let all = ids_of(&client.page("/activities?limit=20").await);
    let skipped = client.page("/activities?limit=5&skip=7").await;
    assert_eq!(ids_of(&skipped), all[7..12]);
    let cursor = skipped["pagination"]["nextCursor"].as_str().unwrap();
    assert_eq!(ids_of(&client.page(&format!("/activities?limit=5&cursor={cursor}")).await), all[12..17]);
    client.stop().await;
}

#[tokio::test]
async fn the_end_of_a_list_is_reported_in_five_ways() {
    let client = Client::new(&Setup { threats: 25, ..Setup::new(NOW) }).await;
    let target = "/threats?limit=10&sortBy=updatedAt&sortOrder=asc";
    for last_page in [LastPage::Null, LastPage::Absent, LastPage::Empty, LastPage::NullText, LastPage::ExtraPage] {
        client.console.set_quirks(Quirks { last_page, ..Quirks::default() });
        let (ids, pages) = client.walk(target).await;
        assert_eq!((ids.len(), distinct(&ids)), (25, 25), "{last_page:?}");
        assert_eq!(pages, if last_page == LastPage::ExtraPage { 4 } else { 3 }, "{last_page:?}");
        let empty = client.page("/threats?limit=10&createdAt__gt=2030-01-01T00:00:00Z").await;
        let reported = empty["pagination"].as_object().unwrap().get("nextCursor").cloned();
        let wanted = match last_page {
            LastPage::Null | LastPage::ExtraPage => Some(serde_json::Value::Null),
            LastPage::Absent => None,
            LastPage::Empty => Some("".into()),
            LastPage::NullText => Some("null".into()),
        };
        assert_eq!(reported, wanted, "{last_page:?}");
    }
    client.stop().await;
}

/// Keyset cursors over `updatedAt`: a record that changes moves to the end, and is seen again or only there.
#[tokio::test]
async fn records_that_change_while_paged_move() {
    let client = Client::new(&Setup { agents: 30, ..Setup::new(NOW) }).await;
    let target = "/agents?limit=10&sortBy=updatedAt&sortOrder=asc";
    let first = client.page(target).await;
    let seen = ids_of(&first)[3].clone();
    let unseen = client.walk(target).await.0[15].clone();
    for id in [&seen, &unseen] {
        assert!(client.console.change_randomly(Kind::Agents, id.parse().unwrap(), NOW + SECOND));
    }
    let cursor = first["pagination"]["nextCursor"].as_str().unwrap();
    let (rest, _) = client.walk(&format!("{target}&cursor={cursor}")).await;
    assert_eq!(rest.iter().filter(|id| **id == seen).count(), 1, "the one seen already comes again");
    assert_eq!(rest.iter().filter(|id| **id == unseen).count(), 1, "the other one comes once, now at the end");
    assert_eq!(rest[rest.len() - 2..].iter().collect::<BTreeSet<_>>(), BTreeSet::from([&seen, &unseen]));
    assert_eq!(client.console.replaced_versions(Kind::Agents).len(), 2);
    client.stop().await;
}

#[tokio::test]
async fn columns_without_index_sort_and_page_too() {
    let client = Client::new(&Setup { threats: 60, agents: 60, alerts: 60, ..Setup::new(NOW) }).await;
    for (target, count) in [
        ("/threats?limit=7&sortBy=classification&sortOrder=asc", Kind::Threats),
        ("/threats?limit=7&sortBy=siteId&sortOrder=desc", Kind::Threats),
        ("/agents?limit=7&sortBy=totalMemory&isDecommissioned=True,False", Kind::Agents),
        ("/agents?limit=7&sortBy=lastActiveDate&sortOrder=desc&isDecommissioned=true,false", Kind::Agents),
        ("/cloud-detection/alerts?limit=7&sortBy=alertInfoReportedAt&sortOrder=asc", Kind::Alerts),
        ("/cloud-detection/alerts?limit=7&sortBy=ruleInfoSeverity&sortOrder=asc", Kind::Alerts),
        ("/sites?limit=2&sortBy=name&sortOrder=asc", Kind::Sites),
        ("/users?limit=5&sortBy=apiTokenExpiresAt", Kind::Users),
    ] {
        let (ids, pages) = client.walk(target).await;
        assert_eq!((ids.len(), distinct(&ids)), (client.console.count(count), client.console.count(count)), "{target}");
        assert!(pages > 2, "{target}");
    }
    client.stop().await;
}
