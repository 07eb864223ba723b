//! Unified alerts: `/unifiedalerts/graphql`. The mapping reads the lists of assets itself.

use super::block::block;
use super::stream::{Accounting, Description, Fact, Frame, Frequency, Key, Owner, SeverityKeys, Version};

pub const STREAM: Description = Description {
    name: "unified_alerts",
    singular: "unified_alert",
    frame: Frame::Alerts,
    keys: &[
        Key::Value("id", Fact::Id),
        Key::Value("detectedAt", Fact::Created),
        Key::Value("updatedAt", Fact::Updated),
        Key::Value("status", Fact::Status),
        Key::Value("analystVerdict", Fact::Verdict),
    ],
    order: &[Fact::Updated, Fact::Created],
    version: Version::Values(&[&[Fact::Updated], &[Fact::Status, Fact::Verdict]]),
    accounting: Accounting::Ids,
    frequency: Frequency::Irregular,
    owners: &[Owner::Flat(&[]), Owner::Nested(&["realTime", "scope"]), Owner::Flat(&["detectionTime", "scope"])],
    severity: SeverityKeys::Word(&["severity"]),
    has_secrets: false,
};

block! {
    /// A node of `alerts`.
    UnifiedAlert {
        id = "id",
        external_id = "externalId",
        name = "name",
        description = "description",
        severity = "severity",
        status = "status",
        analyst_verdict = "analystVerdict",
        classification = "classification",
        confidence_level = "confidenceLevel",
        result = "result",
        detected_at = "detectedAt",
        created_at = "createdAt",
        updated_at = "updatedAt",
        first_seen_at = "firstSeenAt",
        last_seen_at = "lastSeenAt",
        storyline_id = "storylineId",
        ticket_id = "ticketId",
        note_exists = "noteExists",
        data_sources = "dataSources",
        attack_surfaces = "attackSurfaces",
        labels = "labels",
        assets = "assets",
        incident = "incident",
        ai_investigation = "aiInvestigation",
        slo_details = "sloDetails",
        mitigation_details = "mitigationDetails",
        indicators = "indicators",
        observables = "observables",
        self_link = "selfLink",
        raw_data = "rawData",
    } {
        detection_source: DetectionSource = "detectionSource",
        analytics: Analytics = "analytics",
        assignee: Assignee = "assignee",
        process: UnifiedProcess = "process",
        detection_time: DetectionTime = "detectionTime",
        real_time: RealTime = "realTime",
    }

    /// `detectionSource`: product and vendor.
    DetectionSource {
        product = "product",
        vendor = "vendor",
    }

    /// `analytics`: the detection rule or engine.
    Analytics {
        category = "category",
        name = "name",
        type_value = "typeValue",
        uid = "uid",
    }

    /// `assignee`: the analyst.
    Assignee {
        user_id = "userId",
        full_name = "fullName",
        email = "email",
    }

    /// `process`: the process or file that triggered it.
    UnifiedProcess {
        cmd_line = "cmdLine",
        parent_name = "parentName",
        username = "username",
        user_domain = "userDomain",
    } {
        file: UnifiedFile = "file",
    }

    /// `process.file`
    UnifiedFile {
        name = "name",
        path = "path",
        md5 = "md5",
        sha1 = "sha1",
        sha256 = "sha256",
        cert_subject = "certSubject",
        size = "size",
    }

    /// `detectionTime`: state at the time of detection.
    DetectionTime {
        assets = "assets",
    } {
        scope: DetectionScope = "scope",
        attacker: Attacker = "attacker",
        target_user: TargetUser = "targetUser",
    }

    /// `detectionTime.scope`
    DetectionScope {
        account_id = "accountId",
        account_name = "accountName",
        site_id = "siteId",
        site_name = "siteName",
        group_id = "groupId",
        group_name = "groupName",
    }

    /// `detectionTime.attacker`
    Attacker {
        host = "host",
        ip = "ip",
    }

    /// `detectionTime.targetUser`
    TargetUser {
        name = "name",
        domain = "domain",
        email_address = "emailAddress",
        display_name = "displayName",
    }

    /// `realTime`: current state.
    RealTime {
    } {
        scope: RealTimeScope = "scope",
    }

    /// `realTime.scope`
    RealTimeScope {
    } {
        account: ScopePlace = "account",
        site: ScopePlace = "site",
        group: ScopePlace = "group",
    }

    /// An account, a site or a group.
    ScopePlace {
        id = "id",
        name = "name",
    }
}
