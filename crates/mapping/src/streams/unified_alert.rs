//! Unified alerts: `/unifiedalerts/graphql`. The endpoint is the primary asset, else the first one. Values of assets
//! have no field in the record type, so they stay in the record.

use s1_forwarder_record::Value;
use s1_forwarder_record::unified_alert::{UnifiedAlert, UnifiedProcess};

use super::other;
use crate::common::account::{Account, ProcessUser};
use crate::common::address::Address;
use crate::common::attack::Attack;
use crate::common::category::Category;
use crate::common::classification::known_categories;
use crate::common::image::{Image, NamedFile};
use crate::common::machine::{is_group, is_machine, machine_type};
use crate::common::missing::{boolean, domain, first_scalar, is_missing_word, is_set, trimmed};
use crate::common::os::architecture_of_system;
use crate::common::severity::Severity;
use crate::common::threat::{DETECTION_TYPES, DetectionType, is_new, timestamp};
use crate::common::word::Word;
use crate::common::words::Words;
use crate::parts::{
    Acting, Cloud, Container, Endpoint, Interactive, Os, Owner, Pod, Sentence, Signature, VERIFICATIONS,
};

/// The parts of a unified alert's record that the schemas write.
#[derive(Debug, Clone, Copy)]
pub struct UnifiedParts<'a> {
    pub id: Value<'a>,
    /// The id at the detecting product.
    pub external_id: Value<'a>,
    pub name: Value<'a>,
    pub description: Value<'a>,
    pub link: Value<'a>,
    /// The console's word.
    pub severity: Value<'a>,
    pub classification: Value<'a>,
    pub confidence: Value<'a>,
    pub verdict: Value<'a>,
    pub status: Value<'a>,
    pub result: Value<'a>,
    pub ticket: Value<'a>,
    pub storyline: Value<'a>,
    pub detected: Value<'a>,
    pub created: Value<'a>,
    pub updated: Value<'a>,
    pub first_seen: Value<'a>,
    pub last_seen: Value<'a>,
    pub product: Value<'a>,
    pub vendor: Value<'a>,
    pub data_sources: Value<'a>,
    pub attack_surfaces: Value<'a>,
    indicators: Value<'a>,
    observables: Value<'a>,
    reports: Value<'a>,
    /// All assets: their current state, and their state at the time of the detection.
    assets: [Value<'a>; 2],
    pub analytic: Analytic<'a>,
    pub assignee: Assignee<'a>,
    pub process: AlertedProcess<'a>,
    pub file: AlertedFile<'a>,
    pub attacker: Attacker<'a>,
    pub target: TargetUser<'a>,
    pub asset: Asset<'a>,
    pub endpoint: Endpoint<'a>,
    /// The user who was logged in.
    pub user: Interactive<'a>,
    pub container: Container<'a>,
    pub pod: Pod<'a>,
}

/// The rule or the engine.
#[derive(Debug, Clone, Copy)]
pub struct Analytic<'a> {
    pub id: Value<'a>,
    pub name: Value<'a>,
    pub category: Value<'a>,
    pub kind: Value<'a>,
}

/// The analyst.
#[derive(Debug, Clone, Copy)]
pub struct Assignee<'a> {
    pub id: Value<'a>,
    pub full_name: Value<'a>,
    pub email: Value<'a>,
}

#[derive(Debug, Clone, Copy)]
pub struct AlertedProcess<'a> {
    pub acting: Acting<'a>,
    pub command_line: Value<'a>,
    pub parent_name: Value<'a>,
    pub user: ProcessUser<'a>,
    /// The text that names the users, if it also has their domain.
    pub user_text: Value<'a>,
}

#[derive(Debug, Clone, Copy)]
pub struct AlertedFile<'a> {
    /// The path of the file; without a path, its name.
    pub image: Option<Image<'a>>,
    /// The process whose name is in the field for the file's name.
    pub process: Option<Image<'a>>,
    pub name: Value<'a>,
    pub path: Value<'a>,
    /// MD5, SHA-1, SHA-256
    pub hashes: [Value<'a>; 3],
    /// Hashes of a command line, and not of a file.
    pub hashes_of_command_line: [Value<'a>; 3],
    pub size: Value<'a>,
    /// The console's word for whether the file is signed.
    pub verification: Value<'a>,
    pub signer: Value<'a>,
}

impl<'a> AlertedFile<'a> {
    pub fn sha1(&self) -> Value<'a> {
        self.hashes[1]
    }

    /// Returns the signature of the file; `None` if the console does not say whether it has one, or if there is no
    /// file.
    pub fn signature(&self) -> Option<Signature> {
        let is_file = self.image.is_some() || self.hashes.into_iter().any(is_set);
        VERIFICATIONS.of(self.verification).filter(|_| is_file)
    }

    /// Returns whether there is only the name of a process, and no file.
    pub fn is_missing(&self) -> bool {
        self.image.is_some_and(|image| image.has_no_file(self.path, self.hashes))
    }

    /// Returns whether the file itself is malicious. The file of a process with a malicious command line is not.
    pub fn is_malicious(&self) -> bool {
        self.process.is_none() && self.image.is_none_or(|image| image.addition.is_none())
    }
}

/// The attacking host. The console may write its address as its name.
#[derive(Debug, Clone, Copy)]
pub struct Attacker<'a> {
    /// The value for the host's address, and the host's name if the name is an address.
    pub ips: [Value<'a>; 2],
    /// The name of the host, unless the name is an address.
    pub name: Value<'a>,
}

/// The user who was attacked.
#[derive(Debug, Clone, Copy)]
pub struct TargetUser<'a> {
    pub name: Value<'a>,
    pub domain: Value<'a>,
    pub email: Value<'a>,
    pub display_name: Value<'a>,
}

/// The alert's values about its primary asset that [`Endpoint`] does not have.
#[derive(Debug, Clone, Copy)]
pub struct Asset<'a> {
    /// The asset as it is now.
    current: Value<'a>,
    pub class: AssetClass,
    /// Whether the agent only detects.
    pub is_detecting: bool,
    /// The console's word for the kind of the asset: for most machines, their type.
    pub kind: Value<'a>,
}

/// The class of an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssetClass {
    Host,
    User,
    /// Something in a cloud or in a directory.
    Other,
}

/// One of the assets, as it is now.
#[derive(Debug, Clone, Copy)]
pub struct AssetEntry<'a>(Value<'a>);

impl<'a> AssetEntry<'a> {
    pub fn id(self) -> Value<'a> {
        self.0.get("id")
    }

    pub fn agent_uuid(self) -> Value<'a> {
        self.0.get("agentUuid")
    }

    pub fn name(self) -> Value<'a> {
        self.0.get("name")
    }

    pub fn kind(self) -> Value<'a> {
        first_scalar(["assetTypeClassifier", "subcategory", "type"].map(|key| self.0.get(key)))
    }

    pub fn role(self) -> Value<'a> {
        self.0.get("role")
    }

    pub fn class(self) -> AssetClass {
        AssetClass::of(self.0, Value::default())
    }
}

/// An event that led to the alert.
#[derive(Debug, Clone, Copy)]
pub struct Indicated<'a> {
    pub id: Value<'a>,
    pub title: Value<'a>,
    pub kind: Value<'a>,
    pub message: Value<'a>,
    pub time: Value<'a>,
    pub severity: Value<'a>,
}

/// The type of an observable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    Address,
    Host,
    User,
    Email,
    Hash,
    FileName,
    FilePath,
    Url,
    MacAddress,
    ProcessName,
    CommandLine,
    RegistryKey,
}

pub const OBSERVABLES: Words<Observed> = Words {
    field: "related",
    rows: &[
        ("ip", Observed::Address),
        ("ip_address", Observed::Address),
        ("hostname", Observed::Host),
        ("endpoint", Observed::Host),
        ("username", Observed::User),
        ("user", Observed::User),
        ("email_address", Observed::Email),
        ("email", Observed::Email),
        ("file_hash", Observed::Hash),
        ("fingerprint", Observed::Hash),
        ("file", Observed::FileName),
        ("file_name", Observed::FileName),
        ("file_path", Observed::FilePath),
        ("url", Observed::Url),
        ("url_string", Observed::Url),
        ("mac", Observed::MacAddress),
        ("process", Observed::ProcessName),
        ("process_name", Observed::ProcessName),
        ("command_line", Observed::CommandLine),
        ("registry_key", Observed::RegistryKey),
        ("registry_key_path", Observed::RegistryKey),
    ],
};

/// The detecting product, if another stream has the same detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// The agent's engines, whose detections are threats.
    Engine,
    /// Custom rules, whose detections are alerts.
    CustomRule,
}

pub const PRODUCTS: Words<Product> = Words {
    field: "sentinel_one",
    rows: &[
        ("edr", Product::Engine),
        ("cws", Product::Engine),
        ("cwp", Product::Engine),
        ("star", Product::CustomRule),
    ],
};

/// Classifications of events on endpoints. They count only if an endpoint was attacked.
pub const ON_ENDPOINTS: Words<()> = Words {
    field: "event.category",
    rows: &[
        ("hacktool", ()),
        ("interactive_shell", ()),
        ("remote_shell", ()),
        ("browser", ()),
        ("application_control", ()),
    ],
};

/// Categories of attacked surfaces.
pub const SURFACES: Words<Category> = Words {
    field: "event.category",
    rows: &[("identity", Category::Iam), ("email", Category::Email), ("network", Category::Network)],
};

/// Keys of an asset's addresses at the detection.
const ADDRESSES: [&str; 4] = ["ipV4", "ipV4Addresses", "ipV6", "ipV6Addresses"];
const EXTERNAL_ADDRESS: &str = "consoleIpAddress";

impl<'a> UnifiedParts<'a> {
    /// Returns the categories of the classification, else of the attacked surface.
    pub fn categories(&self) -> impl Iterator<Item = Category> {
        let is_known = known_categories(self.classification).is_some();
        let is_network = Word::is(self.classification, "network");
        let attacked =
            SURFACES.rows.iter().filter(|(surface, _)| self.is_attacked(surface)).map(|(_, category)| *category);
        let by_surface = attacked.filter(move |category| !is_known || is_network && *category == Category::Network);
        self.class_categories().iter().copied().chain(by_surface)
    }

    /// Returns whether the classification is malware. An unknown word is not malware.
    pub fn is_malware(&self) -> bool {
        self.class_categories().contains(&Category::Malware)
    }

    fn class_categories(&self) -> &'static [Category] {
        let is_possible = ON_ENDPOINTS.of(self.classification).is_none() || self.is_attacked("endpoint");
        let known = if is_possible { known_categories(self.classification) } else { None };
        known.unwrap_or(&[Category::Intrusion])
    }

    fn is_attacked(&self, surface: &str) -> bool {
        self.attack_surfaces.elements().any(|element| Word::is(element, surface))
    }

    pub fn of(alert: &UnifiedAlert<'a>) -> Self {
        let states = States::of(alert);
        let named = NamedFile::of(alert.process.file.path, alert.process.file.name);
        let endpoint = endpoint(alert, &states);
        Self {
            id: alert.id,
            external_id: alert.external_id,
            name: alert.name,
            description: alert.description,
            link: alert.self_link,
            severity: alert.severity,
            classification: alert.classification,
            confidence: alert.confidence_level,
            verdict: alert.analyst_verdict,
            status: alert.status,
            result: alert.result,
            ticket: alert.ticket_id,
            storyline: alert.storyline_id,
            detected: alert.detected_at,
            created: alert.created_at,
            updated: alert.updated_at,
            first_seen: alert.first_seen_at,
            last_seen: alert.last_seen_at,
            product: alert.detection_source.product,
            vendor: alert.detection_source.vendor,
            data_sources: alert.data_sources,
            attack_surfaces: alert.attack_surfaces,
            indicators: alert.indicators,
            observables: alert.observables,
            reports: alert.mitigation_details.get("reports"),
            assets: [alert.assets, alert.detection_time.assets],
            analytic: Analytic {
                id: alert.analytics.uid,
                name: alert.analytics.name,
                category: alert.analytics.category,
                kind: alert.analytics.type_value,
            },
            assignee: Assignee {
                id: alert.assignee.user_id,
                full_name: alert.assignee.full_name,
                email: alert.assignee.email,
            },
            process: process(alert, named, endpoint.os.family),
            file: file(&alert.process, named),
            attacker: attacker(alert),
            target: TargetUser {
                name: alert.detection_time.target_user.name,
                domain: domain(alert.detection_time.target_user.domain),
                email: alert.detection_time.target_user.email_address,
                display_name: alert.detection_time.target_user.display_name,
            },
            asset: asset(states.current, states.detected),
            endpoint,
            user: Interactive {
                names: [states.detected.get("lastLoggedInUser"), states.current.get("lastLoggedInUser")],
                ..Interactive::default()
            },
            container: container(states.kubernetes),
            pod: pod(states.kubernetes),
        }
    }

    /// Returns the console's severity. A verdict does not change it.
    pub fn known_severity(&self) -> Option<Severity> {
        Severity::of_value(self.severity)
    }

    /// Returns whether the alert was last updated within a minute of its creation, or never.
    pub fn is_new(&self) -> bool {
        let created = if timestamp(self.created).is_some() { self.created } else { self.detected };
        is_new(created, self.updated)
    }

    /// Returns the times for the event, the preferred one first: the detection while the alert is new, later its last
    /// change.
    pub fn times(&self) -> [Value<'a>; 3] {
        let [detected, updated, created] = [self.detected, self.updated, self.created].map(Value::unmarked);
        if self.is_new() { [detected, updated, created] } else { [updated, detected, created] }
    }

    pub fn assets(&self) -> impl Iterator<Item = AssetEntry<'a>> {
        self.assets[0].elements().map(AssetEntry)
    }

    /// Returns the user, if the asset is a user.
    pub fn identity(&self) -> Option<Account<'a>> {
        if self.asset.class == AssetClass::User { Account::of(self.endpoint.name()) } else { None }
    }

    /// Returns the one asset of an older console, which has it in place of the list.
    pub fn only_asset(&self) -> Option<AssetEntry<'a>> {
        self.assets[0].elements().next().is_none().then_some(AssetEntry(self.asset.current))
    }

    /// Returns the users who are logged in to the assets now.
    pub fn logged_in(&self) -> impl Iterator<Item = Value<'a>> {
        self.assets().chain(self.only_asset()).map(|asset| asset.0.get("lastLoggedInUser"))
    }

    /// Returns the addresses of all assets at the time of the detection. A value may be a list.
    pub fn detected_addresses(&self) -> impl Iterator<Item = Value<'a>> {
        let keys = ADDRESSES.into_iter().chain([EXTERNAL_ADDRESS]);
        self.assets[1].elements().flat_map(move |asset| {
            let detected = asset.get("asset");
            keys.clone().map(move |key| detected.get(key))
        })
    }

    /// Returns the type and the value of each observable of a known type.
    pub fn observables(&self) -> impl Iterator<Item = (Observed, Value<'a>)> {
        observables(self.observables)
    }

    /// Returns the type and the value of each observable of the indicators.
    pub fn observables_of_indicators(&self) -> impl Iterator<Item = (Observed, Value<'a>)> {
        self.indicators.elements().flat_map(|indicator| observables(indicator.get("observables")))
    }

    pub fn indicators(&self) -> impl Iterator<Item = Indicated<'a>> {
        self.indicators.elements().map(|indicator| {
            let get = |key| indicator.get(key);
            Indicated {
                id: get("uid"),
                title: first_scalar([get("title"), get("type")]),
                kind: get("type"),
                message: get("message"),
                time: get("eventTime"),
                severity: get("severity"),
            }
        })
    }

    /// Returns the attacks of the indicators, with ids and names.
    pub fn attacks(&self) -> impl Iterator<Item = Attack<'a>> {
        let attacks = self.indicators.elements().flat_map(|indicator| indicator.get("attacks").elements());
        attacks.map(|attack| {
            let tactic = attack.get("tactic");
            let technique = attack.get("technique");
            Attack {
                tactic: tactic.get("name").escaped(),
                tactic_id: tactic.get("uid").escaped(),
                technique: technique.get("uid").escaped(),
                technique_name: technique.get("name").escaped(),
                link: technique.get("sourceUrl").escaped(),
                version: attack.get("version").escaped(),
            }
        })
    }

    /// Returns the types of the mitigation actions, except actions without success.
    pub fn successful_actions(&self) -> impl Iterator<Item = Value<'a>> {
        let has_failed = |report: &Value<'_>| report.get("successCount").escaped().is_some_and(|count| count.is("0"));
        let reports = self.reports.elements().filter(move |report| !has_failed(report));
        reports.map(|report| report.get("mitigationActionType"))
    }

    pub fn message(&self) -> Sentence<'a, 2> {
        [("", trimmed(self.name)), (" on ", trimmed(self.endpoint.name()))]
    }

    pub fn is_sentinel_one(&self) -> bool {
        Word::is(self.vendor, "sentinelone")
    }

    /// Returns whether an engine of the agent made the detection.
    pub fn is_engine(&self) -> bool {
        PRODUCTS.of(self.product) == Some(Product::Engine)
    }

    /// Returns the id of the same detection in the stream of threats. For a detection by the agent's engines, it is the
    /// external id.
    pub fn threat_id(&self) -> Value<'a> {
        if self.is_engine() { self.console_id() } else { Value::default() }
    }

    /// Returns the id of the same detection in the stream of alerts. For a detection by a custom rule, it is the
    /// external id.
    pub fn alert_id(&self) -> Value<'a> {
        let is_custom_rule = PRODUCTS.of(self.product) == Some(Product::CustomRule);
        if is_custom_rule { self.console_id() } else { Value::default() }
    }

    fn console_id(&self) -> Value<'a> {
        let id = self.external_id;
        let is_id = id.escaped().is_some_and(|id| {
            (17..=19).contains(&id.raw().len()) && id.raw().bytes().all(|byte| byte.is_ascii_digit())
        });
        if is_id && self.is_sentinel_one() { id } else { Value::default() }
    }
}

fn observables(list: Value<'_>) -> impl Iterator<Item = (Observed, Value<'_>)> {
    list.elements().filter_map(|observable| Some((OBSERVABLES.of(observable.get("type"))?, observable.get("value"))))
}

/// The primary asset: its current state, and its state at the time of the detection.
struct States<'a> {
    current: Value<'a>,
    detected: Value<'a>,
    cloud: Value<'a>,
    kubernetes: Value<'a>,
}

impl<'a> States<'a> {
    /// Selects the primary asset. Older consoles have one asset in place of each list.
    fn of(alert: &UnifiedAlert<'a>) -> Self {
        let mut current = primary(alert.assets);
        if current.is_empty() {
            current = other(&alert.other, "asset");
        }
        let detected = primary(alert.detection_time.assets);
        if !detected.is_empty() {
            return Self {
                current,
                detected: detected.get("asset"),
                cloud: detected.get("cloud"),
                kubernetes: detected.get("kubernetes"),
            };
        }
        let others = &alert.detection_time.other;
        let asset = other(others, "asset");
        let inner = asset.get("asset");
        Self {
            current,
            detected: if inner.is_empty() { asset } else { inner },
            cloud: other(others, "cloud"),
            kubernetes: other(others, "kubernetes"),
        }
    }
}

/// Returns the asset with `primary: true`, else the first one.
fn primary(assets: Value<'_>) -> Value<'_> {
    let mut all = assets.elements();
    all.find(|asset| boolean(asset.get("primary")) == Some(true))
        .or_else(|| assets.elements().next())
        .unwrap_or_default()
}

/// Returns the words for the kind of an asset, the most specific one first. Older consoles have `type`.
fn kinds(current: Value<'_>) -> [Value<'_>; 5] {
    let [category, subcategory] = ["category", "subcategory"].map(|key| current.get(key));
    let is_vague = Word::of_value(subcategory).as_str().starts_with("other_");
    let specific = if is_vague { Value::default() } else { subcategory };
    [specific, category, subcategory, current.get("assetTypeClassifier"), current.get("type")]
}

/// Ends of the words for users: `AD User`, `Group Managed Service Account`.
const USERS: [&str; 10] = [
    "user",
    "user_account",
    "service_account",
    "admin_account",
    "domain_account",
    "local_account",
    "guest_account",
    "administrator",
    "principal",
    "managed_identity",
];

/// Vague words for an identity that is a user.
const VAGUE: [&str; 4] = ["identity", "account", "other", "other_identity"];

impl AssetClass {
    /// Classifies an asset. The type of a machine makes an asset a host, and so does an operating system or an agent.
    /// The agent of an identity belongs to the machine that reported the identity, and the system of a group is the
    /// system of its machines.
    fn of(current: Value<'_>, detected: Value<'_>) -> Self {
        let kinds = kinds(current);
        let is_group = kinds.into_iter().any(is_group);
        if is_machine(kinds[0]) || !is_group && kinds.into_iter().any(is_machine) {
            return Self::Host;
        }
        if kinds.into_iter().any(|kind| Word::of_value(kind).ends_in(&USERS)) {
            return Self::User;
        }
        if kinds.into_iter().any(|kind| Word::is(kind, "identity")) {
            // An identity of another kind is a part of the directory.
            let is_vague = |kind: Value<'_>| VAGUE.contains(&Word::of_value(kind).as_str());
            let is_user = kinds.into_iter().filter(|kind| is_set(*kind)).all(is_vague);
            return if is_user { Self::User } else { Self::Other };
        }
        let is_known = |value| is_set(value) && !Word::is(value, "unrecognized");
        let is_any_known =
            |keys: &[&str]| keys.iter().flat_map(|key| [current.get(key), detected.get(key)]).any(is_known);
        let has_agent = is_any_known(&["agentUuid", "agentVersion"]);
        let has_system = is_any_known(&["osType", "osName", "osVersion"]);
        if has_agent || has_system && !is_group { Self::Host } else { Self::Other }
    }
}

fn asset<'a>(current: Value<'a>, detected: Value<'a>) -> Asset<'a> {
    Asset {
        current,
        class: AssetClass::of(current, detected),
        is_detecting: Word::is(current.get("policy"), "detect"),
        kind: current.get("subcategory"),
    }
}

/// Returns the endpoint. The record does not have the id of the agent.
fn endpoint<'a>(alert: &UnifiedAlert<'a>, states: &States<'a>) -> Endpoint<'a> {
    let States { current, detected, cloud, .. } = *states;
    let none = Value::default();
    let uuid = current.get("agentUuid");
    let version = current.get("agentVersion");
    let is_decommissioned = boolean(current.get("decommissioned")) == Some(true);
    let has_agent = [uuid, version].into_iter().any(is_set);
    let os = os(current, detected);
    Endpoint {
        agent_uuids: [uuid, none],
        agent_versions: [version, none],
        is_managed: has_agent && !is_decommissioned,
        names: [current.get("name"), none],
        domains: [domain(detected.get("domain")), none],
        machine_type: machine_type(kinds(current)),
        os,
        architecture: architecture_of_system([os.names[0], os.versions[0], os.full]),
        addresses: ADDRESSES.map(|key| detected.get(key)),
        external: detected.get(EXTERNAL_ADDRESS),
        cloud: of_details(cloud),
        owner: owner(alert),
        ..Endpoint::default()
    }
}

/// Returns the current system, else the system at the time of the detection. The current system has its name and
/// version in one text. If the detection has the same, they come from there.
fn os<'a>(current: Value<'a>, detected: Value<'a>) -> Os<'a> {
    let none = Value::default();
    let of = |state: Value<'a>, types| Os {
        names: [state.get("osName"), none],
        versions: [state.get("osRevision"), none],
        full: state.get("osVersion"),
        types,
        family: first_scalar(types),
        ..Os::default()
    };
    let [now, then] = [current.get("osType"), detected.get("osType")];
    let has_changed_type = is_set(now) && is_set(then) && Word::of_value(now).as_str() != Word::of_value(then).as_str();
    let [is, was] = [of(current, [now, none, none]), of(detected, [then, now, none])];
    if !has_changed_type && is_same(is.full, was.names[0], was.versions[0]) {
        return Os { full: is.full, ..was };
    }
    let has_current = has_changed_type || [is.names[0], is.versions[0], is.full].into_iter().any(is_set);
    if has_current { is } else { was }
}

/// Returns whether a text is this name, followed by this version.
fn is_same(full: Value<'_>, name: Value<'_>, version: Value<'_>) -> bool {
    let [Some(full), Some(name)] = [full, name].map(|value| value.escaped()) else { return false };
    let rest = full.raw().trim().strip_prefix(name.raw().trim()).map(str::trim);
    rest == Some(version.escaped().map_or("", |version| version.raw().trim()))
}

/// Reads the cloud. `providerDetails` is a flat object with provider-specific details.
fn of_details(cloud: Value<'_>) -> Cloud<'_> {
    let details = cloud.get("providerDetails");
    Cloud {
        provider: cloud.get("cloudProvider").escaped().filter(|text| !is_missing_word(*text)),
        account: first_scalar([details.get("subscriptionId"), cloud.get("accountId")]),
        project: details.get("projectId"),
        instance: first_scalar([cloud.get("instanceId"), details.get("instanceId")]),
        machine_type: first_scalar([cloud.get("instanceSize"), details.get("instanceType")]),
        location: cloud.get("location"),
        region: details.get("region"),
        zone: details.get("zone"),
        ..Cloud::default()
    }
}

fn owner<'a>(alert: &UnifiedAlert<'a>) -> Owner<'a> {
    let current = &alert.real_time.scope;
    let detected = &alert.detection_time.scope;
    let none = Value::default();
    Owner {
        account_ids: [current.account.id, detected.account_id],
        account_names: [current.account.name, detected.account_name, none],
        site_ids: [current.site.id, detected.site_id],
        site_names: [current.site.name, detected.site_name],
        group_ids: [current.group.id, detected.group_id],
        group_names: [current.group.name, detected.group_name, none],
    }
}

fn attacker<'a>(alert: &UnifiedAlert<'a>) -> Attacker<'a> {
    let attacker = &alert.detection_time.attacker;
    let none = Value::default();
    let is_address = attacker.host.escaped().is_some_and(|host| Address::of(host).is_some());
    Attacker {
        ips: [attacker.ip, if Address::of_value(attacker.host).is_some() { attacker.host } else { none }],
        name: if is_address { none } else { domain(attacker.host) },
    }
}

fn container(kubernetes: Value<'_>) -> Container<'_> {
    Container {
        id: kubernetes.get("containerId"),
        name: kubernetes.get("containerName"),
        image: kubernetes.get("containerImageName"),
        labels: kubernetes.get("containerLabels"),
    }
}

fn pod(kubernetes: Value<'_>) -> Pod<'_> {
    Pod {
        // The object has only empty values for hosts outside Kubernetes.
        is_set: kubernetes.entries().any(|(_, value)| is_present(value)),
        cluster: kubernetes.get("clusterName"),
        namespace: kubernetes.get("namespaceName"),
        name: kubernetes.get("podName"),
        controller_kind: kubernetes.get("controllerType"),
        labels: kubernetes.get("podLabels"),
    }
}

/// Returns whether a value, or an element of a list, is not empty.
fn is_present(value: Value<'_>) -> bool {
    match value.elements().next() {
        Some(_) => value.elements().any(|element| !element.is_empty()),
        None => !value.is_empty(),
    }
}

fn process<'a>(alert: &UnifiedAlert<'a>, file: NamedFile<'a>, os_type: Value<'a>) -> AlertedProcess<'a> {
    let process = &alert.process;
    let mut user = ProcessUser::of(process.username);
    if let Some(account) = &mut user.effective {
        account.domain = account.domain.or(process.user_domain.escaped());
    }
    let detection = alert.analytics.type_value;
    // A rule detects events of processes.
    let has_run = DETECTION_TYPES.of(detection) == Some(DetectionType::Dynamic) || Word::is(detection, "rule");
    AlertedProcess {
        acting: Acting::of_command_line(process.cmd_line, file, Image::of(process.parent_name), os_type, has_run),
        command_line: process.cmd_line,
        parent_name: process.parent_name,
        user,
        user_text: if process.user_domain.is_empty() { process.username } else { Value::default() },
    }
}

fn file<'a>(process: &UnifiedProcess<'a>, named: NamedFile<'a>) -> AlertedFile<'a> {
    let file = &process.file;
    let [hashes, hashes_of_command_line] = named.hashes([file.md5, file.sha1, file.sha256]);
    // The size and the signature belong to the same object as the hashes.
    let is_of_file = !hashes_of_command_line.into_iter().any(is_set);
    let of_file = |value: Value<'a>| if is_of_file { value } else { Value::default() };
    AlertedFile {
        image: named.image,
        process: named.process,
        name: file.name,
        path: named.path,
        hashes,
        hashes_of_command_line,
        size: of_file(file.size),
        verification: of_file(other(&file.other, "signatureVerification")),
        signer: of_file(file.cert_subject),
    }
}
