//! How a peer may repeat what it was sent.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    Plain,
    /// The spelling of a form.
    Form,
    /// Each byte is percent-encoded.
    Percent,
    /// Within a JSON text.
    Json,
    /// Each character is escaped as in JSON.
    JsonEscaped,
    /// Characters are named entities of HTML.
    Html,
    /// Each character is a number of HTML.
    HtmlNumbers,
    /// A form within HTML.
    FormInHtml,
    Base64,
    Base64Url,
}

impl Spelling {
    pub const ALL: [Self; 10] = [
        Self::Plain,
        Self::Form,
        Self::Percent,
        Self::Json,
        Self::JsonEscaped,
        Self::Html,
        Self::HtmlNumbers,
        Self::FormInHtml,
        Self::Base64,
        Self::Base64Url,
    ];

    pub fn write(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Form => url::form_urlencoded::byte_serialize(text.as_bytes()).collect(),
            Self::Percent => text.bytes().map(|byte| format!("%{byte:02X}")).collect(),
            Self::Json => {
                let json = serde_json::to_string(text).unwrap();
                json[1..json.len() - 1].to_owned()
            }
            Self::JsonEscaped => text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect(),
            Self::Html => {
                let pairs =
                    [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;"), ("'", "&#39;"), ("ö", "&ouml;")];
                pairs.iter().fold(text.to_owned(), |text, (char, name)| text.replace(char, name))
            }
            Self::HtmlNumbers => text.chars().map(|char| format!("&#x{:X};", u32::from(char))).collect(),
            Self::FormInHtml => Self::HtmlNumbers.write(&utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()),
            Self::Base64 => BASE64_STANDARD.encode(text),
            Self::Base64Url => BASE64_URL_SAFE_NO_PAD.encode(text),
        }
    }
}

/// Returns the first place at which `text` shows `secret`, an alphanumeric word, in one of the spellings.
pub fn shown_secret(text: &str, secret: &str) -> Option<String> {
    // A log in JSON has escaped the escapes.
    let text = text.replace("\\\\", "\\");
    let plain = Spelling::ALL[..8].iter().map(|spelling| spelling.write(secret));
    // In a longer text, its bytes may begin at each of three bits.
    let encoded = (0..3).map(|before| {
        let encoded = BASE64_STANDARD.encode([&b"\0\0"[..before], secret.as_bytes()].concat());
        encoded[(8 * before).div_ceil(6)..8 * (before + secret.len()) / 6].to_owned()
    });
    plain.chain(encoded).find_map(|spelt| {
        let at = text.find(&spelt)?;
        let line = text[..at].rfind('\n').map_or(0, |at| at + 1);
        let start = text.floor_char_boundary(at.saturating_sub(300)).max(line);
        let shown = &text[start..text.ceil_char_boundary(at + spelt.len() + 100)];
        Some(format!("{secret} as {spelt}: {shown}"))
    })
}
