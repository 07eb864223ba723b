//! Rebuilds the settings of a lane from the filter that its ledger has stored.

use std::str::FromStr;
use std::sync::Arc;

use s1_forwarder_engine::source::StreamOptions;

use crate::lanes::spec::LaneSpec;

const HIDDEN: &str = "includeHidden";

/// The lane as it was when its ledger had this filter. None if the filter is not of that kind.
pub fn lane_that_asked(spec: &LaneSpec, asked: &str) -> Option<LaneSpec> {
    let mut console = (*spec.console).clone();
    let mut pull = (*spec.pull).clone();
    for ids in [&mut console.accounts, &mut console.sites, &mut console.groups] {
        *ids = Box::default();
    }
    pull.filters.retain(|(name, _)| *name != HIDDEN);
    let mut activities = pull.activities().cloned();
    if let Some(activities) = &mut activities {
        activities.types.clear();
    }
    for filter in asked.split('&').filter(|filter| !filter.is_empty()) {
        match filter.split_once('=')? {
            ("accountIds", ids) => console.accounts = list(ids)?.into(),
            ("siteIds", ids) => console.sites = list(ids)?.into(),
            ("groupIds", ids) => console.groups = list(ids)?.into(),
            ("activityTypes", types) => activities.as_mut()?.types = list(types)?,
            (HIDDEN, "true") => pull.filters.push((HIDDEN, "true".to_owned())),
            _ => return None,
        }
    }
    if let Some(activities) = activities {
        pull.own = StreamOptions::Activities(activities);
    }
    Some(LaneSpec { console: Arc::new(console), pull: Arc::new(pull), ..spec.clone() })
}

fn list<T: FromStr>(text: &str) -> Option<Vec<T>> {
    text.split(',').map(|item| item.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{FileOptions, load};
    use s1_forwarder_engine::console::{Client, Limiters};

    fn spec(console: &str, stream: &str) -> Arc<LaneSpec> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("acme.yaml");
        let text = format!(
            "console: {{ url: 'https://acme.example', token: none, {console} }}\nstreams: {{ activities: {{ {stream} }} }}\n\
             sinks: [{{ type: http, url: 'https://siem.example' }}]\n"
        );
        std::fs::write(&file, text).unwrap();
        let loaded = load(&[file], &FileOptions::default());
        let [pipeline] = &loaded.pipelines[..] else { panic!("{:?}", loaded.problems) };
        LaneSpec::of(pipeline).remove(0)
    }

    #[test]
    fn the_settings_are_read_from_each_filter_that_a_lane_of_activities_has() {
        let ids = "['225494730938493804', '225494730938493805']";
        let now = spec(&format!("groups: {ids}"), "types: [27], exclude_types: [5]");
        for (console, stream) in [
            (String::new(), ""),
            (format!("accounts: {ids}"), "include_hidden: true"),
            (format!("accounts: {ids}, sites: ['225494730938493806']"), "types: [27, 3600]"),
            (format!("sites: {ids}"), ""),
        ] {
            let then = spec(&console, stream);
            let asked = |spec: &LaneSpec| {
                let limiters = Limiters::default();
                let client = Client::connect(&spec.console, &limiters, s1_forwarder_record::Clock::System).unwrap();
                spec.pull.asked(&client)
            };
            let found = lane_that_asked(&now, &asked(&then)).unwrap();
            assert_eq!(asked(&found), asked(&then));
            assert_eq!(found.pull.excluded_types(), [5], "they do not narrow what the console counts");
        }
        for unknown in ["viewType=x", "siteIds=x", "x", "includeHidden=false"] {
            assert_eq!(lane_that_asked(&now, unknown), None, "{unknown}");
        }
    }
}
