//! Which process acted, which one started it, and whose arguments and user the record has: decided here for all streams
//! and schemas. The manual has a table of the cases.

use s1_forwarder_record::{Escaped, Value};

use crate::common::command_line;
use crate::common::image::{Image, stem};
use crate::common::os::os_type;
use crate::common::placeholder::{is_placeholder, is_set};
use crate::common::threat::extension;
use crate::common::word::Word;

/// The processes of a detection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Acting<'a> {
    /// The process that acted.
    pub process: Option<Image<'a>>,
    /// The process that started it.
    pub parent: Option<Image<'a>>,
    /// Arguments and user are those of `process`. Otherwise nobody knows whose they are.
    pub has_arguments: bool,
    /// The file is the image of `process`.
    pub is_file: bool,
}

/// What a threat says of its processes, or an activity about a threat.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clues<'a> {
    /// The file or, where there is none, the name of a process in its place.
    pub image: Option<Image<'a>>,
    /// There is only the name of a process, and no file.
    pub is_missing: bool,
    pub extension: Value<'a>,
    /// `Executable`, `Document` and others. Agents for Linux and macOS have none.
    pub extension_type: Value<'a>,
    /// The console's word for the operating system.
    pub os_type: Value<'a>,
    pub is_fileless: bool,
    /// A process was detected; false if a file was found. `None` if the record says neither.
    pub has_run: Option<bool>,
    pub arguments: Value<'a>,
    /// What started the process, or wrote or found the file.
    pub originator: Option<Image<'a>>,
}

/// The programs that run or open files with these extensions: the process is one of them, and not the file.
const OPENERS: [(&[&str], &[&str]); 18] = [
    (&["ps1", "psm1", "psd1"], &["powershell", "pwsh", "powershell_ise"]),
    (&["bat", "cmd"], &["cmd"]),
    (&["vbs", "vbe", "js", "jse", "wsf", "wsh"], &["wscript", "cscript", "node"]),
    (&["hta"], &["mshta"]),
    (&["sh", "bash", "zsh", "ksh", "command"], &["sh", "bash", "dash", "zsh", "ksh", "ash", "busybox"]),
    (&["py", "pyc", "pyw"], &["python", "pythonw"]),
    (&["pl"], &["perl"]),
    (&["rb"], &["ruby"]),
    (&["php"], &["php"]),
    (&["scpt", "applescript"], &["osascript"]),
    (&["jar"], &["java", "javaw"]),
    (&["dll", "ocx", "cpl"], &["rundll32", "regsvr32", "control"]),
    (&["sys", "drv"], &[]),
    (&["msi", "msp"], &["msiexec"]),
    (&["doc", "docx", "docm", "dot", "dotm", "rtf"], &["winword", "soffice"]),
    (&["xls", "xlsx", "xlsm", "xlsb", "xlam", "csv"], &["excel", "soffice"]),
    (&["ppt", "pptx", "pptm", "ppam"], &["powerpnt", "soffice"]),
    (&["pdf"], &["acrord32", "acrobat"]),
];

/// Extensions of what runs on Windows by itself.
const PROGRAMS: [&str; 4] = ["exe", "com", "scr", "pif"];

/// Extensions of what never runs on other systems, where a program may have any other one.
const DATA: [&str; 27] = [
    "txt", "log", "conf", "plist", "xml", "json", "htm", "html", "css", "zip", "gz", "tgz", "tar", "bz2", "xz", "7z",
    "rar", "iso", "dmg", "pkg", "deb", "rpm", "so", "dylib", "ko", "png", "jpg",
];

/// What a file is to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKind {
    /// It runs by itself.
    Program,
    /// One of these programs runs or opens it.
    Opened(&'static [&'static str]),
    Data,
}

impl<'a> Acting<'a> {
    /// The processes of a threat. Arguments and user are those of the malicious process, which is never the one that
    /// wrote or found a file.
    pub fn of(clues: &Clues<'a>) -> Self {
        let originator = clues.originator;
        let named = clues.image.filter(|image| clues.is_image(*image));
        if let Some(image) = named.filter(|image| image.addition.is_some()) {
            return clues.started(image, true);
        }
        if !clues.is_fileless && !clues.has_run.unwrap_or(is_set(clues.arguments)) {
            return Self { process: originator, ..Self::default() };
        }
        let kind = named.map(|image| (image, clues.kind(image)));
        let line = first_word(clues.arguments);
        let openers = match kind {
            Some((image, FileKind::Program)) => return clues.started(image, true),
            Some((image, FileKind::Data)) if line.is_some_and(|first| first.is_like(image)) => {
                return clues.started(image, true);
            }
            Some((_, FileKind::Data)) => return Self { parent: originator, ..Self::default() },
            Some((_, FileKind::Opened(programs))) => Some(programs),
            None => None,
        };
        let is_opener = |image: &Image<'a>| is_program_of(*image, openers);
        if let Some(process) = line.filter(is_opener) {
            return clues.started(process, false);
        }
        match originator.filter(is_opener) {
            Some(process) => Self { process: Some(process), has_arguments: true, ..Self::default() },
            None => Self { parent: originator, ..Self::default() },
        }
    }

    /// The processes of a unified alert. Its command line is that of the process, so the first word names it; the file
    /// is the image of the process, or what the process ran or opened. `has_run` says that a process was detected.
    pub fn of_command_line(line: Value<'a>, file: Option<Image<'a>>, parent: Option<Image<'a>>, has_run: bool) -> Self {
        let Some(text) = line.escaped().filter(|text| !is_placeholder(*text)) else {
            let clues = Clues { image: file, originator: parent, has_run: Some(has_run), ..Clues::default() };
            let acting = Self::of(&clues);
            let process = acting.process.filter(|_| acting.has_arguments);
            return Self { process, parent, ..acting };
        };
        let acting = |process, is_file| Self { process, parent, has_arguments: true, is_file };
        let Some(file) = file.filter(|file| !file.name.raw().is_empty()) else {
            return acting(first_word(line), false);
        };
        let image = Some(file).filter(|file| openers(extension(file.name)).is_none());
        let is_switch =
            |first: &Image<'_>| file.text().raw().contains("\\\\") && command_line::is_switch(first.text().raw());
        match first_word(line).filter(|first| !is_switch(first)) {
            _ if file.addition.is_some() => acting(Some(file), true),
            _ if file.text().raw().contains(' ') && command_line::begins_with(text, file) => {
                acting(image, image.is_some())
            }
            // Containers are started by a program that starts itself again.
            Some(first) if first.text().is("/proc/self/exe") => acting(image, image.is_some()),
            Some(first) if !first.is_like(file) => acting(Some(first), false),
            Some(_) => acting(image, image.is_some()),
            None => {
                let image = image.filter(|file| command_line::is_of(text, *file));
                acting(image, image.is_some())
            }
        }
    }
}

/// The program that a command line begins with.
fn first_word(line: Value<'_>) -> Option<Image<'_>> {
    line.escaped().and_then(command_line::executable).and_then(Image::named)
}

impl<'a> Clues<'a> {
    /// `process` acted, and the originator started it.
    fn started(&self, process: Image<'a>, is_image: bool) -> Acting<'a> {
        Acting {
            process: Some(process),
            // A process without a file may be the originator itself.
            parent: self.originator.filter(|originator| process.path.is_some() || !originator.is_like(process)),
            has_arguments: true,
            is_file: is_image && !self.is_missing && process.path.is_some(),
        }
    }

    /// Whether the text is the path or the name of a file or a process. A name without a path may be that of a threat:
    /// it is a process if it is the originator or an interpreter, or has the extension of a program.
    fn is_image(&self, image: Image<'a>) -> bool {
        let name = image.name.raw();
        if image.path.is_some() || image.addition.is_some() {
            return !name.is_empty();
        }
        let is_known =
            is_program_of(image, None) || self.originator.is_some_and(|originator| originator.is_like(image));
        let is_program =
            || extension(image.name).is_some_and(|text| is_one_of(text, &PROGRAMS) || openers(Some(text)).is_some());
        !name.contains(['/', ':', '*', '?', '"', '<', '>', '|']) && (is_known || !name.contains(' ') && is_program())
    }

    fn kind(&self, file: Image<'a>) -> FileKind {
        let given = self.extension.escaped().map(|text| Escaped::plain(text.raw().trim_start_matches('.')));
        let extension = given.filter(|text| !is_placeholder(*text)).or_else(|| extension(file.name));
        if let Some(programs) = openers(extension) {
            return FileKind::Opened(programs);
        }
        let word = Word::of_value(self.extension_type);
        let is_windows = || match os_type(self.os_type) {
            Some(word) => word == "windows",
            None => !file.text().raw().starts_with('/'),
        };
        let is_program = match (word.as_str(), extension) {
            ("executable", _) | ("" | "none" | "n/a" | "unknown", None) => true,
            ("" | "none" | "n/a" | "unknown", Some(extension)) if is_windows() => is_one_of(extension, &PROGRAMS),
            ("" | "none" | "n/a" | "unknown", Some(extension)) => {
                !is_one_of(extension, &DATA) && !file.name.raw().contains(".so.")
            }
            _ => false,
        };
        if is_program { FileKind::Program } else { FileKind::Data }
    }
}

/// The programs that open what has this extension.
fn openers(extension: Option<Escaped<'_>>) -> Option<&'static [&'static str]> {
    let extension = extension.filter(|extension| !extension.is("exe"))?;
    OPENERS.iter().find(|(extensions, _)| is_one_of(extension, extensions)).map(|(_, programs)| *programs)
}

fn is_one_of(text: Escaped<'_>, words: &[&str]) -> bool {
    words.iter().any(|word| text.is(word))
}

/// Whether it is one of these programs, else any that opens files. A version may follow: `python3.11`.
fn is_program_of(image: Image<'_>, programs: Option<&[&str]>) -> bool {
    let stem = stem(image.name.raw());
    let name = stem.trim_end_matches(|byte: char| byte.is_ascii_digit() || byte == '.');
    let is_name = |program: &&str| program.eq_ignore_ascii_case(stem) || program.eq_ignore_ascii_case(name);
    match programs {
        Some(programs) => programs.iter().any(is_name),
        None => OPENERS.iter().flat_map(|(_, programs)| *programs).any(is_name),
    }
}
