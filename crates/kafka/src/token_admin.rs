//! An administrator's requests with a token. librdkafka's own `AdminClient` fetches no tokens.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::error::{ParseResponseErrorCode, ResponseError};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{
    CreateTopicsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, MetadataRequest, RequestHeader,
    ResponseHeader, SaslAuthenticateRequest, SaslHandshakeRequest, TopicName,
};
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request, StrBytes, encode_request_header_into_buffer};
use rdkafka::admin::{ConfigEntry, ConfigSource};
use rdkafka::client::ClientContext as _;
use rustls::pki_types::ServerName;
use s1_forwarder_settings::{ClientError, Dialled, tls_client_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::client_settings::{ANSWER_TIMEOUT, on_thread};
use super::{ClientReports, ClientSettings};

/// Versions of the requests, each known to all brokers from 2.4 to 4.
mod version {
    pub(super) const SASL_HANDSHAKE: i16 = 1;
    pub(super) const SASL_AUTHENTICATE: i16 = 0;
    pub(super) const METADATA: i16 = 1;
    pub(super) const CREATE_TOPICS: i16 = 4;
    pub(super) const DESCRIBE_CONFIGS: i16 = 1;
    pub(super) const INCREMENTAL_ALTER_CONFIGS: i16 = 0;
}

/// The type of resource that is a topic, in requests about settings.
const TOPIC: i8 = 2;
/// The source of a setting that a topic has of its own.
const DYNAMIC_TOPIC: i8 = 1;
/// Sources of a setting that is fixed: the brokers' file, and the brokers' release without it.
const FIXED: [i8; 2] = [4, 5];
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// A request of an administrator failed. The texts contain no secrets.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminError {
    #[error("no token: {0}")]
    Token(String),
    #[error("`{0}` is an option of librdkafka alone; name certificates in `tls`")]
    Option(String),
    #[error(transparent)]
    Tls(#[from] ClientError),
    #[error("{0}")]
    Connection(String),
    /// The brokers refused.
    #[error("{0}")]
    Refused(String),
    /// Another broker has to be asked.
    #[error("the broker is not the controller")]
    NotController,
}

/// A setting of a topic, as the brokers describe it.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) value: Option<String>,
    /// Whether the topic has a value of its own, which may be read.
    pub(super) is_own: bool,
    /// Whether the value is from the brokers' file, or from their release. Any other value may have been set while the
    /// brokers ran.
    pub(super) is_fixed: bool,
}

impl From<ConfigEntry> for Setting {
    fn from(entry: ConfigEntry) -> Self {
        let is_own = entry.source == ConfigSource::DynamicTopic && !entry.is_sensitive;
        let is_fixed = matches!(entry.source, ConfigSource::StaticBroker | ConfigSource::Default);
        Self { name: entry.name, value: entry.value, is_own, is_fixed }
    }
}

/// A connection to a broker that has accepted a token.
pub(super) struct TokenAdmin {
    stream: Box<dyn Dialled>,
    events: ClientReports,
    correlation: i32,
}

impl TokenAdmin {
    /// Connects to the first broker that answers.
    pub(super) async fn connect(client_settings: &ClientSettings) -> Result<Self, AdminError> {
        let brokers = client_settings.config.get("bootstrap.servers").map_or("", String::as_str);
        let mut last = AdminError::Connection("no brokers".to_owned());
        for broker in brokers.split(',').map(str::trim).filter(|broker| !broker.is_empty()) {
            // librdkafka's default port.
            let (host, port) = broker.rsplit_once(':').unwrap_or((broker, "9092"));
            match Self::connect_to(client_settings, host, port).await {
                Ok(connected) => return Ok(connected),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_to(client_settings: &ClientSettings, host: &str, port: &str) -> Result<Self, AdminError> {
        let events = client_settings.events.clone();
        // The token is fetched on a thread, since the call blocks.
        let token = on_thread(move || events.generate_oauth_token(None).map_err(|error| error.to_string())).await;
        let token = match token {
            Ok(Ok(token)) => token.token,
            Ok(Err(reason)) => return Err(AdminError::Token(reason)),
            Err(failure) => return Err(AdminError::Token(failure.to_string())),
        };
        let opened = timeout(ANSWER_TIMEOUT, open(client_settings, host, port)).await;
        let stream = opened.unwrap_or_else(|_| Err(no_answer(ANSWER_TIMEOUT)))?;
        let mut admin = Self { stream, events: client_settings.events.clone(), correlation: 0 };
        admin.authenticate(&token).await?;
        Ok(admin)
    }

    async fn authenticate(&mut self, token: &str) -> Result<(), AdminError> {
        let mechanism = StrBytes::from_static_str("OAUTHBEARER");
        let handshake = SaslHandshakeRequest::default().with_mechanism(mechanism);
        let answer = self.request(&handshake, version::SASL_HANDSHAKE).await?;
        self.refusal(answer.error_code, None)?;
        // The message has the form of RFC 7628, section 3.1.
        let message = format!("n,,\x01auth=Bearer {token}\x01\x01");
        let request = SaslAuthenticateRequest::default().with_auth_bytes(message.into_bytes().into());
        let answer = self.request(&request, version::SASL_AUTHENTICATE).await?;
        self.refusal(answer.error_code, answer.error_message.as_deref())?;
        if answer.auth_bytes.is_empty() {
            return Ok(());
        }
        // A refused token is answered with the reason, as JSON.
        let reason = String::from_utf8_lossy(&answer.auth_bytes).into_owned();
        Err(AdminError::Refused(self.events.cleaned(&reason)))
    }

    /// Creates a topic with the brokers' own replication. Returns false if there is one of this name.
    pub(super) async fn create(
        mut self,
        client_settings: &ClientSettings,
        name: &str,
        partitions: i32,
        settings: &[(&'static str, &'static str)],
    ) -> Result<bool, AdminError> {
        let configs = settings.iter().map(|(key, value)| {
            let value = Some(StrBytes::from_static_str(value));
            CreatableTopicConfig::default().with_name(StrBytes::from_static_str(key)).with_value(value)
        });
        let topic = CreatableTopic::default()
            .with_name(TopicName(StrBytes::from_string(name.to_owned())))
            .with_num_partitions(partitions)
            .with_replication_factor(-1)
            .with_configs(configs.collect());
        let longest = i32::try_from(ANSWER_TIMEOUT.as_millis()).unwrap_or(i32::MAX);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(longest);
        match self.create_here(&request).await {
            // Without KRaft only the controller creates topics.
            Err(AdminError::NotController) => {
                let (host, port) = self.controller().await?;
                Self::connect_to(client_settings, &host, &port.to_string()).await?.create_here(&request).await
            }
            done => done,
        }
    }

    async fn create_here(&mut self, request: &CreateTopicsRequest) -> Result<bool, AdminError> {
        let answer = self.request(request, version::CREATE_TOPICS).await?;
        let topic = answer.topics.first().ok_or_else(|| unexpected("no topic"))?;
        match topic.error_code.err() {
            // Another process was faster.
            Some(ResponseError::TopicAlreadyExists) => Ok(false),
            Some(ResponseError::NotController) => Err(AdminError::NotController),
            _ => self.refusal(topic.error_code, topic.error_message.as_deref()).map(|()| true),
        }
    }

    /// Returns host and port of the controller.
    async fn controller(&mut self) -> Result<(String, i32), AdminError> {
        let request = MetadataRequest::default().with_topics(Some(Vec::new()));
        let answer = self.request(&request, version::METADATA).await?;
        let controller = answer.brokers.iter().find(|broker| broker.node_id == answer.controller_id);
        let controller = controller.ok_or_else(|| unexpected("no controller"))?;
        Ok((controller.host.to_string(), controller.port))
    }

    pub(super) async fn settings(mut self, topic: &str) -> Result<Vec<Setting>, AdminError> {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(StrBytes::from_string(topic.to_owned()))
            .with_configuration_keys(None);
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let answer = self.request(&request, version::DESCRIBE_CONFIGS).await?;
        let found = answer.results.into_iter().next().ok_or_else(|| unexpected("no topic"))?;
        self.refusal(found.error_code, found.error_message.as_deref())?;
        let settings = found.configs.into_iter().map(|setting| Setting {
            name: setting.name.to_string(),
            value: setting.value.map(|value| value.to_string()),
            is_own: setting.config_source == DYNAMIC_TOPIC && !setting.is_sensitive,
            is_fixed: FIXED.contains(&setting.config_source),
        });
        Ok(settings.collect())
    }

    /// Sets some settings of a topic. The others stay.
    pub(super) async fn set(
        mut self,
        topic: &str,
        settings: &[(&'static str, &'static str)],
    ) -> Result<(), AdminError> {
        let configs = settings.iter().map(|(key, value)| {
            let value = Some(StrBytes::from_static_str(value));
            AlterableConfig::default().with_name(StrBytes::from_static_str(key)).with_value(value)
        });
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(StrBytes::from_string(topic.to_owned()))
            .with_configs(configs.collect());
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let answer = self.request(&request, version::INCREMENTAL_ALTER_CONFIGS).await?;
        let changed = answer.responses.first().ok_or_else(|| unexpected("no topic"))?;
        self.refusal(changed.error_code, changed.error_message.as_deref())
    }

    /// Sends a request and waits for its answer.
    async fn request<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response, AdminError> {
        self.correlation += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_static_str("s1-forwarder")));
        let mut body = BytesMut::new();
        encode_request_header_into_buffer(&mut body, &header).map_err(unexpected)?;
        request.encode(&mut body, version).map_err(unexpected)?;
        let exchanged = timeout(ANSWER_TIMEOUT, exchange(&mut self.stream, &body)).await;
        let answer = exchanged.map_err(|_| no_answer(ANSWER_TIMEOUT))?;
        let mut answer = answer.map_err(|error| AdminError::Connection(error.to_string()))?;
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version)).map_err(unexpected)?;
        if header.correlation_id != self.correlation {
            return Err(unexpected("the answer to another request"));
        }
        R::Response::decode(&mut answer, version).map_err(unexpected)
    }

    fn refusal(&self, code: i16, message: Option<&str>) -> Result<(), AdminError> {
        let Some(error) = code.err() else { return Ok(()) };
        let reason = message.map_or_else(|| error.to_string(), |message| format!("{error}: {message}"));
        Err(AdminError::Refused(self.events.cleaned(&reason)))
    }
}

/// Opens a connection, with TLS if `security.protocol` asks for it.
async fn open(client_settings: &ClientSettings, host: &str, port: &str) -> Result<Box<dyn Dialled>, AdminError> {
    let failed = |error: io::Error| AdminError::Connection(format!("{host}:{port}: {error}"));
    let port: u16 = port.parse().map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    // librdkafka's brackets of an IPv6 address are not part of the address.
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let tls = tls(client_settings)?;
    let stream = TcpStream::connect((name, port)).await.map_err(failed)?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(name.to_owned());
    let name = name.map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    Ok(Box::new(TlsConnector::from(Arc::new(tls)).connect(name, stream).await.map_err(failed)?))
}

/// Returns the settings of TLS among librdkafka's; `None` without TLS.
fn tls(client_settings: &ClientSettings) -> Result<Option<rustls::ClientConfig>, AdminError> {
    let value = |key: &str| client_settings.config.get(key).map(String::as_str);
    if !value("security.protocol").is_some_and(|protocol| protocol.to_lowercase().ends_with("ssl")) {
        return Ok(None);
    }
    let is_known = |key: &str, value: &str| match key {
        "ssl.ca.pem" | "ssl.certificate.pem" | "ssl.key.pem" => true,
        // `probe` means the system's authorities.
        "ssl.ca.location" => value == "probe",
        _ => false,
    };
    let mut given = client_settings.config.iter().filter(|(key, _)| key.starts_with("ssl."));
    if let Some((key, _)) = given.find(|(key, value)| !is_known(key, value)) {
        return Err(AdminError::Option(key.clone()));
    }
    let identity = value("ssl.certificate.pem").zip(value("ssl.key.pem"));
    Ok(Some(tls_client_of(value("ssl.ca.pem"), identity)?))
}

/// Sends a message and reads the next one, each with its length in front.
async fn exchange(stream: &mut Box<dyn Dialled>, body: &[u8]) -> io::Result<Bytes> {
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(body).await?;
    stream.flush().await?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = (&length[..]).get_u32() as usize;
    if length > MAX_ANSWER {
        return Err(io::Error::other(format!("an answer of {length} bytes; does the port speak Kafka's protocol?")));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Ok(answer.into())
}

fn no_answer(longest: Duration) -> AdminError {
    AdminError::Connection(format!("no answer within {} s", longest.as_secs()))
}

fn unexpected(problem: impl std::fmt::Display) -> AdminError {
    AdminError::Connection(format!("an unexpected answer: {problem}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
    use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
    use kafka_protocol::messages::{
        ApiKey, BrokerId, CreateTopicsResponse, MetadataResponse, SaslAuthenticateResponse, SaslHandshakeResponse,
    };
    use kafka_protocol::protocol::{Encodable, decode_request_header_from_buffer};
    use rdkafka::client::OAuthToken;
    use tokio::net::TcpListener;
    use tokio::runtime::Handle;

    use super::super::Tokens;
    use super::*;

    #[derive(Debug)]
    struct OneToken;

    impl Tokens for OneToken {
        fn token(&self, _: &Handle) -> Result<OAuthToken, Box<dyn std::error::Error>> {
            Ok(OAuthToken { token: "canary".to_owned(), principal_name: String::new(), lifetime_ms: i64::MAX })
        }

        fn key(&self) -> String {
            String::new()
        }
    }

    /// Runs a broker that accepts the token `canary` and answers each request for a topic with a code. It knows the
    /// controller by its port. Returns its own port.
    async fn broker(controller: Option<u16>, code: i16, message: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                while let Ok(length) = stream.read_u32().await {
                    let mut request = vec![0; length as usize];
                    stream.read_exact(&mut request).await.unwrap();
                    let mut request = Bytes::from(request);
                    let header = decode_request_header_from_buffer(&mut request).unwrap();
                    let version = header.request_api_version;
                    let mut answer = BytesMut::new();
                    ResponseHeader::default()
                        .with_correlation_id(header.correlation_id)
                        .encode(&mut answer, 0)
                        .unwrap();
                    match ApiKey::try_from(header.request_api_key).unwrap() {
                        ApiKey::SaslHandshake => SaslHandshakeResponse::default().encode(&mut answer, version),
                        ApiKey::SaslAuthenticate => {
                            let sent = SaslAuthenticateRequest::decode(&mut request, version).unwrap();
                            assert_eq!(sent.auth_bytes, "n,,\x01auth=Bearer canary\x01\x01");
                            SaslAuthenticateResponse::default().encode(&mut answer, version)
                        }
                        ApiKey::Metadata => {
                            let broker = MetadataResponseBroker::default()
                                .with_node_id(BrokerId(7))
                                .with_host(StrBytes::from_static_str("127.0.0.1"))
                                .with_port(controller.unwrap().into());
                            let metadata = MetadataResponse::default().with_controller_id(BrokerId(7));
                            metadata.with_brokers(vec![broker]).encode(&mut answer, version)
                        }
                        ApiKey::CreateTopics => {
                            let sent = CreateTopicsRequest::decode(&mut request, version).unwrap();
                            let topic = &sent.topics[0];
                            assert_eq!((topic.num_partitions, topic.replication_factor), (4, -1));
                            assert_eq!(topic.configs[0].value.as_deref(), Some("compact"));
                            let topic = CreatableTopicResult::default().with_name(topic.name.clone());
                            let message = (!message.is_empty()).then(|| StrBytes::from_static_str(message));
                            let topic = topic.with_error_code(code).with_error_message(message);
                            CreateTopicsResponse::default().with_topics(vec![topic]).encode(&mut answer, version)
                        }
                        other => panic!("{other:?}"),
                    }
                    .unwrap();
                    stream.write_u32(u32::try_from(answer.len()).unwrap()).await.unwrap();
                    stream.write_all(&answer).await.unwrap();
                }
            }
        });
        port
    }

    async fn create(brokers: &str) -> Result<bool, AdminError> {
        let config = BTreeMap::from([("bootstrap.servers".to_owned(), brokers.to_owned())]);
        let client_settings = ClientSettings::new(config, Some(Arc::new(OneToken)));
        let admin = TokenAdmin::connect(&client_settings).await?;
        admin.create(&client_settings, "lanes", 4, &[("cleanup.policy", "compact")]).await
    }

    #[tokio::test]
    async fn the_controller_creates_a_topic_and_refusals_have_their_reason() {
        let controller = broker(None, 0, "").await;
        let follower = broker(Some(controller), 41, "").await;
        // The first broker is gone.
        assert!(create(&format!("127.0.0.1:1, 127.0.0.1:{follower}")).await.unwrap());

        let occupied = broker(None, 36, "").await;
        assert!(!create(&format!("127.0.0.1:{occupied}")).await.unwrap(), "somebody else created it");
        let refusing = broker(None, 29, "canary may not create topics").await;
        let refused = create(&format!("127.0.0.1:{refusing}")).await.unwrap_err();
        assert!(matches!(&refused, AdminError::Refused(reason) if reason.contains("may not create")), "{refused:?}");
        assert!(!refused.to_string().contains("canary"), "{refused}");
    }
}
