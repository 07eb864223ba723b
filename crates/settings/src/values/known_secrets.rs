//! Removes secrets from the words of a peer, in whatever spelling it repeats them.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use s1_forwarder_record::visible::excerpt;
use secrecy::{ExposeSecret, SecretString};

/// Fewest bytes of a secret. A shorter text is not secret and appears in every response.
const MIN_LENGTH: usize = 4;
/// Text in place of a secret.
const REMOVED: &str = "***";
/// Bytes of a foreign text that are searched before it is truncated, and more than an excerpt needs.
const SEARCHED: usize = 4 * 1024;
/// Steps for a text, and more for each of its bytes and for each byte and spelling. Only a text that its author made
/// for this needs more. The rest of such a text is removed.
const MIN_STEPS: usize = 20_000;
const STEPS_OF_BYTE: usize = 20;
/// Most escapes of a text that are remembered at a time: a few MB.
const MAX_DECODED: usize = 1 << 16;
/// Most digits of a character's number, leading zeros included.
const MAX_DIGITS: usize = 32;
/// Number of escapes that may surround one another, as of a form in HTML in JSON.
const LAYERS: usize = 4;
/// Longest text of a named character of HTML, without `&` and `;`.
const MAX_NAME: usize = 31;

/// The secrets that a peer was sent, and may repeat.
///
/// A secret is found if it is repeated plainly, in other case, percent-encoded, as in a form, escaped as in JSON, C or
/// HTML, in quoted-printable, in base64 (also within a longer text), as a list of its bytes (hexadecimal or decimal,
/// with or without something between them), and with `?` for characters beyond ASCII. These may be mixed, and surround
/// one another.
#[derive(Debug, Clone, Default)]
pub struct KnownSecrets(Vec<SecretString>);

impl KnownSecrets {
    pub fn push(&mut self, secret: SecretString) {
        self.0.push(secret);
    }

    /// Returns `text` without the secrets.
    pub fn scrub(&self, text: &str) -> String {
        self.replaced(text, false)
    }

    /// Returns an excerpt of a foreign text, without the secrets: neither whole ones nor the beginning of a truncated
    /// one.
    pub fn excerpt(&self, text: &str) -> String {
        let text = text.trim_start();
        let searched = &text[..text.floor_char_boundary(SEARCHED)];
        excerpt(&self.replaced(searched, searched.len() < text.len()))
    }

    /// Returns the text without the secrets. `is_cut` is set if the text may end within a secret.
    fn replaced(&self, text: &str, is_cut: bool) -> String {
        if self.0.is_empty() {
            return text.to_owned();
        }
        let spellings: Vec<Spelling> = self.0.iter().flat_map(|secret| Spelling::all(secret.expose_secret())).collect();
        let starts = Starts::of(&spellings);
        let escapes = Escapes { text, decoded: RefCell::default() };
        let steps = MIN_STEPS + (STEPS_OF_BYTE + spellings.len()) * text.len();
        let mut search = Search { text, escapes: &escapes, is_cut, steps };
        let mut out = String::with_capacity(text.len());
        let mut readings = Vec::new();
        let mut at = 0;
        let mut kept = 0;
        while let Some(char) = text[at..].chars().next() {
            if is_cut && is_at_end(text, at) {
                break;
            }
            if !starts.contains(char) {
                at += char.len_utf8();
                continue;
            }
            readings.clear();
            readings.extend(escapes.units(at));
            let found = spellings.iter().filter_map(|spelling| search.range(spelling, at, &readings));
            // A secret may be the beginning of another one.
            let found = found.reduce(|(start, end), other| (start.min(other.0), end.max(other.1)));
            if let Some((start, end)) = found {
                // The match may overlap the one before.
                out.push_str(&text[kept..start.max(kept)]);
                out.push_str(REMOVED);
                kept = end;
                at = end;
            } else {
                at += char.len_utf8();
            }
        }
        // A truncated escape may be the beginning of a secret: it is left out.
        out.push_str(&text[kept..at]);
        out
    }
}

impl Extend<SecretString> for KnownSecrets {
    fn extend<I: IntoIterator<Item = SecretString>>(&mut self, secrets: I) {
        self.0.extend(secrets);
    }
}

impl FromIterator<SecretString> for KnownSecrets {
    fn from_iter<I: IntoIterator<Item = SecretString>>(secrets: I) -> Self {
        Self(secrets.into_iter().collect())
    }
}

/// A text to search for.
struct Spelling {
    text: String,
    code: Code,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Code {
    /// The secret itself.
    Plain,
    /// The secret's bytes in two hexadecimal digits each. `0x` and signs between them are not part of this spelling.
    Hexadecimal,
    /// The secret's bytes as decimal numbers with commas. Blanks are not part of this spelling.
    Decimal,
    /// The part of a text in base64 that depends on nothing but the secret.
    Base64,
}

impl Spelling {
    fn all(secret: &str) -> Vec<Self> {
        if secret.len() < MIN_LENGTH {
            return Vec::new();
        }
        let mut all = vec![
            Self { text: secret.to_owned(), code: Code::Plain },
            Self { text: hex::encode(secret), code: Code::Hexadecimal },
            Self {
                text: secret.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(","),
                code: Code::Decimal,
            },
        ];
        // Peers leave out the padding of base64.
        let unpadded = secret.trim_end_matches('=');
        if (MIN_LENGTH..secret.len()).contains(&unpadded.len()) {
            all.push(Self { text: unpadded.to_owned(), code: Code::Plain });
        }
        for before in 0..3 {
            let encoded = BASE64_STANDARD_NO_PAD.encode([&b"\0\0"[..before], secret.as_bytes()].concat());
            // A character has six bits.
            let first = (8 * before).div_ceil(6);
            let end = 8 * (before + secret.len()) / 6;
            all.push(Self { text: encoded[first..end].to_owned(), code: Code::Base64 });
        }
        all
    }

    /// Returns how far this is matched after `unit`, in either of two ways.
    fn matched(&self, so_far: usize, unit: Unit) -> [Option<usize>; 2] {
        let next = self.text.get(so_far..).and_then(|rest| rest.chars().next());
        let after = next.map(|next| so_far + next.len_utf8());
        let only = |is_next: bool| [if is_next { after } else { None }, None];
        let is_within = (1..self.text.len()).contains(&so_far);
        match (self.code, unit) {
            (_, Unit::Nothing) => [is_within.then_some(so_far), None],
            (Code::Plain, Unit::Char(char)) => only(next.is_some_and(|next| {
                char == next
                    || char.to_lowercase().eq(next.to_lowercase())
                    || (!next.is_ascii() && matches!(char, '?' | char::REPLACEMENT_CHARACTER))
            })),
            (Code::Plain, Unit::Named) => only(next.is_some_and(|next| !next.is_ascii_alphanumeric())),
            (Code::Plain, Unit::Byte(byte)) => {
                let of_utf8 = self.text.as_bytes().get(so_far) == Some(&byte);
                let is_char = next == Some(char::from(byte));
                [of_utf8.then_some(so_far + 1), if is_char { after } else { None }]
            }
            (Code::Hexadecimal, Unit::Char(char)) => {
                let is_digit = next.is_some_and(|next| next.eq_ignore_ascii_case(&char));
                let is_between = is_within && so_far.is_multiple_of(2) && is_between_bytes(char);
                [if is_digit { after } else { None }, is_between.then_some(so_far)]
            }
            (Code::Decimal, Unit::Char(' ' | '\n' | '\r' | '\t')) if is_within => [Some(so_far), None],
            (Code::Decimal, Unit::Char(char)) => only(next == Some(char)),
            (Code::Base64, Unit::Char(' ' | '\n' | '\r')) if so_far > 0 => [Some(so_far), None],
            (Code::Base64, Unit::Char(char)) => only(match char {
                '-' => next == Some('+'),
                '_' => next == Some('/'),
                _ => next == Some(char),
            }),
            (Code::Base64, Unit::Named) => only(matches!(next, Some('+' | '/'))),
            (Code::Hexadecimal | Code::Decimal, Unit::Named | Unit::Byte(_)) | (Code::Base64, Unit::Byte(_)) => {
                [None, None]
            }
        }
    }
}

/// The characters of ASCII with which a spelling may begin. Other characters may always begin one.
struct Starts([bool; 128]);

impl Starts {
    fn of(spellings: &[Spelling]) -> Self {
        Self(std::array::from_fn(|code| {
            let unit = u8::try_from(code).map_or(Unit::Named, Unit::of_byte);
            let begins = |spelling: &Spelling| spelling.matched(0, unit).iter().any(Option::is_some);
            matches!(unit, Unit::Char(char) if begins_escape(char)) || spellings.iter().any(begins)
        }))
    }

    fn contains(&self, char: char) -> bool {
        usize::try_from(u32::from(char)).ok().and_then(|code| self.0.get(code)).copied().unwrap_or(true)
    }
}

fn begins_escape(char: char) -> bool {
    matches!(char, '%' | '\\' | '&' | '+' | '=')
}

/// A search in a text.
struct Search<'a> {
    text: &'a str,
    escapes: &'a Escapes<'a>,
    is_cut: bool,
    /// Number of steps that are left.
    steps: usize,
}

impl Search<'_> {
    /// Returns what to remove if `spelling` is at `at`, where `readings` are the units.
    fn range(&mut self, spelling: &Spelling, at: usize, readings: &[(Unit, usize)]) -> Option<(usize, usize)> {
        let end = self.end(spelling, readings)?;
        match spelling.code {
            Code::Plain | Code::Hexadecimal | Code::Decimal => Some((at, end)),
            // The characters around the spelling have bits of the secret too.
            Code::Base64 => {
                let start = self.text[..at].trim_end_matches(is_of_base64).len();
                let rest = &self.text[end..];
                Some((start, self.text.len() - rest.trim_start_matches(is_of_base64).len()))
            }
        }
    }

    /// Returns the end of a spelling that begins with one of `readings`: the farthest one.
    fn end(&mut self, spelling: &Spelling, readings: &[(Unit, usize)]) -> Option<usize> {
        // Places in the text, each with a place in the spelling.
        let mut reached = Vec::new();
        for (unit, next) in readings {
            reached.extend(spelling.matched(0, *unit).into_iter().flatten().map(|matched| (*next, matched)));
        }
        let mut seen = HashSet::new();
        let mut farthest = None;
        while let Some((at, matched)) = reached.pop() {
            self.steps = self.steps.saturating_sub(1);
            if self.steps == 0 || (self.is_cut && is_at_end(self.text, at)) {
                return Some(self.text.len());
            }
            if matched == spelling.text.len() {
                farthest = farthest.max(Some(at));
                continue;
            }
            for (unit, next) in self.escapes.units(at) {
                for matched in spelling.matched(matched, unit).into_iter().flatten() {
                    if seen.insert((next, matched)) {
                        reached.push((next, matched));
                    }
                }
            }
        }
        farthest
    }
}

/// Returns whether dumps write the character between two bytes, or in `0x` before one.
fn is_between_bytes(char: char) -> bool {
    char.is_ascii_whitespace() || matches!(char, ':' | '-' | ',' | ';' | '.' | '_' | '|' | '0' | 'x' | 'X')
}

/// Returns whether a character is of base64, or of those escapes in which `+`, `/` and `=` may be spelt.
fn is_of_base64(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '+' | '/' | '-' | '_' | '=' | '%' | '\\' | '&' | '#' | ';')
}

/// Returns whether the text ends here, or within an escape that begins here.
fn is_at_end(text: &str, at: usize) -> bool {
    let rest = &text[at..];
    rest.is_empty() || (rest.starts_with(['%', '\\', '&', '=']) && rest.len() <= MAX_NAME)
}

/// Names of HTML that an escape may have within it.
const ASCII_NAMES: [(&str, char); 13] = [
    ("amp", '&'),
    ("apos", '\''),
    ("bsol", '\\'),
    ("gt", '>'),
    ("lcub", '{'),
    ("lt", '<'),
    ("num", '#'),
    ("percnt", '%'),
    ("plus", '+'),
    ("quot", '"'),
    ("rcub", '}'),
    ("semi", ';'),
    ("sol", '/'),
];

/// Unit of a text that a peer may have written for a part of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Char(char),
    /// A byte beyond ASCII: of UTF-8, or a character of Latin-1.
    Byte(u8),
    /// Another named character of HTML: any that is no letter or digit of ASCII.
    Named,
    /// The end of a line that was only broken.
    Nothing,
}

impl Unit {
    fn of_byte(byte: u8) -> Self {
        if byte.is_ascii() { Self::Char(char::from(byte)) } else { Self::Byte(byte) }
    }
}

/// A unit of the text, and its end.
type Decoded = Option<(Unit, usize)>;

/// The escapes of a text. Each place is decoded once: each layer reads the one below it several times.
struct Escapes<'a> {
    text: &'a str,
    /// Units by place and number of layers.
    decoded: RefCell<HashMap<(usize, usize), Decoded>>,
}

impl Escapes<'_> {
    /// Returns all readings of the text at `at`, each with its end.
    fn units(&self, at: usize) -> impl Iterator<Item = (Unit, usize)> {
        let is_escape = self.text[at..].starts_with(begins_escape);
        let layers = if is_escape { LAYERS } else { 0 };
        let mut last = None;
        (0..=layers)
            .filter_map(move |layers| self.decode(at, layers))
            .filter(move |unit| last.replace(*unit) != Some(*unit))
    }

    /// Returns the character at `at` after this number of layers of escapes is removed, and its end.
    fn decode(&self, at: usize, layers: usize) -> Decoded {
        let char = self.text.get(at..)?.chars().next()?;
        // A character that begins no escape is the same in all layers.
        if layers == 0 || !begins_escape(char) {
            return Some((Unit::Char(char), at + char.len_utf8()));
        }
        if let Some(decoded) = self.decoded.borrow().get(&(at, layers)) {
            return *decoded;
        }
        let decoded = self.decode_escape(at, layers - 1);
        let mut known = self.decoded.borrow_mut();
        if known.len() >= MAX_DECODED {
            known.clear();
        }
        known.insert((at, layers), decoded);
        decoded
    }

    /// Decodes the escape at `at`, whose characters may be written in this number of layers of other escapes.
    fn decode_escape(&self, at: usize, layers: usize) -> Decoded {
        let plain = self.decode(at, layers)?;
        let (unit, next) = plain;
        let mut reader = Reader { escapes: self, at: next, layers };
        let decoded = match unit {
            Unit::Char('+') => Some(Unit::Char(' ')),
            Unit::Char('%') => reader.percent(),
            Unit::Char('\\') => reader.backslash(),
            Unit::Char('&') => reader.ampersand(),
            Unit::Char('=') => reader.equals(),
            _ => None,
        };
        Some(decoded.map_or(plain, |unit| (unit, reader.at)))
    }
}

/// Reads an escape after its first character.
#[derive(Clone, Copy)]
struct Reader<'a> {
    escapes: &'a Escapes<'a>,
    at: usize,
    /// Layers of escapes in which the characters of this one may be written.
    layers: usize,
}

impl Reader<'_> {
    fn char(&mut self) -> Option<char> {
        loop {
            let (unit, next) = self.escapes.decode(self.at, self.layers)?;
            self.at = next;
            match unit {
                Unit::Char(char) => return Some(char),
                Unit::Nothing => {}
                Unit::Byte(_) | Unit::Named => return None,
            }
        }
    }

    /// Reads a number of this number of digits.
    fn number(&mut self, digits: usize, radix: u32) -> Option<u32> {
        (0..digits).try_fold(0, |number, _| Some(number * radix + self.char()?.to_digit(radix)?))
    }

    /// Reads with `read`. If `read` finds nothing, the reader stays where it was.
    fn attempt<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let mut ahead = *self;
        let read = read(&mut ahead);
        if read.is_some() {
            *self = ahead;
        }
        read
    }

    fn byte(&mut self) -> Option<Unit> {
        u8::try_from(self.number(2, 16)?).ok().map(Unit::of_byte)
    }

    fn percent(&mut self) -> Option<Unit> {
        self.attempt(Self::byte).or_else(|| if self.char()? == 'u' { self.utf16() } else { None })
    }

    /// Reads four hexadecimal digits, and for a pair of surrogates four more after another escape.
    fn utf16(&mut self) -> Option<Unit> {
        let mut code = self.number(4, 16)?;
        if (0xd800..0xdc00).contains(&code)
            && let Some(second @ 0xdc00..0xe000) = self.attempt(Self::second_surrogate)
        {
            code = 0x1_0000 + ((code - 0xd800) << 10) + (second - 0xdc00);
        }
        char::from_u32(code).map(Unit::Char)
    }

    fn second_surrogate(&mut self) -> Option<u32> {
        let is_escape = matches!(self.char()?, '\\' | '%') && self.char()? == 'u';
        if is_escape { self.number(4, 16) } else { None }
    }

    /// Reads an escape of quoted-printable: a byte, or a line that was broken.
    fn equals(&mut self) -> Option<Unit> {
        self.attempt(Self::byte).or_else(|| match self.char()? {
            '\n' => Some(Unit::Nothing),
            '\r' => (self.char()? == '\n').then_some(Unit::Nothing),
            _ => None,
        })
    }

    /// Reads an escape as in JSON, C, Rust and Python.
    fn backslash(&mut self) -> Option<Unit> {
        if let Some(octal) = self.attempt(|ahead| ahead.number(3, 8)) {
            return u8::try_from(octal).ok().map(Unit::of_byte);
        }
        let unit = match self.char()? {
            'u' => return self.attempt(Self::utf16).or_else(|| self.in_braces()),
            'U' => Unit::Char(char::from_u32(self.number(8, 16)?)?),
            'x' => return self.byte(),
            'n' => Unit::Char('\n'),
            'r' => Unit::Char('\r'),
            't' => Unit::Char('\t'),
            char if char.is_ascii_punctuation() => Unit::Char(char),
            _ => return None,
        };
        Some(unit)
    }

    fn in_braces(&mut self) -> Option<Unit> {
        if self.char()? != '{' {
            return None;
        }
        self.code_point(16, '}')
    }

    /// Reads the digits of a character, up to `end`.
    fn code_point(&mut self, radix: u32, end: char) -> Option<Unit> {
        let mut number: u32 = 0;
        for _ in 0..=MAX_DIGITS {
            match self.char()? {
                char if char == end => return char::from_u32(number).map(Unit::Char),
                char => number = number.checked_mul(radix)?.checked_add(char.to_digit(radix)?)?,
            }
        }
        None
    }

    fn ampersand(&mut self) -> Option<Unit> {
        self.attempt(Self::hexadecimal).or_else(|| self.attempt(Self::decimal)).or_else(|| self.name())
    }

    fn hexadecimal(&mut self) -> Option<Unit> {
        let is_number = self.char()? == '#' && matches!(self.char()?, 'x' | 'X');
        if is_number { self.code_point(16, ';') } else { None }
    }

    fn decimal(&mut self) -> Option<Unit> {
        if self.char()? == '#' { self.code_point(10, ';') } else { None }
    }

    fn name(&mut self) -> Option<Unit> {
        let mut name = String::new();
        while name.len() <= MAX_NAME {
            match self.char()? {
                ';' if name.len() > 1 => {
                    let known = ASCII_NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(&name));
                    return Some(known.map_or(Unit::Named, |(_, char)| Unit::Char(*char)));
                }
                char if char.is_ascii_alphanumeric() => name.push(char),
                _ => return None,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
