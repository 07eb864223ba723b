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

    /// `None` if the text has none of the values.
    fn replace(&self, text: &str) -> Option<String> {
        let mut out = String::new();
        let mut rest = text;
        let mut last = None;
        let mut found = false;
        while !rest.is_empty() {
            let starts_word = !last.is_some_and(is_of_word);
            let hit = self.0.iter().filter(|_| starts_word).find(|(value, _)| {
                rest.strip_prefix(value.as_str()).is_some_and(|after| !after.chars().next().is_some_and(is_of_word))
            });
            let taken = match hit {
                Some((value, replacement)) => {
                    found = true;
                    out.push_str(replacement);
                    value.len()
                }
                None => {
                    let length = rest.chars().next().map_or(0, char::len_utf8);
                    out.push_str(&rest[..length]);
                    length
                }
            };
            last = rest[..taken].chars().next_back();
            rest = &rest[taken..];
        }
        found.then_some(out)
    }
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
            ("", None),
        ] {
            assert_eq!(words.replace(text).as_deref(), replaced, "{text}");
        }
    }
}
