//! The program of a process, from its command line.

use s1_forwarder_record::Escaped;

use super::image::{Image, stem};

/// Names of shells, which a login has after a hyphen (`-bash`).
const SHELLS: [&str; 9] = ["bash", "sh", "zsh", "dash", "ksh", "ash", "csh", "tcsh", "fish"];

/// The path or the name of the program at the beginning of a command line. `None` if its end is not certain: a path
/// without quotes may contain spaces.
pub fn executable(line: Escaped<'_>) -> Option<Escaped<'_>> {
    let text = line.raw().trim();
    // A quote in escaped text is `\"`.
    let found = match text.strip_prefix("\\\"") {
        Some(quoted) => quoted.split_once("\\\"")?.0,
        None => unquoted(text)?,
    };
    let is_program = is_word(found) || has_exe(found) || found.contains(['/', '\\']) && !found.ends_with(['/', '\\']);
    is_program.then_some(Escaped::plain(found))
}

fn has_exe(text: &str) -> bool {
    text.len() > 4 && stem(text) != text
}

/// Whether the text can be the name of a program.
fn is_word(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+');
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(is_part)
}

fn unquoted(text: &str) -> Option<&str> {
    let first = text.split([' ', '\t']).next()?;
    if text.starts_with('/') {
        // Names of applications on macOS have spaces, and `/c` is an argument of a Windows program.
        let is_certain =
            !["/Applications/", "/Library/", "/System/", "/Users/"].iter().any(|root| first.starts_with(root));
        let is_path = first.len() > 2;
        return (is_path && (is_certain || first == text)).then_some(first);
    }
    if let Some(end) = end_of_exe(text) {
        let found = &text[..end];
        // Without a drive, what precedes a space may be another command.
        if found.as_bytes().get(1) == Some(&b':') || !found.contains(' ') {
            return Some(found);
        }
    }
    let shell = first.strip_prefix('-').filter(|name| SHELLS.contains(name));
    let is_relative = ["./", "../", "~/"].into_iter().any(|root| first.starts_with(root));
    shell.or_else(|| (is_relative || is_word(first)).then_some(first))
}

/// The end of the first name with `.exe`.
fn end_of_exe(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut ends = bytes.windows(4).enumerate().filter(|(_, word)| word.eq_ignore_ascii_case(b".exe"));
    let end = |at: usize| at + 4;
    ends.find(|(at, _)| matches!(bytes.get(end(*at)), None | Some(b' ' | b'\t' | b'/' | b','))).map(|(at, _)| end(at))
}

/// Whether a word can be an argument of a Windows program: `/c`, `/SL5=1`.
pub fn is_switch(word: &str) -> bool {
    word.strip_prefix('/').is_some_and(|word| !word.contains('/'))
}

/// Whether a command line that does not show where its first word ends is one of this program: it begins with the
/// program's path or name, or has only arguments.
pub fn is_of(line: Escaped<'_>, program: Image<'_>) -> bool {
    let first = line.raw().trim().split(' ').next().unwrap_or_default();
    first.starts_with('-') || is_switch(first) && !program.text().raw().starts_with('/') || begins_with(line, program)
}

/// Whether a word after the program of a command line is this file.
pub fn has_argument(line: Escaped<'_>, file: Image<'_>) -> bool {
    let rest = executable(line).and_then(|program| line.raw().split_once(program.raw())).map_or("", |(_, rest)| rest);
    let name = file.name.raw();
    if name.contains(' ') {
        return rest.contains(name);
    }
    // A quote in escaped text is `\"`.
    let words = rest.split([' ', '\t', '"', '\'']).map(|word| word.strip_suffix('\\').unwrap_or(word));
    words.filter_map(|word| Image::named(Escaped::plain(word))).any(|word| word.is_like(file))
}

/// Whether a command line begins with the path or the name of this program, which may have spaces.
pub fn begins_with(line: Escaped<'_>, program: Image<'_>) -> bool {
    let text = line.raw().trim();
    let text = text.strip_prefix("\\\"").unwrap_or(text);
    let without_drive = text.split_at_checked(2).filter(|(drive, _)| drive.ends_with(':')).map(|(_, rest)| rest);
    let path = program.text().raw();
    // The path may have a device where the command line has a drive.
    let below_device = path.match_indices("\\\\").nth(2).map_or("", |(at, _)| &path[at..]);
    [path, program.name.raw()].into_iter().any(|beginning| are_first_words(text, beginning))
        || without_drive.is_some_and(|text| are_first_words(text, below_device))
}

/// Whether a text begins with `program`, with or without `.exe`.
fn are_first_words(text: &str, program: &str) -> bool {
    [program, stem(program)].into_iter().any(|beginning| {
        let rest = text.split_at_checked(beginning.len()).filter(|(first, _)| first.eq_ignore_ascii_case(beginning));
        !beginning.is_empty() && rest.is_some_and(|(_, rest)| !rest.starts_with(char::is_alphanumeric))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_taken_from_the_beginning_of_a_command_line() {
        let found = |line| executable(Escaped::plain(line)).map(Escaped::raw);
        for (line, expected) in [
            ("/usr/bin/curl -O https://example.com/file.txt", Some("/usr/bin/curl")),
            (r#"\"C:\\Windows\\System32\\powershell.exe\" -c x"#, Some(r"C:\\Windows\\System32\\powershell.exe")),
            (r"C:\\Program Files\\a b\\x.EXE /q", Some(r"C:\\Program Files\\a b\\x.EXE")),
            ("powershell.exe -ExecutionPolicy Restricted", Some("powershell.exe")),
            ("cmd /c x.exe", Some("cmd")),
            ("-bash", Some("bash")),
            ("./run.sh -x", Some("./run.sh")),
            ("cmd.exe/c dir", Some("cmd.exe")),
            (r"\\??\\C:\\Windows\\conhost.exe 0x4", Some(r"\\??\\C:\\Windows\\conhost.exe")),
            (r"C:\\a.exe.d\\b.exe -x", Some(r"C:\\a.exe.d\\b.exe")),
            (r#"\"my tool\" -x"#, None),
            ("-enc AAAA", None),
            ("/c whoami", None),
            ("/bin/", None),
            ("sshd: /usr/sbin/sshd -D", None),
            ("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome --type=x", None),
            (r#"\"unfinished"#, None),
            (r"C:\\a.exefile run", None),
            ("é.exe", Some("é.exe")),
            ("", None),
        ] {
            assert_eq!(found(line), expected, "{line}");
        }
    }

    #[test]
    fn a_file_is_an_argument_by_its_name() {
        for (line, file, expected) in [
            ("/bin/sh /tmp/e/AppRun", "/tmp/e/AppRun", true),
            (r#"sh -c \"cd /tmp; ./payload -x\""#, "/tmp/payload", true),
            (r#"cmd /c \"C:\\x\\a.exe\""#, r"C:\\x\\a.exe", true),
            (r#"open -a \"/tmp/my tool\""#, "/tmp/my tool", true),
            ("cmd /c a", r"C:\\x\\a.exe", true),
            ("/tmp/a /tmp/b", "/tmp/a", false),
            ("sh /tmp/payloads", "/tmp/payload", false),
            ("-x /tmp/a", "/tmp/a", false),
        ] {
            let file = Image::named(Escaped::plain(file)).unwrap();
            assert_eq!(has_argument(Escaped::plain(line), file), expected, "{line}");
        }
    }

    #[test]
    fn a_command_line_without_a_first_word_begins_with_its_program_or_has_only_arguments() {
        for (line, program, expected) in [
            ("sshd: /usr/sbin/sshd -D", "/usr/sbin/sshd", true),
            ("sshd: jane@pts/0", "/bin/bash", false),
            ("/Applications/A B.app/A B --type=x", "/Applications/A B.app/A B", true),
            (r"C:\\Program Files\\A B\\tool --x", r"\\Device\\HarddiskVolume3\\Program Files\\A B\\tool.exe", true),
            (r"C:\\Program Files\\A B\\t.tmp /x", r"\\Device\\HarddiskVolume3\\Program Files\\A B\\t.tmp", true),
            ("/c whoami", r"C:\\Windows\\cmd.exe", true),
            ("-x 1", "/opt/bad", true),
            ("badly run: x", "bad", false),
        ] {
            let program = Image::named(Escaped::plain(program)).unwrap();
            assert_eq!(is_of(Escaped::plain(line), program), expected, "{line}");
        }
    }
}
