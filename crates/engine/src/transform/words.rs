//! Replaces values wherever they are in the texts of an event.
//!
//! A record may have any number of values and any number of words. So a search takes a few steps for each word of a
//! text, however many values there are and however long they are.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use super::tree::Tree;

/// Shortest value that is searched for, in characters.
const MIN_WORD: usize = 2;

/// Values and their replacements.
#[derive(Debug, Default)]
pub(super) struct Words {
    added: BTreeMap<String, String>,
    /// Values in the order of their bytes.
    values: Vec<Value>,
    replacements: HashSet<String>,
}

#[derive(Debug)]
struct Value {
    text: String,
    replacement: String,
    /// Index of the longest of the other values with which this one begins.
    shorter: Option<usize>,
    /// Index of a much shorter value, on the same way to the shortest.
    jump: Option<usize>,
    /// Number of values on this way.
    depth: usize,
    /// Index of the longest value on this way that ends where a word of this one does. Others end within a word of each
    /// text in which this one is.
    whole: Option<usize>,
    hashes: Hashes,
}

impl Value {
    /// Returns whether the value is greater than the text from `at` on.
    fn is_greater(&self, spelling: &Spelling<'_>, at: usize) -> bool {
        if self.text.len() <= BLOCK {
            self.text.as_bytes() > &spelling.bytes[at..]
        } else {
            self.compare(spelling, at).1 == Ordering::Greater
        }
    }

    /// Returns the number of bytes that a text from `at` on has in common with this value, and the order of the two.
    fn compare(&self, spelling: &Spelling<'_>, at: usize) -> (usize, Ordering) {
        let value = self.text.as_bytes();
        let rest = &spelling.bytes[at..];
        let first = &value[..value.len().min(BLOCK)];
        let mut common = if rest.starts_with(first) { first.len() } else { common_prefix(first, rest) };
        if common == BLOCK {
            let is_common = |length: usize| self.hashes.part(0, length) == spelling.hashes().part(at, length);
            // The smallest number of bytes that differ, and the largest that do not.
            let mut differ = value.len().min(rest.len()) + 1;
            while differ - common > 1 {
                let middle = common + (differ - common) / 2;
                if is_common(middle) { common = middle } else { differ = middle }
            }
        }
        // If the text begins with all of the value, the text is greater or equal.
        (common, value.get(common).map_or(Ordering::Less, |byte| Some(byte).cmp(&rest.get(common))))
    }
}

impl Words {
    /// Adds a value in the spellings that JSON in a text and forms have for it. Does not add a short value: it would be
    /// found in texts that do not mean it.
    pub fn add(&mut self, value: &str, replacement: &str) {
        let value = value.trim();
        if value.chars().count() < MIN_WORD {
            return;
        }
        let in_json = value.replace('\\', r"\\").replace('"', r#"\""#);
        let in_form = value.replace(' ', "+");
        for spelling in [value, &in_json, &in_form] {
            if !self.added.contains_key(spelling) {
                self.added.insert(spelling.to_owned(), replacement.to_owned());
            }
        }
    }

    /// Prepares the search, after all values were added.
    pub fn index(&mut self) {
        self.replacements.extend(self.added.values().cloned());
        for (text, replacement) in std::mem::take(&mut self.added) {
            // The values with which a value begins come before it: the last one, or those with which the last one
            // begins.
            let mut shorter = self.values.len().checked_sub(1);
            while let Some(index) = shorter
                && !text.starts_with(&self.values[index].text)
            {
                shorter = self.values[index].shorter;
            }
            let before = |index: Option<usize>| index.and_then(|index: usize| self.values.get(index));
            let depth = before(shorter).map_or(0, |value| value.depth + 1);
            // As wide a step as the two before it together, if they are equally wide: so any one on the way is reached
            // in a few steps.
            let last = before(shorter);
            let last_jump = last.and_then(|value| before(value.jump));
            let width = |from: Option<&Value>, to: Option<&Value>| Some(from?.depth - to?.depth);
            let second = last_jump.and_then(|value| before(value.jump));
            let first_width = width(last, last_jump);
            let jump = if first_width.is_some() && first_width == width(last_jump, second) {
                last_jump.and_then(|value| value.jump)
            } else {
                shorter
            };
            let whole = shorter.and_then(|index| {
                let length = self.values[index].text.len();
                let is_whole = is_whole_in(&text, length);
                if is_whole { Some(index) } else { self.values[index].whole }
            });
            let hashes = Hashes::of(text.as_bytes());
            self.values.push(Value { text, replacement, shorter, jump, depth, whole, hashes });
        }
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub fn has_replacement(&self, text: &str) -> bool {
        self.replacements.contains(text)
    }

    /// Replaces the values in all texts at or below `tree`. Keys stay.
    pub fn replace_in<T: Tree>(&self, tree: &mut T) {
        if let Some(elements) = tree.elements() {
            elements.iter_mut().for_each(|element| self.replace_in(element));
        } else if tree.is_object() {
            tree.for_each_member(&mut |member| self.replace_in(member));
        } else if tree.is_text()
            && let Some(replaced) = self.replace(&tree.to_text())
        {
            *tree = T::of_text(replaced);
        }
    }

    /// Replaces the values in all keys at or below `tree`.
    pub fn rename_in<T: Tree>(&self, tree: &mut T) {
        if let Some(elements) = tree.elements() {
            elements.iter_mut().for_each(|element| self.rename_in(element));
        } else if tree.is_object() {
            tree.for_each_member(&mut |member| self.rename_in(member));
            tree.rename_members(&|key| self.replace(key));
        }
    }

    /// Replaces the values in a text; `None` if the text has none of them.
    fn replace(&self, text: &str) -> Option<String> {
        // The decoded text is first: `acme%5Cjane` is one value.
        let decoded = Spelling::decoded(text).and_then(|spelling| self.replace_spelt(&spelling));
        let plain = self.replace_spelt(&Spelling::plain(decoded.as_deref().unwrap_or(text)));
        plain.or(decoded)
    }

    fn replace_spelt(&self, spelling: &Spelling<'_>) -> Option<String> {
        let mut out = String::new();
        // The text before this place is in `out`.
        let mut copied = 0;
        let mut at = 0;
        let mut last = None;
        while let Some((char, width)) = spelling.char_at(at) {
            let starts_word = !(last.is_some_and(is_of_word) && is_of_word(char));
            if starts_word && let Some(value) = self.value_at(spelling, at) {
                out.push_str(&spelling.text[copied..spelling.place(at)]);
                out.push_str(&value.replacement);
                at += value.text.len();
                copied = spelling.place(at);
                last = value.text.chars().next_back();
            } else {
                last = Some(char);
                at += width;
            }
        }
        if copied == 0 {
            return None;
        }
        out.push_str(&spelling.text[copied..]);
        Some(out)
    }

    /// Returns the longest value that is at a place, and ends where a word does.
    fn value_at(&self, spelling: &Spelling<'_>, at: usize) -> Option<&Value> {
        // The last of the values that are not greater. Each value with which the text begins is this one, or one with
        // which this one begins.
        let after = self.values.partition_point(|value| !value.is_greater(spelling, at));
        let mut candidate = after.checked_sub(1).and_then(|index| self.values.get(index));
        let common = candidate.map_or(0, |value| value.compare(spelling, at).0);
        let value = |index: Option<usize>| index.and_then(|index| self.values.get(index));
        while let Some(longer) = candidate.filter(|value| value.text.len() > common) {
            let jump = value(longer.jump).filter(|value| value.text.len() > common);
            candidate = jump.or_else(|| value(longer.shorter));
        }
        while let Some(found) = candidate {
            if spelling.ends_word(&found.text, at + found.text.len()) {
                return Some(found);
            }
            candidate = value(found.whole);
        }
        None
    }
}

/// Bytes of a text that are searched, and the place of each in the text.
struct Spelling<'t> {
    text: &'t str,
    bytes: Cow<'t, [u8]>,
    /// Place of each byte in the text. Empty if each byte is at its own place.
    places: Vec<usize>,
    hashes: OnceCell<Hashes>,
}

impl<'t> Spelling<'t> {
    fn plain(text: &'t str) -> Self {
        Self { text, bytes: Cow::Borrowed(text.as_bytes()), places: Vec::new(), hashes: OnceCell::new() }
    }

    /// Returns the hashes of the bytes. Few texts are compared with values that need them.
    fn hashes(&self) -> &Hashes {
        self.hashes.get_or_init(|| Hashes::of(&self.bytes))
    }

    /// Returns the text without percent-encoding; `None` if it has none.
    fn decoded(text: &'t str) -> Option<Self> {
        let mut bytes = Vec::new();
        let mut places = Vec::new();
        let mut at = 0;
        while let Some(byte) = text.as_bytes().get(at) {
            places.push(at);
            match percent_encoded(&text.as_bytes()[at..]) {
                Some(byte) => {
                    bytes.push(byte);
                    at += ENCODED;
                }
                None => {
                    bytes.push(*byte);
                    at += 1;
                }
            }
        }
        (bytes.len() < text.len()).then_some(Self { text, bytes: Cow::Owned(bytes), places, hashes: OnceCell::new() })
    }

    /// Returns the character at a place, and the number of its bytes. A byte that is no character counts as one, and so
    /// does a percent-encoded byte.
    fn char_at(&self, at: usize) -> Option<(char, usize)> {
        let rest = self.bytes.get(at..)?;
        let first = *rest.first()?;
        if first.is_ascii() {
            if let Some(byte) = percent_encoded(rest)
                && self.places.is_empty()
            {
                return Some((char::from(byte), ENCODED));
            }
            return Some((char::from(first), 1));
        }
        let longest = &rest[..rest.len().min(char::MAX_LEN_UTF8)];
        let found = longest.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
        Some(found.map_or((char::from(first), 1), |char| (char, char.len_utf8())))
    }

    /// Returns whether a value that ends at a place is a whole word there.
    fn ends_word(&self, value: &str, at: usize) -> bool {
        let last = value.chars().next_back();
        let next = self.char_at(at).map(|(char, _)| char);
        !(last.is_some_and(is_of_word) && next.is_some_and(is_of_word))
    }

    /// Returns the place of a byte in the text, also for a byte after the end of the text. Values are whole characters.
    fn place(&self, at: usize) -> usize {
        if self.places.is_empty() { at } else { self.places.get(at).copied().unwrap_or(self.text.len()) }
    }
}

/// Number of bytes of `%40`.
const ENCODED: usize = 3;

fn percent_encoded(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let high = char::from(*high).to_digit(16)?;
    let low = char::from(*low).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

/// Returns whether a word of the value `text` ends after `length` bytes.
fn is_whole_in(text: &str, length: usize) -> bool {
    let spelling = Spelling::plain(text);
    // Either with percent-encoding or without.
    spelling.ends_word(&text[..length], length) || !text[length..].starts_with(is_of_word)
}

/// Number of bytes that are compared one by one.
const BLOCK: usize = 64;

/// The polynomials of all beginnings of a text, to compare long parts of texts in a few steps. A value may begin like
/// each place of a text. The base is random, so that no author of a text knows it.
#[derive(Debug, Default)]
struct Hashes {
    /// Sums of the beginnings. Empty for a text within a block.
    sums: Vec<u64>,
    powers: Vec<u64>,
}

impl Hashes {
    fn of(text: &[u8]) -> Self {
        static BASE: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0) % PRIME);
        if text.len() <= BLOCK {
            return Self::default();
        }
        let mut hashes = Self { sums: Vec::with_capacity(text.len() + 1), powers: Vec::with_capacity(text.len() + 1) };
        let mut sum = 0;
        let mut power = 1;
        for byte in text {
            hashes.sums.push(sum);
            hashes.powers.push(power);
            sum = (multiply(sum, *BASE) + u64::from(*byte) + 1) % PRIME;
            power = multiply(power, *BASE);
        }
        hashes.sums.push(sum);
        hashes.powers.push(power);
        hashes
    }

    /// Returns the polynomial of `length` bytes from `at` on.
    fn part(&self, at: usize, length: usize) -> Option<u64> {
        let before = multiply(*self.sums.get(at)?, *self.powers.get(length)?);
        Some((self.sums.get(at + length)? + PRIME - before) % PRIME)
    }
}

/// 2^61 - 1.
const PRIME: u64 = (1 << 61) - 1;

fn multiply(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other) % u128::from(PRIME);
    // The product is smaller than the prime.
    product as u64
}

/// Returns whether a character continues a word. Languages that put no space between words have no such characters.
fn is_of_word(character: char) -> bool {
    let is_spaceless = matches!(
        character,
        '\u{0E00}'..='\u{0EFF}' // Thai, Lao
        | '\u{1000}'..='\u{109F}' // Burmese
        | '\u{1100}'..='\u{11FF}' // Korean
        | '\u{1780}'..='\u{17FF}' // Khmer
        | '\u{2E80}'..='\u{A4CF}' // Chinese, Japanese
        | '\u{AC00}'..='\u{D7FF}' // Korean
        | '\u{F900}'..='\u{FAFF}'
        | '\u{FF66}'..='\u{FFDC}' // the same at half width
        | '\u{20000}'..='\u{3FFFF}'
    );
    !is_spaceless && (character.is_alphanumeric() || character == '_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Values that begin alike, within a block and beyond it, and a text that begins like them at many places.
        #[test]
        fn the_search_finds_what_a_comparison_with_each_value_finds(
            values in prop::collection::vec(("[a-]{1,3}", 1..60_usize), 1..16),
            text in prop::collection::vec(("[a-]{1,3}|%61|é", 1..60_usize), 0..8),
        ) {
            let mut words = Words::default();
            values.iter().for_each(|(part, times)| words.add(&part.repeat(*times), "*"));
            words.index();
            let text: String = text.iter().map(|(part, times)| part.repeat(*times)).collect();
            for spelling in [Some(Spelling::plain(&text)), Spelling::decoded(&text)].into_iter().flatten() {
                for at in 0..spelling.bytes.len() {
                    let is_found = |value: &&Value| {
                        spelling.bytes[at..].starts_with(value.text.as_bytes())
                            && spelling.ends_word(&value.text, at + value.text.len())
                    };
                    let longest = words.values.iter().filter(is_found).max_by_key(|value| value.text.len());
                    let found = words.value_at(&spelling, at).map(|value| &value.text);
                    prop_assert_eq!(found, longest.map(|value| &value.text), "{} at {}", text, at);
                }
            }
        }
    }

    #[test]
    fn values_are_replaced_as_words() {
        let mut words = Words::default();
        for (value, replacement) in
            [("jane", "1"), (r"acme\jane", "2"), ("Jürgen", "3"), ("x", "4"), ("田中", "5"), ("bob smith", "6")]
        {
            words.add(value, replacement);
        }
        words.index();
        for (text, replaced) in [
            ("jane logged in as jane.", Some("1 logged in as 1.")),
            (r"acme\jane", Some("2")),
            (r"C:\Users\jane\x", Some(r"C:\Users\1\x")),
            ("janet, mjane, jane_2 and x", None),
            ("Jürgen; Jürgens", Some("3; Jürgens")),
            ("?user=jane%40corp&x=%4aane%6A%61ne", Some("?user=1%40corp&x=%4aane%6A%61ne")),
            ("?user=%6a%61ne%40corp&by%3Djane%2C", Some("?user=1%40corp&by%3D1%2C")),
            ("acme%5Cjane and acme%5cjane", Some("2 and 2")),
            ("J%C3%BCrgen, J%c3%bcrgens, 100 %, %zz, jane%", Some("3, J%c3%bcrgens, 100 %, %zz, 1%")),
            ("", None),
            (r#"{"user":"acme\\jane"}"#, Some(r#"{"user":"2"}"#)),
            ("用户田中登录了", Some("用户5登录了")),
            ("?name=bob+smith&again=bob%20smith", Some("?name=6&again=6")),
            ("50%25 of jane", Some("50%25 of 1")),
        ] {
            assert_eq!(words.replace(text).as_deref(), replaced, "{text}");
        }
    }

    /// Values that begin alike, and texts that begin like them.
    #[test]
    fn the_longest_value_that_is_a_whole_word_is_replaced() {
        let mut words = Words::default();
        for length in 1..=1_000 {
            words.add(&"a ".repeat(length), &length.to_string());
        }
        words.add("a ab", "b");
        words.index();
        assert_eq!(words.replace("a a a").as_deref(), Some("3"));
        assert_eq!(words.replace("a ab a abc").as_deref(), Some("b a abc"));
        assert_eq!(words.replace(&"a ".repeat(1_500)).unwrap(), "1000 500 ");
    }

    /// A record may be a list of names and a text of these names.
    #[test]
    fn many_values_in_a_long_text_take_no_long_time() {
        for name in [|number: usize| format!("name{number:04}"), |number| "a".repeat(2 + number % 300)] {
            let mut words = Words::default();
            let names: Vec<_> = (0..5_000).map(name).collect();
            names.iter().for_each(|name| words.add(name, "*"));
            words.index();
            let text = names.iter().cycle().take(20_000).map(|name| format!("{name}, ")).collect::<String>();
            let begun = tokio::time::Instant::now();
            assert_eq!(words.replace(&text).unwrap().matches("*, ").count(), 20_000);
            assert!(begun.elapsed() < std::time::Duration::from_mins(1), "each word is compared with each value");
        }
    }
}
