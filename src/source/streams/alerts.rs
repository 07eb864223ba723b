use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pulled::{DAY, MINUTE, Pulled};
use crate::record::Stream;
use crate::settings::{Period, SettingKind};
use crate::source::protocols::List;
use crate::source::stream_settings::{stream_settings, text};
use crate::source::{Keys, Pass, Pull, Reading, SilentAfter, Since};

stream_settings! {
    /// `streams.alerts`.
    Alerts ["Time between polls for new alerts.", _, alert, own]
    /// How long after its creation an alert is looked at again, every 10 minutes, for another status or verdict;
    /// `0s` turns this off.
    lookback: Option<Period>,
}

impl Alerts {
    pub(in crate::source) fn pull(&self) -> Pull {
        let usual = self.common();
        Pull { lookback: self.lookback.map_or(usual.lookback, |period| period.0), ..usual }
    }
}

pub(super) const PULLED: Pulled = Pulled {
    interval: MINUTE,
    since: Since::Ago(Period(DAY)),
    overlap: Duration::from_secs(300),
    protocol: &List,
    windows_by_creation: false,
    volatile: &[],
    passes,
};

/// Names the second pass in checkpoints.
const LOOKBACK: &str = "lookback";
/// Time between two polls of the alerts within `lookback`.
const LOOKBACK_EVERY: Duration = Duration::from_secs(600);

fn passes(pull: &Pull, main: Pass) -> Vec<Pass> {
    let main = Pass { keys: Keys::Latest, ..main };
    let every = LOOKBACK_EVERY;
    let reach = pull.lookback;
    let reading = Reading::Lookback;
    let lookback = Pass { name: LOOKBACK.into(), every, reach, reading, ..main.clone() };
    if reach.is_zero() { vec![main] } else { vec![main, lookback] }
}
