//! `file`.

use s1_forwarder_record::{Escaped, Value};

use super::event::Event;
use super::observables::ObservableType;
use crate::common::placeholder::{is_placeholder, is_set};
use crate::common::threat::file_name;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileType {
    Unknown,
    Regular,
    Executable,
}

/// The values of a file.
pub(super) struct File<'a, const H: usize> {
    /// The name, if the path does not end in one.
    pub name: Option<Escaped<'a>>,
    pub path: Value<'a>,
    pub hashes: [Value<'a>; H],
    pub kind: FileType,
}

impl<'a, const H: usize> File<'a, H> {
    /// The name, which OCSF requires.
    pub fn name(&self) -> Option<Escaped<'a>> {
        let of_path = self.path.escaped().filter(|path| !is_placeholder(*path)).and_then(file_name);
        of_path.or(self.name).filter(|name| !is_placeholder(*name))
    }

    /// Writes the object with what `more` writes into it. Without a name, there is no file.
    pub fn write(self, event: &mut Event<'_>, name: &str, more: impl FnOnce(&mut Event<'_>)) -> bool {
        let Some(file) = self.name() else { return false };
        let open = event.open(name);
        self.write_fields(event, file);
        more(event);
        event.close(open);
        true
    }

    /// As [`Self::write`], into the open element of a list.
    pub fn write_element(self, event: &mut Event<'_>) {
        if let Some(file) = self.name() {
            self.write_fields(event, file);
        }
    }

    fn write_fields(&self, event: &mut Event<'_>, file: Escaped<'_>) {
        event.json.escaped("name", file);
        event.observe(ObservableType::FileName, "name", file);
        if is_set(self.path) {
            event.observed(ObservableType::FilePath, "path", self.path);
        }
        match self.kind {
            FileType::Unknown => event.choice("type", 0, "Unknown"),
            FileType::Regular => event.choice("type", 1, "Regular File"),
            FileType::Executable => event.choice("type", 8, "Executable File"),
        }
        event.hashes(self.hashes);
    }
}
