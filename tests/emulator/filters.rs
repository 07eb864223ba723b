//! Section 4 of the contract.

use s1_forwarder::console::Endpoint;
use s1_forwarder::emulator::{Kind, Quirks, RecordVersion, Scope, Setup, UnknownParameters, print_time};
use s1_forwarder::record::{Frame, Stream};
use s1_forwarder::source::is_by_scope;

use super::client::{Client, NOW, SECOND, ids_of};
use crate::support::batches::kind_of;

fn ids(versions: &[RecordVersion], keep: impl Fn(&RecordVersion) -> bool) -> Vec<String> {
    versions.iter().filter(|version| keep(version)).map(|version| version.id.to_string()).collect()
}

#[tokio::test]
async fn time_filters_are_exact_at_their_ends() {
    let client = Client::new(&Setup { activities: 400, threats: 100, agents: 50, ..Setup::new(NOW) }).await;
    for (kind, field) in [(Kind::Activities, "createdAt"), (Kind::Threats, "updatedAt"), (Kind::Agents, "updatedAt")] {
        let expected = client.console.visible_versions(kind, &Scope::Global);
        let time = |version: &RecordVersion| if field == "createdAt" { version.created } else { version.updated };
        let bound = time(&expected[expected.len() / 2]);
        let text = print_time(bound);
        for (operator, keep) in [
            ("gt", Box::new(|moment| moment > bound) as Box<dyn Fn(i64) -> bool>),
            ("gte", Box::new(|moment| moment >= bound)),
            ("lt", Box::new(|moment| moment < bound)),
            ("lte", Box::new(|moment| moment <= bound)),
        ] {
            for sort in ["id", "createdAt"] {
                let target = format!("{}?limit=1000&sortBy={sort}&{field}__{operator}={text}", kind.path());
                let page = client.page(&target).await;
                let mut got = ids_of(&page);
                let mut wanted = ids(&expected, |version| keep(time(version)));
                assert_eq!(page["pagination"]["totalItems"], wanted.len(), "{target}");
                got.sort_unstable();
                wanted.sort_unstable();
                assert_eq!(got, wanted, "{target}");
            }
        }
    }
    let expected = client.console.visible_versions(Kind::Activities, &Scope::Global);
    let from = (NOW - 43_200 * SECOND) / 1000;
    let to = NOW / 1000;
    let page = client.page(&format!("/activities?limit=1000&createdAt__between={from}-{to}")).await;
    assert_eq!(
        ids_of(&page).len(),
        ids(&expected, |version| (from * 1000..=to * 1000).contains(&version.created)).len()
    );
    let page = client.page(&format!("/activities?limit=1000&createdAt__gte={from}")).await;
    assert_eq!(ids_of(&page).len(), ids(&expected, |version| version.created >= from * 1000).len());
    client.refusal("/activities?createdAt__gte=yesterday").await;
    client.stop().await;
}

#[tokio::test]
async fn comparisons_at_ten_milliseconds_repeat_the_boundary_and_stop_short() {
    let client = Client::new(&Setup { activities: 100, ..Setup::new(NOW) }).await;
    client.console.set_quirks(Quirks { times_rounded_to_10_ms: true, ..Quirks::default() });
    let expected = client.console.visible_versions(Kind::Activities, &Scope::Global);
    let one = expected.iter().find(|version| version.created % 10_000 > 100).unwrap();
    let text = print_time(one.created);
    let after = client.page(&format!("/activities?limit=1000&createdAt__gt={text}")).await;
    assert!(ids_of(&after).contains(&one.id.to_string()), "__gt returns the boundary record again");
    let until = client.page(&format!("/activities?limit=1000&createdAt__lte={text}")).await;
    assert!(!ids_of(&until).contains(&one.id.to_string()), "__lte stops before it");
    client.stop().await;
}

#[tokio::test]
async fn each_endpoint_has_its_own_filters_and_sorts() {
    let client = Client::new(&Setup { activities: 300, threats: 40, agents: 60, alerts: 60, ..Setup::new(NOW) }).await;
    let far = "2030-01-01T00:00:00Z";
    // What an endpoint does not know is ignored; with the switch it is refused.
    let unknown = [
        format!("/activities?updatedAt__gte={far}"),
        "/threats?updatedAt__between=1-2".to_owned(),
        format!("/cloud-detection/alerts?updatedAt__gte={far}"),
        format!("/groups?createdAt__gte={far}"),
        format!("/sites?updatedAt__gte={far}"),
    ];
    for target in &unknown {
        assert!(!ids_of(&client.page(target).await).is_empty(), "{target}");
    }
    client.console.set_quirks(Quirks { unknown_parameters: UnknownParameters::Refused, ..Quirks::default() });
    for target in &unknown {
        assert!(client.refusal(target).await.ends_with("Unknown field"), "{target}");
    }
    assert_eq!(client.refusal("/threats?foo=1&bar=2").await, "dict_values(['foo', 'bar']): Unknown field");
    for target in [
        "/cloud-detection/alerts?sortBy=createdAt",
        "/activities?sortBy=updatedAt",
        "/threats?sortBy=computerName",
        "/groups?sortBy=totalAgents",
    ] {
        assert!(client.refusal(target).await.ends_with("is not a valid choice."), "{target}");
    }
    for target in [
        "/cloud-detection/alerts?sortBy=alertInfoCreatedAt&reportedAt__gt=2020-01-01T00:00:00Z",
        "/groups?sortBy=updatedAt&updatedAt__gte=2020-01-01T00:00:00Z",
        "/agents?lastActiveDate__gte=2020-01-01T00:00:00Z&registeredAt__lt=2030-01-01T00:00:00Z",
    ] {
        assert!(!ids_of(&client.page(target).await).is_empty(), "{target}");
    }

    let logins = client.page("/activities?limit=1000&activityTypes=27,33").await;
    assert!(
        logins["data"].as_array().unwrap().iter().all(|one| one["activityType"] == 27 || one["activityType"] == 33)
    );
    let open = client.page("/threats?limit=1000&incidentStatuses=unresolved").await;
    let other = client.page("/threats?limit=1000&incidentStatusesNin=unresolved").await;
    assert_eq!(ids_of(&open).len() + ids_of(&other).len(), 40);
    let engine = client.page("/threats?limit=1000&detectionEngines=executables,pre_execution").await;
    let others = client.page("/threats?limit=1000&detectionEnginesNin=executables,pre_execution").await;
    assert!(!ids_of(&engine).is_empty() && ids_of(&engine).len() + ids_of(&others).len() == 40);
    let threats: Vec<String> = ids_of(&open).into_iter().chain(ids_of(&other)).collect();
    let about = client.page(&format!("/activities?limit=1000&threatIds={}", threats.join(","))).await;
    assert!(!ids_of(&about).is_empty(), "activities are about threats that there are");
    let upper = client.page("/cloud-detection/alerts?limit=1000&incidentStatus=UNRESOLVED").await;
    assert_eq!(ids_of(&upper).len(), 60, "statuses compare without case");
    let named = client.page("/agents?computerName__like=ws-&isDecommissioned=True,False").await;
    assert!(
        named["data"].as_array().unwrap().iter().all(|one| one["computerName"].as_str().unwrap().starts_with("WS-"))
    );
    client.stop().await;
}

#[tokio::test]
async fn hidden_activities_and_decommissioned_agents_are_shown_when_asked_for() {
    let client = Client::new(&Setup { activities: 3_000, agents: 200, ..Setup::new(NOW) }).await;
    let count = async |target: &str| {
        let page = client.page(target).await;
        page["pagination"]["totalItems"].as_u64().unwrap()
    };
    let shown = count("/activities?countOnly=true").await;
    let all = count("/activities?countOnly=true&includeHidden=true").await;
    assert_eq!(all, 3_000);
    assert!(shown < all);
    assert_eq!(client.walk("/activities?limit=1000&includeHidden=True").await.0.len(), 3_000);
    assert_eq!(client.walk("/activities?limit=1000").await.0.len() as u64, shown);

    let active = count("/agents?countOnly=true").await;
    let gone = count("/agents?countOnly=true&isDecommissioned=True").await;
    assert!(gone > 0 && active > 0);
    assert_eq!(active + gone, 200);
    assert_eq!(count("/agents?countOnly=true&isDecommissioned=True,False").await, 200);
    assert_eq!(client.page("/agents/count").await["data"]["total"], active);
    client.stop().await;
}

/// Two descriptions of one list, which share no code: the program's and the emulator's.
#[tokio::test]
async fn each_list_answers_what_the_program_asks() {
    let history = Setup { activities: 50, threats: 50, agents: 50, alerts: 50, ..Setup::new(NOW) };
    let client = Client::new(&history).await;
    let is_list = |stream: &Stream| stream.description().frame == Frame::List && !is_by_scope(*stream);
    for stream in Stream::ALL.into_iter().filter(is_list) {
        let Endpoint { path, order, created, max_limit, .. } = Endpoint::of(stream);
        let shown = client.console.ids(kind_of(stream)).len();
        for by in std::iter::once(order).chain(created) {
            let (sort, filter, since) = (by.sort_by, by.time_filter, print_time(0));
            let target = |limit| format!("/{path}?limit={limit}&sortBy={sort}&{filter}__gte={since}");
            let found = ids_of(&client.page(&target(*max_limit)).await).len();
            assert!(found > 0 && found <= shown, "{stream}: {found} of {shown}");
            client.refusal(&target(max_limit + 1)).await;
        }
    }
}
