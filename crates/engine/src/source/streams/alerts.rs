//! How alerts are pulled: by creation, and a second time for changes.

use std::time::Duration;

use s1_forwarder_record::Stream;
use s1_forwarder_settings::{Period, SettingKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Own;
use super::pulled::{DAY, MINUTE, Pulled};
use crate::source::protocols::List;
use crate::source::stream_settings::{stream_settings, text};
use crate::source::{Pass, PassKeys, Pull, Reading, SilentAfter, Since};

stream_settings! {
    /// `streams.alerts`.
    Alerts ["Time between polls for new alerts.", _, alert, own]
    /// How long after its creation an alert is looked at again, every 10 minutes, for another status or verdict;
    /// `0s` turns this off.
    lookback: Option<Period>,
}

impl Alerts {
    pub(in crate::source) fn pull(&self) -> Pull {
        Pull { own: Own::Alerts(self.lookback.map_or(LOOKED_BACK, |period| period.0)), ..self.common() }
    }
}

impl Pull {
    /// How long after their creation alerts are read again.
    pub fn lookback(&self) -> Option<Duration> {
        if let Own::Alerts(lookback) = self.own { Some(lookback) } else { None }
    }
}

const LOOKED_BACK: Duration = Duration::from_secs(7 * 86_400);

pub(in crate::source) const PULLED: Pulled = Pulled {
    interval: MINUTE,
    since: Since::Ago(Period(DAY)),
    overlap: Duration::from_secs(300),
    protocol: &List,
    windows_by_creation: false,
    own: || Own::Alerts(LOOKED_BACK),
    passes,
};

/// Names the second pass in checkpoints.
const LOOKBACK: &str = "lookback";
/// Time between two polls of the alerts within `lookback`.
const LOOKBACK_EVERY: Duration = Duration::from_secs(600);

fn passes(pull: &Pull, main: Pass) -> Vec<Pass> {
    let main = Pass { keys: PassKeys::Latest, ..main };
    let every = LOOKBACK_EVERY;
    let reach = pull.lookback().unwrap_or_default();
    let reading = Reading::Lookback;
    let lookback = Pass { name: LOOKBACK.into(), every, reach, reading, ..main.clone() };
    if reach.is_zero() { vec![main] } else { vec![main, lookback] }
}
