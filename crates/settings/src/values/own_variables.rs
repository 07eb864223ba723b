//! The environment variables that belong to the worker, whatever prefixes tenants' files may name.

/// Beginnings of such names: of the program's flags, the clouds' identities, clusters, jobs of CI, Vault, traces, and
/// the loader of libraries.
const PREFIXES: [&str; 25] = [
    "S1_FORWARDER_",
    "ACTIONS_",
    "ALIBABA_CLOUD_",
    "ALICLOUD_",
    "ARM_",
    "AWS_",
    "AZURE_",
    "CLOUDSDK_",
    "DIGITALOCEAN_",
    "ECS_CONTAINER_",
    "GCE_METADATA_",
    "GCP_",
    "GITHUB_",
    "GOOGLE_",
    "HUAWEICLOUD_",
    "IBMCLOUD_",
    "IDENTITY_",
    "KUBE",
    "LD_",
    "MSI_",
    "OCI_",
    "OS_",
    "OTEL_",
    "TENCENTCLOUD_",
    "VAULT_",
];

/// Whole names: of the address of a pod, identities of Azure and Oracle, and authorities of TLS.
const NAMES: [&str; 4] = ["IMDS_ENDPOINT", "POD_IP", "SSL_CERT_DIR", "SSL_CERT_FILE"];

/// Ending of such names: variables of proxies hold passwords.
const SUFFIX: &str = "_PROXY";

/// Returns whether a variable is a setting of the program itself, of a cloud's identity, of a cluster or of a proxy.
/// Upper and lower case are alike, since names of proxies are written in both.
pub fn is_own_variable(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&&*name) || name.ends_with(SUFFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_of_the_worker_is_known_by_its_name() {
        for name in [
            "S1_FORWARDER_STATE",
            "S1_FORWARDER_DEAD_LETTERS",
            "s1_forwarder_state",
            "AWS_SECRET_ACCESS_KEY",
            "AZURE_FEDERATED_TOKEN_FILE",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "IDENTITY_HEADER",
            "KUBECONFIG",
            "KUBERNETES_SERVICE_HOST",
            "HTTPS_PROXY",
            "all_proxy",
            "no_proxy",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
            "ALICLOUD_SECRET_KEY",
            "ECS_CONTAINER_METADATA_URI",
            "HUAWEICLOUD_SDK_SK",
            "OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM",
            "OS_PASSWORD",
            "TENCENTCLOUD_SECRET_KEY",
            "VAULT_TOKEN",
        ] {
            assert!(is_own_variable(name), "{name}");
        }
        for name in ["TENANT_ACME_TOKEN", "S1_ACME_TOKEN", "TENANT_AWS_KEY", "ACME_PROXY_PASSWORD", "S1_FORWARDER"] {
            assert!(!is_own_variable(name), "{name}");
        }
    }

    /// Reads each name that the program's source asks the environment for.
    #[test]
    fn every_variable_that_the_program_reads_is_known() {
        fn files(directory: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
            for entry in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() {
                    files(&entry, found);
                } else {
                    found.push(entry);
                }
            }
        }
        let mut sources = Vec::new();
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        files(&root.join("src"), &mut sources);
        for folder in std::fs::read_dir(root.join("crates")).unwrap().map(|entry| entry.unwrap().path()) {
            if !["emulator", "test-servers"].iter().any(|name| folder.ends_with(name)) {
                files(&folder.join("src"), &mut sources);
            }
        }
        let read = regex::Regex::new(r#"(?:var|var_os|variable|url|url_or)\(\s*"([A-Za-z0-9_]+)""#).unwrap();
        let listed =
            regex::Regex::new(r#""([A-Z0-9_]+_(?:TOKEN_FILE|CREDENTIALS|PROXY)|S1_FORWARDER_[A-Z_]+)""#).unwrap();
        let mut names = std::collections::BTreeSet::new();
        for text in sources.into_iter().map(|path| std::fs::read_to_string(path).unwrap_or_default()) {
            let found = read.captures_iter(&text).chain(listed.captures_iter(&text));
            names.extend(found.map(|found| found[1].to_owned()));
        }
        // These variables hold no secret.
        for name in ["HOME", "HOSTNAME", "NO_COLOR", "PROPTEST_CASES", "REQUEST_METHOD", "UPDATE_GOLDEN"] {
            names.remove(name);
        }
        assert!(names.len() > 40, "{names:?}");
        let unknown: Vec<_> = names.iter().filter(|name| !is_own_variable(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
