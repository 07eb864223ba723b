//! A real Apache Kafka, without ZooKeeper, started from its jars, with its makers' defaults.
//!
//! Some settings differ from the defaults. Tests that run side by side cannot share ports and directories. A single
//! broker has one replica of its own topics, and not three. Java's memory is set, and a secure broker has listeners,
//! users and rules.

#![allow(clippy::disallowed_methods, reason = "a real process keeps real time, and nobody else is on its thread")]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};

use super::cache::or_skip;
use super::kafka_proxy::KafkaProxy;
use super::ports;
use super::tls::Authority;

/// A running broker; it ends when it is dropped.
pub struct Broker {
    port: u16,
    /// The port at which clients reach it: its own, or a proxy's.
    advertised: u16,
    /// Port of the controller, which is in the first broker.
    controller: u16,
    /// Ports of the listeners SASL_SSL and SSL, where it has them.
    secure: Option<(u16, u16)>,
    directory: tempfile::TempDir,
    jars: PathBuf,
    process: Mutex<Option<Child>>,
}

/// A message as a consumer sees it.
#[derive(Debug, Clone)]
pub struct Consumed {
    pub key: String,
    pub value: String,
    pub headers: Vec<(String, String)>,
    pub timestamp: i64,
    pub partition: i32,
    pub offset: i64,
}

impl Consumed {
    /// A header's text, "" where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Broker {
    /// A broker of its own, or none where Java or Maven are missing.
    pub fn start() -> Option<Self> {
        Self::start_with(None, None)
    }

    /// Starts a broker whose clients go through a proxy.
    pub fn start_behind(proxy: &KafkaProxy) -> Option<Self> {
        Self::start_with(None, Some(proxy))
    }

    /// Starts a broker that has, in addition to its open listener, one with TLS and SASL (users `alice` with
    /// SCRAM-SHA-512 and `bob` with PLAIN, password `s3cret pass`; unsigned OAUTHBEARER tokens, whose end ends the
    /// session) and one that wants a client certificate.
    pub fn start_secure(authority: &Authority) -> Option<Self> {
        Self::start_with(Some(authority), None)
    }

    fn start_with(authority: Option<&Authority>, proxy: Option<&KafkaProxy>) -> Option<Self> {
        let jars = or_skip("Apache Kafka", test_servers::kafka())?;
        let directory = tempfile::tempdir().unwrap();
        let secure = authority.map(|authority| {
            let server = authority.issue(&["127.0.0.1"]);
            std::fs::write(directory.path().join("server.pem"), format!("{}{}", server.key, server.certificate))
                .unwrap();
            std::fs::write(directory.path().join("ca.pem"), authority.certificate()).unwrap();
            (ports::free(), ports::free())
        });
        let port = ports::free();
        let controller = ports::free();
        let advertised = proxy.map_or(port, KafkaProxy::port);
        if let Some(proxy) = proxy {
            proxy.lead_to(port);
        }
        let broker = Self { port, advertised, controller, secure, directory, jars, process: Mutex::new(None) };
        broker.format(1);
        broker.run();
        Some(broker)
    }

    /// Another broker of the same cluster, with the number [`Self::OTHER`].
    pub fn start_other(&self) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = ports::free();
        let jars = self.jars.clone();
        let controller = self.controller;
        let process = Mutex::new(None);
        let broker = Self { port, advertised: port, controller, secure: None, directory, jars, process };
        broker.format(Self::OTHER);
        broker.run();
        broker
    }

    pub const OTHER: i32 = 2;

    /// Writes the settings, and prepares the directory.
    fn format(&self, node: i32) {
        let Self { port, advertised, controller, .. } = self;
        let (more_listeners, more_properties) = self.secure.map(more_listeners).unwrap_or_default();
        let (roles, control) = match node {
            1 => ("broker,controller", format!(",CONTROLLER://127.0.0.1:{controller}")),
            _ => ("broker", String::new()),
        };
        let properties = format!(
            "process.roles={roles}\nnode.id={node}\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port}{more_listeners}{control}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{advertised}{more_listeners}\ncontroller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL\n\
             log.dirs={}\noffsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n{more_properties}",
            self.directory.path().join("data").display()
        );
        std::fs::write(self.directory.path().join("server.properties"), properties).unwrap();
        let mut format =
            vec!["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", "server.properties"];
        if self.secure.is_some() {
            format.extend(["--add-scram", "SCRAM-SHA-512=[name=alice,password=s3cret pass]"]);
        }
        let formatted = self.java(&format).status().unwrap();
        assert!(formatted.success(), "{}", self.log());
    }

    /// Returns the broker for all tests that run at the same time.
    pub fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Broker>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(broker) = shared.upgrade() {
            return Some(broker);
        }
        let broker = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&broker);
        Some(broker)
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.advertised)
    }

    /// `HOST:PORT` of the listener with TLS and SASL.
    pub fn sasl_address(&self) -> String {
        format!("127.0.0.1:{}", self.secure.unwrap().0)
    }

    /// `HOST:PORT` of the listener that wants a client certificate.
    pub fn ssl_address(&self) -> String {
        format!("127.0.0.1:{}", self.secure.unwrap().1)
    }

    /// Takes a right from `user`: `what` is a kind of resource and its name, as the rules' own tool wants them. Of a
    /// secure broker. None where the tool is missing.
    pub fn deny(&self, user: &str, operation: &str, what: [&str; 2]) -> Option<()> {
        self.rule(&["--add"], user, operation, what)
    }

    /// Gives it back.
    pub fn allow_again(&self, user: &str, operation: &str, what: [&str; 2]) -> Option<()> {
        self.rule(&["--remove", "--force"], user, operation, what)
    }

    fn rule(&self, change: &[&str], user: &str, operation: &str, what: [&str; 2]) -> Option<()> {
        let tools = or_skip("Kafka's tools", test_servers::kafka_tools())?;
        let principal = format!("User:{user}");
        let address = self.address();
        let mut command = Command::new("java");
        command.arg("-cp").arg(tools.join("*")).args(["org.apache.kafka.tools.AclCommand", "--bootstrap-server"]);
        command.arg(&address).args(change).args(["--deny-principal", &principal, "--operation", operation]).args(what);
        command.args(["--resource-pattern-type", "prefixed"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(())
    }

    /// Ends the broker without warning.
    pub fn stop(&self) {
        if let Some(mut process) = self.process.lock().unwrap().take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Stops its clock: it answers nothing, and its connections stay open.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let process = self.process.lock().unwrap().as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", name, &process]).status().unwrap().success(), "{name} {process}");
    }

    /// Starts it (again, on the same port and data) and waits until it answers.
    pub fn run(&self) {
        let child = self.java(&["kafka.Kafka", "server.properties"]).spawn().unwrap();
        *self.process.lock().unwrap() = Some(child);
        let client: BaseConsumer = self.config().create().unwrap();
        let deadline = Instant::now() + Duration::from_mins(2);
        while client.fetch_metadata(None, Duration::from_secs(1)).is_err() {
            let ended = self.process.lock().unwrap().as_mut().is_none_or(|child| child.try_wait().unwrap().is_some());
            assert!(!ended && Instant::now() < deadline, "Kafka does not start: {}", self.log());
        }
    }

    /// Makes a topic.
    pub async fn create_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        self.create(topic).await;
    }

    /// Makes a topic of one partition, of which only this broker has a replica.
    pub async fn create_topic_on(&self, name: &str, node: i32) {
        self.create(NewTopic::new(name, 1, TopicReplication::Variable(&[&[node]]))).await;
    }

    async fn create(&self, topic: NewTopic<'_>) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
        let name = topic.name;
        for made in admin.create_topics(&[topic], &AdminOptions::new()).await.unwrap() {
            made.unwrap();
        }
        // The controller knows it a moment before the broker does.
        let visible = || {
            let metadata = admin.inner().fetch_metadata(Some(name), Duration::from_secs(10)).unwrap();
            let topic = &metadata.topics()[0];
            topic.error().is_none() && topic.partitions().iter().all(|partition| partition.leader() > 0)
        };
        while !visible() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The topics that exist, and how many of the partitions of each have a leader. Asking makes none.
    pub fn topics(&self) -> BTreeMap<String, usize> {
        let client: BaseConsumer = self.config().create().unwrap();
        let metadata = client.fetch_metadata(None, Duration::from_secs(20)).unwrap();
        let leaders = |topic: &MetadataTopic| topic.partitions().iter().filter(|found| found.leader() > 0).count();
        metadata.topics().iter().map(|topic| (topic.name().to_owned(), leaders(topic))).collect()
    }

    /// A setting of a topic.
    pub async fn topic_setting(&self, topic: &str, key: &str) -> String {
        let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
        let found = admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &AdminOptions::new()).await.unwrap();
        let found = found.into_iter().next().unwrap().unwrap();
        found.entries.into_iter().find(|entry| entry.name == key).unwrap().value.unwrap()
    }

    /// Puts a message into a topic.
    pub async fn write(&self, topic: &str, key: &str) {
        self.write_event(topic, key, b"text", &[]).await;
    }

    /// A message with these headers.
    pub async fn write_event(&self, topic: &str, key: &str, payload: &[u8], headers: &[(&str, &str)]) {
        let producer: FutureProducer = self.config().create().unwrap();
        let add = |all: OwnedHeaders, (key, value): &(&str, &str)| all.insert(Header { key, value: Some(*value) });
        let headers = headers.iter().fold(OwnedHeaders::new(), add);
        let record = FutureRecord::to(topic).key(key).payload(payload).headers(headers);
        producer.send(record, Duration::from_secs(20)).await.unwrap();
    }

    /// Sets this alone of a topic.
    pub async fn set_topic(&self, topic: &str, key: &str, value: &str) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
        let config = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(key, value);
        for set in admin.alter_configs(&[config], &AdminOptions::new()).await.unwrap() {
            set.unwrap();
        }
        while self.topic_setting(topic, key).await != value {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Removes the beginnings of these partitions of a topic, up to these offsets.
    pub async fn delete_before(&self, topic: &str, until: &BTreeMap<i32, i64>) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
        let mut offsets = TopicPartitionList::new();
        for (partition, offset) in until {
            offsets.add_partition_offset(topic, *partition, Offset::Offset(*offset)).unwrap();
        }
        admin.delete_records(&offsets, &AdminOptions::new()).await.unwrap();
    }

    /// Returns everything that is in a topic now.
    pub fn read(&self, topic: &str) -> Vec<Consumed> {
        read(&self.address(), topic)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address()).set("group.id", "test").set("log_level", "0");
        config.set("reconnect.backoff.max.ms", "200");
        config
    }

    fn java(&self, arguments: &[&str]) -> Command {
        let log = File::options().create(true).append(true).open(self.directory.path().join("log")).unwrap();
        let mut command = Command::new("java");
        command.args(["-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp"]).arg(self.jars.join("*")).args(arguments);
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        command
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

/// Two more listeners and their settings.
fn more_listeners((sasl, ssl): (u16, u16)) -> (String, String) {
    let listeners = format!(",SASL_SSL://127.0.0.1:{sasl},SSL://127.0.0.1:{ssl}");
    let login = |mechanism: &str, module: &str, options: &str| {
        format!(
            "listener.name.sasl_ssl.{mechanism}.sasl.jaas.config=org.apache.kafka.common.security.{module} required {options};\n"
        )
    };
    let properties = [
        // The open listener may do everything. An operation without a rule is allowed for everyone.
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         super.users=User:ANONYMOUS\nallow.everyone.if.no.acl.found=true\n\
         ssl.keystore.type=PEM\nssl.keystore.location=server.pem\nssl.truststore.type=PEM\n\
         ssl.truststore.location=ca.pem\nlistener.name.ssl.ssl.client.auth=required\n\
         sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN,OAUTHBEARER\n\
         listener.name.sasl_ssl.oauthbearer.connections.max.reauth.ms=3600000\n",
        &login("scram-sha-512", "scram.ScramLoginModule", ""),
        &login("plain", "plain.PlainLoginModule", "user_bob=\"s3cret pass\""),
        &login("oauthbearer", "oauthbearer.OAuthBearerLoginModule", "unsecuredLoginStringClaim_sub=\"broker\""),
    ];
    (listeners, properties.concat())
}

/// Returns everything that is in a topic now.
pub fn read(brokers: &str, topic: &str) -> Vec<Consumed> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "test").set("enable.auto.commit", "false");
    // The end of a partition: in a topic with transactions, watermarks count more than the messages.
    config.set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let timeout = Duration::from_secs(20);
    let metadata = consumer.fetch_metadata(Some(topic), timeout).unwrap();
    let mut left = 0;
    let mut assignment = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        left += 1;
        assignment.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut consumed = Vec::new();
    while left > 0 {
        let message = match consumer.poll(timeout).expect("a message, or the end of a partition") {
            Ok(message) => message,
            Err(KafkaError::PartitionEOF(_)) => {
                left -= 1;
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap();
        let headers = message
            .headers()
            .map(|headers| headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect());
        consumed.push(Consumed {
            key: text(message.key()),
            value: text(message.payload()),
            headers: headers.unwrap_or_default(),
            timestamp: message.timestamp().to_millis().unwrap_or_default(),
            partition: message.partition(),
            offset: message.offset(),
        });
    }
    consumed
}
