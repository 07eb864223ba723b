//! Hits of custom rules in the activity log (type 3608): the keys of an alert in lower case.

use super::detection::{Container, Detection, File, Host, Login, Peer, Pod, Process, Rule};
use super::endpoint::Os;
use crate::record::Value;
use crate::record::activity::{Activity, RuleHit};

/// The fields of a detection in a hit.
pub(super) fn detection<'v, 'a>(hit: &'v mut RuleHit<'a>, activity: &'v mut Activity<'a>) -> Detection<'v, 'a> {
    Detection {
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
        registry_key: &mut hit.registrykeypath,
        registry_path: &mut hit.registrypath,
        registry_value: &mut hit.registryvalue,
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
            signer: &mut hit.sourceprocessfilesigneridentity,
            user: hit.sourceprocessusername,
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
            user: hit.sourceparentprocessusername,
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
        },
        container: Container {
            id: &mut hit.k8scontainerid,
            name: &mut hit.k8scontainername,
            image: &mut hit.k8scontainerimage,
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
