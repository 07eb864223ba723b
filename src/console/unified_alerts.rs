//! Unified alerts: one GraphQL query, whose selection shrinks to what the console's release knows. Nothing but queries is
//! ever sent: mutations would change the console.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde_json::{Value, json};

use super::client::Ask;
use super::{Client, ConsoleError, Turn};
use crate::record::{Timestamp, parse_connection};
use crate::telemetry::Meter;

/// The fields of unified alerts that consoles have had from the beginning; `@NAME` is where newer ones of a part go.
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

/// A field that only newer consoles have: the part of the query that it goes to, its path, and what is selected of it.
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

/// Which alerts these are and where the next page begins, and nothing that can be long.
const BRIEF: &str = "query UnifiedAlerts($first: Int, $after: String, $filters: [FilterInput!], $sort: SortInput, $scope: ScopeSelectorInput, $viewType: ViewType) { \
alerts(first: $first, after: $after, filters: $filters, sort: $sort, scope: $scope, viewType: $viewType) { \
totalCount pageInfo { hasNextPage endCursor } edges { node { id detectedAt updatedAt status analystVerdict } } } }";

/// A page of unified alerts.
#[derive(Debug, Clone, Default)]
pub struct AlertsQuery<'a> {
    /// No more of each alert than its id, its times and what tells its versions apart.
    pub brief: bool,
    /// Largest number of alerts.
    pub first: usize,
    /// Where the page begins.
    pub after: Option<&'a str>,
    /// The time that alerts are ordered and asked by.
    pub by: &'a str,
    /// Lower end, included.
    pub from: Option<Timestamp>,
    /// Upper end, included.
    pub to: Option<Timestamp>,
    /// Products that detect; all when empty.
    pub products: &'a [String],
    /// The console's view, where not all.
    pub view: Option<&'static str>,
    /// The newest first.
    pub newest_first: bool,
}

/// Which of the newer fields a console is known not to have.
#[derive(Debug, Default)]
pub(super) struct Unknown(Mutex<BTreeSet<usize>>);

impl Unknown {
    /// The query for what the console knows as far as is known, and the newer fields in it.
    fn query(&self) -> (String, Vec<usize>) {
        let unknown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let selected: Vec<usize> = (0..NEWER.len()).filter(|index| !unknown.contains(index)).collect();
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

    /// Takes out of later queries what `errors` say is unknown; all newer fields when they do not say which. False when
    /// there is nothing to take out.
    fn learn(&self, errors: &[String], selected: &[usize]) -> bool {
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
        let mut unknown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = unknown.len();
        unknown.extend(named);
        unknown.len() > before
    }
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Servers word it differently, but all say that the query does not fit the schema.
fn is_validation(error: &str) -> bool {
    let error = error.to_lowercase();
    let words =
        ["validation error", "undefined", "cannot query field", "unknown", "subselection", "must have a selection"];
    words.iter().any(|word| error.contains(word))
}

/// Whether an error is about this field: by the path that it tells, else by the names that it quotes.
fn is_named(error: &str, (_, path, inner): Newer) -> bool {
    if let Some((_, rest)) = error.split_once("@[")
        && let Some((told, _)) = rest.split_once(']')
    {
        return told.match_indices(path).any(|(at, _)| {
            let behind = &told[at + path.len()..];
            (behind.is_empty() || behind.starts_with('/')) && (at == 0 || told[..at].ends_with('/'))
        });
    }
    let is_quote = |c: char| matches!(c, '\'' | '"' | '`');
    let quoted: Vec<&str> = error.split(is_quote).skip(1).step_by(2).collect();
    let words: Vec<&str> = match quoted.is_empty() {
        true => error.split(|c: char| !c.is_ascii_alphanumeric()).collect(),
        false => quoted.iter().map(|text| text.rsplit(['.', '/']).next().unwrap_or(text)).collect(),
    };
    let (name, only_here) = (name(path), |word: &&str| word.len() > 8 && inner.split(' ').any(|part| part == *word));
    words.contains(&name) || words.iter().any(only_here)
}

impl Client {
    /// One page of unified alerts, with as many fields as the console has: what it does not know is left out from then on.
    /// The answer holds data; errors beside it are the caller's to judge.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn unified_alerts(
        &self,
        mut turn: Turn,
        query: &AlertsQuery<'_>,
        max_bytes: usize,
        meter: Option<&Meter>,
    ) -> Result<Bytes, ConsoleError> {
        let url = self.address("unifiedalerts/graphql", std::iter::empty());
        loop {
            let (text, selected) =
                if query.brief { (BRIEF.to_owned(), Vec::new()) } else { self.unknown_fields.query() };
            let body = json!({ "query": text, "variables": self.variables(query) }).to_string().into_bytes();
            let with_cursor = query.after.is_some();
            let ask = Ask { body: Some(body), max_bytes, with_cursor, ..self.ask(&url) };
            let answer = self.request(turn, ask, meter).await?;
            let connection =
                parse_connection(&answer, "alerts").map_err(|error| ConsoleError::transient(error.to_string()))?;
            if connection.errors.is_empty() || !connection.page.null_data {
                return Ok(answer);
            }
            if !self.unknown_fields.learn(&connection.errors, &selected) {
                return Err(self.refused_query(&connection.errors, with_cursor));
            }
            turn = self.turn().await;
        }
    }

    fn variables(&self, query: &AlertsQuery<'_>) -> Value {
        let mut filters = Vec::new();
        if query.from.is_some() || query.to.is_some() {
            // Compared in milliseconds, as they are shown.
            let (start, end) = (query.from.map(Timestamp::millis), query.to.map(Timestamp::millis));
            filters.push(json!({ "fieldId": query.by, "dateTimeRange":
                { "start": start, "startInclusive": true, "end": end, "endInclusive": true } }));
        }
        if !query.products.is_empty() {
            filters.push(json!({ "fieldId": "detectionProduct", "stringIn": { "values": query.products } }));
        }
        // One type of scope can be asked for: the narrowest that the pipeline names.
        let scope = self.scope.last().map(|(name, ids)| {
            let level = match *name {
                "accountIds" => "ACCOUNT",
                "siteIds" => "SITE",
                _ => "GROUP",
            };
            json!({ "scopeType": level, "scopeIds": ids.split(',').collect::<Vec<_>>() })
        });
        json!({
            "first": query.first.max(1), "after": query.after, "filters": filters, "scope": scope, "viewType": query.view.unwrap_or("ALL"),
            "sort": { "by": query.by, "order": if query.newest_first { "DESC" } else { "ASC" } },
        })
    }

    /// What follows from the errors of a query that brought nothing.
    fn refused_query(&self, errors: &[String], with_cursor: bool) -> ConsoleError {
        let reason = self.scrubbed(&errors.join("; "));
        let lower = reason.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        let reason = format!("the console refused the query: {reason}");
        if with_cursor && says(&["cursor"]) {
            ConsoleError::BadCursor(reason)
        } else if says(&["permission", "not authorized", "unauthorized", "forbidden", "access denied"]) {
            ConsoleError::Forbidden(reason)
        } else if is_validation(&lower) || says(&["does not exist or not supported"]) {
            ConsoleError::BadRequest(reason)
        } else {
            ConsoleError::transient(reason)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out(errors: &[&str]) -> Vec<&'static str> {
        let unknown = Unknown::default();
        let (_, selected) = unknown.query();
        let errors: Vec<String> = errors.iter().map(|error| (*error).to_owned()).collect();
        unknown.learn(&errors, &selected);
        let (_, left) = unknown.query();
        (0..NEWER.len()).filter(|index| !left.contains(index)).map(|index| NEWER[index].1).collect()
    }

    #[test]
    fn the_query_is_whole_with_and_without_newer_fields() {
        let unknown = Unknown::default();
        let (whole, selected) = unknown.query();
        assert_eq!(selected.len(), NEWER.len());
        assert!(
            whole.contains("tags { key value keyValue type } }") && whole.contains("accessible origin primary deleted")
        );
        assert!(unknown.learn(&["Unknown type 'X'".to_owned()], &selected), "it does not say which: all");
        let (core, none) = unknown.query();
        assert!(none.is_empty() && !unknown.learn(&["Validation error".to_owned()], &none));
        for query in [whole, core, BRIEF.to_owned()] {
            assert!(!query.contains('@'), "{query}");
            assert_eq!(query.matches('{').count(), query.matches('}').count());
            assert!(!query.contains("mutation"));
        }
    }

    #[test]
    fn what_is_unknown_is_found_in_the_words_of_several_servers() {
        let path = "Validation error (FieldUndefined@[alerts/edges/node/detectionTime/assets/primary]) : Field 'primary' in type 'DetectionAsset' is undefined";
        assert_eq!(left_out(&[path]), ["detectionTime/assets/primary"]);
        let nested = "Validation error (FieldUndefined@[alerts/edges/node/aiInvestigation/purpleAiStatus]) : Field 'purpleAiStatus' in type 'X' is undefined";
        assert_eq!(
            left_out(&[nested, "Cannot query field \"labels\" on type \"UnifiedAlert\"."]),
            ["node/labels", "node/aiInvestigation"]
        );
        assert_eq!(left_out(&["Field UnifiedAlert.incident is undefined"]), ["node/incident"]);
        assert_eq!(
            left_out(&["Cannot query field 'autoTriggered' on type 'AiInvestigation'"]),
            ["node/aiInvestigation"]
        );
        assert_eq!(left_out(&["Cannot query field 'primary' on type 'Asset'"]).len(), 2);
        assert!(left_out(&["Internal Server Error(s) while executing query"]).is_empty());
    }
}
