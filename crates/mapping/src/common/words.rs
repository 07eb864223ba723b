//! Tables of the console's words. The manuals print them.

use s1_forwarder_record::Value;

use super::word::Word;

/// The meanings of the console's words for one field of an event.
#[derive(Debug)]
pub struct Words<T: 'static> {
    /// The path of the field.
    pub field: &'static str,
    /// The first row that fits a word counts. `signed*` fits words with this beginning, `*_server` words with this end,
    /// and `*login*` words that contain it.
    pub rows: &'static [(&'static str, T)],
}

/// `NAME_id` and `NAME` of OCSF.
pub type Choice = (u16, &'static str);

impl<T: Copy> Words<T> {
    /// Returns the meaning of a value; `None` for a word that the table does not have.
    pub fn of(&self, value: Value<'_>) -> Option<T> {
        self.find(Word::of_value(value).as_str())
    }

    /// Returns the meaning of a word in lower case with `_` between its parts.
    pub fn find(&self, word: &str) -> Option<T> {
        // Most words differ in their first letter.
        let first = word.as_bytes().first();
        let may_fit = |known: &str| matches!(known.as_bytes().first(), byte if byte == first || byte == Some(&b'*'));
        self.rows.iter().find(|(known, _)| may_fit(known) && fits(known, word)).map(|(_, meaning)| *meaning)
    }
}

fn fits(known: &str, word: &str) -> bool {
    match (known.strip_prefix('*'), known.strip_suffix('*')) {
        (Some(end), None) => word.ends_with(end),
        (Some(part), Some(_)) => word.contains(part.trim_end_matches('*')),
        (None, Some(beginning)) => word.starts_with(beginning),
        (None, None) => known == word,
    }
}

/// The rows of a table as texts: each word with its meaning.
pub struct PrintedWords {
    pub field: &'static str,
    pub rows: Vec<(&'static str, String)>,
}

impl PrintedWords {
    /// Returns these words for a field that has another name in a schema.
    pub fn named(self, field: &'static str) -> Self {
        Self { field, ..self }
    }

    /// Returns these words with `note` appended to the meaning of one of them.
    pub fn noted(mut self, word: &str, note: &str) -> Self {
        for (_, meaning) in self.rows.iter_mut().filter(|(known, _)| *known == word) {
            meaning.push_str(note);
        }
        self
    }
}

impl<T> Words<T> {
    pub fn print(&self, text: impl Fn(&T) -> String) -> PrintedWords {
        let rows = self.rows.iter().map(|(word, meaning)| (*word, text(meaning)));
        PrintedWords { field: self.field, rows: rows.collect() }
    }
}

pub fn print_choices(words: &Words<Choice>) -> PrintedWords {
    words.print(|choice| print_choice(*choice))
}

/// Returns a caption with its number.
pub fn print_choice((id, caption): Choice) -> String {
    format!("{caption} ({id})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_row_that_fits_counts() {
        let words = Words {
            field: "f",
            rows: &[("true_positive_benign", 1), ("true_positive*", 2), ("benign", 3), ("*log*", 4), ("*_end", 5)],
        };
        for (word, meaning) in [
            ("true_positive_benign", Some(1)),
            ("true_positive_benign_x", Some(2)),
            ("true_positive", Some(2)),
            ("true_positive_log", Some(2)),
            ("true", None),
            ("benign", Some(3)),
            ("benign_x", None),
            ("log", Some(4)),
            ("benign_logs", Some(4)),
            ("the_end", Some(5)),
            ("the_ending", None),
            ("", None),
        ] {
            assert_eq!(words.find(word), meaning, "{word}");
        }
    }
}
