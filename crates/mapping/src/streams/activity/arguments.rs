//! `escapedMaliciousProcessArguments`: the arguments of a malicious process.

use s1_forwarder_record::{Escaped, Reader, Value};

/// The console writes these arguments as a JSON string within the text.
#[derive(Debug, Clone)]
pub struct Arguments<'a> {
    received: Value<'a>,
    /// The JSON string in the text. `None` if the text is plain.
    inner: Option<String>,
}

impl<'a> Arguments<'a> {
    pub fn of(received: Value<'a>) -> Self {
        let is_quoted = |text: &Escaped<'_>| text.raw().starts_with("\\\"") && text.raw().ends_with("\\\"");
        let is_json = |text: &String| {
            let mut reader = Reader::new(text);
            reader.value().and_then(|_| reader.end()).is_ok()
        };
        let text = received.escaped().filter(is_quoted);
        Self { received, inner: text.map(|text| text.decode().into_owned()).filter(is_json) }
    }

    /// Returns the arguments. Plain arguments are the value of the record.
    pub fn value(&self) -> Value<'_> {
        self.inner.as_deref().map_or(self.received, Value::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_string_in_the_text_is_decoded() {
        for (received, expected) in [
            (r#""\"\\\"H:\\\\Archive\\\\1.png\\\"\"""#, Some(r#""H:\Archive\1.png""#)),
            (r#""\"-x \\u00e9\"""#, Some("-x é")),
            (r#""\"\"""#, None),
            ("\"/path/test\"", Some("/path/test")),
            (r#""\"C:\\Program Files\\a.exe\"""#, Some(r#""C:\Program Files\a.exe""#)),
            (r#""\"C:\\a.exe\" \"b\"""#, Some(r#""C:\a.exe" "b""#)),
            (r#""\"""#, Some("\"")),
            ("null", None),
        ] {
            let arguments = Arguments::of(Value::new(received));
            assert_eq!(arguments.value().text().as_deref(), expected, "{received}");
        }
    }
}
