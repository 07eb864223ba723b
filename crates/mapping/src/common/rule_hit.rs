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
pub fn detection<'a>(hit: &RuleHit<'a>, activity: &Activity<'a>, kind: Option<EventKind>) -> Detection<'a> {
    Detection {
        kind,
        event_type: hit.dveventtype,
        rule: Rule { id: hit.ruleid, name: hit.rulename, description: hit.ruledescription, category: hit.querytype },
        source: Peer { ip: hit.srcip, port: hit.srcport },
        destination: Peer { ip: hit.dstip, port: hit.dstport },
        direction: hit.neteventdirection,
        machine_ip: hit.srcmachineip,
        dns_request: hit.dnsrequest,
        dns_response: hit.dnsresponse,
        login: Login { name: hit.loginsusername, domain: hit.loginaccountdomain, sid: hit.loginaccountsid },
        registry: Registry {
            key_path: hit.registrykeypath,
            path: hit.registrypath,
            data: hit.registryvalue,
            old_data_type: hit.registryoldvaluetype,
        },
        module_path: hit.modulepath,
        module_sha1: hit.modulesha1,
        indicator_type: hit.tiindicatortype,
        indicator_value: hit.tiindicatorvalue,
        indicator_source: hit.tiindicatorsource,
        process: Process {
            name: hit.sourceprocessname,
            pid: hit.sourceprocesspid,
            command_line: hit.sourceprocesscommandline,
            executable: hit.sourceprocessfilepath,
            md5: hit.sourceprocessmd5,
            sha1: hit.sourceprocesssha1,
            sha256: hit.sourceprocesssha256,
            entity_id: hit.sourceprocesskey,
            start: hit.sourceprocessstarttime,
            // Consoles misspell this key.
            signer: if hit.sourceprocessfilesigneridentity.is_empty() {
                hit.sourceprocessfilesingeridentity
            } else {
                hit.sourceprocessfilesigneridentity
            },
            user: ProcessUser::of(hit.sourceprocessusername),
        },
        parent: Process {
            name: hit.sourceparentprocessname,
            pid: hit.sourceparentprocesspid,
            command_line: hit.sourceparentprocesscommandline,
            executable: hit.sourceparentprocesspath,
            md5: hit.sourceparentprocessmd5,
            sha1: hit.sourceparentprocesssha1,
            sha256: hit.sourceparentprocesssha256,
            entity_id: hit.sourceparentprocesskey,
            start: hit.sourceparentprocessstarttime,
            signer: hit.sourceparentprocesssigneridentity,
            user: ProcessUser::of(hit.sourceparentprocessusername),
        },
        target: Target {
            name: hit.tgtprocname,
            pid: hit.tgtprocpid,
            command_line: hit.tgtproccmdline,
            executable: hit.tgtprocimagepath,
            entity_id: hit.tgtprocuid,
            start: hit.tgtprocessstarttime,
        },
        file: File {
            path: hit.tgtfilepath,
            sha1: hit.tgtfilehashsha1,
            sha256: hit.tgtfilehashsha256,
            created: hit.tgtfilecreatedat,
            mtime: hit.tgtfilemodifiedat,
            is_signed: hit.tgtfileissigned,
        },
        host: Host {
            names: [hit.origagentname, hit.computer_name],
            id: if activity.agent_id.is_empty() { hit.origagentid } else { activity.agent_id },
            kind: hit.origagentmachinetype,
            os: Os {
                kind: [hit.origagentosfamily, activity.os_family],
                family: hit.origagentosfamily,
                name: hit.origagentosname,
                version: hit.origagentosrevision,
            },
            addresses: [hit.agentipv4, hit.externalip],
            mac: hit.physical,
        },
        container: Container {
            id: hit.k8scontainerid,
            name: hit.k8scontainername,
            image: hit.k8scontainerimage,
            labels: hit.k8scontainerlabels,
        },
        pod: Pod {
            is_set: [hit.k8sclustername, hit.k8snamespace, hit.k8spod, hit.k8snode, hit.k8scontrollerkind]
                .into_iter()
                .any(|value: Value<'_>| !value.is_empty()),
            cluster: hit.k8sclustername,
            namespace: hit.k8snamespace,
            name: hit.k8spod,
            controller_kind: hit.k8scontrollerkind,
        },
    }
}

/// As that of the alert.
pub fn severity(hit: &RuleHit<'_>) -> Severity {
    hit.severity.escaped().and_then(Severity::of_word).unwrap_or(Severity::Informational)
}
