use std::borrow::Cow;
use std::path::PathBuf;
use std::{fmt, io};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::http::tls_client;
use super::{ClientError, FilePath, Fingerprint, SECRET_REF, SecretObject, SettingKind};

/// `tls:` of a console or a sink.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("x-kind" = SettingKind::Trust))]
pub struct Tls {
    /// PEM file with the trusted certificate authorities; default: the system's.
    pub ca_file: Option<TlsFile>,
    /// SHA-256 fingerprints of server certificates, instead of authorities: for a server whose certificate no authority
    /// vouches for. A server with one of these certificates is trusted, whatever its name and dates.
    pub pin_sha256: Vec<Fingerprint>,
    /// PEM file with the client certificate and its chain.
    pub cert_file: Option<TlsFile>,
    /// PEM file with the key of the client certificate.
    pub key_file: Option<TlsFile>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// If one cannot be read or is invalid.
    pub fn check(&self) -> Result<(), ClientError> {
        tls_client(self).map(drop)
    }
}

/// Where a certificate or a key is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TlsFile {
    Path(FilePath),
    /// A key of a Secret in Kubernetes.
    Object(Box<SecretObject>),
}

impl TlsFile {
    /// # Errors
    /// If it cannot be read, or is larger than `max` bytes.
    pub(super) fn read(&self, max: usize) -> io::Result<Vec<u8>> {
        match self {
            Self::Path(path) => path.read(max),
            Self::Object(object) => object.read().map_err(io::Error::other),
        }
    }

    /// The path, or what stands for it in messages.
    pub(super) fn place(&self) -> PathBuf {
        match self {
            Self::Path(path) => path.path().to_owned(),
            Self::Object(object) => format!("Secret {object}").into(),
        }
    }
}

impl From<PathBuf> for TlsFile {
    fn from(path: PathBuf) -> Self {
        Self::Path(path.into())
    }
}

impl Serialize for TlsFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Path(path) => path.serialize(serializer),
            Self::Object(object) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(SECRET_REF, &object.to_string())?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for TlsFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TlsFileVisitor)
    }
}

struct TlsFileVisitor;

impl<'de> Visitor<'de> for TlsFileVisitor {
    type Value = TlsFile;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text")
    }

    fn visit_str<E: de::Error>(self, path: &str) -> Result<TlsFile, E> {
        Ok(TlsFile::Path(FilePath::of_setting(path.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TlsFile, A::Error> {
        let first = map.next_entry::<String, String>()?;
        match first.filter(|(key, _)| key == SECRET_REF) {
            Some((_, object)) if map.next_key::<de::IgnoredAny>()?.is_none() => {
                Ok(TlsFile::Object(Box::new(object.parse().map_err(de::Error::custom)?)))
            }
            _ => Err(de::Error::invalid_type(de::Unexpected::Map, &self)),
        }
    }
}

impl JsonSchema for TlsFile {
    fn schema_name() -> Cow<'static, str> {
        "TlsFile".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        FilePath::json_schema(generator)
    }
}
