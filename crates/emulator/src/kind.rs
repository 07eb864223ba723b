//! The kinds of records: their paths, sort keys and filters.

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `/activities`
    Activities,
    /// `/threats`
    Threats,
    /// `/agents`
    Agents,
    /// `/cloud-detection/alerts`
    Alerts,
    /// `/groups`
    Groups,
    /// `/sites`
    Sites,
    /// `/accounts`
    Accounts,
    /// `/users`
    Users,
    /// `/unifiedalerts/graphql`
    UnifiedAlerts,
    /// `/application-management/risks`
    Vulnerabilities,
}

/// An id of a record that filters with lists of ids compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdColumn {
    Record,
    Account,
    Site,
    Group,
    Agent,
    Threat,
}

/// The value that a list is sorted by or that a time filter compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Column {
    Id,
    Created,
    Updated,
    /// A time at this path.
    Time(String),
    /// Another value at this path, compared as text.
    Text(String),
}

/// The effect of a filter parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    /// A list of ids.
    Ids(IdColumn),
    /// A list of activity types.
    Types,
    /// The value at this path is one of a list of texts, ignoring case.
    AnyOf(&'static str),
    /// The value at this path is none of a list of texts, ignoring case.
    NoneOf(&'static str),
    /// The text at this path contains the value.
    Like(&'static str),
    /// The value at this path is a given boolean.
    Is(&'static str),
    /// A list of booleans for `isDecommissioned`.
    Decommissioned,
    /// Also returns hidden activities.
    IncludeHidden,
    /// Also returns removed findings.
    IncludeRemovals,
    /// Requests the whole tenant, which needs global scope.
    Tenant,
    /// Accepted, but not implemented.
    Ignored,
}

impl Kind {
    pub const ALL: [Self; 10] = [
        Self::Activities,
        Self::Threats,
        Self::Agents,
        Self::Alerts,
        Self::Groups,
        Self::Sites,
        Self::Accounts,
        Self::Users,
        Self::UnifiedAlerts,
        Self::Vulnerabilities,
    ];

    /// The path below `/web/api/v2.1`.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Activities => "/activities",
            Self::Threats => "/threats",
            Self::Agents => "/agents",
            Self::Alerts => "/cloud-detection/alerts",
            Self::Groups => "/groups",
            Self::Sites => "/sites",
            Self::Accounts => "/accounts",
            Self::Users => "/users",
            Self::UnifiedAlerts => "/unifiedalerts/graphql",
            Self::Vulnerabilities => "/application-management/risks",
        }
    }

    /// The largest `limit`.
    pub const fn max_limit(self) -> usize {
        match self {
            Self::Groups => 300,
            _ => 1000,
        }
    }

    /// The table's name in cursors.
    pub(super) const fn table(self) -> &'static str {
        match self {
            Self::Activities => "Activity",
            Self::Threats => "ThreatView",
            Self::Agents => "AgentView",
            Self::Alerts => "CloudAlertView",
            Self::Groups => "Group",
            Self::Sites => "SiteView",
            Self::Accounts => "AccountView",
            Self::Users => "UserView",
            Self::UnifiedAlerts => "UnifiedAlert",
            Self::Vulnerabilities => "ApplicationRisk",
        }
    }

    /// The resolution of this kind's timestamps in microseconds.
    pub(super) const fn time_resolution(self) -> i64 {
        match self {
            Self::UnifiedAlerts => 1_000,
            _ => 1,
        }
    }

    /// The column of a value of `sortBy`; `None` if the console does not accept it.
    pub(super) fn sort_column(self, name: &str) -> Option<Column> {
        let text = |path: &str| Some(Column::Text(path.to_owned()));
        match (self, name) {
            (_, "id") | (Self::Alerts, "alertInfoAlertId") => Some(Column::Id),
            (Self::Alerts, "alertInfoCreatedAt") => Some(Column::Created),
            (Self::Alerts, "alertInfoReportedAt") => Some(Column::Time("alertInfo.reportedAt".into())),
            (Self::Vulnerabilities, "detectionDate") => Some(Column::Created),
            (Self::Vulnerabilities, "publishedDate" | "lastScanDate") => Some(Column::Time(name.to_owned())),
            (Self::Vulnerabilities, _) => RISK_SORTS.contains(&name).then(|| Column::Text(name.to_owned())),
            (Self::Alerts, "createdAt" | "updatedAt") | (Self::Activities | Self::Users, "updatedAt") => None,
            (_, "createdAt") => Some(Column::Created),
            (_, "updatedAt") => Some(Column::Updated),
            (Self::Activities, "activityType") => text("activityType"),
            (Self::Activities, _) => None,
            (Self::Agents, _) if AGENT_TIMES.contains(&name) => Some(Column::Time(name.to_owned())),
            (Self::Threats, _) => find(THREAT_SORTS, name).and_then(text),
            (Self::Alerts, _) => find(ALERT_SORTS, name).map_or_else(|| alert_sort(name), text),
            (Self::Agents, _) => AGENT_SORTS.contains(&name).then(|| Column::Text(name.to_owned())),
            (Self::Groups, "name" | "type" | "rank" | "siteId" | "description") => text(name),
            (
                Self::Sites,
                "name" | "totalLicenses" | "siteType" | "state" | "suite" | "activeLicenses" | "accountName" | "sku"
                | "description",
            ) => text(name),
            (
                Self::Accounts,
                "name" | "totalLicenses" | "accountType" | "state" | "activeLicenses" | "activeAgents"
                | "numberOfSites" | "usageType" | "billingMode",
            ) => text(name),
            (Self::Sites | Self::Accounts, "expiration") => Some(Column::Time(name.to_owned())),
            (Self::Users, "firstLogin" | "lastLogin" | "dateJoined") => Some(Column::Time(name.to_owned())),
            (Self::Users, "apiTokenCreatedAt") => Some(Column::Time("apiToken.createdAt".into())),
            (Self::Users, "apiTokenExpiresAt") => Some(Column::Time("apiToken.expiresAt".into())),
            (Self::Users, "fullName" | "source" | "email" | "emailVerified" | "twoFaEnabled" | "twoFaStatus") => {
                text(name)
            }
            _ => None,
        }
    }

    /// The column of a time filter; `createdAt__gte` has the name `createdAt` and the operator `gte`.
    pub(super) fn time_column(self, name: &str, operator: &str) -> Option<Column> {
        let between = match self {
            Self::Activities | Self::Agents | Self::Users | Self::Vulnerabilities => true,
            Self::UnifiedAlerts | Self::Threats | Self::Alerts | Self::Groups | Self::Sites | Self::Accounts => false,
        };
        let is_accepted = match operator {
            "gt" | "gte" | "lt" | "lte" => true,
            "between" => between,
            _ => false,
        };
        if !is_accepted {
            return None;
        }
        match (self, name) {
            (Self::Activities | Self::Threats | Self::Agents | Self::Alerts | Self::Users, "createdAt") => {
                Some(Column::Created)
            }
            (Self::Threats | Self::Agents | Self::Groups, "updatedAt") => Some(Column::Updated),
            (Self::Vulnerabilities, "riskUpdatedDate") => Some(Column::Updated),
            (Self::Vulnerabilities, "detectionDate") => Some(Column::Created),
            (Self::Vulnerabilities, "publishedDate") => Some(Column::Time(name.to_owned())),
            (Self::Alerts, "reportedAt") => Some(Column::Time("alertInfo.reportedAt".into())),
            (Self::Agents, _) if AGENT_TIMES.contains(&name) => Some(Column::Time(name.to_owned())),
            (Self::Users, "lastActivation") => Some(Column::Time(name.to_owned())),
            (Self::Users, "apiTokenExpiresAt") => Some(Column::Time("apiToken.expiresAt".into())),
            _ => None,
        }
    }

    /// The effect of a filter parameter; `None` if the endpoint does not have it.
    pub(super) fn filter(self, name: &str) -> Option<Filter> {
        let own = match self {
            Self::Activities => ACTIVITY_FILTERS,
            Self::Threats => THREAT_FILTERS,
            Self::Agents => AGENT_FILTERS,
            Self::Alerts => ALERT_FILTERS,
            Self::Groups => GROUP_FILTERS,
            Self::Sites => SITE_FILTERS,
            Self::Accounts => ACCOUNT_FILTERS,
            Self::Users => USER_FILTERS,
            Self::UnifiedAlerts => &[],
            Self::Vulnerabilities => RISK_FILTERS,
        };
        own.iter().chain(SCOPE_FILTERS).find(|(known, _)| *known == name).map(|(_, filter)| *filter)
    }
}

fn find(table: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    table.iter().find(|(known, _)| *known == name).map(|(_, path)| *path)
}

/// Sort keys of alerts join block and key: `ruleInfoSeverity` is `ruleInfo.severity`.
fn alert_sort(name: &str) -> Option<Column> {
    let block = [
        "sourceParentProcessInfo",
        "sourceProcessInfo",
        "agentDetectionInfo",
        "kubernetesInfo",
        "containerInfo",
        "alertInfo",
        "ruleInfo",
    ]
    .into_iter()
    .find(|block| name.starts_with(block))?;
    let key = name.strip_prefix(block)?;
    let first = key.chars().next()?;
    Some(Column::Text(format!("{block}.{}{}", first.to_ascii_lowercase(), key.get(1..)?)))
}

const AGENT_TIMES: &[&str] =
    &["registeredAt", "lastActiveDate", "decommissionedAt", "lastSuccessfulScanDate", "fullDiskScanLastUpdatedAt"];

const AGENT_SORTS: &[&str] = &[
    "computerName",
    "groupId",
    "osType",
    "osName",
    "uuid",
    "scanStatus",
    "isDecommissioned",
    "isUninstalled",
    "isActive",
    "isPendingUninstall",
    "activeThreats",
    "isUpToDate",
    "agentVersion",
    "osArch",
    "machineType",
    "networkStatus",
    "domain",
    "mitigationMode",
    "mitigationModeSuspicious",
    "encryptedApplications",
    "totalMemory",
    "cpuCount",
    "coreCount",
    "externalIp",
    "lastLoggedInUserName",
    "groupName",
    "siteId",
    "siteName",
    "infected",
    "threatRebootRequired",
    "consoleMigrationStatus",
    "appsVulnerabilityStatus",
    "accountName",
    "externalId",
    "installerType",
    "rangerVersion",
    "operationalState",
    "remoteProfilingState",
    "networkQuarantineEnabled",
    "firewallEnabled",
    "locationEnabled",
    "serialNumber",
    "cpuId",
];

const THREAT_SORTS: &[(&str, &str)] = &[
    ("mitigationStatus", "threatInfo.mitigationStatus"),
    ("fileDisplayName", "threatInfo.threatName"),
    ("agentVersion", "agentDetectionInfo.agentVersion"),
    ("agentMachineType", "agentRealtimeInfo.agentMachineType"),
    ("siteId", "agentDetectionInfo.siteId"),
    ("siteName", "agentDetectionInfo.siteName"),
    ("agentComputerName", "agentRealtimeInfo.agentComputerName"),
    ("filePath", "threatInfo.filePath"),
    ("contentHash", "threatInfo.sha1"),
    ("collectionId", "threatInfo.collectionId"),
    ("classification", "threatInfo.classification"),
];

const ALERT_SORTS: &[(&str, &str)] = &[
    ("machineType", "agentDetectionInfo.machineType"),
    ("osName", "agentDetectionInfo.osName"),
    ("incidentStatus", "alertInfo.incidentStatus"),
    ("analystVerdict", "alertInfo.analystVerdict"),
    ("severity", "ruleInfo.severity"),
];

const SCOPE_FILTERS: &[(&str, Filter)] = &[
    ("accountIds", Filter::Ids(IdColumn::Account)),
    ("siteIds", Filter::Ids(IdColumn::Site)),
    ("groupIds", Filter::Ids(IdColumn::Group)),
];

const ACTIVITY_FILTERS: &[(&str, Filter)] = &[
    ("ids", Filter::Ids(IdColumn::Record)),
    ("agentIds", Filter::Ids(IdColumn::Agent)),
    ("threatIds", Filter::Ids(IdColumn::Threat)),
    ("activityTypes", Filter::Types),
    ("includeHidden", Filter::IncludeHidden),
    ("userIds", Filter::AnyOf("userId")),
    ("activityUuids", Filter::AnyOf("activityUuid")),
    ("userEmails", Filter::AnyOf("data.email")),
    ("ruleIds", Filter::AnyOf("data.ruleId")),
    ("alertIds", Filter::AnyOf("data.alertId")),
];

const THREAT_FILTERS: &[(&str, Filter)] = &[
    ("ids", Filter::Ids(IdColumn::Record)),
    ("agentIds", Filter::Ids(IdColumn::Agent)),
    ("tenant", Filter::Tenant),
    ("countsFor", Filter::Ignored),
    ("incidentStatuses", Filter::AnyOf("threatInfo.incidentStatus")),
    ("incidentStatusesNin", Filter::NoneOf("threatInfo.incidentStatus")),
    ("analystVerdicts", Filter::AnyOf("threatInfo.analystVerdict")),
    ("analystVerdictsNin", Filter::NoneOf("threatInfo.analystVerdict")),
    ("mitigationStatuses", Filter::AnyOf("threatInfo.mitigationStatus")),
    ("mitigationStatusesNin", Filter::NoneOf("threatInfo.mitigationStatus")),
    ("confidenceLevels", Filter::AnyOf("threatInfo.confidenceLevel")),
    ("confidenceLevelsNin", Filter::NoneOf("threatInfo.confidenceLevel")),
    ("classifications", Filter::AnyOf("threatInfo.classification")),
    ("classificationsNin", Filter::NoneOf("threatInfo.classification")),
    ("detectionEngines", Filter::AnyOf("threatInfo.detectionEngines")),
    ("detectionEnginesNin", Filter::NoneOf("threatInfo.detectionEngines")),
    ("engines", Filter::AnyOf("threatInfo.engines")),
    ("noteExists", Filter::Ignored),
    ("resolved", Filter::Ignored),
    ("initiatedBy", Filter::AnyOf("threatInfo.initiatedBy")),
    ("initiatedByNin", Filter::NoneOf("threatInfo.initiatedBy")),
    ("contentHashes", Filter::AnyOf("threatInfo.sha1")),
    ("storylines", Filter::AnyOf("threatInfo.storyline")),
    ("collectionIds", Filter::AnyOf("threatInfo.collectionId")),
    ("osTypes", Filter::AnyOf("agentRealtimeInfo.agentOsType")),
    ("osTypesNin", Filter::NoneOf("agentRealtimeInfo.agentOsType")),
    ("agentIsActive", Filter::Is("agentRealtimeInfo.agentIsActive")),
    ("externalTicketExists", Filter::Is("threatInfo.externalTicketExists")),
    ("failedActions", Filter::Is("threatInfo.failedActions")),
    ("pendingActions", Filter::Is("threatInfo.pendingActions")),
    ("rebootRequired", Filter::Is("threatInfo.rebootRequired")),
    ("mitigatedPreemptively", Filter::Is("threatInfo.mitigatedPreemptively")),
    ("query", Filter::Like("threatInfo.threatName")),
];

const AGENT_FILTERS: &[(&str, Filter)] = &[
    ("ids", Filter::Ids(IdColumn::Record)),
    ("uuid", Filter::AnyOf("uuid")),
    ("uuids", Filter::AnyOf("uuid")),
    ("isActive", Filter::Is("isActive")),
    ("isDecommissioned", Filter::Decommissioned),
    ("isUninstalled", Filter::AnyOf("isUninstalled")),
    ("isPendingUninstall", Filter::Is("isPendingUninstall")),
    ("infected", Filter::Is("infected")),
    ("osTypes", Filter::AnyOf("osType")),
    ("osTypesNin", Filter::NoneOf("osType")),
    ("machineTypes", Filter::AnyOf("machineType")),
    ("machineTypesNin", Filter::NoneOf("machineType")),
    ("networkStatuses", Filter::AnyOf("networkStatus")),
    ("networkStatusesNin", Filter::NoneOf("networkStatus")),
    ("agentVersions", Filter::AnyOf("agentVersion")),
    ("agentVersionsNin", Filter::NoneOf("agentVersion")),
    ("computerName", Filter::AnyOf("computerName")),
    ("computerName__like", Filter::Like("computerName")),
    ("computerName__contains", Filter::Like("computerName")),
    ("query", Filter::Like("computerName")),
];

const ALERT_FILTERS: &[(&str, Filter)] = &[
    ("ids", Filter::Ids(IdColumn::Record)),
    ("tenant", Filter::Tenant),
    ("scopes", Filter::Ignored),
    ("disablePagination", Filter::Ignored),
    ("incidentStatus", Filter::AnyOf("alertInfo.incidentStatus")),
    ("analystVerdict", Filter::AnyOf("alertInfo.analystVerdict")),
    ("severity", Filter::AnyOf("ruleInfo.severity")),
    ("machineType", Filter::AnyOf("agentDetectionInfo.machineType")),
    ("osType", Filter::AnyOf("agentDetectionInfo.osFamily")),
    ("query", Filter::Like("ruleInfo.name")),
];

const GROUP_FILTERS: &[(&str, Filter)] = &[
    ("id", Filter::Ids(IdColumn::Record)),
    ("type", Filter::AnyOf("type")),
    ("types", Filter::AnyOf("type")),
    ("name", Filter::AnyOf("name")),
    ("isDefault", Filter::Is("isDefault")),
    ("query", Filter::Like("name")),
];

const SITE_FILTERS: &[(&str, Filter)] = &[
    ("accountId", Filter::Ids(IdColumn::Account)),
    ("state", Filter::AnyOf("state")),
    ("states", Filter::AnyOf("state")),
    ("name", Filter::AnyOf("name")),
    ("createdAt", Filter::AnyOf("createdAt")),
    ("updatedAt", Filter::AnyOf("updatedAt")),
    ("query", Filter::Like("name")),
];

const ACCOUNT_FILTERS: &[(&str, Filter)] = &[
    ("ids", Filter::Ids(IdColumn::Record)),
    ("states", Filter::AnyOf("state")),
    ("name", Filter::AnyOf("name")),
    ("createdAt", Filter::AnyOf("createdAt")),
    ("updatedAt", Filter::AnyOf("updatedAt")),
    ("query", Filter::Like("name")),
];

const RISK_SORTS: &[&str] = &[
    "accountId",
    "siteId",
    "cveId",
    "endpointName",
    "application",
    "applicationVendor",
    "baseScore",
    "severity",
    "daysDetected",
    "lastScanResult",
    "nvdBaseScore",
    "riskScore",
    "exploitCodeMaturity",
    "remediationLevel",
    "reportConfidence",
    "mitigationStatus",
];

const RISK_FILTERS: &[(&str, Filter)] = &[
    ("includeRemovals", Filter::IncludeRemovals),
    ("severities", Filter::AnyOf("severity")),
    ("mitigationStatus", Filter::AnyOf("mitigationStatus")),
    ("analystVerdict", Filter::Ignored),
    ("osTypes", Filter::AnyOf("osType")),
    ("endpointTypes", Filter::AnyOf("endpointType")),
    ("vendors", Filter::AnyOf("applicationVendor")),
    ("applicationNames", Filter::AnyOf("applicationName")),
    ("lastScanResults", Filter::AnyOf("lastScanResult")),
    ("cveId__contains", Filter::Like("cveId")),
    ("application__contains", Filter::Like("application")),
    ("applicationVendor__contains", Filter::Like("applicationVendor")),
    ("endpointName__contains", Filter::Like("endpointName")),
];

const USER_FILTERS: &[(&str, Filter)] = &[
    ("ids", Filter::Ids(IdColumn::Record)),
    ("email", Filter::AnyOf("email")),
    ("source", Filter::AnyOf("source")),
    ("roleIds", Filter::Ignored),
    ("hasValidApiToken", Filter::Ignored),
    ("query", Filter::Like("fullName")),
];
