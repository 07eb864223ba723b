//! Paths that pipeline files name. The paths of a tenant stay in a directory of the operator's choice, also over links.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::file_system::ask_file_system;
use super::read_file::{read_file, read_opened};
use crate::values::identity_tokens::is_identity_token;
use crate::values::kind::SettingKind;

/// The path of a file. A path that is beneath a directory is opened without leaving the directory: each time, whatever
/// links are in there by then.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FilePath {
    path: PathBuf,
    /// Directory of a tenant, with which the path begins; `None` for the operator's paths.
    beneath: Option<PathBuf>,
}

/// Returns options to read a file. Without the flag, opening a pipe waits for a writer.
fn to_read() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    options
}

/// Separator of the directory and the rest of the path in a setting. No path contains it.
const SEPARATOR: char = '\0';

impl FilePath {
    /// Returns the text of a setting for `path`, which is below `directory`: deserialized, it stays beneath. Returns
    /// `None` if `path` is not below.
    pub fn setting(path: &Path, directory: &Path) -> Option<String> {
        let rest = path.strip_prefix(directory).ok()?;
        let is_plain = !rest.as_os_str().is_empty() && !rest.as_os_str().as_encoded_bytes().contains(&0);
        is_plain.then(|| format!("{}{SEPARATOR}{}", directory.display(), rest.display()))
    }

    /// Returns the path of a setting: the operator's text, or the text that [`Self::setting`] has made of a tenant's
    /// path.
    pub(crate) fn of_setting(text: String) -> Self {
        match text.split_once(SEPARATOR) {
            Some((directory, rest)) => Self { path: Path::new(directory).join(rest), beneath: Some(directory.into()) },
            None => Self { path: text.into(), beneath: None },
        }
    }

    /// Returns the path of a tenant's file, which stays in the directory that it is in.
    pub fn in_its_directory(path: &Path) -> Self {
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new(".")).to_owned();
        let name = path.file_name().unwrap_or(path.as_os_str());
        Self { path: directory.join(name), beneath: Some(directory) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns another path with the same limits, made of this one: a template is filled.
    ///
    /// # Errors
    /// If `fill` fails.
    pub fn try_map<E>(&self, fill: impl FnOnce(&str) -> Result<String, E>) -> Result<Self, E> {
        match &self.beneath {
            Some(directory) => {
                let rest = self.path.strip_prefix(directory).unwrap_or(&self.path);
                let path = directory.join(fill(&rest.to_string_lossy())?);
                Ok(Self { path, beneath: self.beneath.clone() })
            }
            None => Ok(Self { path: fill(&self.path.to_string_lossy())?.into(), beneath: None }),
        }
    }

    /// Returns the path of a file next to this one. If this path is a link, the file is next to the link's target, if
    /// the path of a tenant may lead there.
    pub fn next_to(&self, name: impl FnOnce(&OsStr) -> OsString) -> Self {
        let resolved = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let path = resolved(&self.path);
        let beneath = self.beneath.as_deref().map(resolved);
        let (path, beneath) = match &beneath {
            Some(directory) if !path.starts_with(directory) => (self.path.clone(), self.beneath.clone()),
            _ => (path, beneath),
        };
        let name = name(path.file_name().unwrap_or_default());
        Self { path: path.with_file_name(name), beneath }
    }

    /// Reads a regular file of at most `max` bytes, as [`super::read_file::read_file`] does.
    ///
    /// # Errors
    /// As `read_file`. If a link leads out, or a tenant's file has several names, `PermissionDenied` with what to do.
    pub fn read(&self, max: usize) -> io::Result<Vec<u8>> {
        if self.beneath.is_none() {
            return read_file(&self.path, max);
        }
        let own = self.clone();
        ask_file_system(&self.path, move |_| read_opened(own.open(&to_read())?, max))
    }

    /// Reads a pipeline file as [`Self::read`] does, but on the caller's thread, for as long as the file system takes.
    /// The file may have any number of names, since only its author sees its contents.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_here(&self, max: usize) -> io::Result<Vec<u8>> {
        read_opened(self.open_any(&to_read())?, max)
    }

    /// Opens or creates the file. Links of a tenant's path are followed within the directory only. A file with several
    /// names is refused, and so are the identity tokens of the worker.
    ///
    /// # Errors
    /// If the system refuses. If a link leads out, `PermissionDenied` with what to do.
    pub fn open(&self, options: &OpenOptions) -> io::Result<std::fs::File> {
        let file = self.open_any(options)?;
        // A hard link leads anywhere on the file system, and has no path that could tell where.
        if self.beneath.is_some() && file.metadata()?.nlink() > 1 {
            return Err(io::Error::new(
                ErrorKind::PermissionDenied,
                "the file has several names (hard links), and another name may belong to another tenant: put a copy \
                 there",
            ));
        }
        Ok(file)
    }

    fn open_any(&self, options: &OpenOptions) -> io::Result<std::fs::File> {
        let Some((directory, rest)) = self.split()? else {
            return Ok(File::open_ambient_with(&self.path, options, ambient_authority())?.into_std());
        };
        let file = directory.open_with(rest, options).map_err(|error| self.led_out(error))?.into_std();
        if is_identity_token(&file, &self.path) {
            return Err(io::Error::new(
                ErrorKind::PermissionDenied,
                "it is a token of the worker's own identity, which no tenant's file may name",
            ));
        }
        Ok(file)
    }

    /// Returns the device and inode of what is at the path now.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn inode(&self) -> io::Result<(u64, u64)> {
        match self.split()? {
            Some((directory, rest)) => {
                use cap_std::fs::MetadataExt;
                let metadata = directory.metadata(rest).map_err(|error| self.led_out(error))?;
                Ok((metadata.dev(), metadata.ino()))
            }
            None => {
                let metadata = self.path.metadata()?;
                Ok((metadata.dev(), metadata.ino()))
            }
        }
    }

    /// Creates the missing directories above the file, and does nothing if none is missing. Directories below a
    /// tenant's directory do not leave it. The tenant's directory and the directories above it are the operator's.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn create_directories(&self) -> io::Result<()> {
        let Some(beneath) = &self.beneath else {
            return match self.path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => std::fs::create_dir_all(parent),
                _ => Ok(()),
            };
        };
        std::fs::create_dir_all(beneath)?;
        let parent = self.path.strip_prefix(beneath).ok().and_then(Path::parent);
        match (self.split()?, parent) {
            (Some((directory, _)), Some(parent)) if !parent.as_os_str().is_empty() => {
                directory.create_dir_all(parent).map_err(|error| self.led_out(error))
            }
            _ => Ok(()),
        }
    }

    /// Returns the directory and the path in it; `None` if the path may lead anywhere.
    fn split(&self) -> io::Result<Option<(Dir, &Path)>> {
        let Some(beneath) = &self.beneath else { return Ok(None) };
        let rest = self.path.strip_prefix(beneath).map_err(io::Error::other)?;
        Ok(Some((Dir::open_ambient_dir(beneath, ambient_authority())?, rest)))
    }

    /// Explains that a link leads out. An error of the system has a number, and the error of [`cap_std`] has none.
    fn led_out(&self, error: io::Error) -> io::Error {
        if error.kind() != ErrorKind::PermissionDenied || error.raw_os_error().is_some() {
            return error;
        }
        let directory = self.beneath.as_deref().unwrap_or(Path::new("")).display();
        let message = format!(
            "a link on the way leads out of {directory}, where a tenant's files have to be: put the file itself there, or \
             a relative link to a file in there"
        );
        io::Error::new(ErrorKind::PermissionDenied, message)
    }
}

impl From<PathBuf> for FilePath {
    fn from(path: PathBuf) -> Self {
        Self { path, beneath: None }
    }
}

impl From<String> for FilePath {
    fn from(path: String) -> Self {
        PathBuf::from(path).into()
    }
}

impl From<&str> for FilePath {
    fn from(path: &str) -> Self {
        PathBuf::from(path).into()
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(formatter)
    }
}

impl Serialize for FilePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.path.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FilePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::of_setting)
    }
}

impl JsonSchema for FilePath {
    fn schema_name() -> Cow<'static, str> {
        "FilePath".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "x-kind": SettingKind::Path })
    }
}

/// Returns whether a shell would have made another path of the text. No shell reads settings.
pub fn is_shell_path(path: &str) -> bool {
    path == "~" || path.starts_with("~/") || path.starts_with('$')
}

/// Advice about a path that is meant for a shell.
pub const SHELL_PATH_ADVICE: &str = "`~` and variables are not replaced here: write the whole path";

/// Returns the text as one word of a shell.
pub fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/:._-+=@%,".contains(c);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn beneath(directory: &Path, rest: &str) -> FilePath {
        FilePath::of_setting(FilePath::setting(&directory.join(rest), directory).unwrap())
    }

    /// Returns the text that was read, or the error.
    fn outcome(result: io::Result<Vec<u8>>) -> String {
        let bytes = result.unwrap_or_else(|error| error.to_string().into_bytes());
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn no_link_leads_out_of_a_tenants_directory() {
        let outer = tempfile::tempdir().unwrap();
        let own = outer.path().join("acme");
        let other = outer.path().join("victim");
        for directory in [&own, &other] {
            fs::create_dir(directory).unwrap();
        }
        fs::write(other.join("token"), "victim's").unwrap();
        fs::write(own.join("token"), "own").unwrap();
        symlink(other.join("token"), own.join("absolute")).unwrap();
        symlink("../victim/token", own.join("relative")).unwrap();
        symlink("../victim", own.join("directory")).unwrap();
        symlink(own.join("token"), own.join("inside-by-its-whole-path")).unwrap();
        for name in ["absolute", "relative", "directory/token", "../victim/token", "inside-by-its-whole-path"] {
            let error = outcome(beneath(&own, name).read(100));
            assert!(error.contains("leads out of") && error.contains("acme"), "{name}: {error}");
        }
        assert_eq!(outcome(beneath(&own, "token").read(100)), "own");
        // The file was fine when it was checked.
        fs::remove_file(own.join("token")).unwrap();
        symlink("../victim/token", own.join("token")).unwrap();
        assert!(outcome(beneath(&own, "token").read(100)).contains("leads out of"));
        // The operator's links are followed.
        assert_eq!(FilePath::from(own.join("absolute")).read(100).unwrap(), b"victim's");
        assert!(outcome(beneath(&own, "missing").read(100)).contains("No such file"));
    }

    #[test]
    fn a_tenants_file_has_no_second_name() {
        let outer = tempfile::tempdir().unwrap();
        let own = outer.path().join("acme");
        fs::create_dir(&own).unwrap();
        fs::write(outer.path().join("victim"), "victim's").unwrap();
        fs::hard_link(outer.path().join("victim"), own.join("token")).unwrap();
        let token = beneath(&own, "token");
        assert!(outcome(token.read(100)).contains("several names (hard links)"));
        let mut to_append = OpenOptions::new();
        to_append.append(true);
        let opened = token.open(&to_append).map(drop);
        assert!(opened.unwrap_err().to_string().contains("several names (hard links)"), "that of a `file` sink");
        assert_eq!(FilePath::from(own.join("token")).read(100).unwrap(), b"victim's", "the operator's file may");
        fs::remove_file(outer.path().join("victim")).unwrap();
        assert_eq!(outcome(token.read(100)), "victim's");
    }

    #[test]
    fn the_links_of_a_mounted_secret_are_followed() {
        let directory = tempfile::tempdir().unwrap();
        for (version, contents) in [("..2026_01_31", "one"), ("..2026_02_01", "two")] {
            fs::create_dir(directory.path().join(version)).unwrap();
            fs::write(directory.path().join(version).join("token"), contents).unwrap();
        }
        symlink("..2026_01_31", directory.path().join("..data")).unwrap();
        symlink("..data/token", directory.path().join("token")).unwrap();
        let token = beneath(directory.path(), "token");
        assert_eq!(token.read(100).unwrap(), b"one");
        symlink("..2026_02_01", directory.path().join("..data_tmp")).unwrap();
        fs::rename(directory.path().join("..data_tmp"), directory.path().join("..data")).unwrap();
        assert_eq!(token.read(100).unwrap(), b"two");
    }

    #[test]
    fn tokens_of_the_workers_identity_are_read_for_no_tenant() {
        let directory = tempfile::tempdir().unwrap();
        for token in [
            "kubernetes.io/serviceaccount/token",
            "eks.amazonaws.com/serviceaccount/token",
            "pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token",
            "azure/tokens/azure-identity-token",
            "tokens/gcp-ksa/token",
        ] {
            let path = directory.path().join(token);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "token").unwrap();
            symlink(token, directory.path().join("link")).unwrap();
            for name in [token, "link"] {
                let error = outcome(beneath(directory.path(), name).read(100));
                assert!(error.contains("own identity"), "{name} to {token}: {error}");
            }
            fs::remove_file(directory.path().join("link")).unwrap();
            assert_eq!(FilePath::from(path).read(100).unwrap(), b"token", "the operator's file may");
        }
    }

    #[test]
    fn what_is_a_setting_says_its_path_only() {
        let path = beneath(Path::new("/run/secrets/acme"), "a/token");
        assert_eq!(
            (path.to_string(), path.path()),
            ("/run/secrets/acme/a/token".to_owned(), Path::new("/run/secrets/acme/a/token"))
        );
        assert_eq!(serde_json::to_string(&path).unwrap(), "\"/run/secrets/acme/a/token\"");
        assert_eq!(FilePath::setting(Path::new("/run/secrets/acme"), Path::new("/run/secrets/acme")), None);
        assert_eq!(FilePath::setting(Path::new("/run/secrets/acme/a\0b"), Path::new("/run/secrets/acme")), None);
    }
}
