//! How unified alerts are pulled: by update, and a second time by detection.

use std::time::Duration;

use s1_forwarder_record::Stream;
use s1_forwarder_settings::{Period, SettingKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pull_description::{DAY, MINUTE, PullDescription};
use super::{StreamOptions, UnifiedAlertFilter};
use crate::console::ListOrder;
use crate::source::protocols::UnifiedAlertList;
use crate::source::settings::stream_settings::{stream_settings, text};
use crate::source::{Pass, PassKind, PullSettings, SilentAfter, Since, TimeField};

stream_settings! {
    /// `streams.unified_alerts`.
    UnifiedAlerts [_, _, alert, own]
    /// Products that detect, as the console spells them (EDR, CWS, STAR, Identity, …). An empty list pulls all.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    products: Vec<String>,
    /// The console's view to pull.
    view: UnifiedAlertView,
}

/// A view of the console's list of unified alerts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnifiedAlertView {
    /// Everything that the token may see.
    #[default]
    All,
    /// Endpoints.
    Endpoint,
    /// Identities.
    Identity,
    /// Cloud workloads and posture.
    Cloud,
    /// Custom rules (STAR).
    CustomAlerts,
    /// Other makers' products.
    ThirdParty,
    /// Data loss prevention; newer consoles.
    Dlp,
}

impl UnifiedAlertView {
    /// Returns the console's word for the view; `None` for everything.
    const fn word(self) -> Option<&'static str> {
        match self {
            Self::All => None,
            Self::Endpoint => Some("ENDPOINT"),
            Self::Identity => Some("IDENTITY"),
            Self::Cloud => Some("CLOUD"),
            Self::CustomAlerts => Some("CUSTOM_ALERTS"),
            Self::ThirdParty => Some("THIRD_PARTY"),
            Self::Dlp => Some("DLP"),
        }
    }
}

impl UnifiedAlerts {
    pub(in crate::source) fn pull(&self) -> PullSettings {
        let own = UnifiedAlertFilter { products: self.products.clone(), view: self.view.word(), new_only: false };
        PullSettings { own: StreamOptions::UnifiedAlerts(own), ..self.common() }
    }
}

impl PullSettings {
    pub fn unified_alerts(&self) -> Option<&UnifiedAlertFilter> {
        if let StreamOptions::UnifiedAlerts(alerts) = &self.own { Some(alerts) } else { None }
    }

    /// Returns [`UnifiedAlertFilter::new_only`]; false for other streams.
    pub(in crate::source) fn takes_new_alerts_only(&self) -> bool {
        self.unified_alerts().is_some_and(|alerts| alerts.new_only)
    }
}

pub(in crate::source) const DESCRIPTION: PullDescription = PullDescription {
    interval: MINUTE,
    since: Since::Ago(Period(DAY)),
    overlap: Duration::from_mins(5),
    protocol: &UnifiedAlertList,
    // Alerts that never changed have no time of a change.
    windows_by_creation: true,
    own: || StreamOptions::UnifiedAlerts(UnifiedAlertFilter::default()),
    passes,
};

/// Names the second pass in checkpoints.
const NET: &str = "net";
/// Time between two polls of unified alerts by their detection.
const NET_EVERY: Duration = Duration::from_mins(15);

fn passes(pull: &PullSettings, main: Pass) -> Vec<Pass> {
    let ListOrder { sort_by, time_filter } = pull.endpoint().by_creation();
    // This pass reads alerts that were never updated, or became visible too late for the first pass.
    let by = TimeField::Creation;
    let every = pull.interval.max(NET_EVERY);
    let late_window = pull.overlap.max(DAY);
    let kind = PassKind::ByCreation;
    let net = Pass { name: NET.into(), sort_by, time_filter, by, every, late_window, kind, ..main.clone() };
    vec![main, net]
}
