//! STAR custom alerts: `/cloud-detection/alerts`. The id is `alertInfo.alertId`; ports, pids and booleans are strings.

use super::block::block;
use super::stream::{Accounting, Description, Fact, Frame, Frequency, Key, Owner, SeverityKeys, Version};
use super::workload::{Container, Kubernetes};

pub const STREAM: Description = Description {
    name: "alerts",
    singular: "alert",
    frame: Frame::List,
    keys: &[
        Key::Value("id", Fact::Id),
        Key::Object(
            "alertInfo",
            &[
                Key::Value("alertId", Fact::OtherId),
                Key::Value("createdAt", Fact::Created),
                Key::Value("updatedAt", Fact::Updated),
                Key::Value("incidentStatus", Fact::Status),
                Key::Value("analystVerdict", Fact::Verdict),
            ],
        ),
    ],
    order: &[Fact::Created],
    // Status and verdict change without a new time.
    version: Version::Values(&[&[Fact::Updated, Fact::Status, Fact::Verdict]]),
    accounting: Accounting::Ids,
    frequency: Frequency::Irregular,
    owners: &[Owner::Flat(&[]), Owner::Flat(&["agentRealtimeInfo"]), Owner::Flat(&["agentDetectionInfo"])],
    severity: SeverityKeys::Word(&["ruleInfo", "severity"]),
    has_secrets: false,
};

block! {
    /// A record of `/cloud-detection/alerts`.
    Alert {
    } {
        alert_info: AlertInfo = "alertInfo",
        rule_info: AlertRule = "ruleInfo",
        source_process_info: AlertProcess = "sourceProcessInfo",
        source_parent_process_info: AlertProcess = "sourceParentProcessInfo",
        target_process_info: AlertTarget = "targetProcessInfo",
        agent_detection_info: AlertAgentAtDetection = "agentDetectionInfo",
        agent_realtime_info: AlertAgentNow = "agentRealtimeInfo",
        container_info: Container = "containerInfo",
        kubernetes_info: Kubernetes = "kubernetesInfo",
    }

    /// `alertInfo`
    AlertInfo {
        alert_id = "alertId",
        analyst_verdict = "analystVerdict",
        created_at = "createdAt",
        dns_request = "dnsRequest",
        dns_response = "dnsResponse",
        dst_ip = "dstIp",
        dst_port = "dstPort",
        dv_event_id = "dvEventId",
        event_type = "eventType",
        hit_type = "hitType",
        incident_status = "incidentStatus",
        indicator_category = "indicatorCategory",
        indicator_description = "indicatorDescription",
        indicator_name = "indicatorName",
        is_edr = "isEdr",
        login_account_domain = "loginAccountDomain",
        login_account_sid = "loginAccountSid",
        login_is_administrator_equivalent = "loginIsAdministratorEquivalent",
        login_is_successful = "loginIsSuccessful",
        login_type = "loginType",
        logins_user_name = "loginsUserName",
        module_path = "modulePath",
        module_sha1 = "moduleSha1",
        net_event_direction = "netEventDirection",
        registry_key_path = "registryKeyPath",
        registry_old_value = "registryOldValue",
        registry_old_value_type = "registryOldValueType",
        registry_path = "registryPath",
        registry_value = "registryValue",
        reported_at = "reportedAt",
        source = "source",
        src_ip = "srcIp",
        src_machine_ip = "srcMachineIp",
        src_port = "srcPort",
        ti_indicator_comparison_method = "tiIndicatorComparisonMethod",
        ti_indicator_source = "tiIndicatorSource",
        ti_indicator_type = "tiIndicatorType",
        ti_indicator_value = "tiIndicatorValue",
        updated_at = "updatedAt",
    }

    /// `ruleInfo`
    AlertRule {
        description = "description",
        id = "id",
        name = "name",
        query_lang = "queryLang",
        query_type = "queryType",
        s1ql = "s1ql",
        scope_level = "scopeLevel",
        severity = "severity",
        treat_as_threat = "treatAsThreat",
    }

    /// `sourceProcessInfo` and `sourceParentProcessInfo`
    AlertProcess {
        commandline = "commandline",
        effective_user = "effectiveUser",
        file_hash_md5 = "fileHashMd5",
        file_hash_sha1 = "fileHashSha1",
        file_hash_sha256 = "fileHashSha256",
        file_path = "filePath",
        file_signer_identity = "fileSignerIdentity",
        integrity_level = "integrityLevel",
        login_user = "loginUser",
        name = "name",
        pid = "pid",
        pid_starttime = "pidStarttime",
        real_user = "realUser",
        storyline = "storyline",
        subsystem = "subsystem",
        unique_id = "uniqueId",
        user = "user",
    }

    /// `targetProcessInfo`: the file or process that the source process acted on.
    AlertTarget {
        tgt_file_created_at = "tgtFileCreatedAt",
        tgt_file_hash_sha1 = "tgtFileHashSha1",
        tgt_file_hash_sha256 = "tgtFileHashSha256",
        tgt_file_id = "tgtFileId",
        tgt_file_is_signed = "tgtFileIsSigned",
        tgt_file_modified_at = "tgtFileModifiedAt",
        tgt_file_old_path = "tgtFileOldPath",
        tgt_file_path = "tgtFilePath",
        tgt_proc_cmd_line = "tgtProcCmdLine",
        tgt_proc_image_path = "tgtProcImagePath",
        tgt_proc_integrity_level = "tgtProcIntegrityLevel",
        tgt_proc_name = "tgtProcName",
        tgt_proc_pid = "tgtProcPid",
        tgt_proc_signed_status = "tgtProcSignedStatus",
        tgt_proc_storyline_id = "tgtProcStorylineId",
        tgt_proc_uid = "tgtProcUid",
        tgt_process_start_time = "tgtProcessStartTime",
    }

    /// `agentDetectionInfo`: the agent at detection time.
    AlertAgentAtDetection {
        account_id = "accountId",
        machine_type = "machineType",
        name = "name",
        os_family = "osFamily",
        os_name = "osName",
        os_revision = "osRevision",
        site_id = "siteId",
        uuid = "uuid",
        version = "version",
    }

    /// `agentRealtimeInfo`: the agent's current state.
    AlertAgentNow {
        id = "id",
        infected = "infected",
        is_active = "isActive",
        is_decommissioned = "isDecommissioned",
        machine_type = "machineType",
        name = "name",
        os = "os",
        uuid = "uuid",
    }
}
