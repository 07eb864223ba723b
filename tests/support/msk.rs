//! A broker of Amazon MSK with IAM: it speaks Kafka's protocol, takes presigned requests as tokens, and asks for
//! another one after a while.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, InitProducerIdResponse, MetadataRequest, MetadataResponse, ProduceRequest,
    ProduceResponse, ProducerId, ResponseHeader, SaslAuthenticateRequest, SaslAuthenticateResponse,
    SaslHandshakeResponse, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes, decode_request_header_from_buffer};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::aws::Signatures;
use super::tls::{Authority, TlsFront};

/// The requests that it answers, each up to a version.
const APIS: [(ApiKey, i16); 7] = [
    (ApiKey::ApiVersions, 3),
    (ApiKey::SaslHandshake, 1),
    (ApiKey::SaslAuthenticate, 1),
    (ApiKey::Metadata, 4),
    (ApiKey::InitProducerId, 1),
    (ApiKey::Produce, 7),
    // A client looks for this version before it sends the newer form of messages to a broker.
    (ApiKey::Fetch, 4),
];
/// How long a session lasts with one token, in milliseconds.
const SESSION: i64 = 2_000;

/// A running broker; it ends when it is dropped.
pub struct MskBroker {
    front: TlsFront,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

struct State {
    signatures: Signatures,
    /// The presigned requests that were good.
    accepted: Mutex<Vec<Url>>,
    /// Bytes of records that were sent.
    stored: Mutex<usize>,
}

impl Drop for MskBroker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl MskBroker {
    /// Starts a broker whose certificate for 127.0.0.1 is issued by `authority`.
    pub async fn start(authority: &Authority, signatures: Signatures) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = TlsFront::start(listener.local_addr().unwrap(), &authority.issue(&["127.0.0.1"]), None).await;
        let state = Arc::new(State { signatures, accepted: Mutex::default(), stored: Mutex::default() });
        let shared = state.clone();
        let address = front.address();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, shared.clone(), address));
            }
        });
        Self { front, state, task }
    }

    pub fn address(&self) -> SocketAddr {
        self.front.address()
    }

    /// The presigned requests that were accepted.
    pub fn accepted(&self) -> Vec<Url> {
        self.state.accepted.lock().clone()
    }

    /// Bytes of records that were sent.
    pub fn stored(&self) -> usize {
        *self.state.stored.lock()
    }
}

/// Nothing but its first requests is answered before a token was accepted.
async fn serve(mut stream: TcpStream, state: Arc<State>, address: SocketAddr) {
    let mut is_known = false;
    while let Ok(length) = stream.read_u32().await {
        let mut request = vec![0; length as usize];
        stream.read_exact(&mut request).await.unwrap();
        let mut request = Bytes::from(request);
        let header = decode_request_header_from_buffer(&mut request).unwrap();
        let version = header.request_api_version;
        let mut answer = BytesMut::new();
        ResponseHeader::default().with_correlation_id(header.correlation_id).encode(&mut answer, 0).unwrap();
        let encoded = match ApiKey::try_from(header.request_api_key).unwrap() {
            ApiKey::ApiVersions => {
                let api = |(key, max): (ApiKey, i16)| {
                    ApiVersion::default().with_api_key(key as i16).with_min_version(0).with_max_version(max)
                };
                let apis = APIS.into_iter().map(api).collect();
                ApiVersionsResponse::default().with_api_keys(apis).encode(&mut answer, version)
            }
            ApiKey::SaslHandshake => {
                let mechanisms = vec![StrBytes::from_static_str("OAUTHBEARER")];
                SaslHandshakeResponse::default().with_mechanisms(mechanisms).encode(&mut answer, version)
            }
            ApiKey::SaslAuthenticate => {
                let sent = SaslAuthenticateRequest::decode(&mut request, version).unwrap();
                match state.accept(&sent.auth_bytes) {
                    Ok(url) => {
                        is_known = true;
                        state.accepted.lock().push(url);
                        SaslAuthenticateResponse::default().with_session_lifetime_ms(SESSION)
                    }
                    Err(reason) => {
                        is_known = false;
                        let reason = StrBytes::from_string(format!("Access denied: {reason}"));
                        SaslAuthenticateResponse::default().with_error_code(58).with_error_message(Some(reason))
                    }
                }
                .encode(&mut answer, version)
            }
            _ if !is_known => return,
            ApiKey::Metadata => {
                let asked = MetadataRequest::decode(&mut request, version).unwrap();
                metadata(address, &asked).encode(&mut answer, version)
            }
            ApiKey::InitProducerId => {
                InitProducerIdResponse::default().with_producer_id(ProducerId(1)).encode(&mut answer, version)
            }
            ApiKey::Produce => {
                let sent = ProduceRequest::decode(&mut request, version).unwrap();
                state.store(&sent).encode(&mut answer, version)
            }
            other => panic!("{other:?}"),
        };
        encoded.unwrap();
        stream.write_u32(u32::try_from(answer.len()).unwrap()).await.unwrap();
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

impl State {
    /// The presigned request in a token, if it is good.
    fn accept(&self, message: &[u8]) -> Result<Url, String> {
        let message = std::str::from_utf8(message).map_err(|error| error.to_string())?;
        let token = message.strip_prefix("n,,\x01auth=Bearer ").and_then(|rest| rest.strip_suffix("\x01\x01"));
        let url = BASE64_URL_SAFE_NO_PAD.decode(token.ok_or("no token")?).map_err(|error| error.to_string())?;
        let url: Url = String::from_utf8(url).map_err(|error| error.to_string())?.parse().map_err(|_| "no URL")?;
        let action = url.query_pairs().find(|(name, _)| name == "Action").map(|(_, value)| value.into_owned());
        if action.as_deref() != Some("kafka-cluster:Connect") {
            return Err(format!("{action:?} is not to connect"));
        }
        self.signatures.verify_presigned(&url)?;
        Ok(url)
    }

    fn store(&self, request: &ProduceRequest) -> ProduceResponse {
        let topics = request.topic_data.iter().map(|topic| {
            let partitions = topic.partition_data.iter().map(|partition| {
                *self.stored.lock() += partition.records.as_ref().map_or(0, Bytes::len);
                PartitionProduceResponse::default().with_index(partition.index)
            });
            TopicProduceResponse::default().with_name(topic.name.clone()).with_partition_responses(partitions.collect())
        });
        ProduceResponse::default().with_responses(topics.collect())
    }
}

/// One broker, and whatever topics are asked for, with one partition each.
fn metadata(address: SocketAddr, asked: &MetadataRequest) -> MetadataResponse {
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(1))
        .with_host(StrBytes::from_string(address.ip().to_string()))
        .with_port(address.port().into());
    let partition = MetadataResponsePartition::default()
        .with_leader_id(BrokerId(1))
        .with_replica_nodes(vec![BrokerId(1)])
        .with_isr_nodes(vec![BrokerId(1)]);
    let topic = |name: &TopicName| {
        MetadataResponseTopic::default().with_name(Some(name.clone())).with_partitions(vec![partition.clone()])
    };
    let names = asked.topics.iter().flatten().filter_map(|topic| topic.name.as_ref());
    let topics = names.map(topic).collect();
    let cluster = Some(StrBytes::from_static_str("msk"));
    let metadata = MetadataResponse::default().with_controller_id(BrokerId(1)).with_cluster_id(cluster);
    metadata.with_brokers(vec![broker]).with_topics(topics)
}
