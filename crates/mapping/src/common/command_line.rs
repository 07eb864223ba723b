//! The program of a process, from its command line.

use s1_forwarder_record::Escaped;

use super::image::{Image, stem};

/// Names of shells, which a login has after a hyphen (`-bash`).
const SHELLS: [&str; 9] = ["bash", "sh", "zsh", "dash", "ksh", "ash", "csh", "tcsh", "fish"];

/// Returns the path or the name of the program at the beginning of a command line. `None` if its end is not certain: a
/// path without quotes may contain spaces.
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

/// Returns whether a text can be the name of a program.
fn is_word(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+');
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(is_part)
}

fn unquoted(text: &str) -> Option<&str> {
    let first = first_of(text);
    if text.starts_with(['/', '~']) {
        // `/c` is an argument of a Windows program.
        return if first.len() > 2 { unix_path(text) } else { None };
    }
    if is_windows_path(text) {
        return windows_path(text);
    }
    // Without a drive, the text before a space may be another command.
    if let Some(found) = end_of_exe(text).map(|end| &text[..end]).filter(|found| !found.contains(' ')) {
        return Some(found);
    }
    let shell = first.strip_prefix('-').filter(|name| SHELLS.contains(name));
    let is_relative = ["./", "../"].into_iter().any(|root| first.starts_with(root));
    shell.or_else(|| (is_relative || is_word(first)).then_some(first))
}

/// Directories of Linux and macOS that have only programs. The names of these programs have no spaces.
const DIRECTORIES: [&str; 4] = ["/bin/", "/sbin/", "/libexec/", "/PrivilegedHelperTools/"];

/// Below these directories, spaces in names are common. The text after a space may be a part of the path.
const ROOTS_WITH_SPACES: [&str; 8] =
    ["/Applications/", "/Library/", "/System/", "/Users/", "/Volumes/", "/media/", "/run/media/", "~/"];

/// Bundles of macOS. An argument with such a directory is always a path from the root.
const BUNDLES: [&str; 6] = [".app/", ".framework/", ".bundle/", ".plugin/", ".appex/", ".xpc/"];

/// Returns the path of a Linux or macOS program, which may have spaces.
fn unix_path(text: &str) -> Option<&str> {
    let first = first_of(text);
    if first == text || DIRECTORIES.iter().any(|directory| first.contains(directory)) {
        return Some(first);
    }
    if let Some(program) = program_of_bundle(text) {
        return Some(program);
    }
    let path = before_argument(text, |word| word.starts_with(['/', '.', '\'', '\\']));
    let rest = &path[first.len()..];
    let last = last_of(path);
    let is_of_path = BUNDLES.iter().any(|bundle| last.contains(bundle)) || last.starts_with("Support/");
    if rest.is_empty() || is_of_path {
        return Some(path);
    }
    let has_spaces = ROOTS_WITH_SPACES.iter().any(|root| first.starts_with(root)) || is_continued(first, rest);
    (!has_spaces).then_some(first)
}

/// Returns whether the first space belongs to the path, as in `/opt/My App/tool` or `/home/jane/VirtualBox VMs/x`. In
/// `/opt/app/run data/x`, an argument follows.
fn is_continued(first: &str, rest: &str) -> bool {
    let is_capital = |text: &str| text.starts_with(char::is_uppercase);
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'(' | b')');
    let directory = rest.split_once('/').map(|(directory, _)| directory.trim_start());
    let is_capital = first.rsplit('/').next().is_some_and(is_capital) || directory.is_some_and(is_capital);
    is_capital && directory.is_some_and(|directory| directory.split(' ').all(|word| word.bytes().all(is_name)))
}

/// Returns the program of a bundle that has the name of the bundle: `/A/My Tool.app/Contents/MacOS/My Tool`.
fn program_of_bundle(text: &str) -> Option<&str> {
    const PROGRAMS: &str = ".app/Contents/MacOS/";
    text.match_indices(PROGRAMS).find_map(|(at, _)| {
        let (_, name) = text[..at].rsplit_once('/')?;
        let start = at + PROGRAMS.len();
        let found = text.get(start..start + name.len())?;
        let rest = &text[start + name.len()..];
        let is_end = rest.is_empty() || rest.starts_with([' ', '\t']);
        (is_end && found.eq_ignore_ascii_case(name) && !text[..at].contains(" /")).then(|| &text[..start + name.len()])
    })
}

/// Directories of Windows that have spaces.
const WINDOWS_DIRECTORIES: [&str; 2] = [r"\\program files", r"\\documents and settings\\"];

/// Returns whether a text is a Windows path: `C:\a`, `\\?\C:\a`, `\Device\a`, `%windir%\a`.
fn is_windows_path(text: &str) -> bool {
    text.get(1..).is_some_and(|rest| rest.starts_with(r":\\") || rest.starts_with(":/"))
        || text.starts_with(r"\\")
        || text.strip_prefix('%').and_then(|rest| rest.split_once('%')).is_some_and(|(_, rest)| rest.starts_with(r"\\"))
}

/// Returns the path of a Windows program, which may have spaces and may lack `.exe`.
fn windows_path(text: &str) -> Option<&str> {
    let is_argument = |word: &str| word.starts_with(['/', '\'', '\\', '%']) || word.get(1..2) == Some(":");
    let path = before_argument(text, is_argument);
    if let Some(end) = end_of_exe(text).filter(|end| *end <= path.len() || !text[..*end].contains(' ')) {
        return Some(&text[..end]);
    }
    let first = first_of(path);
    let rest = &path[first.len()..];
    let is_below = |directory: &str| {
        let mut parts = path.as_bytes().windows(directory.len());
        parts.any(|part| part.eq_ignore_ascii_case(directory.as_bytes()))
    };
    let (directory, name) = last_of(path).rsplit_once('\\').unwrap_or_default();
    let is_of_path = !directory.is_empty() && !name.contains('.') && WINDOWS_DIRECTORIES.into_iter().any(is_below);
    if rest.is_empty() || is_of_path {
        return Some(path);
    }
    // No program of Windows has spaces in its name.
    let is_of_windows = [r"\\windows\\system32\\", r"\\windows\\syswow64\\"].into_iter().any(is_below);
    (!rest.contains('\\') && is_of_windows).then_some(first)
}

/// Returns the text before the first word that is a switch or an argument. A hyphen alone may belong to a name.
fn before_argument(text: &str, is_argument: impl Fn(&str) -> bool) -> &str {
    let is_switch = |word: &str| word.strip_prefix('-').is_some_and(|rest| !rest.starts_with(' '));
    let mut spaces = text.match_indices([' ', '\t']);
    let is_end = |at: usize| text.get(at + 1..).is_some_and(|rest| is_switch(rest) || is_argument(rest));
    let end = spaces.find(|(at, _)| is_end(*at)).map_or(text.len(), |(at, _)| at);
    text[..end].trim_end()
}

fn first_of(text: &str) -> &str {
    text.split([' ', '\t']).next().unwrap_or_default()
}

fn last_of(text: &str) -> &str {
    text.rsplit([' ', '\t']).next().unwrap_or_default()
}

/// Returns the byte offset of the end of the first name with `.exe`.
fn end_of_exe(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut ends = bytes.windows(4).enumerate().filter(|(_, word)| word.eq_ignore_ascii_case(b".exe"));
    let end = |at: usize| at + 4;
    // A quote in escaped text is `\"`.
    let is_end = |rest: &[u8]| matches!(rest, [] | [b' ' | b'\t' | b'/' | b',', ..] | [b'\\', b'"', ..]);
    ends.find(|(at, _)| bytes.get(end(*at)..).is_some_and(is_end)).map(|(at, _)| end(at))
}

/// Returns whether a word can be an argument of a Windows program: `/c`, `/SL5=1`.
pub fn is_switch(word: &str) -> bool {
    word.strip_prefix('/').is_some_and(|word| !word.contains('/'))
}

/// Returns whether a command line belongs to this program, if it is unclear where its first word ends. Such a command
/// line begins with the program's path or name, or has only arguments.
pub fn is_of(line: Escaped<'_>, program: Image<'_>) -> bool {
    let first = line.raw().trim().split(' ').next().unwrap_or_default();
    first.starts_with('-') || is_switch(first) && !program.text().raw().starts_with('/') || begins_with(line, program)
}

/// Characters that end a word of a command line: blanks, quotes, and characters that join a name to another word in
/// shells and switches.
const ENDS_OF_WORDS: [char; 12] = [' ', '\t', '"', '\'', '&', '|', '<', '>', ';', ',', '=', '('];

/// Returns whether a word after the program of a command line is this file.
pub fn has_argument(line: Escaped<'_>, file: Image<'_>) -> bool {
    let rest = executable(line).and_then(|program| line.raw().split_once(program.raw())).map_or("", |(_, rest)| rest);
    let name = file.name.raw();
    if name.contains(ENDS_OF_WORDS) {
        return rest.contains(name);
    }
    // A quote in escaped text is `\"`.
    let words = rest.split(ENDS_OF_WORDS).map(|word| word.strip_suffix('\\').unwrap_or(word));
    words.filter_map(|word| Image::named(Escaped::plain(word))).any(|word| word.is_like(file))
}

/// Returns whether a command line begins with the path or the name of this program, which may have spaces.
pub fn begins_with(line: Escaped<'_>, program: Image<'_>) -> bool {
    let text = line.raw().trim();
    let text = text.strip_prefix("\\\"").unwrap_or(text);
    let without_drive = text.split_at_checked(2).filter(|(drive, _)| drive.ends_with(':')).map(|(_, rest)| rest);
    let path = program.text().raw();
    // The path may begin with a device and the command line with a drive.
    let below_device = path.match_indices("\\\\").nth(2).map_or("", |(at, _)| &path[at..]);
    [path, program.name.raw()].into_iter().any(|beginning| are_first_words(text, beginning))
        || without_drive.is_some_and(|text| are_first_words(text, below_device))
}

/// Returns whether a text begins with `program`, with or without `.exe`.
fn are_first_words(text: &str, program: &str) -> bool {
    // A text that continues with a separator is a path below a directory. A switch may follow a Windows program.
    let is_path = |rest: &str| {
        rest.starts_with("\\\\") || rest.starts_with('/') && (program.starts_with('/') || !is_switch(first_of(rest)))
    };
    [program, stem(program)].into_iter().any(|beginning| {
        let rest = text.split_at_checked(beginning.len()).filter(|(first, _)| first.eq_ignore_ascii_case(beginning));
        let is_end = |rest: &str| !rest.starts_with(char::is_alphanumeric) && !is_path(rest);
        !beginning.is_empty() && rest.is_some_and(|(_, rest)| is_end(rest))
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
            (r#"\"unfinished"#, None),
            (r"C:\\a.exefile run", None),
            ("é.exe", Some("é.exe")),
            ("", None),
        ] {
            assert_eq!(found(line), expected, "{line}");
        }
    }

    #[test]
    fn a_path_without_quotes_may_have_spaces() {
        for (program, rest) in [
            ("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome", " --type=renderer"),
            ("/Volumes/Flash Player/Install Flash Player.app/Contents/MacOS/Install Flash Player", " -x"),
            ("/Applications/A - B.app/Contents/MacOS/A - B", ""),
            ("/Applications/Firefox.app/Contents/MacOS/firefox", " https://example.com/a"),
            ("/Applications/Visual Studio Code.app/Contents/MacOS/Electron", " ."),
            ("/A/X Y.app/Contents/Frameworks/X H (Renderer).app/Contents/MacOS/X H (Renderer)", " --type=r"),
            ("/Applications/A B.app/Contents/Resources/tool", " -x"),
            ("/Library/Application Support/Tool/helper", " -x"),
            ("/Users/jane/tool", " -x"),
            ("/usr/bin/open", " A B.app/Contents/MacOS/A B"),
            ("/Users/jane/bin/tool", " data/x"),
            ("/opt/app/run", " data/x -v"),
            ("/opt/app/run", " start"),
            ("/opt/app/run", " https://example.com/a"),
            (r"C:\\Windows\\system32\\svchost", " -k netsvcs -p"),
            (r"C:\\Windows\\system32\\rundll32", " shell32.dll,Control_RunDLL"),
            (r"C:\\Windows\\system32\\cmd", r" /c C:\\x\\a.exe"),
            (r"C:\\tools\\run", r" C:\\x\\a.exe"),
            (r"C:\\Program Files\\Foo\\foo bar.exe", " /x"),
            (r"C:\\Program Files\\A - B\\c.exe", " -x"),
            (r"C:\\Program Files\\c.exe", r#"\"x\""#),
            (r"C:\\Program Files (x86)\\Common Files\\tool", " -x"),
            (r"C:/Windows/system32/svchost", " -k netsvcs"),
            (r"%windir%\\system32\\cmd", " /c dir"),
            (r"\\\\server\\share\\a b.exe", " -x"),
        ] {
            let line = format!("{program}{rest}");
            assert_eq!(executable(Escaped::plain(&line)).map(Escaped::raw), Some(program), "{rest}");
        }
        // It is unclear where the program ends in these lines.
        for line in [
            "/Volumes/Flash Player/Install Flash Player -x",
            "/Applications/Setup.app/Contents/MacOS/Install Flash Player -x",
            "/Users/jane/My Tool -x",
            "/opt/My App/tool -x",
            "/home/jane/VirtualBox VMs/a/tool -x",
            r"C:\\tools\\run data\\x -v",
            r"C:\\tools\\foo bar -x",
            r"C:\\Windows\\Temp\\foo bar -x",
            r"C:\\Program Files\\Foo\\foo data\\x.txt -v",
        ] {
            assert!(executable(Escaped::plain(line)).is_none(), "{line}");
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
            ("/A/B C.app/Contents/MacOS/B C -x", "/A/B C.app", false),
            (r"C:\\a b\\c -x", r"C:\\a b", false),
            ("a.exe/x 1", r"C:\\a.exe", true),
        ] {
            let program = Image::named(Escaped::plain(program)).unwrap();
            assert_eq!(is_of(Escaped::plain(line), program), expected, "{line}");
        }
    }
}
