//! Names and paths of processes and files. The console adds words to some of them. It writes paths in fields for names,
//! and the path of a device in place of a drive.

use std::borrow::Cow;

use s1_forwarder_record::{Escaped, Value};

use super::hash::hash;
use super::missing::{is_missing_word, is_set};
use super::remote_origin;

/// A name or a path, without the console's addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image<'a> {
    /// "" for the root of a drive.
    pub name: Escaped<'a>,
    pub path: Option<Escaped<'a>>,
    pub addition: Option<Addition<'a>>,
}

/// Words in brackets after a name. They show that the name is the name of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addition<'a> {
    /// `cmd.exe (interactive session)`
    Session,
    /// `powershell.exe (CLI fa08)`: the first digits of the hash of the command line.
    CommandLine(&'a str),
}

impl<'a> Image<'a> {
    /// Reads a field for names, which may have a path. An origin on another host is not a name.
    pub fn of(value: Value<'a>) -> Option<Self> {
        Self::named(remote_origin::name_of(value)?)
    }

    /// Reads a text as [`Self::of`] does. The text must not be an origin on another host.
    pub fn named(text: Escaped<'a>) -> Option<Self> {
        let (text, addition) = split(text);
        if is_missing_word(text) {
            return None;
        }
        let name = if is_path(text.raw()) { text.last_segment() } else { text };
        if name == text || name.raw().is_empty() {
            return Some(Self { name: text, path: None, addition });
        }
        Some(Self { name, path: Some(text), addition })
    }

    /// Reads a field for paths.
    pub fn at(value: Value<'a>) -> Option<Self> {
        let (path, addition) = split(value.escaped()?);
        (!is_missing_word(path)).then_some(Self { name: path.last_segment(), path: Some(path), addition })
    }

    /// Returns the path; without a path, the name.
    pub fn text(self) -> Escaped<'a> {
        self.path.unwrap_or(self.name)
    }

    /// Returns whether both have the same name, with or without `.exe`. One of them may have a longer version:
    /// `python3` and `python3.11`.
    pub fn is_like(self, other: Self) -> bool {
        let [one, other] = [self, other].map(|image| stem(image.name.raw()));
        let (short, long) = if one.len() < other.len() { (one, other) } else { (other, one) };
        let Some((beginning, version)) = long.split_at_checked(short.len()) else { return false };
        let is_version =
            |text: &str| text.starts_with('.') && text.bytes().all(|byte| matches!(byte, b'.' | b'0'..=b'9'));
        !short.is_empty() && beginning.eq_ignore_ascii_case(short) && (version.is_empty() || is_version(version))
    }

    /// Returns the directory, unless the path is relative or begins with a variable.
    pub fn directory(self) -> Option<&'a str> {
        let path = self.path?.raw();
        let is_rooted = path.starts_with(['/', '\\']) || path.as_bytes().get(1) == Some(&b':');
        path.strip_suffix(self.name.raw()).filter(|_| is_rooted)
    }

    /// Returns whether both may be one program: their names are alike, and their directories are the same if both have
    /// one. `has_case` means that names are case-sensitive.
    pub fn may_be(self, other: Self, has_case: bool) -> bool {
        let same = |one: &str, other: &str| if has_case { one == other } else { one.eq_ignore_ascii_case(other) };
        let [one_name, other_name] = [self, other].map(|image| stem(image.name.raw()));
        let length = one_name.len().min(other_name.len());
        let is_one_name =
            one_name.get(..length).zip(other_name.get(..length)).is_some_and(|(one, other)| same(one, other));
        let is_one_place =
            || self.directory().zip(other.directory()).is_none_or(|(one, other)| is_one_directory(one, other, same));
        self.is_like(other) && is_one_name && is_one_place()
    }

    /// Returns the hashes of the file, and the hashes of the command line. All hashes of a record belong to only one of
    /// them.
    pub fn hashes<const N: usize>(image: Option<Self>, hashes: [Value<'a>; N]) -> [[Value<'a>; N]; 2] {
        let none = [Value::default(); N];
        let is_of_command_line =
            image.is_some_and(|image| hashes.into_iter().any(|value| image.is_hash_of_command_line(value)));
        if is_of_command_line { [none, hashes] } else { [hashes, none] }
    }

    /// Returns whether the name is the name of a process, and the record has neither a path nor a hash of the process's
    /// file.
    pub fn has_no_file<const N: usize>(self, path: Value<'_>, hashes: [Value<'_>; N]) -> bool {
        self.addition.is_some() && !is_set(path) && !hashes.into_iter().any(is_set)
    }

    /// Returns whether the value is the hash of the command line: it begins with the digits after the name.
    fn is_hash_of_command_line(self, value: Value<'_>) -> bool {
        let Some(Addition::CommandLine(digits)) = self.addition else { return false };
        let Some((_, text)) = value.escaped().and_then(hash) else { return false };
        text.raw().get(..digits.len()).is_some_and(|first| first.eq_ignore_ascii_case(digits))
    }
}

/// A file, from the fields for its path and its name.
#[derive(Debug, Clone, Copy)]
pub struct NamedFile<'a> {
    /// The path of the file; without a path, its name. The console may add words to the name and not to the path.
    pub image: Option<Image<'a>>,
    /// The value that contains the path.
    pub path: Value<'a>,
    /// A process whose name is in the field for the file's name, if the path belongs to another file.
    pub process: Option<Image<'a>>,
}

impl<'a> NamedFile<'a> {
    pub fn of(path: Value<'a>, name: Value<'a>) -> Self {
        let named = Image::of(name);
        let is_path = !is_set(path) && named.is_some_and(|image| image.path.is_some());
        let path = if is_path { name.unmarked() } else { path };
        let process = named.filter(|image| image.addition.is_some());
        match (Image::at(path), process) {
            (Some(file), Some(process)) if file.is_like(process) => {
                let image = Image { addition: file.addition.or(process.addition), ..file };
                Self { image: Some(image), path, process: None }
            }
            (Some(file), process) => Self { image: Some(file), path, process },
            (None, _) => Self { image: named, path, process: None },
        }
    }

    /// Returns the hashes as [`Image::hashes`] does.
    pub fn hashes<const N: usize>(self, hashes: [Value<'a>; N]) -> [[Value<'a>; N]; 2] {
        Image::hashes(self.process.or(self.image), hashes)
    }
}

/// Returns whether two paths name the same directory. One may begin with a device and the other with a drive.
fn is_one_directory(one: &str, other: &str, same: impl Fn(&str, &str) -> bool) -> bool {
    let [volume, other_volume] = [one, other].map(length_of_volume);
    let [skipped, other_skipped] = if volume == other_volume { [0, 0] } else { [volume, other_volume] };
    let mut one = steps(one).skip(skipped);
    let mut other = steps(other).skip(other_skipped);
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(step), Some(other)) if same(step, other) => {}
            _ => return false,
        }
    }
}

/// Returns the names in a path. In escaped text, a backslash has two characters. Some drives follow `\\?\`.
fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split(['/', '\\']).filter(|step| !matches!(*step, "" | "?" | "??"))
}

/// Returns the number of names in the volume of a path: one in `C:`, two in `\Device\HarddiskVolume3`.
fn length_of_volume(path: &str) -> usize {
    match steps(path).next() {
        Some(first) if first.ends_with(':') => 1,
        Some(first) if first.eq_ignore_ascii_case("device") => 2,
        _ => 0,
    }
}

/// Returns a name without `.exe`.
pub fn stem(name: &str) -> &str {
    match name.split_at_checked(name.len().saturating_sub(4)) {
        Some((stem, end)) if end.eq_ignore_ascii_case(".exe") => stem,
        _ => name,
    }
}

/// Returns the name, from a name or a path. A path within a title is part of the sentence, and stays.
pub fn without_directory(text: Escaped<'_>) -> Escaped<'_> {
    let raw = text.raw();
    let is_rooted = raw.starts_with(['/', '\\', '.', '~', '%']) || raw.as_bytes().get(1) == Some(&b':');
    if is_rooted { Image::named(text).map_or(text, |image| image.name) } else { text }
}

/// Returns a name, or a title such as `cmd.exe (interactive session) detected as Malware`, without the console's
/// addition at the end of the name. Within a name, such words belong to the file.
pub fn without_additions(text: Escaped<'_>) -> Cow<'_, str> {
    let (text, _) = split(text);
    let raw = text.raw();
    let Some((name, rest)) = raw.find(" detected as ").map(|end| raw.split_at(end)) else { return raw.into() };
    match split(Escaped::plain(name)) {
        (name, Some(_)) => format!("{}{rest}", name.raw()).into(),
        (_, None) => raw.into(),
    }
}

/// Splits the console's additions from the end of a name or a path. The console may have added both of them.
fn split(text: Escaped<'_>) -> (Escaped<'_>, Option<Addition<'_>>) {
    let text = text.trim();
    let inner = match text.raw().strip_suffix(')') {
        Some(inner) => inner.rsplit_once('('),
        None => return (text, None),
    };
    if let Some((name, words)) = inner
        && let Some(name) = name.strip_suffix(char::is_whitespace)
        && let Some(addition) = addition(name, words)
        && !name.trim().is_empty()
    {
        // The digits of a hash are worth more than a session.
        let (name, before) = split(Escaped::plain(name));
        let addition = before.filter(|before| matches!(before, Addition::CommandLine(_))).unwrap_or(addition);
        return (name, Some(addition));
    }
    (text, None)
}

fn addition<'a>(name: &str, words: &'a str) -> Option<Addition<'a>> {
    if let Some((first, digits)) = words.split_once(char::is_whitespace)
        && first.eq_ignore_ascii_case("cli")
        && !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return Some(Addition::CommandLine(digits));
    }
    let is_session = words.eq_ignore_ascii_case("interactive session")
        // No file has other words after the extension of a program; `setup.exe (1)` is a copy.
        || stem(name) != name && words.starts_with(|first: char| first.is_ascii_alphabetic());
    is_session.then_some(Addition::Session)
}

/// Returns whether a name is a path: `C:\a`, `\Device\a`, `\\host\a`, `.\a`, `%TEMP%\a`, `/bin/a`, `./a`, `~/a`,
/// `C:/a`. Other names contain `/` too (`kworker/0:1`).
fn is_path(text: &str) -> bool {
    ["/", "./", "../", "~/"].into_iter().any(|root| text.starts_with(root))
        || text.as_bytes().get(1..3) == Some(b":/")
        || text.contains("\\\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Option<(&str, Option<&str>, Option<Addition<'_>>)> {
        let image = Image::named(Escaped::plain(text))?;
        Some((image.name.raw(), image.path.map(Escaped::raw), image.addition))
    }

    #[test]
    fn a_name_has_no_words_of_the_console_and_a_path_is_no_name() {
        let session = Some(Addition::Session);
        let line = Some(Addition::CommandLine("fa08"));
        for (text, name, path, addition) in [
            ("cmd.exe", "cmd.exe", None, None),
            ("cmd.exe (interactive session)", "cmd.exe", None, session),
            ("bash (Interactive Session) ", "bash", None, session),
            ("powershell.exe (CLI fa08)", "powershell.exe", None, line),
            ("My Tool.exe (cli fa08)", "My Tool.exe", None, line),
            ("x.exe (CLI fa08) (interactive session)", "x.exe", None, line),
            ("x.exe (interactive session) (CLI fa08)", "x.exe", None, line),
            ("wmiprvse.exe (remote)", "wmiprvse.exe", None, session),
            (r"C:\\Windows\\explorer.exe", "explorer.exe", Some(r"C:\\Windows\\explorer.exe"), None),
            (r"C:\\a\\powershell.exe (CLI fa08)", "powershell.exe", Some(r"C:\\a\\powershell.exe"), line),
            (r"\\device\\harddiskvolume2\\a\\s.exe", "s.exe", Some(r"\\device\\harddiskvolume2\\a\\s.exe"), None),
            (r"%TEMP%\\s.exe", "s.exe", Some(r"%TEMP%\\s.exe"), None),
            ("/bin/bash", "bash", Some("/bin/bash"), None),
            ("./run", "run", Some("./run"), None),
            ("C:/a/b.exe", "b.exe", Some("C:/a/b.exe"), None),
            ("kworker/0:1", "kworker/0:1", None, None),
            ("/bin/", "/bin/", None, None),
            ("setup.exe (1)", "setup.exe (1)", None, None),
            ("Report (final)", "Report (final)", None, None),
            ("a (CLI)", "a (CLI)", None, None),
            ("a (CLI xyz)", "a (CLI xyz)", None, None),
            ("(interactive session)", "(interactive session)", None, None),
            ("é (interactive session)", "é", None, session),
            ("x)", "x)", None, None),
        ] {
            assert_eq!(named(text), Some((name, path, addition)), "{text}");
        }
        for text in ["", "N/A", "unknown", "N/A (interactive session)"] {
            assert_eq!(named(text), None, "{text}");
        }
        assert_eq!(Image::of(Value::new(r#""Lateral Movement 192.0.2.3 ACME\\jane (interactive session)""#)), None);
        let root = Image::at(Value::new(r#""C:\\""#)).unwrap();
        assert_eq!((root.name.raw(), root.text().raw()), ("", r"C:\\"));
        assert_eq!(Image::at(Value::new(r#""\\Unknown device\\Unknown file""#)), None);
    }

    #[test]
    fn the_hash_of_a_command_line_begins_with_the_digits_after_the_name() {
        let sha1 = format!("\"FA08{}\"", "0".repeat(36));
        let is_of_line = |text| Image::named(Escaped::plain(text)).unwrap().is_hash_of_command_line(Value::new(&sha1));
        assert!(is_of_line("powershell.exe (CLI fa08)"));
        assert!(!is_of_line("powershell.exe (CLI fa09)") && !is_of_line("powershell.exe"));
    }

    #[test]
    fn names_are_compared_without_exe() {
        let image = |text| Image::named(Escaped::plain(text)).unwrap();
        assert!(image("CMD").is_like(image(r"C:\\Windows\\cmd.exe")));
        assert!(image("python3.11").is_like(image("/usr/bin/python3")));
        for (one, other) in [("cmd", "cmd.com"), ("a.exe", "b.exe"), ("a1.exe", "a.exe"), ("é", "a")] {
            assert!(!image(one).is_like(image(other)), "{one} {other}");
        }
    }

    #[test]
    fn programs_of_one_name_are_told_apart_by_their_directories() {
        let may_be = |one, other, has_case| {
            let image = |text| Image::named(Escaped::plain(text)).unwrap();
            image(one).may_be(image(other), has_case) && image(other).may_be(image(one), has_case)
        };
        let device = r"\\Device\\HarddiskVolume3\\Windows\\cmd.exe";
        for (one, other) in [
            ("bash", "/bin/bash"),
            ("/bin/bash", "/bin/bash"),
            ("/usr/bin/python3", "/usr/bin/python3.11"),
            ("./bash", "/bin/bash"),
            (r"C:\\Windows\\cmd", r"c:\\windows\\CMD.EXE"),
            (r"%windir%\\cmd.exe", r"C:\\Windows\\cmd.exe"),
            (device, r"C:\\Windows\\cmd.exe"),
            (device, device),
            (r"\\\\?\\C:\\Windows\\cmd.exe", "C:/Windows/cmd.exe"),
        ] {
            assert!(may_be(one, other, false), "{one} {other}");
        }
        for (one, other) in [
            ("/usr/bin/bash", "/bin/bash"),
            ("/bin/a", "/bin/b"),
            (r"D:\\Windows\\cmd.exe", r"C:\\Windows\\cmd.exe"),
            (device, r"C:\\x\\cmd.exe"),
            (device, r"\\Device\\HarddiskVolume4\\Windows\\cmd.exe"),
            (r"\\Device\\x.exe", "x.exe.y"),
        ] {
            assert!(!may_be(one, other, false), "{one} {other}");
        }
        assert!(may_be("Installer", "/sbin/installer", false) && !may_be("Installer", "/sbin/installer", true));
    }
}
