//! The executable of a process, from its command line.

use s1_forwarder_record::Escaped;

/// The path or the name of the executable at the beginning of a command line. `None` if its end is not certain: a path
/// without quotes may contain spaces.
pub(super) fn executable(line: Escaped<'_>) -> Option<Escaped<'_>> {
    let text = line.raw().trim();
    // A quote in escaped text is `\"`.
    let found = match text.strip_prefix("\\\"") {
        Some(quoted) => quoted.split_once("\\\"")?.0,
        None => unquoted(text)?,
    };
    let is_path = found.starts_with('/') || found.as_bytes().get(1) == Some(&b':') || found.starts_with("\\\\");
    (!found.is_empty() && (is_path || ends_with_exe(found))).then_some(Escaped::plain(found))
}

fn unquoted(text: &str) -> Option<&str> {
    if text.starts_with('/') {
        let first = text.split(' ').next()?;
        // Names of applications on macOS have spaces.
        let is_certain =
            !["/Applications/", "/Library/", "/System/", "/Users/"].iter().any(|root| first.starts_with(root));
        return (is_certain || first == text).then_some(first);
    }
    let end = text.as_bytes().windows(4).position(|window| window.eq_ignore_ascii_case(b".exe"))? + 4;
    let is_end = text[end..].is_empty() || text[end..].starts_with([' ', '\t']);
    let found = &text[..end];
    // Without a drive, what precedes a space may be another command.
    let is_one = found.as_bytes().get(1) == Some(&b':') || !found.contains(' ');
    (is_end && is_one).then_some(found)
}

fn ends_with_exe(text: &str) -> bool {
    text.len() > 4 && text.as_bytes()[text.len() - 4..].eq_ignore_ascii_case(b".exe")
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
            ("cmd /c x.exe", None),
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
}
