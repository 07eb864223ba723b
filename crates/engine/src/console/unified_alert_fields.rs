//! The query for unified alerts: its selection shrinks to the fields that the console's release has. The program sends
//! queries only, since mutations would change the console.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::info;

/// The fields of unified alerts that all consoles have. `@NAME` marks the positions of newer fields.
const CORE: &str = "query UnifiedAlerts($first: Int, $after: String, $filters: [FilterInput!], $sort: SortInput, $scope: ScopeSelectorInput, $viewType: ViewType) { \
alerts(first: $first, after: $after, filters: $filters, sort: $sort, scope: $scope, viewType: $viewType) { \
totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor } edges { cursor node { \
id externalId name description severity status analystVerdict classification confidenceLevel result \
detectedAt createdAt updatedAt firstSeenAt lastSeenAt storylineId ticketId noteExists dataSources attackSurfaces \
detectionSource { product vendor } analytics { category name typeValue uid } assignee { userId fullName email } @node\
assets { id name agentUuid agentVersion category subcategory assetTypeClassifier osType osVersion connectivityToConsole \
decommissioned lastLoggedInUser pendingReboot policy role status origin accessible @asset} \
process { cmdLine parentName file { name path md5 sha1 sha256 certSubject } } \
realTime { scope { account { id name } site { id name } group { id name } } } \
detectionTime { scope { accountId accountName siteName groupName @scope} attacker { host ip } \
targetUser { name domain emailAddress @user} \
assets { accessible origin @detected scope { accountId accountName siteName groupName } \
asset { agentVersion consoleIpAddress domain ipV4 ipV6 lastLoggedInUser osName osRevision osType policy subscriptionTime @state} \
cloud { accountId cloudProvider image instanceId instanceSize location network tags providerDetails { __typename \
... on DetectionAws { accountId imageId instanceId instanceType region role securityGroups subnetIds tags vpcId } \
... on DetectionAzure { imageId instanceId instanceType region resourceGroup subscriptionId tags } \
... on DetectionGcp { imageId instanceId instanceType projectId serviceAccount tags vpcId zone } } } \
kubernetes { clusterName nodeName nodeLabels namespaceName namespaceLabels controllerName controllerType controllerLabels \
podName podLabels containerId containerName containerImageName containerLabels } } } } } } }";

/// A field that only newer consoles have: its marker in [`CORE`], its path, and its selection.
type Newer = (&'static str, &'static str, &'static str);

const NEWER: [Newer; 20] = [
    ("@node", "node/labels", ""),
    ("@node", "node/primaryIndicatorType", ""),
    ("@node", "node/incident", "id name"),
    ("@node", "node/attackPathExists", ""),
    ("@node", "node/exclusionHashes", "sha1 sha256"),
    ("@node", "node/aiInvestigation", "status verdict timestamp purpleAiStatus autoTriggered"),
    (
        "@node",
        "node/sloDetails",
        "timeToResponseData { actionComplete actionDue completion completionTime status target targetTime } \
         timeToResolveData { actionComplete actionDue completion completionTime status target targetTime }",
    ),
    ("@node", "node/mitigationDetails", "reports { mitigationActionType successCount }"),
    ("@asset", "node/assets/primary", ""),
    ("@asset", "node/assets/deleted", ""),
    ("@asset", "node/assets/paths", ""),
    ("@asset", "node/assets/agentOperatingMode", ""),
    ("@asset", "node/assets/tags", "key value keyValue type"),
    ("@scope", "detectionTime/scope/siteId", ""),
    ("@scope", "detectionTime/scope/groupId", ""),
    ("@user", "targetUser/displayName", ""),
    ("@detected", "detectionTime/assets/primary", ""),
    ("@detected", "detectionTime/assets/deleted", ""),
    ("@state", "asset/ipV4Addresses", ""),
    ("@state", "asset/ipV6Addresses", ""),
];

/// Identifies the alerts and the next page. It selects no field of unbounded length.
pub(super) const BRIEF: &str = "query UnifiedAlerts($first: Int, $after: String, $filters: [FilterInput!], $sort: SortInput, $scope: ScopeSelectorInput, $viewType: ViewType) { \
alerts(first: $first, after: $after, filters: $filters, sort: $sort, scope: $scope, viewType: $viewType) { \
totalCount pageInfo { hasNextPage endCursor } edges { node { id detectedAt updatedAt status analystVerdict } } } }";

/// Time after which a field that was left out is asked for again. The console may have been updated, or may have failed
/// when it said that it does not know the field.
const LEFT_OUT_FOR: Duration = Duration::from_hours(6);

/// The newer fields that a console does not have, as indices of [`NEWER`], and when it said so.
#[derive(Debug, Default)]
pub(super) struct UnknownFields(Mutex<BTreeMap<usize, Instant>>);

impl UnknownFields {
    /// Returns the query without unknown fields, and the newer fields in it.
    pub fn query(&self) -> (String, Vec<usize>) {
        let mut unknown = self.0.lock();
        unknown.retain(|_, since| since.elapsed() < LEFT_OUT_FOR);
        let selected: Vec<usize> = (0..NEWER.len()).filter(|index| !unknown.contains_key(index)).collect();
        let mut query = CORE.to_owned();
        for part in ["@node", "@asset", "@scope", "@user", "@detected", "@state"] {
            let mut fields = String::new();
            for (_, path, inner) in selected.iter().map(|index| NEWER[*index]).filter(|(of, ..)| *of == part) {
                fields.push_str(name(path));
                fields.push(' ');
                if !inner.is_empty() {
                    fields.push_str(&format!("{{ {inner} }} "));
                }
            }
            query = query.replace(part, &fields);
        }
        (query, selected)
    }

    /// Removes the fields that `errors` name from later queries. Removes all newer fields if `errors` name none.
    /// Returns false if there is nothing to remove.
    pub fn learn(&self, errors: &[String], selected: &[usize]) -> bool {
        if !errors.iter().any(|error| is_validation(error)) {
            return false;
        }
        let mut named: Vec<usize> = Vec::new();
        for error in errors {
            named.extend(selected.iter().filter(|index| is_named(error, NEWER[**index])));
        }
        if named.is_empty() {
            named.extend(selected);
        }
        let mut unknown = self.0.lock();
        let now = Instant::now();
        named.retain(|index| !unknown.contains_key(index));
        unknown.extend(named.iter().map(|index| (*index, now)));
        if !named.is_empty() {
            let fields: Vec<&str> = named.iter().map(|index| NEWER[*index].1).collect();
            let hours = LEFT_OUT_FOR.as_secs() / 3600;
            info!(?fields, hours, "the console does not know these fields of unified alerts: they are left out");
        }
        !named.is_empty()
    }
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Returns whether the error reports that the query does not match the schema. Servers use different texts. Single
/// words such as "unknown" and "undefined" prove nothing: errors in an outage have them too.
pub(super) fn is_validation(error: &str) -> bool {
    let error = error.to_lowercase();
    let phrases = [
        "validation error",
        "cannot query field",
        "unknown field",
        "unknown argument",
        "unknown type",
        "undefined field",
        "exist on type",
        "exist on the type",
        "subselection",
        "must have a selection",
    ];
    phrases.iter().any(|phrase| error.contains(phrase)) || error.contains("field") && error.contains(" is undefined")
}

/// Returns whether the error concerns this field, judged by the path in the error or else by the names that it quotes.
fn is_named(error: &str, (_, path, inner): Newer) -> bool {
    if let Some((_, rest)) = error.split_once("@[")
        && let Some((reported_path, _)) = rest.split_once(']')
    {
        return reported_path.match_indices(path).any(|(at, _)| {
            let rest = &reported_path[at + path.len()..];
            (rest.is_empty() || rest.starts_with('/')) && (at == 0 || reported_path[..at].ends_with('/'))
        });
    }
    let is_quote = |c: char| matches!(c, '\'' | '"' | '`');
    let quoted: Vec<&str> = error.split(is_quote).skip(1).step_by(2).collect();
    let words: Vec<&str> = if quoted.is_empty() {
        error.split(|c: char| !c.is_ascii_alphanumeric()).collect()
    } else {
        quoted.iter().map(|text| text.rsplit(['.', '/']).next().unwrap_or(text)).collect()
    };
    let (name, is_unique) = (name(path), |word: &&str| word.len() > 8 && inner.split(' ').any(|part| part == *word));
    words.contains(&name) || words.iter().any(is_unique)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removed_fields(errors: &[&str]) -> Vec<&'static str> {
        let unknown = UnknownFields::default();
        let (_, selected) = unknown.query();
        let errors: Vec<String> = errors.iter().map(|error| (*error).to_owned()).collect();
        unknown.learn(&errors, &selected);
        let (_, left) = unknown.query();
        (0..NEWER.len()).filter(|index| !left.contains(index)).map(|index| NEWER[index].1).collect()
    }

    #[test]
    fn the_query_is_well_formed_with_and_without_newer_fields() {
        let unknown = UnknownFields::default();
        let (whole, selected) = unknown.query();
        assert_eq!(selected.len(), NEWER.len());
        assert!(
            whole.contains("tags { key value keyValue type } }") && whole.contains("accessible origin primary deleted")
        );
        assert!(
            unknown.learn(&["Unknown type 'X'".to_owned()], &selected),
            "the error names no field, so all are removed"
        );
        let (core, none) = unknown.query();
        assert!(none.is_empty() && !unknown.learn(&["Validation error".to_owned()], &none));
        for query in [whole, core, BRIEF.to_owned()] {
            assert!(!query.contains('@'), "{query}");
            assert_eq!(query.matches('{').count(), query.matches('}').count());
            assert!(!query.contains("mutation"));
        }
    }

    #[test]
    fn unknown_fields_are_found_in_the_errors_of_several_servers() {
        let path = "Validation error (FieldUndefined@[alerts/edges/node/detectionTime/assets/primary]) : Field 'primary' in type 'DetectionAsset' is undefined";
        assert_eq!(removed_fields(&[path]), ["detectionTime/assets/primary"]);
        let nested = "Validation error (FieldUndefined@[alerts/edges/node/aiInvestigation/purpleAiStatus]) : Field 'purpleAiStatus' in type 'X' is undefined";
        assert_eq!(
            removed_fields(&[nested, "Cannot query field \"labels\" on type \"UnifiedAlert\"."]),
            ["node/labels", "node/aiInvestigation"]
        );
        assert_eq!(removed_fields(&["Field UnifiedAlert.incident is undefined"]), ["node/incident"]);
        assert_eq!(
            removed_fields(&["Cannot query field 'autoTriggered' on type 'AiInvestigation'"]),
            ["node/aiInvestigation"]
        );
        assert_eq!(removed_fields(&["Cannot query field 'primary' on type 'Asset'"]).len(), 2);
    }

    #[test]
    fn outages_that_speak_of_something_unknown_remove_no_field() {
        for outage in [
            "Internal Server Error(s) while executing query",
            "UNKNOWN: upstream connect error",
            "Unknown error",
            "Cannot read properties of undefined (reading 'tags')",
            "labels is undefined",
        ] {
            assert!(removed_fields(&[outage]).is_empty(), "{outage}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_field_that_was_left_out_is_asked_for_again_after_hours() {
        let unknown = UnknownFields::default();
        let (whole, selected) = unknown.query();
        assert!(unknown.learn(&["Unknown type 'X'".to_owned()], &selected));
        tokio::time::advance(LEFT_OUT_FOR - Duration::from_secs(1)).await;
        assert_ne!(unknown.query().0, whole);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(unknown.query().0, whole);
    }
}
