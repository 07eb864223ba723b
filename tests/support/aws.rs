//! AWS: the check of a signature (Signature Version 4), and the servers that give credentials to workers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use s1_forwarder::record::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::double::{Contract, Received, Reply};
use super::hmac::{hex, hmac_sha256};

pub const REGION: &str = "eu-west-1";
pub const ROLE: &str = "arn:aws:iam::123456789012:role/forwarder";

/// An access key; temporary ones have a session token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub id: String,
    pub secret: String,
    pub session: Option<String>,
}

/// A key without an end.
pub fn key() -> Key {
    Key { id: "AKIACANARY".to_owned(), secret: "canary/secret+key=".to_owned(), session: None }
}

/// The temporary key that is issued at this place in order, from 1.
pub fn issued(number: u32) -> Key {
    Key {
        id: format!("ASIACANARY{number}"),
        secret: format!("canary/temporary+{number}="),
        session: Some(format!("canary//session+{number}==")),
    }
}

/// The signatures that a service accepts in requests.
#[derive(Debug, Clone)]
pub struct Signatures {
    pub service: &'static str,
    pub keys: Vec<Key>,
    /// How far the service's clock is ahead of this machine's.
    pub ahead: Duration,
}

impl Signatures {
    pub fn of(service: &'static str, keys: impl IntoIterator<Item = Key>) -> Self {
        Self { service, keys: keys.into_iter().collect(), ahead: Duration::ZERO }
    }

    /// The service's time.
    pub fn now(&self) -> SystemTime {
        SystemTime::now() + self.ahead
    }

    /// The words of a refusal are those of AWS.
    pub fn verify(&self, request: &Received) -> Result<(), &'static str> {
        let authorization = request.header("authorization").strip_prefix("AWS4-HMAC-SHA256 ");
        let parts = authorization.ok_or("Missing Authentication Token")?.split(", ");
        let parts: BTreeMap<&str, &str> = parts.filter_map(|part| part.split_once('=')).collect();
        let credential = parts["Credential"];
        let signed = parts["SignedHeaders"];
        let (id, scope) = credential.split_once('/').ok_or("no scope")?;
        let found = self.keys.iter().find(|key| key.id == id);
        let key = found.ok_or("The security token included in the request is expired")?;
        if key.session.as_deref().unwrap_or("") != request.header("x-amz-security-token") {
            return Err("The security token included in the request is invalid.");
        }
        let date = request.header("x-amz-date");
        if scope != format!("{}/{REGION}/{}/aws4_request", &date[..8], self.service) {
            return Err("Credential should be scoped to a valid region.");
        }
        let time = format!(
            "{}-{}-{}T{}:{}:{}Z",
            &date[..4],
            &date[4..6],
            &date[6..8],
            &date[9..11],
            &date[11..13],
            &date[13..15]
        );
        let difference = Timestamp::parse(&time).unwrap().seconds() - Timestamp::from(self.now()).seconds();
        if difference.abs() > 300 {
            return Err("Signature expired");
        }
        let names: Vec<&str> = signed.split(';').collect();
        let demanded = ["host", "x-amz-date", "x-amz-content-sha256", "content-type", "content-encoding"];
        let demanded = demanded.iter().chain(&["x-amz-security-token"]);
        if demanded.filter(|name| !request.header(name).is_empty()).any(|name| !names.contains(name)) {
            return Err("a header is not signed");
        }
        let digest = hex(&Sha256::digest(&request.wire));
        if request.header("x-amz-content-sha256") != digest {
            return Err("The provided 'x-amz-content-sha256' header does not match what was computed.");
        }
        let headers: String = names.iter().map(|name| format!("{name}:{}\n", request.header(name).trim())).collect();
        // The path as it was sent, with each segment encoded once more.
        let path = encode(&request.path, b"/");
        let canonical =
            [request.method.as_str(), &path, &query(&request.query), &headers, signed, digest.as_str()].join("\n");
        let text = ["AWS4-HMAC-SHA256", date, scope, &hex(&Sha256::digest(canonical))].join("\n");
        let secret = format!("AWS4{}", key.secret).into_bytes();
        let signing = scope.split('/').fold(secret, |key, part| hmac_sha256(&key, part.as_bytes()));
        if hex(&hmac_sha256(&signing, text.as_bytes())) == parts["Signature"] {
            Ok(())
        } else {
            Err("The request signature we calculated does not match the signature you provided.")
        }
    }
}

impl Signatures {
    /// Verifies a request whose signature is in its query. `User-Agent` is added after it was signed.
    pub fn verify_presigned(&self, url: &url::Url) -> Result<(), &'static str> {
        let pairs: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        let get = |name: &str| pairs.get(name).map_or("", String::as_str);
        let date = get("X-Amz-Date");
        let (id, scope) = get("X-Amz-Credential").split_once('/').ok_or("no scope")?;
        let key = self.keys.iter().find(|key| key.id == id).ok_or("The security token is expired")?;
        if key.session.as_deref().unwrap_or("") != get("X-Amz-Security-Token") {
            return Err("The security token included in the request is invalid.");
        } else if scope != format!("{}/{REGION}/{}/aws4_request", &date[..8], self.service) {
            return Err("Credential should be scoped to a valid region.");
        } else if get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256" || get("X-Amz-SignedHeaders") != "host" {
            return Err("the host alone is signed");
        } else if !get("X-Amz-Expires").parse::<u32>().is_ok_and(|seconds| (1..=900).contains(&seconds)) {
            return Err("a presigned request holds for 15 minutes at most");
        }
        let signed = url.query().unwrap_or_default().split('&');
        let signed: Vec<&str> =
            signed.filter(|pair| !pair.starts_with("X-Amz-Signature=") && !pair.starts_with("User-Agent=")).collect();
        let host = format!("host:{}\n", url.host_str().unwrap_or_default());
        let nothing = hex(&Sha256::digest(b""));
        let canonical = ["GET", url.path(), &query(&signed.join("&")), &host, "host", nothing.as_str()].join("\n");
        let text = ["AWS4-HMAC-SHA256", date, scope, &hex(&Sha256::digest(canonical))].join("\n");
        let secret = format!("AWS4{}", key.secret).into_bytes();
        let signing = scope.split('/').fold(secret, |key, part| hmac_sha256(&key, part.as_bytes()));
        let is_right = hex(&hmac_sha256(&signing, text.as_bytes())) == get("X-Amz-Signature");
        if is_right { Ok(()) } else { Err("The request signature we calculated does not match") }
    }
}

fn encode(text: &str, also: &[u8]) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ if also.contains(&byte) => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn query(query: &str) -> String {
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    let mut pairs: Vec<String> =
        pairs.map(|(name, value)| format!("{}={}", encode(&name, b""), encode(&value, b""))).collect();
    pairs.sort();
    pairs.join("&")
}

/// The servers that give credentials: the instance metadata service, the agent of EKS, and the Security Token Service.
pub struct AwsServers {
    /// The instance's role.
    pub role: Option<&'static str>,
    /// The token that a pod proves itself with.
    pub pod_token: String,
    /// The web identity token that is good.
    pub web_identity: String,
    /// The external id that the role asks for.
    pub external_id: Option<&'static str>,
    pub lifetime: Duration,
    pub issued: u32,
    /// Tokens of the instance metadata service that were issued.
    pub metadata_tokens: BTreeSet<String>,
}

impl Default for AwsServers {
    fn default() -> Self {
        Self {
            role: Some("forwarder"),
            pod_token: "canary-pod".to_owned(),
            web_identity: "canary-web".to_owned(),
            external_id: None,
            lifetime: Duration::from_hours(1),
            issued: 0,
            metadata_tokens: BTreeSet::new(),
        }
    }
}

fn refusal(status: u16, code: &str, message: &str) -> Reply {
    let body = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>{message}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    );
    Reply::new(status, body).with("content-type", "text/xml")
}

impl Contract for AwsServers {
    fn answer(&mut self, request: &Received) -> Reply {
        let is_local = request.header("x-forwarded-for").is_empty();
        match (request.method.as_str(), request.path.as_str()) {
            ("PUT", "/latest/api/token") if is_local => self.metadata_token(request),
            ("GET", path) if path.starts_with("/latest/meta-data/") => self.metadata(request),
            ("GET", "/v1/credentials") if request.header("authorization") == self.pod_token => self.document(),
            ("GET", "/v1/credentials") => Reply::new(401, "no pod"),
            ("POST", "/") => self.sts(request),
            _ => Reply::new(404, ""),
        }
    }
}

impl AwsServers {
    fn metadata_token(&mut self, request: &Received) -> Reply {
        let seconds = request.header("x-aws-ec2-metadata-token-ttl-seconds").parse::<u32>();
        if !seconds.is_ok_and(|seconds| (1..=21_600).contains(&seconds)) {
            return Reply::new(400, "");
        }
        let token = format!("canary-metadata-{}", self.metadata_tokens.len());
        self.metadata_tokens.insert(token.clone());
        Reply::new(200, token)
    }

    fn metadata(&mut self, request: &Received) -> Reply {
        if !self.metadata_tokens.contains(request.header("x-aws-ec2-metadata-token")) {
            return Reply::new(401, "");
        }
        let Some(role) = self.role else { return Reply::new(404, "") };
        match request.path.strip_prefix("/latest/meta-data/iam/security-credentials/") {
            Some("") => Reply::new(200, role),
            Some(name) if name == role => self.document(),
            _ => Reply::new(404, ""),
        }
    }

    /// A new key, and when it ends.
    fn issue(&mut self) -> (Key, String) {
        self.issued += 1;
        let end = Timestamp::now().plus(self.lifetime).whole_second().to_string();
        (issued(self.issued), end.replace(".000000", ""))
    }

    fn document(&mut self) -> Reply {
        let (key, end) = self.issue();
        let document = json!({
            "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": key.id, "SecretAccessKey": key.secret,
            "Token": key.session, "Expiration": end,
        });
        Reply::new(200, document.to_string())
    }

    fn sts(&mut self, request: &Received) -> Reply {
        let form: BTreeMap<String, String> = url::form_urlencoded::parse(&request.bytes).into_owned().collect();
        let get = |name: &str| form.get(name).map_or("", String::as_str);
        if get("Version") != "2011-06-15" || get("RoleSessionName").is_empty() {
            return refusal(400, "ValidationError", "version or session");
        }
        match get("Action") {
            "AssumeRoleWithWebIdentity" if get("WebIdentityToken") != self.web_identity => {
                return refusal(400, "ExpiredTokenException", "Token expired");
            }
            "AssumeRoleWithWebIdentity" => {}
            "AssumeRole" => {
                let keys = (1..=self.issued).map(issued).chain([key()]);
                if let Err(reason) = Signatures::of("sts", keys).verify(request) {
                    return refusal(403, "SignatureDoesNotMatch", reason);
                }
                if get("ExternalId") != self.external_id.unwrap_or_default() {
                    return refusal(403, "AccessDenied", "is not authorized to perform: sts:AssumeRole");
                }
            }
            _ => return refusal(400, "InvalidAction", "no such action"),
        }
        if get("RoleArn") != ROLE {
            return refusal(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity");
        }
        let (key, end) = self.issue();
        let session = key.session.unwrap();
        if request.header("accept") == "application/json" {
            return Reply::new(200, r#"{"AssumeRoleResponse":{}}"#);
        }
        let body = format!(
            "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
             <Credentials>\n  <SessionToken>{session}</SessionToken>\n  \
             <SecretAccessKey>{}</SecretAccessKey>\n  <Expiration>{end}</Expiration>\n  \
             <AccessKeyId>{}</AccessKeyId>\n</Credentials></AssumeRoleResult></AssumeRoleResponse>",
            key.secret, key.id
        );
        Reply::new(200, body).with("content-type", "text/xml")
    }
}
