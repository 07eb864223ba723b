//! Decides for all streams and schemas which process acted, which one started it, and whose arguments and user the
//! record has. The manual has a table of the cases.

use s1_forwarder_record::{Escaped, Value};

use crate::common::command_line;
use crate::common::image::{Image, NamedFile, stem};
use crate::common::missing::{is_missing_word, is_set};
use crate::common::os::os_type;
use crate::common::threat::{is_version, suffix};
use crate::common::word::Word;

/// The processes of a detection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Acting<'a> {
    /// The process that acted.
    pub process: Option<Image<'a>>,
    /// The process that started `process`.
    pub parent: Option<Image<'a>>,
    /// Whether the arguments and the user belong to `process`. Otherwise their process is unknown.
    pub has_arguments: bool,
    /// Whether the file is the image of `process`.
    pub is_file: bool,
}

/// The values about processes in a threat, or in an activity about a threat.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clues<'a> {
    /// The file. If there is none, the name of a process in its place.
    pub image: Option<Image<'a>>,
    /// The process whose name is in the field for the file's name.
    pub process: Option<Image<'a>>,
    /// Whether there is only the name of a process, and no file.
    pub is_missing: bool,
    pub extension: Value<'a>,
    /// `Executable`, `Document` and others. Agents for Linux and macOS have none.
    pub extension_type: Value<'a>,
    /// The console's word for the operating system.
    pub os_type: Value<'a>,
    pub is_fileless: bool,
    /// Whether a process was detected, and not a file. `None` if the record says neither.
    pub has_run: Option<bool>,
    pub arguments: Value<'a>,
    /// The program that started the process, or wrote or found the file.
    pub originator: Option<Image<'a>>,
}

/// Extensions, and the programs that run or open files with them: the process is one of these programs, and not the
/// file.
const OPENERS: [(&[&str], &[&str]); 38] = [
    (&["ps1", "psm1", "psd1"], &["powershell", "pwsh", "powershell_ise"]),
    (&["bat", "cmd"], &["cmd"]),
    (&["vbs", "vbe", "js", "jse", "wsf", "wsh"], &["wscript", "cscript", "node"]),
    (&["mjs", "cjs", "ts"], &["node", "deno", "bun"]),
    (&["hta"], &["mshta"]),
    (&["sct"], &["regsvr32", "rundll32", "wscript", "cscript"]),
    (&["sh", "bash", "zsh", "ksh", "command"], &["sh", "bash", "dash", "zsh", "ksh", "ash", "busybox"]),
    (&["py", "pyc", "pyw", "pyz"], &["python", "pythonw", "py", "pyw", "pypy"]),
    (&["pl", "pm"], &["perl", "wperl"]),
    (&["rb"], &["ruby", "rubyw"]),
    (&["lua"], &["lua", "luajit"]),
    (&["php"], &["php", "php-fpm", "php-cgi"]),
    (&["au3", "a3x"], &["autoit3", "autoit3_x64"]),
    (&["ahk"], &["autohotkey", "autohotkeyu32", "autohotkeyu64"]),
    (&["scpt", "applescript"], &["osascript"]),
    (&["jar", "war", "class", "jsp", "jspx"], &["java", "javaw", "tomcat"]),
    (&["asp", "aspx", "ashx", "asmx"], &["w3wp"]),
    (&["csproj", "vbproj", "vcxproj", "proj", "sln"], &["msbuild", "dotnet"]),
    (
        &["dll", "ocx", "cpl", "ax"],
        &["rundll32", "regsvr32", "control", "regasm", "regsvcs", "installutil", "odbcconf"],
    ),
    (&["xll", "wll"], &["excel", "winword", "rundll32"]),
    (&["sys", "drv"], &[]),
    (&["so", "dylib", "ko"], &[]),
    (&["inf"], &["cmstp", "rundll32"]),
    (&["msi", "msp"], &["msiexec"]),
    (&["chm"], &["hh"]),
    (&["reg"], &["reg", "regedit"]),
    (&["one", "onepkg"], &["onenote", "onenotem"]),
    (
        &["doc", "docx", "docm", "dot", "dotx", "dotm", "rtf", "odt"],
        &["winword", "wordpad", "write", "soffice", "soffice.bin", "swriter"],
    ),
    (
        &["xls", "xlsx", "xlsm", "xlsb", "xlt", "xltx", "xltm", "xla", "xlam", "csv", "ods"],
        &["excel", "soffice", "soffice.bin", "scalc"],
    ),
    (
        &["ppt", "pptx", "pptm", "pps", "ppsx", "ppsm", "pot", "potx", "potm", "ppa", "ppam", "odp"],
        &["powerpnt", "soffice", "soffice.bin", "simpress"],
    ),
    (&["pub"], &["mspub"]),
    (&["mdb", "mde", "accdb", "accde", "accdr"], &["msaccess"]),
    (&["vsd", "vsdx", "vsdm"], &["visio"]),
    (&["msc"], &["mmc"]),
    (&["pdf"], &["acrord32", "acrobat", "foxitpdfreader", "foxitreader", "sumatrapdf", "evince", "okular"]),
    (&["msg", "eml", "oft", "ics", "vcf"], &["outlook", "olk", "thunderbird"]),
    (&["htm", "html", "mht", "mhtml", "svg", "xhtml"], &BROWSERS),
    (&["txt", "log", "ini"], &["notepad", "notepad++"]),
];

const BROWSERS: [&str; 6] = ["chrome", "msedge", "iexplore", "firefox", "brave", "opera"];

/// Programs that people open files with. They save files and start other programs, and other programs start them.
/// Arguments without a named process may belong to another program.
const STARTERS: [&[&str]; 3] =
    [&["outlook", "olk", "thunderbird"], &BROWSERS, &["notepad", "notepad++", "wordpad", "write"]];

/// Windows programs that start other programs, or fetch, copy, unpack or change files, but do not open files.
const TOOLS: [&[&str]; 5] = [
    &["wmic", "schtasks", "runas", "forfiles", "psexec", "paexec", "pcalua", "conhost", "explorer", "winrs", "wsl"],
    &["sc", "net", "netsh", "taskkill", "attrib", "icacls", "cacls", "takeown"],
    &["certutil", "certreq", "bitsadmin", "desktopimgdownldr", "mpcmdrun", "curl", "wget", "rclone"],
    &["ftp", "tftp", "scp", "sftp", "ssh"],
    &["xcopy", "robocopy", "esentutl", "expand", "extrac32", "makecab", "tar", "7z", "7za", "unrar"],
];

/// Extensions of files that run on Windows by themselves.
const PROGRAMS: [&str; 4] = ["exe", "com", "scr", "pif"];

/// Extensions of files that may run on Windows: a file did if the command line begins with it.
const POSSIBLE_PROGRAMS: [&str; 2] = ["tmp", "bin"];

/// Extensions of files that run on other systems by themselves. Most programs there have no extension, or the name of a
/// processor.
const UNIX_PROGRAMS: [&str; 23] = [
    "bin", "run", "appimage", "elf", "out", "exe", "x86", "x64", "amd64", "arm64", "aarch64", "i586", "i686", "arm",
    "arm4", "arm5", "arm6", "arm7", "mips", "mipsel", "mpsl", "ppc", "sh4",
];

/// Extensions of bundles of macOS, which are directories.
const BUNDLES: [&str; 9] = ["app", "appex", "xpc", "framework", "bundle", "plugin", "kext", "prefpane", "saver"];

/// Directories of programs on other systems. Programs below them may have dots in their names: `vim.basic`,
/// `com.docker.backend`.
const UNIX_DIRECTORIES: [&str; 5] = ["/bin/", "/sbin/", "/libexec/", "/Contents/MacOS/", "/PrivilegedHelperTools/"];

/// Extensions of files that never run. Such a file is the argument of a program, even if a command line begins with it.
const DATA: [&str; 25] = [
    "conf", "plist", "xml", "json", "css", "zip", "gz", "tgz", "tar", "bz2", "xz", "7z", "rar", "iso", "dmg", "pkg",
    "deb", "rpm", "png", "jpg", "mp4", "mp3", "service", "lnk", "url",
];

/// The role of a file for a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKind {
    /// The file runs by itself.
    Program,
    /// The file runs by itself if the command line begins with it.
    PossibleProgram,
    /// One of these programs runs or opens the file.
    Opened(&'static [&'static str]),
    Data,
}

impl<'a> Acting<'a> {
    /// Returns the processes of a threat. The arguments and the user belong to the malicious process, which is never
    /// the program that wrote or found a file. If a process without a path is the originator, it gets the originator's
    /// path.
    pub fn of(clues: &Clues<'a>) -> Self {
        let acting = Self::decided(clues);
        match (acting.process, clues.originator) {
            (Some(process), Some(originator))
                if process.directory().is_none()
                    && originator.directory().is_some()
                    && clues.is_same(process, originator) =>
            {
                Self { process: Some(Image { addition: process.addition, ..originator }), ..acting }
            }
            _ => acting,
        }
    }

    fn decided(clues: &Clues<'a>) -> Self {
        let originator = clues.originator;
        let named = clues.image.filter(|image| clues.is_image(*image));
        if let Some(process) = clues.process {
            return clues.started_process(process);
        }
        if let Some(image) = named.filter(|image| image.addition.is_some()) {
            return clues.started_image(image);
        }
        if !clues.is_fileless && !clues.has_run.unwrap_or(is_set(clues.arguments)) {
            return Self { process: originator, ..Self::default() };
        }
        let line = first_word(clues.arguments);
        // A name with spaces at the beginning of the line is not an argument of its first word.
        let is_argument = |file: Image<'a>| {
            let line = clues.arguments.escaped();
            line.is_some_and(|line| command_line::has_argument(line, file) && !command_line::begins_with(line, file))
                && !is_program_of(file, None)
        };
        // A file that a first word runs is a program or a script. On systems other than Windows, a script needs no
        // extension. A shell is neither, whatever its name in the command line. Agents for Windows may have arguments
        // without their program.
        let run = named.filter(|file| is_argument(*file));
        let has_run = |first: &Image<'a>, file: Image<'a>| {
            !first.is_like(file) && (!clues.is_windows(file) || is_certain_program(*first) || is_known_program(*first))
        };
        if let Some(process) = line.filter(|first| run.is_some_and(|file| has_run(first, file))) {
            return clues.started_process(process);
        }
        let openers = match named.map(|image| (image, clues.kind(image))) {
            Some((image, FileKind::Program)) => return clues.started_image(image),
            Some((image, FileKind::PossibleProgram)) if clues.is_first_argument(image) => {
                return clues.started_image(image);
            }
            Some((_, FileKind::PossibleProgram | FileKind::Data)) => Some(&[][..]),
            Some((_, FileKind::Opened(programs))) => Some(programs),
            None => None,
        };
        let is_opener = |image: &Image<'a>| is_program_of(*image, openers);
        let is_program = |first: &Image<'a>| {
            let is_other = || openers.is_some() && !named.is_some_and(|file| first.is_like(file));
            let is_within = || named.is_some_and(|file| is_below(*first, file));
            is_opener(first) || is_other() && (is_certain_program(*first) || is_within())
        };
        if let Some(process) = line.filter(is_program) {
            return clues.started_process(process);
        }
        let has_its_switch = named
            .zip(openers)
            .is_some_and(|(file, openers)| clues.has_switch_of_program(openers.is_empty(), clues.is_windows(file)));
        let is_actor = |image: &Image<'a>| {
            is_opener(image) || has_its_switch && is_program_of(*image, None) && !is_starter(*image)
        };
        match originator.filter(is_actor) {
            Some(process) => Self { process: Some(process), has_arguments: true, ..Self::default() },
            None => Self { parent: originator, ..Self::default() },
        }
    }

    /// Returns the processes of a unified alert. Its command line belongs to the process, so the first word names the
    /// process. The file is the image of the process, or a file that the process ran or opened. `has_run` means that a
    /// process was detected: its image is then a program that is not an argument in the command line.
    pub fn of_command_line(
        line: Value<'a>,
        file: NamedFile<'a>,
        parent: Option<Image<'a>>,
        os_type: Value<'a>,
        has_run: bool,
    ) -> Self {
        let NamedFile { image: file, process: named, .. } = file;
        let clues = Clues { image: file, os_type, ..Clues::default() };
        let Some(text) = line.escaped().filter(|text| !is_missing_word(*text)) else {
            let clues = Clues { process: named, originator: parent, has_run: Some(has_run), ..clues };
            let acting = Self::decided(&clues);
            let process = acting.process.filter(|_| acting.has_arguments);
            return Self { process, parent: parent.filter(|_| process != parent), ..acting };
        };
        let acting = |process, is_file| Self { process, parent, has_arguments: true, is_file };
        if let Some(named) = named {
            // The command line may have the path of this process.
            let first = first_word(line).filter(|first| first.is_like(named));
            return acting(first.or(Some(named)), false);
        }
        let Some(file) = file.filter(|file| !file.name.raw().is_empty()) else {
            return acting(first_word(line), false);
        };
        let never_runs = |text| openers(Some(text)).is_some() || is_one_of(text, &DATA);
        let image = Some(file).filter(|file| !suffix(file.name).is_some_and(never_runs) && !is_bundle(*file, os_type));
        let is_switch =
            |first: &Image<'_>| file.text().raw().contains("\\\\") && command_line::is_switch(first.text().raw());
        // The command line of a link, a wrapper or a disguise has another name than the file.
        let has_other_name = || {
            let is_program = clues.kind(file) == FileKind::Program && !command_line::has_argument(text, file);
            has_run && (is_program || is_program_of(file, None) && !is_starter(file))
        };
        match first_word(line).filter(|first| !is_switch(first)) {
            _ if file.addition.is_some() => acting(Some(file), true),
            _ if file.text().raw().contains(' ') && command_line::begins_with(text, file) => {
                acting(image, image.is_some())
            }
            // Containers are started by a program that starts itself again.
            Some(first) if first.text().is("/proc/self/exe") => acting(image, image.is_some()),
            Some(first) if !first.is_like(file) && !has_other_name() => acting(Some(first), false),
            Some(_) => acting(image, image.is_some()),
            None => {
                let image = image.filter(|file| command_line::is_of(text, *file) || has_other_name());
                acting(image, image.is_some())
            }
        }
    }
}

/// Returns the program at the beginning of a command line. A script or a document is not a program.
fn first_word(line: Value<'_>) -> Option<Image<'_>> {
    let first = line.escaped().and_then(command_line::executable).and_then(Image::named);
    first.filter(|first| openers(suffix(first.name)).is_none())
}

impl<'a> Clues<'a> {
    /// Returns that `process`, which is not the file, acted, and that the originator started it. The process may be the
    /// originator itself.
    fn started_process(&self, process: Image<'a>) -> Acting<'a> {
        Acting {
            process: Some(process),
            parent: self.originator.filter(|originator| !self.is_same(process, *originator)),
            has_arguments: true,
            is_file: false,
        }
    }

    /// Returns that the file acted as a process, and that the originator started it.
    fn started_image(&self, image: Image<'a>) -> Acting<'a> {
        Acting {
            process: Some(image),
            parent: self.originator.filter(|originator| image.path.is_some() || !self.is_same(image, *originator)),
            has_arguments: true,
            // The program of a session may have a hash and no path.
            is_file: !self.is_missing && (image.path.is_some() || image.addition.is_some()),
        }
    }

    /// Returns whether two names or paths belong to the same process. Only Windows ignores case.
    fn is_same(&self, one: Image<'a>, other: Image<'a>) -> bool {
        one.may_be(other, !self.is_windows(if one.path.is_some() { one } else { other }))
    }

    /// Returns whether the text is the path or the name of a file or a process. A name without a path may be the name
    /// of a threat. It is a process if it is the originator or an interpreter, or has the extension of a program.
    fn is_image(&self, image: Image<'a>) -> bool {
        let name = image.name.raw();
        if image.path.is_some() || image.addition.is_some() {
            return !name.is_empty();
        }
        let is_known =
            is_program_of(image, None) || self.originator.is_some_and(|originator| originator.is_like(image));
        let is_program =
            || suffix(image.name).is_some_and(|text| is_one_of(text, &PROGRAMS) || openers(Some(text)).is_some());
        !name.contains(['/', ':', '*', '?', '"', '<', '>', '|']) && (is_known || !name.contains(' ') && is_program())
    }

    fn kind(&self, file: Image<'a>) -> FileKind {
        let given = self.extension.escaped().map(|text| Escaped::plain(text.raw().trim_start_matches('.')));
        let is_windows = self.is_windows(file);
        let is_extension = |text: &Escaped<'_>| !is_missing_word(*text) && (is_windows || !is_version(*text));
        let extension = given.filter(is_extension).or_else(|| {
            // A version is not an extension: `python3.11`, `libc.so.6`.
            let name = if is_windows { file.name.raw() } else { without_version(file.name.raw()) };
            suffix(Escaped::plain(name))
        });
        if let Some(programs) = openers(extension) {
            return FileKind::Opened(programs);
        }
        if is_bundle(file, self.os_type) {
            return FileKind::Opened(&[]);
        }
        let word = Word::of_value(self.extension_type);
        match (word.as_str(), extension) {
            ("executable", _) => FileKind::Program,
            ("" | "none" | "n/a" | "unknown" | "misc" | "other", extension) => match extension {
                None => FileKind::Program,
                Some(text) if is_one_of(text, if is_windows { &PROGRAMS } else { &UNIX_PROGRAMS }) => FileKind::Program,
                Some(text) if is_one_of(text, &DATA) => FileKind::Data,
                // On other systems, the text after a dot may not be an extension.
                Some(_) if !is_windows && is_below_directory_of_programs(file) => FileKind::Program,
                Some(text) if !is_windows || is_one_of(text, &POSSIBLE_PROGRAMS) => FileKind::PossibleProgram,
                Some(_) => FileKind::Data,
            },
            _ => FileKind::Data,
        }
    }

    /// Returns whether the arguments begin with the file.
    fn is_first_argument(&self, file: Image<'a>) -> bool {
        let is_first = |line| command_line::begins_with(line, file);
        first_word(self.arguments).is_some_and(|first| first.is_like(file))
            || self.arguments.escaped().is_some_and(is_first)
    }

    fn is_windows(&self, file: Image<'a>) -> bool {
        match os_type(self.os_type) {
            Some(word) => word == "windows",
            None => !is_unix_path(file),
        }
    }

    /// Returns whether the arguments begin with a switch of the program. A switch with `-` may belong to a script; data
    /// has no switches.
    fn has_switch_of_program(&self, is_data: bool, is_windows: bool) -> bool {
        let text = self.arguments.escaped().map_or("", |text| text.raw().trim());
        let first = text.trim_start_matches("\\\"").split([' ', '\t']).next().unwrap_or_default();
        is_data && first.starts_with('-') || is_windows && command_line::is_switch(first)
    }
}

fn is_unix_path(image: Image<'_>) -> bool {
    image.text().raw().starts_with('/')
}

/// Returns whether a file is a bundle of macOS: a directory, so that the program that ran is unknown. Linux programs
/// have such names too.
pub fn is_bundle(file: Image<'_>, system: Value<'_>) -> bool {
    suffix(file.name).is_some_and(|extension| is_one_of(extension, &BUNDLES))
        && os_type(system).map_or(is_unix_path(file), |word| word == "macos")
}

/// Returns whether a path is below another path, which is then a directory.
fn is_below(image: Image<'_>, directory: Image<'_>) -> bool {
    image.text().raw().strip_prefix(directory.text().raw()).is_some_and(|rest| rest.starts_with('/'))
}

/// Returns whether a first word can only be a program: it has `.exe`, or is below a directory for programs.
fn is_certain_program(first: Image<'_>) -> bool {
    stem(first.name.raw()) != first.name.raw() || is_below_directory_of_programs(first) || is_of_windows(first)
}

/// Returns whether a first word without `.exe` is the name of a program that opens files, or of one of [`TOOLS`].
fn is_known_program(first: Image<'_>) -> bool {
    is_program_of(first, None) || TOOLS.into_iter().any(|programs| is_program_of(first, Some(programs)))
}

/// Returns whether the file is a Windows program without its extension, such as `C:\Windows\system32\svchost`.
fn is_of_windows(image: Image<'_>) -> bool {
    let directory = image.path.and_then(|path| path.raw().get(2..)).map_or("", |path| path);
    let is_directory = |name: &str| directory.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    let is_of_windows = is_directory(r"\\windows\\system32\\") || is_directory(r"\\windows\\syswow64\\");
    is_of_windows && suffix(image.name).is_none()
}

fn is_below_directory_of_programs(image: Image<'_>) -> bool {
    let path = image.text().raw();
    path.starts_with('/') && UNIX_DIRECTORIES.iter().any(|directory| path.contains(directory))
}

/// Returns a name without the digits of a version at its end.
fn without_version(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((rest, version)) if !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit()) => {
            without_version(rest)
        }
        _ => name,
    }
}

/// Returns the programs that open files with this extension.
fn openers(extension: Option<Escaped<'_>>) -> Option<&'static [&'static str]> {
    let extension = extension.filter(|extension| !extension.is("exe"))?;
    OPENERS.iter().find(|(extensions, _)| is_one_of(extension, extensions)).map(|(_, programs)| *programs)
}

fn is_one_of(text: Escaped<'_>, words: &[&str]) -> bool {
    words.iter().any(|word| text.is(word))
}

/// Returns whether the file is one of these programs; for `None`, any program that opens files. A version may follow:
/// `python3.11`.
fn is_program_of(image: Image<'_>, programs: Option<&[&str]>) -> bool {
    let stem = stem(image.name.raw());
    let name = stem.trim_end_matches(|byte: char| byte.is_ascii_digit() || byte == '.');
    let has_version = name.len() != stem.len();
    let is_name =
        |program: &&str| program.eq_ignore_ascii_case(stem) || has_version && program.eq_ignore_ascii_case(name);
    match programs {
        Some(programs) => programs.iter().any(is_name),
        None => OPENERS.iter().flat_map(|(_, programs)| *programs).any(is_name),
    }
}

fn is_starter(image: Image<'_>) -> bool {
    STARTERS.into_iter().any(|programs| is_program_of(image, Some(programs)))
}
