//! A hash of the settings that decide where a lane's events arrive. Lanes with equal hashes deliver to the same place.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use s1_forwarder_settings::Secret;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use url::{Position, Url};

use super::http::Endpoint;

/// A hash under a key of its [`DestinationHasher`]. It must not leave the process, unless nothing secret counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestinationId([u8; 32]);

impl DestinationId {
    /// Returns the first eight bytes of the hash.
    pub fn number(self) -> u64 {
        self.0.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }
}

/// Makes hashes that can be compared with one another. The key is random and never stored, so that no other process can
/// test a guess of a secret with a hash.
pub struct DestinationHasher {
    key: [u8; 32],
    secrets: Secrets,
}

/// Parts of the names of headers whose values are secrets, wherever they are written.
const CREDENTIALS: [&str; 8] = ["auth", "cookie", "cred", "key", "pass", "secret", "sign", "token"];

/// How a secret counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Secrets {
    Value,
    Place,
    Nothing,
}

impl fmt::Debug for DestinationHasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("DestinationHasher").finish_non_exhaustive()
    }
}

impl DestinationHasher {
    /// Creates a hasher. A secret counts by its value if `reads_secrets` is set, which may block, or by its place. A
    /// secret that cannot be read counts by its place, too.
    pub fn new(reads_secrets: bool) -> Self {
        // Keyed by the system's randomness.
        let random = RandomState::new();
        let mut key = [0; 32];
        for (index, bytes) in key.chunks_exact_mut(8).enumerate() {
            bytes.copy_from_slice(&random.hash_one(index).to_be_bytes());
        }
        Self { key, secrets: if reads_secrets { Secrets::Value } else { Secrets::Place } }
    }

    /// Returns a hasher for hashes that are stored, which are equal in all processes. Secrets do not count. A URL
    /// counts only by its host and port, and by the parts that `route` adds.
    pub fn of_stored() -> Self {
        Self { key: [0; 32], secrets: Secrets::Nothing }
    }

    /// Begins the hash of a destination that nothing is known of yet.
    pub fn begin(&self) -> DestinationHash<'_> {
        let mut hash = Sha256::new();
        hash.update(self.key);
        DestinationHash { hasher: self, hash }
    }
}

/// The hash of the parts of a destination that were added. Each has a name, so that equal texts of two parts are not
/// mistaken for each other.
pub struct DestinationHash<'a> {
    hasher: &'a DestinationHasher,
    hash: Sha256,
}

impl fmt::Debug for DestinationHash<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("DestinationHash").finish_non_exhaustive()
    }
}

impl DestinationHash<'_> {
    /// Adds a text, such as an index with its placeholders replaced.
    pub fn text(&mut self, name: &str, text: &str) -> &mut Self {
        for part in [name, text] {
            self.hash.update((part.len() as u64).to_be_bytes());
            self.hash.update(part);
        }
        self
    }

    /// Adds addresses that are used one instead of the other, in any order.
    pub fn addresses<T: AsRef<str>>(&mut self, name: &str, addresses: impl IntoIterator<Item = T>) -> &mut Self {
        let addresses =
            addresses.into_iter().map(|address| address.as_ref().trim_end_matches('/').to_ascii_lowercase());
        let mut addresses: Vec<String> = addresses.collect();
        addresses.sort();
        addresses.dedup();
        self.text(name, &addresses.join(" "))
    }

    /// Adds endpoints as [`Self::addresses`] does addresses. Path and query count as they are written: they may have
    /// secrets, such as a webhook's.
    pub(super) fn endpoints<'e>(&mut self, name: &str, endpoints: impl IntoIterator<Item = &'e Endpoint>) -> &mut Self {
        let shown = |url: &'e Url| match self.hasher.secrets {
            Secrets::Nothing => &url[Position::BeforeHost..Position::AfterPort],
            Secrets::Value | Secrets::Place => url.as_str().trim_end_matches('/'),
        };
        let mut urls: Vec<&str> = endpoints.into_iter().map(|endpoint| shown(endpoint.url())).collect();
        urls.sort_unstable();
        urls.dedup();
        self.text(name, &urls.join(" "))
    }

    /// Adds what leads to one of several destinations behind an address, such as a proxy's: the paths, which are no
    /// secrets there, and the headers. It counts in stored hashes only: elsewhere the URL counts, and a header may be
    /// another credential for the same place. Usually there is nothing of that kind, and the hash stays as it was.
    pub(super) fn route<'e, 's>(
        &mut self,
        endpoints: impl IntoIterator<Item = &'e Endpoint>,
        headers: impl IntoIterator<Item = (&'s String, &'s Secret)>,
    ) -> &mut Self {
        if self.hasher.secrets != Secrets::Nothing {
            return self;
        }
        let path = |endpoint: &'e Endpoint| endpoint.url().path().trim_matches('/');
        let mut paths: Vec<&str> = endpoints.into_iter().map(path).filter(|path| !path.is_empty()).collect();
        paths.sort_unstable();
        paths.dedup();
        paths.into_iter().for_each(|path| _ = self.text("path", path));
        for (name, value) in headers {
            let name = name.to_ascii_lowercase();
            match value {
                _ if CREDENTIALS.iter().any(|word| name.contains(word)) => {}
                Secret::Literal(value) => _ = self.text(&name, value),
                _ => _ = self.text("header", &name),
            }
        }
        self
    }

    /// Adds a credential that decides where events arrive, such as the token of an intake.
    pub fn secret(&mut self, name: &str, secret: &Secret) -> &mut Self {
        if self.hasher.secrets == Secrets::Nothing {
            return self;
        }
        let is_read = self.hasher.secrets == Secrets::Value || matches!(secret, Secret::Literal(_));
        match is_read.then(|| secret.read_document()) {
            Some(Ok(value)) => self.text(name, value.expose_secret()),
            Some(Err(_)) | None => self.text(name, &secret.reference()),
        }
    }

    /// Adds secrets such as headers, which may name the receiver's tenant. The case of names does not matter.
    pub(super) fn secrets<'s>(&mut self, secrets: impl IntoIterator<Item = (&'s String, &'s Secret)>) -> &mut Self {
        if self.hasher.secrets == Secrets::Nothing {
            return self.route([], secrets);
        }
        for (name, secret) in secrets {
            self.secret(&name.to_ascii_lowercase(), secret);
        }
        self
    }

    pub fn finish(self) -> DestinationId {
        DestinationId(self.hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(hasher: &DestinationHasher, fill: impl FnOnce(&mut DestinationHash<'_>)) -> DestinationId {
        let mut hash = hasher.begin();
        fill(&mut hash);
        hash.finish()
    }

    #[test]
    fn a_secret_counts_by_its_value_or_by_where_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            Secret::File(path.into())
        };
        let secrets = [file("one", "t0ken\n"), file("two", "t0ken"), file("three", "other")];
        let literal = Secret::Literal("t0ken".to_owned());
        let missing = Secret::File(std::path::PathBuf::from("/nowhere/token").into());
        for (reads, expected) in [(true, [true, true, false]), (false, [false; 3])] {
            let hasher = DestinationHasher::new(reads);
            let of = |secret: &Secret| id(&hasher, |hash| _ = hash.secret("token", secret));
            assert_eq!(secrets.each_ref().map(|secret| of(secret) == of(&literal)), expected, "{reads}");
            assert_eq!(of(&secrets[0]), of(&secrets[0]));
            assert_eq!(of(&missing), of(&missing), "a secret that cannot be read");
            assert_ne!(of(&missing), of(&secrets[0]));
        }
        let of_another = id(&DestinationHasher::new(true), |hash| _ = hash.secret("token", &literal));
        assert_ne!(
            of_another,
            id(&DestinationHasher::new(true), |hash| _ = hash.secret("token", &literal)),
            "random key"
        );
    }

    #[test]
    fn what_is_stored_counts_the_way_behind_an_address_and_no_credential() {
        let of = |hasher: &DestinationHasher, url: &str, headers: &[(&str, &str)]| {
            let url: Endpoint = url.parse().unwrap();
            let headers =
                headers.iter().map(|(name, value)| ((*name).to_owned(), Secret::Literal((*value).to_owned())));
            let headers: Vec<(String, Secret)> = headers.collect();
            let route = headers.iter().map(|(name, value)| (name, value));
            id(hasher, |hash| _ = hash.endpoints("url", [&url]).route([&url], route))
        };
        let stored = |url: &str, headers: &[(&str, &str)]| of(&DestinationHasher::of_stored(), url, headers);
        let url: Endpoint = "https://siem.example".parse().unwrap();
        let before = id(&DestinationHasher::of_stored(), |hash| _ = hash.endpoints("url", [&url]));
        assert_eq!(stored("https://siem.example/", &[]), before, "nothing unusual");
        assert_ne!(stored("https://siem.example/a", &[]), stored("https://siem.example/b", &[]));
        assert_eq!(stored("https://siem.example/a?t=1", &[]), stored("https://siem.example/a/?t=2", &[]));
        let with = |name: &str, value: &str| stored("https://siem.example", &[(name, value)]);
        assert_ne!(with("X-Found-Cluster", "a"), with("x-found-cluster", "b"));
        assert_ne!(with("X-Found-Cluster", "a"), before);
        assert_eq!(with("Authorization", "Bearer a"), before, "a credential");
        let random = DestinationHasher::new(true);
        assert_eq!(of(&random, "https://siem.example", &[("x", "a")]), of(&random, "https://siem.example", &[]));
    }

    #[test]
    fn parts_are_not_mistaken_for_each_other_and_addresses_have_no_order() {
        let hasher = DestinationHasher::new(false);
        let texts =
            |one: (&str, &str), two: (&str, &str)| id(&hasher, |hash| _ = hash.text(one.0, one.1).text(two.0, two.1));
        assert_ne!(texts(("index", "a"), ("source", "b")), texts(("index", "b"), ("source", "a")));
        assert_ne!(texts(("a", "bc"), ("d", "e")), texts(("ab", "c"), ("d", "e")));
        let brokers = |list: &[&str]| id(&hasher, |hash| _ = hash.addresses("brokers", list));
        assert_eq!(brokers(&["b:9092", "A:9092", "b:9092"]), brokers(&["a:9092", "b:9092"]));
        let urls = |list: &[&str]| {
            let list: Vec<Endpoint> = list.iter().map(|url| url.parse().unwrap()).collect();
            id(&hasher, |hash| _ = hash.endpoints("url", &list))
        };
        assert_eq!(urls(&["https://SIEM.example:443/"]), urls(&["https://siem.example"]));
        assert_ne!(urls(&["https://siem.example/Hook"]), urls(&["https://siem.example/hook"]));
    }
}
