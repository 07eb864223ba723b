/// Characters of a foreign text that are shown to the operator.
const CHARACTERS: usize = 200;

/// The beginning of a foreign text on one line: control characters and line breaks become blanks.
pub fn excerpt(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let mut line = String::new();
    for word in words {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        // A character has up to four bytes.
        if line.len() >= 4 * CHARACTERS {
            break;
        }
    }
    line.chars().take(CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_and_on_one_line() {
        assert_eq!(excerpt(" a\r\n\x1b[31m  b\tc "), "a [31m b c");
        assert_eq!(excerpt(&"ä ".repeat(1_000)).chars().count(), CHARACTERS);
        assert_eq!(excerpt(""), "");
    }
}
