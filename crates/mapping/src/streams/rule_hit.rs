//! Hits of custom rules in the activity log: `data` has the values of an alert under keys in lower case. Not all of
//! these keys have a field in the record type.

use s1_forwarder_record::Value;
use s1_forwarder_record::activity::{Activity, ActivityData, RuleHit};

use super::other;
use crate::common::account::ProcessUser;
use crate::common::matched::Matched;
use crate::common::missing::{domain, first_scalar};
use crate::common::os::architecture_of_system;
use crate::common::severity::Severity;
use crate::common::threat::unless_zero;
use crate::parts::{
    Container, DIRECTIONS, Detection, Endpoint, Indicator, Login, Os, Owner, Peer, Pod, Process, Registry, Rule,
    TargetFile, TargetProcess,
};
use crate::streams::activity::{LogEntry, RULE_HITS, ScopeLevel, is_decision};

/// Returns whether `data` is a hit: it has a rule and an alert, or the triggering process. Activities of these types
/// can also have other keys (`ruleName`), which no hit has. An activity of another type may be a user's later decision.
pub fn is_hit(activity: &Activity<'_>, data: &ActivityData<'_>) -> bool {
    let keys = || data.other.iter().map(|(key, _)| key.as_ref());
    let is_known = LogEntry::of(activity).number.is_some_and(|number| RULE_HITS.contains(&number));
    (is_known && data.rule_name.is_empty())
        || (keys().any(|key| key == "rulename") && keys().any(|key| key == "alertid")
            || keys().any(|key| key.starts_with("sourceprocess")))
            && !is_decision(data)
}

/// The values of a hit: the values of its activity, and additional ones.
#[derive(Debug, Clone, Copy)]
pub struct HitParts<'a> {
    pub entry: LogEntry<'a>,
    pub detection: Detection<'a>,
    pub detected: Value<'a>,
    /// The account, the site and the group that the activity is about, by its level.
    pub owner: Owner<'a>,
}

impl<'a> HitParts<'a> {
    pub fn of(activity: &Activity<'a>, hit: &RuleHit<'a>) -> Self {
        Self {
            entry: LogEntry::of(activity),
            detection: detection(activity, hit),
            detected: hit.detectedat,
            owner: owner_of_level(activity, hit),
        }
    }
}

fn owner_of_level<'a>(activity: &Activity<'a>, hit: &RuleHit<'a>) -> Owner<'a> {
    let level = ScopeLevel::of(hit.scope_level);
    Owner {
        site_ids: [activity.site_id, Value::default()],
        account_names: [activity.account_name, hit.account_name, hit.accountname],
        site_names: [activity.site_name, level.site(hit.site_name)],
        group_names: [activity.group_name, level.group(hit.group_name), level.group(hit.groupname)],
        ..owner(activity, hit)
    }
}

/// Returns the owner of the endpoint. The owner in `data` stays there: it may be the owner of another object.
fn owner<'a>(activity: &Activity<'a>, hit: &RuleHit<'a>) -> Owner<'a> {
    let none = Value::default();
    Owner {
        account_ids: [activity.account_id, none],
        account_names: [activity.account_name, hit.account_name.unmarked(), hit.accountname.unmarked()],
        site_ids: [activity.site_id, hit.origagentsiteid.unmarked()],
        site_names: [activity.site_name, hit.site_name.unmarked()],
        group_ids: [activity.group_id, none],
        group_names: [activity.group_name, hit.group_name.unmarked(), hit.groupname.unmarked()],
    }
}

fn detection<'a>(activity: &Activity<'a>, hit: &RuleHit<'a>) -> Detection<'a> {
    Detection {
        alert_id: hit.alertid,
        severity: Severity::of_value(hit.severity),
        rule: Rule { id: hit.ruleid, name: hit.rulename, description: hit.ruledescription, category: hit.querytype },
        matched: Matched::new(
            hit.dveventtype,
            hit.indicatorcategory,
            [hit.loginissuccessful, hit.loginsusername, hit.loginaccountsid, hit.logintype],
            [hit.tgtprocname, hit.tgtprocimagepath, hit.tgtproccmdline],
        ),
        event_id: hit.dveventid,
        storyline: hit.sourceprocessstoryline,
        source: Peer { host: hit.srcip, port: hit.srcport },
        destination: Peer { host: hit.dstip, port: hit.dstport },
        direction: DIRECTIONS.of(hit.neteventdirection),
        machine_ip: hit.srcmachineip,
        dns_request: hit.dnsrequest,
        dns_response: hit.dnsresponse,
        login: Login::new(
            hit.loginsusername,
            hit.loginaccountsid,
            domain(hit.loginaccountdomain),
            hit.loginisadministratorequivalent,
        ),
        registry: Registry {
            key_path: hit.registrykeypath,
            path: hit.registrypath,
            data: hit.registryvalue,
            old_data_type: hit.registryoldvaluetype,
        },
        module_path: hit.modulepath,
        module_sha1: hit.modulesha1,
        indicator: Indicator { kind: hit.tiindicatortype, value: hit.tiindicatorvalue, source: hit.tiindicatorsource },
        process: process(hit),
        parent: parent(hit),
        target: TargetProcess {
            name: hit.tgtprocname,
            pid: unless_zero(hit.tgtprocpid),
            command_line: hit.tgtproccmdline,
            executable: hit.tgtprocimagepath,
            entity_id: hit.tgtprocuid,
            start: hit.tgtprocessstarttime,
        },
        file: TargetFile {
            id: other(&hit.other, "tgtfileid"),
            path: hit.tgtfilepath,
            created: hit.tgtfilecreatedat,
            modified: hit.tgtfilemodifiedat,
            is_signed: hit.tgtfileissigned,
            ..TargetFile::default()
        }
        .with_hashes([hit.tgtfilehashsha1, hit.tgtfilehashsha256]),
        endpoint: endpoint(activity, hit),
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
            labels: Value::default(),
        },
    }
}

fn process<'a>(hit: &RuleHit<'a>) -> Process<'a> {
    // Consoles misspell this key.
    let misspelt = hit.sourceprocessfilesingeridentity;
    let signer = hit.sourceprocessfilesigneridentity;
    Process {
        name: hit.sourceprocessname,
        pid: unless_zero(hit.sourceprocesspid),
        command_line: hit.sourceprocesscommandline,
        executable: hit.sourceprocessfilepath,
        entity_id: hit.sourceprocesskey,
        start: hit.sourceprocessstarttime,
        signer: if signer.is_empty() { misspelt } else { signer },
        integrity: other(&hit.other, "sourceprocessintegritylevel"),
        user: ProcessUser::of(hit.sourceprocessusername),
        user_text: hit.sourceprocessusername,
        ..Process::default()
    }
    .with_hashes([hit.sourceprocessmd5, hit.sourceprocesssha1, hit.sourceprocesssha256])
}

fn parent<'a>(hit: &RuleHit<'a>) -> Process<'a> {
    Process {
        name: hit.sourceparentprocessname,
        pid: unless_zero(hit.sourceparentprocesspid),
        command_line: hit.sourceparentprocesscommandline,
        executable: hit.sourceparentprocesspath,
        entity_id: hit.sourceparentprocesskey,
        start: hit.sourceparentprocessstarttime,
        signer: hit.sourceparentprocesssigneridentity,
        integrity: other(&hit.other, "sourceparentprocessintegritylevel"),
        user: ProcessUser::of(hit.sourceparentprocessusername),
        user_text: hit.sourceparentprocessusername,
        ..Process::default()
    }
    .with_hashes([hit.sourceparentprocessmd5, hit.sourceparentprocesssha1, hit.sourceparentprocesssha256])
}

fn endpoint<'a>(activity: &Activity<'a>, hit: &RuleHit<'a>) -> Endpoint<'a> {
    let none = Value::default();
    Endpoint {
        agent_id: first_scalar([activity.agent_id, hit.origagentid]),
        agent_uuids: [hit.origagentuuid, none],
        agent_versions: [hit.origagentversion, none],
        is_managed: true,
        names: [hit.origagentname, hit.computer_name],
        machine_type: hit.origagentmachinetype,
        os: Os {
            names: [hit.origagentosname, none],
            versions: [hit.origagentosrevision, none],
            types: [hit.origagentosfamily, activity.os_family, none],
            family: hit.origagentosfamily,
            ..Os::default()
        },
        architecture: architecture_of_system([hit.origagentosname, hit.origagentosrevision]),
        addresses: [hit.agentipv4, none, none, none],
        external: hit.externalip,
        macs: hit.physical,
        owner: owner(activity, hit),
        ..Endpoint::default()
    }
}
