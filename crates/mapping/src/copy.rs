//! Copies parts of a record that have no field in the schema, in one pass over their bytes.

use s1_forwarder_record::Value;

use super::keys::{Keys, Place};
use super::names::{DistinctNames, Name};

/// How the keys of a copied object are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyCase {
    /// `camelCase` becomes `snake_case`.
    Snake,
    AsReceived,
}

/// Appends the valid JSON `text` without values that are empty, at any depth. Returns false, and appends nothing, if
/// nothing remains. `keys` sees the keys that are written; `place` is the place of the value.
pub(super) fn value(
    out: &mut Vec<u8>,
    names: &mut DistinctNames,
    text: &str,
    key_case: KeyCase,
    keys: &mut Keys,
    place: Place,
) -> bool {
    Copier { bytes: text.as_bytes(), text, at: 0, out, names, key_case, keys }.value(place)
}

/// Appends `"name":` for a key (escaped). The name differs from all `names` and from the names that `is_used` reports.
pub(super) fn name(
    out: &mut Vec<u8>,
    key: &str,
    key_case: KeyCase,
    names: &mut DistinctNames,
    is_used: impl Fn(&str) -> bool,
) -> Name {
    out.push(b'"');
    let from = out.len();
    match key_case {
        _ if key.is_empty() => out.push(b'_'),
        KeyCase::Snake if !key.contains('\\') => snake_case_into(out, key.as_bytes()),
        _ => out.extend_from_slice(key.as_bytes()),
    }
    let name = names.distinguish(out, from, is_used);
    out.extend_from_slice(b"\":");
    name
}

struct Copier<'a, 'o> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    out: &'o mut Vec<u8>,
    names: &'o mut DistinctNames,
    key_case: KeyCase,
    keys: &'o mut Keys,
}

impl Copier<'_, '_> {
    fn value(&mut self, place: Place) -> bool {
        match self.peek() {
            b'{' => self.object(place),
            b'[' => self.list(place),
            b'"' => {
                let start = self.at;
                self.skip_string();
                self.out.extend_from_slice(&self.bytes[start..self.at]);
                self.at - start > 2 || {
                    self.out.truncate(self.out.len() - 2);
                    false
                }
            }
            first => {
                let start = self.at;
                while let Some(byte) = self.bytes.get(self.at) {
                    if matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace() {
                        break;
                    }
                    self.at += 1;
                }
                if first == b'n' {
                    return false;
                }
                self.out.extend_from_slice(&self.bytes[start..self.at]);
                true
            }
        }
    }

    fn object(&mut self, outer: Place) -> bool {
        let start = self.out.len();
        let outer_names = self.names.enter();
        self.out.push(b'{');
        self.at += 1;
        loop {
            match self.peek() {
                b'"' => {}
                b',' => {
                    self.at += 1;
                    continue;
                }
                _ => break self.at += 1,
            }
            let key = self.at + 1;
            self.skip_string();
            let key = &self.text[key..self.at - 1];
            self.peek();
            self.at += 1;
            self.peek();
            let before = self.out.len();
            if self.keys.is_secret(key) {
                self.at = s1_forwarder_record::value_end(self.bytes, self.at).unwrap_or(self.bytes.len());
                continue;
            }
            if before > start + 1 {
                self.out.push(b',');
            }
            let name = name(self.out, key, self.key_case, self.names, |_| false);
            let (place, shape) = self.keys.place(outer, name.fingerprint());
            let from = self.at;
            let is_misfit = self.key_case == KeyCase::Snake && !shape.fits(&self.text[from..]);
            let below = place.unwrap_or(Place::ANY);
            let wrote = if is_misfit { self.misfit(name, below) } else { self.member(name, below) };
            if wrote {
                self.keys.note(place, outer, key, Value::new(&self.text[from..self.at]));
            }
            if wrote && !is_misfit {
                self.names.add(self.out, name);
            } else {
                self.out.truncate(before);
            }
        }
        self.names.leave(outer_names);
        self.close(start, b'}')
    }

    /// Copies the value of a key.
    #[inline]
    fn member(&mut self, name: Name, place: Place) -> bool {
        if !matches!(self.bytes.get(self.at), Some(b'{' | b'[')) {
            return self.value(place);
        }
        let misfits = self.keys.misfits.len();
        let wrote = self.value(place);
        self.keys.misfits.enclose(misfits, &self.out[name.range()]);
        wrote
    }

    /// Copies a value that does not have the shape of its place to the misfits. The caller removes the copy from the
    /// output.
    #[cold]
    fn misfit(&mut self, name: Name, place: Place) -> bool {
        let begin = self.out.len();
        let Copier { bytes, text, at, out, names, key_case, keys } = self;
        let (wrote, end) = keys.misfit(|keys| {
            let mut copier = Copier { bytes, text, at: *at, out, names, key_case: *key_case, keys };
            (copier.value(place), copier.at)
        });
        *at = end;
        if wrote {
            keys.misfits.add(&out[name.range()], &out[begin..]);
        }
        wrote
    }

    fn list(&mut self, place: Place) -> bool {
        let start = self.out.len();
        self.out.push(b'[');
        self.at += 1;
        loop {
            match self.peek() {
                b',' => {
                    self.at += 1;
                    continue;
                }
                b']' => break self.at += 1,
                _ => {}
            }
            let before = self.out.len();
            if before > start + 1 {
                self.out.push(b',');
            }
            if !self.value(place) {
                self.out.truncate(before);
            }
        }
        self.close(start, b']')
    }

    fn close(&mut self, start: usize, bracket: u8) -> bool {
        if self.out.len() == start + 1 {
            self.out.truncate(start);
            return false;
        }
        self.out.push(bracket);
        true
    }

    fn peek(&mut self) -> u8 {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied().unwrap_or(b']')
    }

    fn skip_string(&mut self) {
        self.at = s1_forwarder_record::string_end(self.bytes, self.at).unwrap_or(self.bytes.len());
    }
}

/// Appends `agentIpV4` as `agent_ip_v4` and `URLPath` as `url_path`. `_` replaces a dot, which would make the name a
/// path.
pub(super) fn snake_case_into(out: &mut Vec<u8>, key: &[u8]) {
    for (at, &byte) in key.iter().enumerate() {
        if byte.is_ascii_uppercase() {
            let before = at.checked_sub(1).and_then(|before| key.get(before));
            let starts_word = match before {
                None | Some(b'_') => false,
                Some(before) if before.is_ascii_uppercase() => key.get(at + 1).is_some_and(u8::is_ascii_lowercase),
                Some(before) => before.is_ascii_alphanumeric(),
            };
            if starts_word {
                out.push(b'_');
            }
            out.push(byte.to_ascii_lowercase());
        } else {
            out.push(if byte == b'.' { b'_' } else { byte });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(text: &str, key_case: KeyCase) -> String {
        let mut out = b"x".to_vec();
        let wrote = value(&mut out, &mut DistinctNames::default(), text, key_case, &mut Keys::default(), Place::ANY);
        assert_eq!(wrote, out.len() > 1, "{text}");
        String::from_utf8(out[1..].to_vec()).unwrap()
    }

    #[test]
    fn names_are_in_snake_case() {
        for (key, expected) in [
            ("agentIpV4", "agent_ip_v4"),
            ("inet6", "inet6"),
            ("s1ql", "s1ql"),
            ("siteID", "site_id"),
            ("URLPath", "url_path"),
            ("AWS", "aws"),
            ("fileHashSha1", "file_hash_sha1"),
            ("already_snake", "already_snake"),
            ("with blank", "with blank"),
            ("Mixed_Case", "mixed_case"),
            ("a.b", "a_b"),
            ("é", "é"),
        ] {
            let mut out = Vec::new();
            snake_case_into(&mut out, key.as_bytes());
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn empty_values_are_left_out_at_any_depth() {
        let text = r#" { "aB" : [ null , "" , { } , [ ] , { "x" : null } , 0 , false ] , "c" : { "d" : [ [ ] ] } , "e" : "f\"}" } "#;
        assert_eq!(copied(text, KeyCase::Snake), r#"{"a_b":[0,false],"e":"f\"}"}"#);
        assert_eq!(copied(text, KeyCase::AsReceived), r#"{"aB":[0,false],"e":"f\"}"}"#);
        for text in ["null", "\"\"", "{}", "[]", "[null,[{}]]", r#"{"a":{"b":""}}"#] {
            assert_eq!(copied(text, KeyCase::Snake), "", "{text}");
        }
        assert_eq!(copied("-1.50e+3", KeyCase::Snake), "-1.50e+3");
    }

    #[test]
    fn secrets_are_left_out_at_any_depth() {
        assert_eq!(
            copied(r#"{"a":[{"licenseKey":{"x":[1]},"b":1}],"registrationToken" : "t" }"#, KeyCase::AsReceived),
            r#"{"a":[{"b":1}]}"#
        );
    }

    #[test]
    fn no_name_is_written_twice() {
        let text = r#"{"fooBar":1,"foo_bar":2,"foo_bar_2":3,"fooBar":4,"":5,"x":null,"x":6,"a":{"fooBar":7}}"#;
        let expected = r#"{"foo_bar":1,"foo_bar_2":2,"foo_bar_2_2":3,"foo_bar_3":4,"_":5,"x":6,"a":{"foo_bar":7}}"#;
        assert_eq!(copied(text, KeyCase::Snake), expected);
    }
}
