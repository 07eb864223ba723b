//! Trust in one certificate: for a server whose certificate no authority vouches for, such as an appliance.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::values::kind::SettingKind;
use sha2::{Digest, Sha256};

/// The SHA-256 of a certificate in DER form.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the SHA-256 fingerprint of a certificate: 64 hex digits, colons optional")]
pub struct FingerprintError(String);

/// The server has another certificate.
#[derive(Debug, thiserror::Error)]
#[error("`tls.pin_sha256` does not name the server's certificate, which has the fingerprint {0}")]
struct OtherCertificate(Fingerprint);

/// Returns the reason why a server's certificate is none of those in `tls.pin_sha256`, if that is the error.
pub(crate) fn other_certificate(error: &Error) -> Option<String> {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(reason))) = error else { return None };
    reason.downcast_ref::<OtherCertificate>().map(ToString::to_string)
}

impl Fingerprint {
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

/// Prints the fingerprint as OpenSSL does.
impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let colon = if index > 0 { ":" } else { "" };
            write!(formatter, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        let digits = text.trim().replace(':', "");
        hex::decode_to_slice(&digits, &mut bytes).map_err(|_| FingerprintError(text.to_owned()))?;
        Ok(Self(bytes))
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Fingerprint {
    fn schema_name() -> Cow<'static, str> {
        "Fingerprint".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "x-kind": SettingKind::Text,
            "description": "SHA-256 of a certificate in hex, colons optional.",
            "pattern": "^\\s*([0-9a-fA-F]{2}:?){32}\\s*$",
        })
    }
}

/// Accepts the certificates with these fingerprints, whatever their issuer, names and dates. The server must prove that
/// it has the key.
#[derive(Debug)]
pub(crate) struct PinnedCertificates {
    fingerprints: Vec<Fingerprint>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinnedCertificates {
    pub(crate) fn new(fingerprints: Vec<Fingerprint>, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { fingerprints, algorithms }
    }

    fn verify_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        scheme: SignatureScheme,
        signature: &[u8],
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = PublicKey::of(certificate).ok_or(CertificateError::BadEncoding)?;
        let of_scheme = self.algorithms.mapping.iter().find(|(known, _)| *known == scheme);
        let algorithm = of_scheme
            .into_iter()
            .flat_map(|(_, algorithms)| *algorithms)
            .find(|algorithm| algorithm.public_key_alg_id().as_ref() == key.algorithm)
            .ok_or(CertificateError::BadSignature)?;
        match algorithm.verify_signature(key.bits, message, signature) {
            Ok(()) => Ok(HandshakeSignatureValid::assertion()),
            Err(_) => Err(CertificateError::BadSignature.into()),
        }
    }
}

impl ServerCertVerifier for PinnedCertificates {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let fingerprint = Fingerprint::of(end_entity);
        if self.fingerprints.contains(&fingerprint) {
            return Ok(ServerCertVerified::assertion());
        }
        let error = OtherError(Arc::new(OtherCertificate(fingerprint)));
        Err(CertificateError::Other(error).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(message, certificate, signed.scheme, signed.signature())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(message, certificate, signed.scheme, signed.signature())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The public key of a certificate. The TLS library reads certificates of version 3 only, and appliances have generated
/// ones of version 1.
struct PublicKey<'a> {
    /// `AlgorithmIdentifier` without tag and length.
    algorithm: &'a [u8],
    /// The key itself.
    bits: &'a [u8],
}

impl<'a> PublicKey<'a> {
    /// Reads the public key; see RFC 5280, section 4.1.
    fn of(certificate: &'a CertificateDer<'_>) -> Option<Self> {
        const VERSION: u8 = 0xa0;
        let mut certificate = certificate.as_ref();
        let (_, mut outer) = element(&mut certificate)?;
        let (_, mut fields) = element(&mut outer)?;
        if fields.first() == Some(&VERSION) {
            element(&mut fields)?;
        }
        // These are serial number, algorithm of the signature, issuer, validity, subject.
        for _ in 0..5 {
            element(&mut fields)?;
        }
        let (_, mut key) = element(&mut fields)?;
        let (_, algorithm) = element(&mut key)?;
        let (_, bits) = element(&mut key)?;
        // The number of unused bits precedes the key; keys are whole bytes.
        Some(Self { algorithm, bits: bits.strip_prefix(&[0])? })
    }
}

/// Takes the next element of DER: its tag and content.
fn element<'a>(der: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        rest = after;
        if digits.len() > 4 {
            return None;
        }
        digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit))
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *der = rest;
    Some((tag, content))
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;

    use super::*;

    const PEM: &[u8] = include_bytes!("../../../../tests/data/tls/version-1.pem");
    /// This fingerprint was made with OpenSSL, as the signature was.
    const SHA256: &str =
        "35:76:CC:95:7A:A2:D9:28:AA:33:B4:5E:FC:33:79:27:F6:66:F2:CE:BF:1A:4D:A4:F5:1B:1C:2B:BE:2B:92:97";
    const SIGNATURE: &str = "304502204fa098e748d80dab94ee5bf66a34eb541163f0ebff0343a3d8829f10fcedb93402210092e94e\
                             879c4f7544614b0fb3975cdf25d21768b805d2ce85b1fc5de42612d909";

    fn verifier(fingerprint: &str) -> PinnedCertificates {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        PinnedCertificates::new(vec![fingerprint.parse().unwrap()], algorithms)
    }

    fn verify(fingerprint: &str, certificate: &CertificateDer<'_>) -> Result<ServerCertVerified, Error> {
        let name = ServerName::try_from("splunk.example").unwrap();
        verifier(fingerprint).verify_server_cert(certificate, &[], &name, &[], UnixTime::now())
    }

    #[test]
    fn fingerprints_are_read_and_printed_as_openssl_prints_them() {
        let parsed: Fingerprint = SHA256.parse().unwrap();
        assert_eq!(parsed.to_string(), SHA256);
        assert_eq!(format!(" {} ", SHA256.replace(':', "").to_lowercase()).parse(), Ok(parsed));
        for wrong in ["", "35:76", &SHA256[3..], &SHA256.replace('3', "x")] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_the_named_certificate_is_accepted() {
        let certificate = CertificateDer::from_pem_slice(PEM).unwrap();
        assert!(verify(SHA256, &certificate).is_ok());
        let error = verify(&SHA256.replace("97", "98"), &certificate).unwrap_err().to_string();
        assert!(error.contains(SHA256), "{error}");
    }

    #[test]
    fn the_server_must_have_the_key_of_a_certificate_of_version_1_as_well() {
        let certificate = CertificateDer::from_pem_slice(PEM).unwrap();
        let signature = hex::decode(SIGNATURE).unwrap();
        let verify = |message: &[u8], scheme, certificate: &[u8]| {
            verifier(SHA256).verify_signature(message, &CertificateDer::from(certificate), scheme, &signature)
        };
        let scheme = SignatureScheme::ECDSA_NISTP256_SHA256;
        assert!(verify(b"the handshake", scheme, &certificate).is_ok());
        assert!(verify(b"another handshake", scheme, &certificate).is_err());
        assert!(verify(b"the handshake", SignatureScheme::RSA_PSS_SHA256, &certificate).is_err());
        for end in [0, 1, 4, 100] {
            assert!(verify(b"the handshake", scheme, &certificate[..end]).is_err());
        }
    }
}
