//! The schema of unified alerts, and the errors of queries that do not match it.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::graphql::{Operation, Selection};

/// One line per type with its fields. `field=Type` marks a field with subfields, `+` a field that consoles have since
/// 2025.
const TYPES: &str = "\
Query: alerts=AlertConnection alertNotes=Notes alertTimeline=TimelineConnection
AlertConnection: totalCount pageInfo=PageInfo edges=AlertEdge
AlertEdge: cursor node=UnifiedAlert
PageInfo: hasNextPage hasPreviousPage startCursor endCursor
UnifiedAlert: id externalId name description severity status analystVerdict classification confidenceLevel result detectedAt createdAt updatedAt firstSeenAt lastSeenAt storylineId ticketId noteExists dataSources attackSurfaces detectionSource=DetectionSource analytics=Analytics assignee=User assets=Asset asset=Asset process=Process realTime=RealTime detectionTime=DetectionTime labels+ primaryIndicatorType+ incident=Incident+ attackPathExists+ exclusionHashes=Hashes+ aiInvestigation=AiInvestigation+ sloDetails=SloDetails+ mitigationDetails=MitigationDetails+
DetectionSource: product vendor
Analytics: category name typeValue uid
User: userId fullName email
Asset: id name agentUuid agentVersion category subcategory assetTypeClassifier osType osVersion connectivityToConsole decommissioned lastLoggedInUser pendingReboot policy role status origin accessible primary+ deleted+ paths+ agentOperatingMode+ tags=Tag+
Tag: key value keyValue type
Process: cmdLine parentName file=ProcessFile
ProcessFile: name path md5 sha1 sha256 certSubject
RealTime: scope=Scope
Scope: account=Account site=Site group=Group
Account: id name
Site: id name
Group: id name
DetectionTime: scope=DetectionScope attacker=Attacker targetUser=TargetUser assets=DetectionAsset asset=AssetAtDetection
DetectionScope: accountId accountName siteName groupName siteId+ groupId+
Attacker: host ip
TargetUser: name domain emailAddress displayName+
DetectionAsset: accessible origin scope=DetectionScope asset=AssetAtDetection cloud=Cloud kubernetes=Kubernetes primary+ deleted+
AssetAtDetection: agentVersion consoleIpAddress domain ipV4 ipV6 lastLoggedInUser osName osRevision osType policy subscriptionTime ipV4Addresses+ ipV6Addresses+
Cloud: accountId cloudProvider image instanceId instanceSize location network tags providerDetails=ProviderDetails
ProviderDetails: __typename
DetectionAws: accountId imageId instanceId instanceType region role securityGroups subnetIds tags vpcId
DetectionAzure: imageId instanceId instanceType region resourceGroup subscriptionId tags
DetectionGcp: imageId instanceId instanceType projectId serviceAccount tags vpcId zone
Kubernetes: clusterName nodeName nodeLabels namespaceName namespaceLabels controllerName controllerType controllerLabels podName podLabels containerId containerName containerImageName containerLabels
Incident: id name
Hashes: sha1 sha256
AiInvestigation: status verdict timestamp purpleAiStatus autoTriggered
SloDetails: timeToResponseData=SloData timeToResolveData=SloData
SloData: actionComplete actionDue completion completionTime status target targetTime
MitigationDetails: reports=MitigationReport
MitigationReport: mitigationActionType successCount initiatedBy
Notes: data=Note
Note: id alertId text type createdAt updatedAt createdBy=NoteAuthor
NoteAuthor: __typename
UserNoteAuthor: userId email fullName
RuleNoteAuthor: id name version
TimelineConnection: pageInfo=PageInfo edges=TimelineEdge
TimelineEdge: cursor node=TimelineItem
TimelineItem: createdAt eventType eventText
";

const INPUT_TYPES: [&str; 12] = [
    "Int",
    "Long",
    "Float",
    "String",
    "Boolean",
    "ID",
    "FilterInput",
    "SortInput",
    "SortOrderType",
    "ScopeSelectorInput",
    "OrFilterSelectionInput",
    "ViewType",
];

const ARGUMENTS: [(&str, &[&str]); 3] = [
    ("alerts", &["first", "after", "last", "before", "filters", "orFilter", "sort", "sorts", "scope", "viewType"]),
    ("alertNotes", &["alertId"]),
    ("alertTimeline", &["alertId", "first", "after"]),
];

#[derive(Debug, Clone, Copy)]
struct Field {
    /// The type, if the field has subfields.
    of: Option<&'static str>,
    /// Whether only newer consoles have the field.
    newer: bool,
}

type Fields = HashMap<&'static str, Field>;

static SCHEMA: LazyLock<HashMap<&'static str, Fields>> = LazyLock::new(|| {
    let field = |text: &'static str| {
        let (text, newer) = text.strip_suffix('+').map_or((text, false), |text| (text, true));
        let (name, of) = text.split_once('=').map_or((text, None), |(name, of)| (name, Some(of)));
        (name, Field { of, newer })
    };
    let lines = TYPES.lines().filter_map(|line| line.split_once(": "));
    lines.map(|(name, fields)| (name, fields.split(' ').map(field).collect())).collect()
});

/// The fields of one release.
#[derive(Debug, Clone, Copy)]
pub(super) struct Release<'r> {
    /// Whether the release has no newer fields.
    pub older: bool,
    /// Other missing fields, as `Type.field`.
    pub missing: &'r [String],
}

impl Release<'_> {
    fn field(&self, of: &str, name: &str) -> Option<Field> {
        if name == "__typename" {
            return Some(Field { of: None, newer: false });
        }
        let field = *SCHEMA.get(of)?.get(name)?;
        let is_missing = |missing: &String| missing.split_once('.') == Some((of, name));
        let exists = !(field.newer && self.older || self.missing.iter().any(is_missing));
        exists.then_some(field)
    }

    /// Returns the validation errors of an operation.
    pub fn errors(&self, operation: &Operation) -> Vec<Value> {
        let mut errors = Vec::new();
        for name in operation.types.iter().filter(|name| !INPUT_TYPES.contains(&name.as_str())) {
            errors.push(error(&format!("Validation error (UnknownType) : Unknown type '{name}'")));
        }
        for selection in &operation.selections {
            if let Selection::Field { name, arguments, .. } = selection
                && let Some((_, known)) = ARGUMENTS.iter().find(|(field, _)| field == name)
            {
                for argument in arguments.keys().filter(|argument| !known.contains(&argument.as_str())) {
                    let text =
                        format!("Validation error (UnknownArgument@[{name}]) : Unknown field argument '{argument}'");
                    errors.push(error(&text));
                }
            }
        }
        self.check("Query", &operation.selections, "", &mut errors);
        errors
    }

    fn check(&self, of: &str, selections: &[Selection], path: &str, errors: &mut Vec<Value>) {
        for selection in selections {
            let (name, inner) = match selection {
                Selection::Field { name, selections, .. } => (name, selections),
                Selection::Fragment { on, selections } => {
                    if SCHEMA.contains_key(on.as_str()) {
                        self.check(on, selections, path, errors)
                    } else {
                        errors.push(error(&format!("Validation error (UnknownType@[{path}]) : Unknown type '{on}'")))
                    }
                    continue;
                }
            };
            let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            match self.field(of, name) {
                None => errors.push(error(&format!(
                    "Validation error (FieldUndefined@[{path}]) : Field '{name}' in type '{of}' is undefined"
                ))),
                Some(Field { of: Some(of), .. }) if inner.is_empty() => errors.push(error(&format!(
                    "Validation error (SubselectionRequired@[{path}]) : Subselection required for type '{of}' of field '{name}'"
                ))),
                Some(Field { of: Some(of), .. }) => self.check(of, inner, &path, errors),
                Some(Field { of: None, .. }) if !inner.is_empty() => errors.push(error(&format!(
                    "Validation error (SubselectionNotAllowed@[{path}]) : Subselection not allowed on leaf of field '{name}'"
                ))),
                Some(_) => {}
            }
        }
    }
}

/// Returns one entry of `errors`.
pub(super) fn error(message: &str) -> Value {
    json!({ "message": message, "locations": [{ "line": 1, "column": 1 }], "extensions": { "classification": "ValidationError" } })
}

/// Returns the selected fields of a value; missing fields are null.
pub(super) fn project(value: &Value, selections: &[Selection]) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| project(item, selections)).collect(),
        Value::Object(entries) if !selections.is_empty() => {
            let mut projected = serde_json::Map::new();
            add(&mut projected, entries, selections);
            Value::Object(projected)
        }
        other => other.clone(),
    }
}

fn add(
    projected: &mut serde_json::Map<String, Value>,
    entries: &serde_json::Map<String, Value>,
    selections: &[Selection],
) {
    for selection in selections {
        match selection {
            Selection::Field { alias, name, selections, .. } => {
                let value = entries.get(name).map_or(Value::Null, |value| project(value, selections));
                projected.insert(alias.as_ref().unwrap_or(name).clone(), value);
            }
            Selection::Fragment { on, selections } if entries.get("__typename").is_some_and(|name| name == on) => {
                add(projected, entries, selections);
            }
            Selection::Fragment { .. } => {}
        }
    }
}
