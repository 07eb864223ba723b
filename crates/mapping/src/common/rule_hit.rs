//! The detection in a hit of a rule, which is an activity.

use s1_forwarder_record::Value;
use s1_forwarder_record::activity::{Activity, ActivityData, RuleHit};

use super::account::ProcessUser;
use super::activity_class::RULE_HITS;
use super::detection::{Container, Detection, File, Host, Login, Peer, Pod, Process, Rule, Target};
use super::event_kind::EventKind;
use super::matched::Matched;
use super::os::Os;
use super::registry::Registry;
use super::severity::Severity;

/// Whether `data` holds a hit: a rule and an alert, or the process that triggered. Activities of these types can also
/// have other keys (`ruleName`), which are not those of a hit.
pub fn is_hit(number: Option<u32>, data: &ActivityData<'_>) -> bool {
    let has = |name: &str| data.other.iter().any(|(key, _)| key == name);
    let names_process = || data.other.iter().any(|(key, _)| key.starts_with("sourceprocess"));
    let is_known = number.is_some_and(|number| RULE_HITS.contains(&number));
    (is_known && data.rule_name.is_empty()) || (has("rulename") && has("alertid")) || names_process()
}

pub fn matched<'a>(hit: &RuleHit<'a>) -> Matched<'a> {
    let login = [hit.loginissuccessful, hit.loginsusername, hit.loginaccountsid, hit.logintype];
    Matched::new(hit.dveventtype, login, [hit.tgtprocname, hit.tgtprocimagepath, hit.tgtproccmdline])
}

/// The fields of a detection in a hit.
pub fn detection<'v, 'a>(
    hit: &'v mut RuleHit<'a>,
    activity: &'v mut Activity<'a>,
    kind: Option<EventKind>,
) -> Detection<'v, 'a> {
    Detection {
        kind,
        event_type: hit.dveventtype,
        rule: Rule {
            id: &mut hit.ruleid,
            name: &mut hit.rulename,
            description: &mut hit.ruledescription,
            category: &mut hit.querytype,
        },
        source: Peer { ip: &mut hit.srcip, port: &mut hit.srcport },
        destination: Peer { ip: &mut hit.dstip, port: &mut hit.dstport },
        direction: hit.neteventdirection,
        machine_ip: &mut hit.srcmachineip,
        dns_request: &mut hit.dnsrequest,
        dns_response: &mut hit.dnsresponse,
        login: Login {
            name: &mut hit.loginsusername,
            domain: &mut hit.loginaccountdomain,
            sid: &mut hit.loginaccountsid,
        },
        registry: Registry {
            key_path: &mut hit.registrykeypath,
            path: &mut hit.registrypath,
            data: &mut hit.registryvalue,
            old_data_type: hit.registryoldvaluetype,
        },
        module_path: &mut hit.modulepath,
        module_sha1: &mut hit.modulesha1,
        indicator_type: hit.tiindicatortype,
        indicator_value: &mut hit.tiindicatorvalue,
        indicator_source: &mut hit.tiindicatorsource,
        process: Process {
            name: &mut hit.sourceprocessname,
            pid: &mut hit.sourceprocesspid,
            command_line: &mut hit.sourceprocesscommandline,
            executable: &mut hit.sourceprocessfilepath,
            md5: &mut hit.sourceprocessmd5,
            sha1: &mut hit.sourceprocesssha1,
            sha256: &mut hit.sourceprocesssha256,
            entity_id: &mut hit.sourceprocesskey,
            start: &mut hit.sourceprocessstarttime,
            // Consoles misspell this key.
            signer: if hit.sourceprocessfilesigneridentity.is_empty() {
                &mut hit.sourceprocessfilesingeridentity
            } else {
                &mut hit.sourceprocessfilesigneridentity
            },
            user: ProcessUser::of(hit.sourceprocessusername),
        },
        parent: Process {
            name: &mut hit.sourceparentprocessname,
            pid: &mut hit.sourceparentprocesspid,
            command_line: &mut hit.sourceparentprocesscommandline,
            executable: &mut hit.sourceparentprocesspath,
            md5: &mut hit.sourceparentprocessmd5,
            sha1: &mut hit.sourceparentprocesssha1,
            sha256: &mut hit.sourceparentprocesssha256,
            entity_id: &mut hit.sourceparentprocesskey,
            start: &mut hit.sourceparentprocessstarttime,
            signer: &mut hit.sourceparentprocesssigneridentity,
            user: ProcessUser::of(hit.sourceparentprocessusername),
        },
        target: Target {
            name: &mut hit.tgtprocname,
            pid: &mut hit.tgtprocpid,
            command_line: &mut hit.tgtproccmdline,
            executable: &mut hit.tgtprocimagepath,
            entity_id: &mut hit.tgtprocuid,
            start: &mut hit.tgtprocessstarttime,
        },
        file: File {
            path: &mut hit.tgtfilepath,
            sha1: &mut hit.tgtfilehashsha1,
            sha256: &mut hit.tgtfilehashsha256,
            created: &mut hit.tgtfilecreatedat,
            mtime: &mut hit.tgtfilemodifiedat,
            is_signed: hit.tgtfileissigned,
        },
        host: Host {
            names: [&mut hit.origagentname, &mut hit.computer_name],
            id: if activity.agent_id.is_empty() { &mut hit.origagentid } else { &mut activity.agent_id },
            kind: &mut hit.origagentmachinetype,
            os: Os {
                kind: [hit.origagentosfamily, activity.os_family],
                family: hit.origagentosfamily,
                name: &mut hit.origagentosname,
                version: &mut hit.origagentosrevision,
            },
            addresses: [&mut hit.agentipv4, &mut hit.externalip],
            mac: hit.physical,
        },
        container: Container {
            id: &mut hit.k8scontainerid,
            name: &mut hit.k8scontainername,
            image: &mut hit.k8scontainerimage,
            labels: hit.k8scontainerlabels,
        },
        pod: Pod {
            is_set: [hit.k8sclustername, hit.k8snamespace, hit.k8spod, hit.k8snode, hit.k8scontrollerkind]
                .into_iter()
                .any(|value: Value<'_>| !value.is_empty()),
            cluster: &mut hit.k8sclustername,
            namespace: &mut hit.k8snamespace,
            name: &mut hit.k8spod,
            controller_kind: &mut hit.k8scontrollerkind,
        },
    }
}

/// As that of the alert.
pub fn severity(hit: &RuleHit<'_>) -> Severity {
    let severity = hit.severity.escaped().and_then(Severity::of_word).unwrap_or(Severity::Informational);
    let verdict = hit.other.iter().find(|(key, _)| key.eq_ignore_ascii_case("analystverdict"));
    severity.judged([verdict.map_or_else(Value::default, |(_, verdict)| *verdict)])
}
