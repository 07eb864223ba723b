//! `file`.

use s1_forwarder_record::{Escaped, Value};

use super::event::Event;
use super::observables::ObservableType;
use crate::common::image::Image;
use crate::common::words::Choice;
use crate::parts::Signature;

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
    /// Returns the path and the name without the console's additions. OCSF requires the name.
    fn image(&self) -> Option<Image<'a>> {
        let images = [Image::at(self.path), self.name.and_then(Image::named)];
        images.into_iter().flatten().find(|image| !image.name.raw().is_empty())
    }

    /// Writes the object; `more` adds attributes. Returns the name; without a name, there is no file.
    pub fn write(self, event: &mut Event<'_>, name: &str, more: impl FnOnce(&mut Event<'_>)) -> Option<Escaped<'a>> {
        let image = self.image()?;
        let open = event.open(name);
        self.write_fields(event, image);
        more(event);
        event.close(open);
        Some(image.name)
    }

    /// Writes the object into the open element of a list.
    pub fn write_element(self, event: &mut Event<'_>) {
        if let Some(image) = self.image() {
            self.write_fields(event, image);
        }
    }

    fn write_fields(&self, event: &mut Event<'_>, image: Image<'_>) {
        event.json.escaped("name", image.name);
        event.observe(ObservableType::FileName, "name", image.name);
        // A path without a name is a path too.
        if let Some(path) = Image::at(self.path).and_then(|image| image.path).or(image.path) {
            event.json.escaped("path", path);
            event.observe(ObservableType::FilePath, "path", path);
            event.mark_if(self.path, path.raw());
        }
        match self.kind {
            FileType::Unknown => event.choice("type", 0, "Unknown"),
            FileType::Regular => event.choice("type", 1, "Regular File"),
            FileType::Executable => event.choice("type", 8, "Executable File"),
        }
        event.hashes(self.hashes);
    }
}

impl Event<'_> {
    /// Writes the signature of the open file, if it has one. `is_valid` is the record's value about the certificate.
    pub fn signature(&mut self, signature: Option<Signature>, is_valid: Option<bool>) {
        if is_valid != Some(true) && !signature.is_some_and(Signature::exists) {
            return;
        }
        let list = self.open_list("signatures");
        let element = self.open_element();
        self.choice("algorithm", 0, "Unknown");
        let (id, caption) = state(signature, is_valid);
        self.choice("state", id, caption);
        self.close(element);
        self.close(list);
    }
}

/// Returns the state of a signature, by the console's word, else by the certificate.
pub(super) fn state(signature: Option<Signature>, is_valid: Option<bool>) -> Choice {
    match (signature, is_valid) {
        (Some(Signature::Expired), _) => (2, "Expired"),
        (Some(Signature::Revoked), _) => (3, "Revoked"),
        (_, Some(true)) => (1, "Valid"),
        (Some(Signature::Untrusted), _) | (_, Some(false)) => (6, "Untrusted"),
        (_, None) => (0, "Unknown"),
    }
}
