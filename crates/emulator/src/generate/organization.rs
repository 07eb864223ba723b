//! The organisation of the console: accounts, sites, groups, users and endpoints.

use crate::random::Random;
use crate::time::DAY;
use crate::token::FIRST_USER;

const FIRST_ACCOUNT: u64 = 225_494_730_938_493_804;
const FIRST_SITE: u64 = 225_494_730_938_493_915;
const FIRST_GROUP: u64 = 225_494_730_938_494_201;

/// An account, a site or a group.
#[derive(Debug, Clone)]
pub(crate) struct ScopeNode {
    pub id: u64,
    pub name: String,
    /// Index of the account (of a site) or of the site (of a group).
    pub parent: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct User {
    pub id: u64,
    pub name: String,
    pub email: String,
    pub role: &'static str,
    pub scope: &'static str,
    pub address: String,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Os {
    pub kind: &'static str,
    pub name: &'static str,
    pub revision: &'static str,
    pub installer: &'static str,
}

/// The constant properties of an endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub id: u64,
    pub uuid: String,
    pub name: String,
    pub domain: &'static str,
    pub os: Os,
    pub machine: &'static str,
    pub version: &'static str,
    pub addresses: Vec<String>,
    pub addresses_v6: Vec<String>,
    pub mac: String,
    pub external: String,
    pub user: String,
    pub group: usize,
    pub registered: i64,
    pub active: bool,
    pub decommissioned: bool,
    /// Whether the endpoint is a node of a Kubernetes cluster.
    pub kubernetes: bool,
    /// Whether the endpoint runs in a cloud.
    pub cloud: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Organization {
    pub accounts: Vec<ScopeNode>,
    pub sites: Vec<ScopeNode>,
    pub groups: Vec<ScopeNode>,
    pub users: Vec<User>,
    pub agents: Vec<Endpoint>,
    pub since: i64,
}

const OS: &[(u32, Os)] = &[
    (50, Os { kind: "windows", name: "Windows 11 Pro", revision: "22631", installer: ".msi" }),
    (20, Os { kind: "windows", name: "Windows 10 Enterprise", revision: "19045", installer: ".exe" }),
    (10, Os { kind: "windows", name: "Windows Server 2022 Standard", revision: "20348", installer: ".msi" }),
    (2, Os { kind: "windows_legacy", name: "Windows 7 Professional", revision: "7601", installer: ".exe" }),
    (12, Os { kind: "linux", name: "Ubuntu", revision: "22.04.4 LTS 5.15.0-105-generic", installer: ".deb" }),
    (6, Os { kind: "linux", name: "Red Hat Enterprise Linux", revision: "9.3 (Plow) 5.14.0-362", installer: ".rpm" }),
    (10, Os { kind: "macos", name: "macOS", revision: "Sonoma (14.5)", installer: ".pkg" }),
];

const NAMES: &[&str] = &[
    "Amira Haddad",
    "Björn Lindqvist",
    "Carla Mendes",
    "Deniz Yılmaz",
    "Elena Petrova",
    "Femi Adeyemi",
    "Grace O'Neill",
    "Hiro Tanaka",
    "Ines García",
    "Jonas Weber",
    "Kavya Raman",
    "Luc Moreau",
];

impl Organization {
    pub fn new(random: &mut Random, agents: usize, now: i64) -> Self {
        let accounts: Vec<ScopeNode> = ["Acme Corporation", "Globex GmbH"]
            .into_iter()
            .enumerate()
            .map(|(n, name)| ScopeNode { id: FIRST_ACCOUNT + n as u64, name: name.to_owned(), parent: 0 })
            .collect();
        let sites: Vec<ScopeNode> =
            [("Default site", 0), ("Lisbon", 0), ("Toronto", 0), ("Default site", 1), ("Köln", 1)]
                .into_iter()
                .enumerate()
                .map(|(n, (name, parent))| ScopeNode { id: FIRST_SITE + n as u64, name: name.to_owned(), parent })
                .collect();
        let groups: Vec<ScopeNode> = (0..sites.len() * 3)
            .map(|n| ScopeNode {
                id: FIRST_GROUP + n as u64,
                name: ["Default Group", "Servers", "Laptops"][n % 3].to_owned(),
                parent: n / 3,
            })
            .collect();
        let users = NAMES
            .iter()
            .enumerate()
            .map(|(n, name)| User {
                id: FIRST_USER + n as u64,
                name: (*name).to_owned(),
                email: format!("user{n}@acme.example"),
                role: ["Admin", "Viewer", "SOC", "IR Team"][n % 4],
                scope: ["global", "account", "site", "account"][n % 4],
                address: format!("198.51.100.{}", 10 + n),
            })
            .collect();
        let agents = (0..agents.max(1)).map(|n| Endpoint::new(random, n, groups.len(), now)).collect();
        Self { accounts, sites, groups, users, agents, since: now - 720 * DAY }
    }

    pub fn group(&self, index: usize) -> (&ScopeNode, &ScopeNode, &ScopeNode) {
        let group = &self.groups[index];
        let site = &self.sites[group.parent];
        (&self.accounts[site.parent], site, group)
    }
}

impl Endpoint {
    fn new(random: &mut Random, number: usize, groups: usize, now: i64) -> Self {
        let os = *random.choose_weighted(OS);
        let server = os.name.contains("Server") || os.kind == "linux";
        let machine = if !server {
            *random.choose_weighted(&[(60, "laptop"), (40, "desktop")])
        } else if os.kind == "linux" {
            *random.choose_weighted(&[(70, "server"), (20, "kubernetes node"), (10, "unknown")])
        } else {
            "server"
        };
        let subnet = random.below(250);
        let mut addresses = vec![format!("10.{}.{subnet}.{}", random.below(16), 1 + random.below(253))];
        while random.chance(0.25) {
            addresses.push(format!("192.168.{subnet}.{}", 1 + random.below(253)));
        }
        let addresses_v6 = if random.chance(0.4) {
            vec![
                format!("fe80::{:x}:{:x}", random.below(65536), random.below(65536)),
                format!("2001:db8::{:x}", random.below(65536)),
            ]
        } else {
            Vec::new()
        };
        let separator = if os.kind == "macos" || random.chance(0.3) { "-" } else { ":" };
        let mac: Vec<String> = (0..6).map(|_| format!("{:02x}", random.below(256))).collect();
        let registered = now - DAY * random.within(2..700) - random.within(0..DAY);
        let prefix = if server { "SRV" } else { "WS" };
        Self {
            id: 1_000_000_000_000_000_000 + (number as u64) * 1_048_583 + random.below(1_000_000),
            uuid: random.uuid().replace('-', if os.kind == "windows" { "" } else { "-" }),
            name: format!("{prefix}-{:05}", number + 1),
            domain: *random.choose_weighted(&[(70, "acme.example"), (30, "WORKGROUP")]),
            machine,
            version: *random.choose_weighted(&[(60, "24.1.5.277"), (30, "23.4.4.223"), (10, "22.3.5.887")]),
            addresses,
            addresses_v6,
            mac: mac.join(separator),
            external: format!("203.0.113.{}", 1 + random.below(40)),
            user: NAMES[random.below(NAMES.len() as u64) as usize].split(' ').next().unwrap_or_default().to_lowercase(),
            group: random.below(groups as u64) as usize,
            registered,
            active: random.chance(0.9),
            decommissioned: random.chance(0.04),
            kubernetes: machine == "kubernetes node",
            cloud: server && random.chance(0.4),
            os,
        }
    }
}
