//! Replaces values wherever they stand in the texts of an event.

use super::tree::Tree;

/// Shortest value that is searched for, in characters.
const MIN_WORD: usize = 2;

/// Values with what replaces them.
#[derive(Debug, Default)]
pub(super) struct Words(Vec<(String, String)>);

impl Words {
    /// Shorter values would be found in texts that do not mean them.
    pub fn add(&mut self, value: &str, replacement: String) {
        let value = value.trim();
        if value.chars().count() >= MIN_WORD && self.0.iter().all(|(known, _)| known != value) {
            self.0.push((value.to_owned(), replacement));
        }
    }

    /// The longest values first: `acme\jane` before `jane`.
    pub fn sort(&mut self) {
        self.0.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn has_replacement(&self, text: &str) -> bool {
        self.0.iter().any(|(_, replacement)| replacement == text)
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

    /// `None` if the text has none of the values.
    fn replace(&self, text: &str) -> Option<String> {
        let mut out = String::new();
        let mut rest = text;
        let mut last = None;
        let mut found = false;
        while let Some((char, length)) = first_char(rest) {
            let starts_word = !last.is_some_and(is_of_word);
            let hit = self.0.iter().filter(|_| starts_word).find_map(|(value, replacement)| {
                let after = strip_value(rest, value)?;
                let ends_word = !first_char(after).is_some_and(|(char, _)| is_of_word(char));
                ends_word.then_some((after, value, replacement))
            });
            if let Some((after, value, replacement)) = hit {
                found = true;
                out.push_str(replacement);
                last = value.chars().next_back();
                rest = after;
            } else {
                out.push_str(&rest[..length]);
                last = Some(char);
                rest = &rest[length..];
            }
        }
        found.then_some(out)
    }
}

/// The character at the beginning of a text, and its length there. One may be percent-encoded.
fn first_char(text: &str) -> Option<(char, usize)> {
    match percent_encoded(text) {
        Some(byte) => Some((char::from(byte), ENCODED)),
        None => text.chars().next().map(|char| (char, char.len_utf8())),
    }
}

/// Bytes of `%40`.
const ENCODED: usize = 3;

fn percent_encoded(text: &str) -> Option<u8> {
    let digits = text.strip_prefix('%')?.get(..ENCODED - 1)?;
    let is_number = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_number { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// What follows `value` at the beginning of `text`, where it may be percent-encoded, in part or as a whole.
fn strip_value<'t>(text: &'t str, value: &str) -> Option<&'t str> {
    if let Some(after) = text.strip_prefix(value) {
        return Some(after);
    }
    let mut rest = text;
    let mut bytes = value.as_bytes();
    while let [first, others @ ..] = bytes {
        if percent_encoded(rest) == Some(*first) {
            rest = &rest[ENCODED..];
            bytes = others;
        } else {
            let char = rest.chars().next()?;
            bytes = bytes.strip_prefix(char.encode_utf8(&mut [0; 4]).as_bytes())?;
            rest = &rest[char.len_utf8()..];
        }
    }
    Some(rest)
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_replaced_as_words() {
        let mut words = Words::default();
        for (value, replacement) in [("jane", "1"), (r"acme\jane", "2"), ("Jürgen", "3"), ("x", "4")] {
            words.add(value, replacement.to_owned());
        }
        words.sort();
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
        ] {
            assert_eq!(words.replace(text).as_deref(), replaced, "{text}");
        }
    }
}
