use std::sync::Arc;

use secrecy::SecretString;

use super::tokens::Tokens;
use crate::settings::scrub;

/// Removes a pipeline's tokens and proxy secrets from texts in which a console or a proxy may have repeated them.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    tokens: Option<Arc<Tokens>>,
    proxy_secrets: Arc<[SecretString]>,
}

impl Redactor {
    /// Knows every token that was read so far, whenever it is asked.
    pub(super) fn new(tokens: Arc<Tokens>, proxy_secrets: Vec<SecretString>) -> Self {
        Self { tokens: Some(tokens), proxy_secrets: proxy_secrets.into() }
    }

    /// `text` without secrets.
    pub fn redact(&self, text: &str) -> String {
        let known: Vec<_> = self.tokens.iter().flat_map(|tokens| tokens.known()).collect();
        let mut text = text.as_bytes().to_vec();
        scrub(&mut text, known.iter().chain(&*self.proxy_secrets));
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Removes `token`, which may have been replaced since it was sent, and the proxy's secrets.
    pub(super) fn redact_answer(&self, body: &mut Vec<u8>, token: &SecretString) {
        scrub(body, std::iter::once(token).chain(&*self.proxy_secrets));
    }
}
