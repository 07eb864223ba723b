//! How alerts are pulled: by creation, and a second time for changes.

use std::time::Duration;

use s1_forwarder_record::Stream;
use s1_forwarder_settings::{Period, SettingKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::StreamOptions;
use super::pull_description::{DAY, MINUTE, PullDescription};
use crate::source::protocols::List;
use crate::source::settings::stream_settings::{stream_settings, text};
use crate::source::{Pass, PassKeys, PassKind, PullSettings, SilentAfter, Since};

stream_settings! {
    /// `streams.alerts`.
    Alerts ["Time between polls for new alerts.", _, alert, own]
    /// How long after its creation an alert is looked at again, every 10 minutes, for another status or verdict;
    /// `0s` turns this off.
    lookback: Option<Period>,
}

impl Alerts {
    pub(in crate::source) fn pull(&self) -> PullSettings {
        PullSettings {
            own: StreamOptions::Alerts(self.lookback.map_or(LOOKED_BACK, |period| period.0)),
            ..self.common()
        }
    }
}

impl PullSettings {
    /// Returns how long after their creation alerts are read again; `None` for other streams.
    pub fn lookback(&self) -> Option<Duration> {
        if let StreamOptions::Alerts(lookback) = self.own { Some(lookback) } else { None }
    }
}

const LOOKED_BACK: Duration = Duration::from_hours(168);

pub(in crate::source) const DESCRIPTION: PullDescription = PullDescription {
    interval: MINUTE,
    since: Since::Ago(Period(DAY)),
    overlap: Duration::from_mins(5),
    protocol: &List,
    windows_by_creation: false,
    own: || StreamOptions::Alerts(LOOKED_BACK),
    passes,
};

/// Names the second pass in checkpoints.
const LOOKBACK: &str = "lookback";
/// Time between two polls of the alerts within `lookback`.
const LOOKBACK_EVERY: Duration = Duration::from_mins(10);

fn passes(pull: &PullSettings, main: Pass) -> Vec<Pass> {
    let main = Pass { keys: PassKeys::Latest, ..main };
    let every = LOOKBACK_EVERY;
    let late_window = pull.lookback().unwrap_or_default();
    let kind = PassKind::Lookback;
    let lookback = Pass { name: LOOKBACK.into(), every, late_window, kind, ..main.clone() };
    if late_window.is_zero() { vec![main] } else { vec![main, lookback] }
}
