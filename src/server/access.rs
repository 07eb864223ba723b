//! Decides who may read what the listener serves.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use axum::http::HeaderValue;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::checks::{Checks, TooMany};

/// The SHA-256 of a bearer token.
pub(super) type TokenHash = [u8; 32];

/// Users and tokens. Without any, everybody has access.
pub(super) struct Access {
    /// The bcrypt hash of each user's password.
    users: BTreeMap<String, String>,
    tokens: Vec<TokenHash>,
    /// Hashes of credentials that were accepted. A check with bcrypt takes a tenth of a second, on purpose.
    known: Mutex<HashSet<[u8; 32]>>,
    checks: Checks,
}

/// Right credentials that are remembered. Each user has one password.
const MAX_KNOWN: usize = 100;

impl Access {
    pub fn new(users: BTreeMap<String, String>, tokens: Vec<TokenHash>) -> Self {
        Self { users, tokens, known: Mutex::default(), checks: Checks::default() }
    }

    pub fn is_open(&self) -> bool {
        self.users.is_empty() && self.tokens.is_empty()
    }

    /// Returns whether a request from this address with this header `Authorization` may read everything.
    ///
    /// # Errors
    /// If too many passwords from the address wait for their check.
    pub async fn allows(&self, client: IpAddr, authorization: Option<&HeaderValue>) -> Result<bool, TooMany> {
        if self.is_open() {
            return Ok(true);
        }
        let Some((scheme, credentials)) = authorization.and_then(|value| value.to_str().ok()?.split_once(' ')) else {
            return Ok(false);
        };
        let credentials = credentials.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            Ok(self.allows_token(credentials))
        } else if scheme.eq_ignore_ascii_case("basic") {
            self.allows_basic(client, credentials).await
        } else {
            Ok(false)
        }
    }

    fn allows_token(&self, token: &str) -> bool {
        let hash: TokenHash = Sha256::digest(token).into();
        // All tokens are compared, so that the time says nothing about them.
        self.tokens.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&hash)).into()
    }

    async fn allows_basic(&self, client: IpAddr, credentials: &str) -> Result<bool, TooMany> {
        let decoded = BASE64_STANDARD.decode(credentials).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((user, password)) = decoded.as_deref().and_then(|text| text.split_once(':')) else { return Ok(false) };
        // The work for an unknown user is that for a known one, so that the time does not tell which users there are.
        let (hash, is_user) = match (self.users.get(user), self.users.values().next()) {
            (Some(hash), _) => (hash.clone(), true),
            (None, Some(other)) => (other.clone(), false),
            (None, None) => return Ok(false),
        };
        let mut digest = Sha256::new();
        for part in [user, password, &hash] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let key: [u8; 32] = digest.finalize().into();
        if is_user && self.known.lock().contains(&key) {
            return Ok(true);
        }
        let turn = self.checks.turn(client).await?;
        // The request before may have had the same password.
        if is_user && self.known.lock().contains(&key) {
            turn.end(true);
            return Ok(true);
        }
        let password = password.to_owned();
        let checked = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash)).await;
        let is_right = is_user && matches!(checked, Ok(Ok(true)));
        if is_right {
            let mut known = self.known.lock();
            if known.len() >= MAX_KNOWN {
                known.clear();
            }
            known.insert(key);
        }
        turn.end(is_right);
        Ok(is_right)
    }

    /// Returns the values of `WWW-Authenticate`.
    pub fn challenges(&self) -> impl Iterator<Item = HeaderValue> {
        let basic = (!self.users.is_empty()).then_some(r#"Basic realm="s1-forwarder", charset="UTF-8""#);
        let bearer = (!self.tokens.is_empty()).then_some(r#"Bearer realm="s1-forwarder""#);
        basic.into_iter().chain(bearer).map(HeaderValue::from_static)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn basic(text: &str) -> Option<HeaderValue> {
        Some(HeaderValue::from_str(&format!("Basic {}", BASE64_STANDARD.encode(text))).unwrap())
    }

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn only_right_credentials_are_allowed() {
        let users = BTreeMap::from([("anna".to_owned(), bcrypt::hash("se:cret", 4).unwrap())]);
        let access = Access::new(users, vec![Sha256::digest("token").into(), Sha256::digest("other").into()]);
        assert!(!access.is_open());
        for _ in 0..2 {
            // The second time from memory.
            assert!(access.allows(CLIENT, basic("anna:se:cret").as_ref()).await == Ok(true));
        }
        assert_eq!(access.known.lock().len(), 1);
        for wrong in ["anna:secret", "anna:", "anna", ":se:cret", "", "bert:se:cret", "anna:se:cret "] {
            assert!(access.allows(CLIENT, basic(wrong).as_ref()).await == Ok(false), "{wrong}");
        }
        assert_eq!(access.known.lock().len(), 1, "what was wrong is not remembered");
        for right in ["Bearer token", "bearer other", "BEARER  token"] {
            assert!(access.allows(CLIENT, Some(&HeaderValue::from_static(right))).await == Ok(true), "{right}");
        }
        for wrong in ["Bearer", "Bearer ", "Bearer toke", "Bearer tokenn", "token", "Digest token", "Basic token", ""] {
            assert!(access.allows(CLIENT, Some(&HeaderValue::from_static(wrong))).await == Ok(false), "{wrong}");
        }
        assert!(access.allows(CLIENT, Some(&HeaderValue::from_bytes(b"Bearer \xff").unwrap())).await == Ok(false));
        assert!(access.allows(CLIENT, None).await == Ok(false));
        assert_eq!(access.challenges().count(), 2);
        let open = Access::new(BTreeMap::new(), Vec::new());
        assert!(open.is_open() && open.allows(CLIENT, None).await == Ok(true));
    }

    /// The time does not tell which users there are: a name that is none waits for a check as well.
    #[tokio::test]
    async fn an_unknown_user_costs_the_check_of_a_known_one() {
        let users = BTreeMap::from([("anna".to_owned(), bcrypt::hash("secret", 4).unwrap())]);
        let access = Access::new(users, Vec::new());
        for user in ["anna", "bert", ""] {
            let held = access.checks.turn(CLIENT).await.unwrap();
            let wrong = basic(&format!("{user}:wrong"));
            let mut asked = Box::pin(access.allows(CLIENT, wrong.as_ref()));
            assert!((&mut asked).now_or_never().is_none(), "{user}");
            held.end(true);
            assert_eq!(asked.await, Ok(false), "{user}");
        }
    }

    /// A check that ends without an answer, as of a client that is gone, does not keep the turn.
    #[tokio::test]
    async fn a_full_queue_of_one_address_leaves_others_their_turn() {
        let users = BTreeMap::from([("anna".to_owned(), bcrypt::hash("secret", 4).unwrap())]);
        let access = Access::new(users, Vec::new());
        let held = access.checks.turn(CLIENT).await.unwrap();
        let wrong = basic("anna:wrong");
        let right = basic("anna:secret");
        let mut waiting: Vec<_> = (0..4).map(|_| Box::pin(access.allows(CLIENT, wrong.as_ref()))).collect();
        for asked in &mut waiting {
            assert!(asked.now_or_never().is_none());
        }
        assert_eq!(access.allows(CLIENT, wrong.as_ref()).await, Err(TooMany));
        held.end(false);
        let other = IpAddr::from([10, 0, 0, 1]);
        let (of_other, others) =
            tokio::join!(access.allows(other, right.as_ref()), futures_util::future::join_all(waiting));
        assert_eq!(of_other, Ok(true));
        assert_eq!(others, [Ok(false); 4]);
    }
}
