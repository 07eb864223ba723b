//! The consoles, customers and sinks of a long run: what they owe, and what arrived.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder::emulator::{Console, Counts, Fault, Faults, Kind, Quirks, Scope, Server, Setup, Token, system_clock};
use serde_json::{Value, json};

use super::Size;
use super::sinks::{Documents, Envelopes, key};
use crate::support::double::{Double, FaultRule};
use crate::support::harness::{Harness, identity};
use crate::support::receiver::Rules;
use crate::worker::once::failing;

/// Records that a console creates or changes between two polls of a lane. Many are of kinds that no lane pulls.
const RECORDS_PER_INTERVAL: f64 = 20.0;

/// A pipeline, as its file is when nothing is wrong with it.
pub struct Customer {
    pub name: String,
    console: usize,
    /// The part of the console that its token shows, by its place in `Scene::scopes`.
    scope: usize,
    kinds: Vec<Kind>,
    is_elastic: bool,
    /// The largest batch, which reloads change.
    pub batch: usize,
    pub secret: String,
    /// A token that has expired, while the file still holds it.
    pub expired: Option<String>,
}

pub struct Scene {
    /// Its console and its receiver are not used.
    pub harness: Harness,
    consoles: Vec<Server>,
    receivers: Vec<Double<Envelopes>>,
    elastic: Double<Documents>,
    pub customers: Vec<Customer>,
    /// The whole console, and each of its sites. Those of all consoles are alike.
    scopes: Vec<Scope>,
    size: Size,
}

/// Everything that arrived, compared with what was owed.
pub struct Account {
    pub owed: usize,
    pub arrived: usize,
    pub missing: Vec<String>,
    /// Records that no lane ever owed.
    pub strange: Vec<String>,
}

impl Scene {
    pub async fn new(size: Size) -> Self {
        let harness = Harness::new(|_| ()).await;
        fs::create_dir_all(harness.path("tokens")).unwrap();
        let mut consoles = Vec::new();
        let rate = RECORDS_PER_INTERVAL / size.interval.as_secs_f64();
        for number in 0..size.consoles() {
            let mut setup = Setup::new(system_clock());
            setup.seed = number as u64 + 1;
            setup.activities = 100;
            setup.threats = 20;
            setup.rate = rate;
            let console = tokio::task::spawn_blocking(move || Arc::new(Console::new(&setup))).await.unwrap();
            consoles.push(Server::start(console, ([127, 0, 0, 1], 0).into()).await.unwrap());
        }
        let sites = consoles[0].console().ids(Kind::Sites).into_iter().map(|site| Scope::Sites(vec![site]));
        let scopes: Vec<_> = std::iter::once(Scope::Global).chain(sites).collect();
        let mut receivers = Vec::new();
        for _ in 0..size.consoles() {
            receivers.push(Double::start(Envelopes(Rules::default())).await);
        }
        let elastic = Double::start(Documents::new()).await;
        let customers = (0..size.pipelines).map(|number| {
            // The customers of a console, in turn: everything, then each site.
            let turn = number / consoles.len();
            // A document has no pipeline in its id: no other customer at the same sink sees the same records.
            let is_elastic = turn == 1 || turn == 2;
            Customer {
                name: format!("customer-{number:04}"),
                console: number % consoles.len(),
                scope: turn % scopes.len(),
                kinds: match number % 3 {
                    0 if !is_elastic => vec![Kind::Activities, Kind::Threats],
                    _ => vec![Kind::Activities],
                },
                is_elastic,
                batch: 100,
                secret: format!("token-{number}-0"),
                expired: None,
            }
        });
        let customers = customers.collect();
        let scene = Self { harness, consoles, receivers, elastic, customers, scopes, size };
        for console in 0..scene.consoles.len() {
            scene.set_tokens(console, &[]);
        }
        for customer in 0..scene.customers.len() {
            scene.write_token(customer);
            scene.write_file(customer);
        }
        scene.set_faults();
        scene
    }

    /// From now on consoles and sinks fail now and then.
    fn set_faults(&self) {
        let mut faults = Faults::default().with(Fault::LateArrival(self.size.overlap() / 2), 0.02).with_on(
            Kind::Threats,
            Fault::ChangedWhilePaged,
            0.05,
        );
        // The others of `all` create more records, the more often a console is asked.
        for preset in ["rate-limit", "server-errors", "bodies", "slow", "dropped", "cursors", "short-pages"] {
            faults = faults.merge(Faults::preset(preset).unwrap());
        }
        self.consoles.iter().for_each(|server| server.console().set_faults(faults.clone()));
        // One counts what is not there.
        let quirks = Quirks { counts: Counts::Off(3), ..Quirks::default() };
        self.consoles[self.consoles.len() - 1].console().set_quirks(quirks);
        let mut failing = failing();
        failing.push((0.003, FaultRule::AcceptAndHang));
        for (seed, receiver) in self.receivers.iter().enumerate() {
            receiver.misbehave(seed as u64, failing.clone());
        }
        self.elastic.misbehave(1, failing);
    }

    /// Ends all faults, and the creation of records.
    pub fn calm(&self) {
        for server in &self.consoles {
            server.console().set_rate(0.0, system_clock());
            server.console().set_faults(Faults::default());
        }
        self.receivers.iter().for_each(|receiver| receiver.misbehave(0, Vec::new()));
        self.elastic.misbehave(0, Vec::new());
        self.elastic.contract(|Documents(elastic): &mut Documents| elastic.busy = 0);
    }

    fn pipeline(&self, customer: &Customer) -> Value {
        let (mut sink, schema) = if customer.is_elastic {
            (json!({ "type": "elasticsearch", "url": self.elastic.url(), "api_key": "aWQ6a2V5" }), "ecs")
        } else {
            let url = format!("{}/in", self.receivers[customer.console].url());
            (json!({ "type": "http", "url": url, "envelope": true }), "raw")
        };
        let period = |time: Duration| format!("{}ms", time.as_millis());
        sink["name"] = json!("siem");
        // A timeout on a busy machine would be a lost answer that the sink does not know of.
        let timeout = self.size.interval.clamp(Duration::from_secs(10), Duration::from_secs(30));
        sink["timeout"] = json!(period(timeout));
        sink["batch"] = json!({ "events": customer.batch, "timeout": "200ms" });
        sink["retry"] = json!({ "initial": "50ms", "max": "2s" });
        let stream = json!({
            "interval": period(self.size.interval), "overlap": period(self.size.overlap()), "since": "beginning",
        });
        let streams: BTreeMap<_, _> = customer.kinds.iter().map(|kind| (stream_name(*kind), stream.clone())).collect();
        let token = self.harness.path(&format!("tokens/{}", customer.name));
        json!({
            "console": {
                "url": self.consoles[customer.console].url(), "token": { "file": token }, "requests_per_second": 100,
            },
            "streams": streams,
            "transform": { "schema": schema },
            "sinks": [sink],
        })
    }

    /// Writes the pipeline file of a customer as it should be.
    pub fn write_file(&self, customer: usize) {
        let customer = &self.customers[customer];
        self.harness.put(&customer.name, &self.pipeline(customer));
    }

    pub fn break_file(&self, customer: usize) {
        self.harness.write(&format!("pipelines/{}.yaml", self.customers[customer].name), "console: [\n");
    }

    pub fn remove_file(&self, customer: usize) {
        fs::remove_file(self.harness.path(&format!("pipelines/{}.yaml", self.customers[customer].name))).unwrap();
    }

    /// Replaces the file with the token of a customer, as a Secret is replaced: never half.
    pub fn write_token(&self, customer: usize) {
        let customer = &self.customers[customer];
        self.harness.write("token.new", &customer.secret);
        fs::rename(self.harness.path("token.new"), self.harness.path(&format!("tokens/{}", customer.name))).unwrap();
    }

    /// The console of a customer takes the tokens of its customers, and `more`.
    pub fn set_tokens_for(&self, customer: usize, more: &[&str]) {
        let customer = &self.customers[customer];
        let more: Vec<_> = more.iter().map(|secret| self.token(customer, secret)).collect();
        self.set_tokens(customer.console, &more);
    }

    fn set_tokens(&self, console: usize, more: &[Token]) {
        let customers = self.customers.iter().filter(|customer| customer.console == console);
        let mut tokens: Vec<_> = more.to_vec();
        for customer in customers {
            tokens.push(self.token(customer, &customer.secret));
            let expired = customer.expired.iter().map(|secret| self.token(customer, secret).expiring(system_clock()));
            tokens.extend(expired);
        }
        self.consoles[console].console().set_tokens(tokens);
    }

    fn token(&self, customer: &Customer, secret: &str) -> Token {
        Token::new(secret).scoped(self.scopes[customer.scope].clone())
    }

    /// How many lanes run when all pipelines do.
    pub fn lanes(&self) -> usize {
        self.customers.iter().map(|customer| customer.kinds.len()).sum()
    }

    /// How often each event arrived, by pipeline and identity.
    pub fn arrived(&self) -> BTreeMap<String, u32> {
        let mut arrived = self.elastic.ledger().counts();
        self.receivers.iter().for_each(|receiver| arrived.extend(receiver.ledger().counts()));
        arrived
    }

    /// How often each event was taken without an answer that said so.
    pub fn unanswered(&self) -> BTreeMap<String, u32> {
        let mut unanswered = self.elastic.ledger().unanswered();
        self.receivers.iter().for_each(|receiver| unanswered.extend(receiver.ledger().unanswered()));
        unanswered
    }

    /// The identities that each console shows or showed a customer of each scope.
    pub fn account(&self, arrived: &BTreeMap<String, u32>) -> Account {
        let mut owed = BTreeSet::new();
        let mut past = BTreeSet::new();
        for (number, server) in self.consoles.iter().enumerate() {
            let host = server.address().to_string();
            for kind in [Kind::Activities, Kind::Threats] {
                let replaced = server.console().replaced_versions(kind);
                let replaced: Vec<_> = replaced.iter().map(|version| identity(&host, kind, version)).collect();
                for (place, scope) in self.scopes.iter().enumerate() {
                    let shown = server.console().visible_versions(kind, scope);
                    let shown: Vec<_> = shown.iter().map(|version| identity(&host, kind, version)).collect();
                    let sees = |customer: &&Customer| {
                        customer.console == number && customer.scope == place && customer.kinds.contains(&kind)
                    };
                    for customer in self.customers.iter().filter(sees) {
                        owed.extend(shown.iter().map(|identity| key(&customer.name, identity)));
                        past.extend(replaced.iter().map(|identity| key(&customer.name, identity)));
                    }
                }
            }
        }
        Account {
            missing: owed.iter().filter(|key| !arrived.contains_key(*key)).cloned().collect(),
            strange: arrived.keys().filter(|key| !owed.contains(*key) && !past.contains(*key)).cloned().collect(),
            owed: owed.len(),
            arrived: arrived.len(),
        }
    }
}

fn stream_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Activities => "activities",
        Kind::Threats => "threats",
        other => unreachable!("{other:?} are not pulled here"),
    }
}
