//! What is decided about a unified alert in all schemas. The host is the primary asset, else the first one.

use std::borrow::Cow;

use s1_forwarder_record::Value;
use s1_forwarder_record::unified_alert::UnifiedAlert;

use super::account::ProcessUser;
use super::classification::Word;
use super::placeholder::boolean;
use super::severity::Severity;
pub use super::threat::time;

/// The asset that is the host: its current state, and its state at detection time.
#[derive(Clone, Copy, Default)]
pub struct Host<'a> {
    pub current: Value<'a>,
    /// What the state at detection time is a part of.
    detected: [Value<'a>; 2],
    state: Value<'a>,
}

impl<'a> Host<'a> {
    /// Older consoles have one asset in the place of each list.
    pub fn of(alert: &UnifiedAlert<'a>) -> Self {
        let [current, detected] = [alert.assets, alert.detection_time.assets].map(primary);
        let current = if current.is_empty() { other(&alert.other, "asset") } else { current };
        if !detected.is_empty() {
            let parts = ["cloud", "kubernetes"].map(|key| detected.get(key));
            return Self { current, detected: parts, state: detected.get("asset") };
        }
        let other = |key| other(&alert.detection_time.other, key);
        let asset = other("asset");
        let inner = asset.get("asset");
        Self {
            current,
            detected: ["cloud", "kubernetes"].map(other),
            state: if inner.is_empty() { asset } else { inner },
        }
    }

    /// A value of the asset at detection time.
    pub fn at_detection(self, key: &str) -> Value<'a> {
        self.state.get(key)
    }

    pub fn cloud(self) -> Value<'a> {
        self.detected[0]
    }

    pub fn kubernetes(self) -> Value<'a> {
        self.detected[1]
    }

    pub fn is_machine(self) -> bool {
        let category = Word::of_value(self.current.get("category"));
        matches!(category.as_str(), "server" | "workstation") || self.current.get("agentUuid").escaped().is_some()
    }
}

fn other<'a>(others: &[(Cow<'a, str>, Value<'a>)], key: &str) -> Value<'a> {
    others.iter().find(|(known, _)| known == key).map(|(_, value)| *value).unwrap_or_default()
}

/// The asset with `primary: true`, else the first one.
fn primary(assets: Value<'_>) -> Value<'_> {
    let is_primary = |asset: &Value<'_>| boolean(asset.get("primary")) == Some(true);
    assets.elements().find(is_primary).or_else(|| assets.elements().next()).unwrap_or_default()
}

/// `externalId` if it is the id of a threat. It is the id at the product that detected: for the agent's engines that of
/// the threat, for custom rules that of the alert.
pub fn threat_id<'a>(alert: &UnifiedAlert<'a>) -> Value<'a> {
    if is_engine(alert) { console_id(alert) } else { Value::default() }
}

/// `externalId` if it is the id of an alert of a custom rule.
pub fn alert_id<'a>(alert: &UnifiedAlert<'a>) -> Value<'a> {
    if Word::is(alert.detection_source.product, "star") { console_id(alert) } else { Value::default() }
}

fn console_id<'a>(alert: &UnifiedAlert<'a>) -> Value<'a> {
    let id = alert.external_id;
    let is_id = id
        .escaped()
        .is_some_and(|id| (17..=19).contains(&id.raw().len()) && id.raw().bytes().all(|byte| byte.is_ascii_digit()));
    if is_id && is_sentinel_one(alert) { id } else { Value::default() }
}

pub fn is_sentinel_one(alert: &UnifiedAlert<'_>) -> bool {
    Word::is(alert.detection_source.vendor, "sentinelone")
}

pub fn is_engine(alert: &UnifiedAlert<'_>) -> bool {
    matches!(Word::of_value(alert.detection_source.product).as_str(), "edr" | "cws" | "cwp")
}

/// Whether the alert was created and updated within a minute.
pub fn is_new(alert: &UnifiedAlert<'_>) -> bool {
    match (time(alert.updated_at), time(alert.created_at).or_else(|| time(alert.detected_at))) {
        // `since` is zero if `updated` is earlier.
        (Some(updated), Some(created)) => updated.since(created).as_secs_f64() < 60.0,
        (updated, _) => updated.is_none(),
    }
}

/// The severity that the console gave. A verdict does not change it.
pub fn severity(alert: &UnifiedAlert<'_>) -> Severity {
    alert.severity.escaped().and_then(Severity::of_word).unwrap_or(Severity::Informational)
}

/// The domain of the process's user may be in a value of its own.
pub fn process_user<'a>(alert: &UnifiedAlert<'a>) -> ProcessUser<'a> {
    let mut user = ProcessUser::of(alert.process.username);
    if let Some(account) = &mut user.effective {
        account.domain = account.domain.or(alert.process.user_domain.escaped());
    }
    user
}
