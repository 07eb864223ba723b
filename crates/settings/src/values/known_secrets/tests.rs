use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::*;

/// How a peer may write a text.
type Write = fn(&str) -> String;

fn per_char(text: &str, write: impl Fn(char) -> String) -> String {
    text.chars().map(write).collect()
}

fn utf16(text: &str, digits: impl Fn(u16) -> String) -> String {
    text.encode_utf16().map(digits).collect()
}

fn listed(text: &str, between: &str, write: impl Fn(u8) -> String) -> String {
    text.bytes().map(write).collect::<Vec<_>>().join(between)
}

fn in_json(text: &str) -> String {
    let json = serde_json::to_string(text).unwrap();
    json[1..json.len() - 1].to_owned()
}

/// Names of the characters that secrets of these tests have.
fn named(char: char) -> String {
    match char {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\'' => "&apos;".to_owned(),
        '/' => "&sol;".to_owned(),
        'ö' => "&ouml;".to_owned(),
        other => other.to_string(),
    }
}

const WRITERS: [(&str, Write); 36] = [
    ("plain", str::to_owned),
    ("upper case", str::to_ascii_uppercase),
    ("lower case", str::to_ascii_lowercase),
    ("form", |text| url::form_urlencoded::byte_serialize(text.as_bytes()).collect()),
    ("percent", |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()),
    ("percent, lower case", |text| {
        per_char(text, |char| match char {
            'a'..='z' | 'A'..='Z' | '0'..='9' => char.to_string(),
            _ => char.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect(),
        })
    }),
    ("percent, all", |text| text.bytes().map(|byte| format!("%{byte:02X}")).collect()),
    ("percent, Latin-1", |text| {
        per_char(text, |char| u8::try_from(char).map_or(char.to_string(), |byte| format!("%{byte:02X}")))
    }),
    ("escape() of JavaScript", |text| {
        utf16(text, |unit| u8::try_from(unit).map_or(format!("%u{unit:04X}"), |byte| format!("%{byte:02X}")))
    }),
    ("JSON", in_json),
    ("JSON of PHP", |text| in_json(text).replace('/', "\\/")),
    ("JSON in ASCII", |text| {
        per_char(text, |char| match char {
            '"' | '\\' => format!("\\{char}"),
            ' '..='~' => char.to_string(),
            _ => utf16(&char.to_string(), |unit| format!("\\u{unit:04x}")),
        })
    }),
    ("JSON, all escaped", |text| utf16(text, |unit| format!("\\u{unit:04x}"))),
    ("JSON, all escaped in upper case", |text| utf16(text, |unit| format!("\\u{unit:04X}"))),
    ("Rust", |text| text.escape_default().to_string()),
    ("Python", |text| {
        per_char(text, |char| if char.is_ascii() { char.to_string() } else { format!("\\U{:08x}", u32::from(char)) })
    }),
    ("bytes of C", |text| text.bytes().map(|byte| format!("\\x{byte:02x}")).collect()),
    ("octal bytes", |text| text.bytes().map(|byte| format!("\\{byte:03o}")).collect()),
    ("HTML", |text| per_char(text, named)),
    ("HTML, decimal", |text| per_char(text, |char| format!("&#{};", u32::from(char)))),
    ("HTML, hexadecimal", |text| per_char(text, |char| format!("&#x{:x};", u32::from(char)))),
    ("HTML, upper case", |text| per_char(text, |char| format!("&#X{:04X};", u32::from(char)))),
    ("quoted-printable, all", |text| text.bytes().map(|byte| format!("={byte:02X}")).collect()),
    // A broken line within another escape may be read in two ways, and is not recognised.
    ("quoted-printable in lines", |text| {
        let char = |char: char| match char {
            '=' => "=3D".to_owned(),
            char if char.is_ascii() => char.to_string(),
            char => char.to_string().bytes().map(|byte| format!("={byte:02x}")).collect(),
        };
        let chars: Vec<String> = text.chars().map(char).collect();
        chars.chunks(3).map(<[String]>::concat).collect::<Vec<_>>().join("=\r\n")
    }),
    ("ASCII", |text| per_char(text, |char| if char.is_ascii() { char } else { '?' }.to_string())),
    ("another character set", |text| {
        per_char(text, |char| if char.is_ascii() { char } else { char::REPLACEMENT_CHARACTER }.to_string())
    }),
    ("hexadecimal", |text| hex::encode(text)),
    ("hexadecimal, upper case", |text| hex::encode_upper(text)),
    ("hexadecimal with blanks", |text| listed(text, " ", |byte| format!("{byte:02x}"))),
    ("hexadecimal with colons", |text| listed(text, ":", |byte| format!("{byte:02X}"))),
    ("hexadecimal literals", |text| listed(text, ", 0x", |byte| format!("{byte:02x}"))),
    ("hexadecimal by four", |text| {
        hex::encode(text).as_bytes().chunks(4).map(|part| String::from_utf8_lossy(part)).collect::<Vec<_>>().join(" ")
    }),
    ("decimal", |text| listed(text, ",", |byte| byte.to_string())),
    ("decimal with blanks", |text| listed(text, ", ", |byte| byte.to_string())),
    ("base64", |text| BASE64_STANDARD.encode(text)),
    ("base64 in lines", |text| {
        let encoded = BASE64_STANDARD.encode(text);
        encoded.as_bytes().chunks(4).map(|line| format!("{}\r\n", String::from_utf8_lossy(line))).collect()
    }),
];

/// Returns two ways of base64 for a text within a longer one, such as a user's name and a password.
fn in_base64(secret: &str) -> impl Iterator<Item = String> {
    ["", "u", "us", "user:", "svc-1:"].into_iter().flat_map(move |before| {
        ["", "\n", "\n\n"].into_iter().flat_map(move |after| {
            let text = format!("{before}{secret}{after}");
            [BASE64_STANDARD.encode(&text), BASE64_URL_SAFE.encode(&text), BASE64_URL_SAFE_NO_PAD.encode(&text)]
        })
    })
}

/// Secrets of all kinds of characters.
fn secrets() -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(20);
    let alphabet: Vec<char> = ('!'..='~').chain("  öÜß€漢😀".chars()).collect();
    let mut secrets: Vec<String> =
        (0..15).map(|_| (0..random.usize(5..40)).map(|_| alphabet[random.usize(..alphabet.len())]).collect()).collect();
    secrets.extend(
        [
            "Abc8Q~Def-g_h.i",
            "pa\"ss\\w/örd&x",
            "cl/ient+SECRET=&x",
            "%41%42%2541",
            "\\u0041\\\\n\\",
            "&amp;&lt;&#65;",
            "????",
            "PlainSecret0",
            "a+b c+d  e",
            "\\\\\\\\\\\\\\\\",
            "++++++",
            "=====%%%%%",
            "漢字漢字",
        ]
        .map(str::to_owned),
    );
    secrets.retain(|secret| secret.trim() == *secret);
    secrets
}

fn known(secret: &str) -> KnownSecrets {
    KnownSecrets::from_iter([SecretString::from(secret)])
}

#[test]
fn a_secret_is_removed_in_every_spelling() {
    let mut random = fastrand::Rng::with_seed(22);
    for secret in secrets() {
        let known = known(&secret);
        let check = |how: &str, spelt: &str| {
            let text = format!("you sent [{spelt}], bad");
            let scrubbed = known.scrub(&text);
            assert_eq!(scrubbed.replace(REMOVED, ""), "you sent [], bad", "{how} of {secret:?}: {text}");
        };
        for (how, write) in WRITERS {
            // Whether blanks before the next line belong to it is all the same.
            check(how, write(&secret).trim_end());
        }
        // A form in JSON, JSON in HTML, and so on; and base64 in them.
        for (outer, wrap) in &WRITERS[3..23] {
            let (inner, write) = WRITERS[random.usize(3..23)];
            check(&format!("{outer} of {inner}"), &wrap(&write(&secret)));
            check(&format!("{outer} of base64"), &wrap(&BASE64_STANDARD.encode(&secret)));
        }
        // As many escapes around one another as are read.
        let layers: Vec<_> = (0..LAYERS).map(|_| WRITERS[random.usize(3..23)]).collect();
        let names: Vec<_> = layers.iter().map(|(name, _)| *name).collect();
        let spelt = layers.iter().fold(secret.clone(), |text, (_, write)| write(&text));
        if spelt.len() < 10_000 {
            check(&names.join(", "), &spelt);
        }
        for encoded in in_base64(&secret) {
            check("base64 in a text", &encoded);
        }
    }
}

/// A program may escape some characters and not others.
#[test]
fn a_secret_is_removed_in_mixed_spellings() {
    let mut random = fastrand::Rng::with_seed(21);
    for secret in secrets() {
        let known = known(&secret);
        for _ in 0..5 {
            let spelt: String = secret.chars().map(|char| WRITERS[random.usize(3..23)].1(&char.to_string())).collect();
            let scrubbed = known.scrub(&format!("<{spelt}>"));
            assert_eq!(scrubbed, "<***>", "{secret:?} as {spelt}");
        }
    }
}

#[test]
fn the_rest_of_a_text_stays() {
    let known = KnownSecrets::from_iter(["Abc8Q~Def", "s3cr", "abc"].map(SecretString::from));
    for (text, expected) in [
        ("", ""),
        ("abc is too short to be a secret", "abc is too short to be a secret"),
        ("100 % of 5 & 6; \\ + &; %zz \\u12 &#x; ü", "100 % of 5 & 6; \\ + &; %zz \\u12 &#x; ü"),
        ("s3crs3cr", "******"),
        ("a=Abc8Q%7EDef&b=%s3cr%41", "a=***&b=%***%41"),
        ("Basic dTpBYmM4UX5EZWY=, sent", "Basic ***, sent"),
        ("s3c r", "s3c r"),
    ] {
        assert_eq!(known.scrub(text), expected);
    }
    assert_eq!(KnownSecrets::default().scrub("any"), "any");
}

/// The search is over a part of a long text, which may end within the secret.
#[test]
fn an_excerpt_shows_no_part_of_a_secret() {
    let secret = "cAnArY-öäü-0123456789abcdefghijklmnop";
    let known = known(secret);
    let spellings =
        [WRITERS[0].1, WRITERS[6].1, WRITERS[13].1, WRITERS[20].1, WRITERS[34].1].map(|write| write(secret));
    for spelt in &spellings {
        for cut in (0..=spelt.len() + 2).step_by(5) {
            let text = format!("answer:{}{spelt} {}", " ".repeat(SEARCHED - 7 - cut), "x".repeat(SEARCHED));
            let excerpt = known.excerpt(&text);
            assert!(["answer:", "answer: ***", "answer: *** x"].contains(&&*excerpt), "{cut} of {spelt}: {excerpt}");
        }
        // The excerpt itself ends within the secret.
        for before in (100..205).step_by(7) {
            let excerpt = known.excerpt(&format!("{}{spelt}", "y".repeat(before)));
            let shown = excerpt.trim_start_matches('y');
            assert!("***".starts_with(shown), "{before} before {spelt}: {excerpt}");
        }
    }
}

/// A peer knows the secret, and may choose its answer so that the search takes long.
#[test]
fn the_search_ends_whatever_the_text() {
    for (secret, part) in [
        ("a".repeat(4_000) + "b", "a"),
        ("\\".repeat(4_000) + "b", "\\"),
        ("&".repeat(4_000) + "b", "&"),
        ("&#".repeat(2_000), "&#92;#"),
        ("a".repeat(4_000) + "b", "&%26%23%39%37%3b"),
    ] {
        let text = part.repeat(100_000 / part.len());
        assert!(known(&secret).excerpt(&text).len() <= 200, "{part}");
    }
}

/// Each layer reads the one below it several times: without a memory, that is 453 readings of one place.
#[test]
fn what_stands_at_a_place_is_decoded_once_for_each_layer() {
    for part in ["&", "%", "\\", "&%26%23%39%37%3b"] {
        let text = part.repeat(1_000);
        let escapes = Escapes { text: &text, decoded: RefCell::default() };
        let readings: usize = (0..text.len()).map(|at| escapes.units(at).count()).sum();
        let decoded = escapes.decoded.borrow().len();
        assert!((1..=(LAYERS + 1) * text.len()).contains(&readings), "{part}: {readings}");
        assert!((1..=LAYERS * text.len()).contains(&decoded), "{part}: {decoded}");
    }
}
