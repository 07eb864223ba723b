//! Attributes that have another name in 1.3.0, by their object.

use std::borrow::Cow;

use s1_forwarder_record::{Kind as JsonKind, Value};

use super::kind::Kind;
use super::object::{Object, text};
use super::writer::Writer;
use super::{VERSION, classes};

/// The version that the mapping writes.
const NEWEST: &str = "\"1.9.0\"";

impl Writer<'_> {
    pub(super) fn adapt(&mut self, kind: &Kind, object: &mut Object<'_>) {
        match kind.name {
            "actor" => self.actor(object),
            "device_hw_info" => self.hardware(object),
            "extension" if object.get("version").raw() == NEWEST => object.set_word("version", VERSION),
            "file" => self.file(object),
            "finding_info" => {
                if let Some(uid) = text(object.get("uid")).map(|uid| format!("\"{}\"", uid.raw()))
                    && !object.has("title")
                {
                    object.set("title", uid);
                }
            }
            "malware" => self.malware(object),
            "metadata" => self.logged(object),
            "network_interface" if !object.has("type_id") => object.set_choice(["type_id", "type"], 0, "Unknown"),
            "process" => self.process(object),
            "product" if !object.has("vendor_name") => object.set_word("vendor_name", "Unknown"),
            "related_event" => self.related_event(object),
            "vulnerability" => self.vulnerability(object),
            _ => {}
        }
    }

    fn actor(&mut self, actor: &mut Object<'_>) {
        let Some(application) = actor.take("application") else { return };
        let mut rest = Object::read(Value::new(&application));
        for (name, older) in [("name", "app_name"), ("uid", "app_uid")] {
            if !actor.has(older)
                && let Some(value) = rest.take(name)
            {
                self.moved(&format!("application.{name}"), older, &value);
                actor.set(older, value.into_owned());
            }
        }
        self.keep_rest("application", &rest);
    }

    fn hardware(&mut self, hardware: &mut Object<'_>) {
        if hardware.rename("cores", "cpu_cores") {
            self.moved("cores", "cpu_cores", hardware.get("cpu_cores").raw());
        }
        let Some((mut processor, others)) = first(hardware, "cpu_info_list") else { return };
        for (name, older) in [("model", "cpu_type"), ("cpu_bits", "cpu_bits"), ("speed_mhz", "cpu_speed")] {
            if !hardware.has(older)
                && let Some(value) = processor.take(name)
            {
                self.moved(&format!("cpu_info_list[].{name}"), older, &value);
                hardware.set(older, value);
            }
        }
        self.keep_elements("cpu_info_list", &processor, others);
    }

    fn file(&mut self, file: &mut Object<'_>) {
        if file.number("type_id") == Some(8) {
            if let Some(word) = file.take("type") {
                self.keep("type", &word);
            }
            file.set_choice(["type_id", "type"], 1, "Regular File");
        }
        if !file.has("signature")
            && let Some((signature, others)) = first(file, "signatures")
        {
            let signature = signature.json();
            self.moved("signatures[]", "signature", &signature);
            file.set("signature", signature);
            self.keep_elements("signatures", &Object::default(), others);
        }
    }

    fn malware(&mut self, malware: &mut Object<'_>) {
        if self.severity.is_some() && malware.number("severity_id") == self.severity {
            ["severity_id", "severity"].iter().for_each(|name| drop(malware.take(name)));
        }
        if malware.has("path") {
            return;
        }
        let Some((mut file, others)) = first(malware, "files") else { return };
        if let Some(path) = file.take("path") {
            self.moved("files[].path", "path", &path);
            malware.set("path", path);
        }
        self.keep_elements("files", &file, others);
    }

    /// Moves the time of the first logger from `loggers` to `logged_time`. The logger itself is left out if other
    /// attributes name it.
    fn logged(&mut self, metadata: &mut Object<'_>) {
        if metadata.get("version").raw() == NEWEST {
            metadata.set_word("version", VERSION);
        }
        metadata.take("profiles");
        if metadata.has("logged_time") {
            return;
        }
        let Some((mut logger, mut loggers)) = first(metadata, "loggers") else { return };
        if let Some(time) = logger.take("logged_time") {
            metadata.set("logged_time", time);
        }
        let product = metadata.get("product");
        let is_said = |name: &str| match name {
            "name" => logger.get(name) == metadata.get("log_provider"),
            "product" => {
                let own = logger.get(name);
                own.kind() == JsonKind::Object && own.entries().all(|(name, value)| product.get(&name) == value)
            }
            _ => false,
        };
        if !logger.members.iter().all(|member| is_said(&member.name)) {
            loggers.insert(0, logger.json());
        }
        if !loggers.is_empty() {
            metadata.set("loggers", format!("[{}]", loggers.join(",")));
        }
    }

    fn process(&mut self, process: &mut Object<'_>) {
        if process.has("file") {
            return;
        }
        let Some(path) = text(process.get("path")) else { return };
        let name = Some(path.last_segment().raw()).filter(|name| !name.is_empty()).unwrap_or(path.raw());
        let file = format!(r#"{{"name":"{name}","path":"{}","type_id":1,"type":"Regular File"}}"#, path.raw());
        process.set("file", file);
        if let Some(path) = process.take("path") {
            self.moved("path", "file.path", &path);
        }
    }

    fn related_event(&mut self, event: &mut Object<'_>) {
        if event.get("type_name") == event.get("type") {
            event.take("type");
        } else if !event.rename("type", "type_name")
            && let Some(word) = event.take("type")
        {
            self.keep("type", &word);
        }
        if let Some((uid, name)) = event.number("type_uid").and_then(classes::type_of) {
            event.set("type_uid", uid.to_string());
            classes::set_name(event, "type_name", &name);
        }
    }

    /// Moves the id of an advisory to `cve`, which is the only place for it in 1.3.0.
    fn vulnerability(&mut self, vulnerability: &mut Object<'_>) {
        if vulnerability.has("cve") || vulnerability.has("cwe") {
            return;
        }
        let Some(advisory) = vulnerability.take("advisory") else { return };
        let mut rest = Object::read(Value::new(&advisory));
        if let Some(uid) = rest.take("uid") {
            self.moved("advisory.uid", "cve.uid", &uid);
            vulnerability.set("cve", format!(r#"{{"uid":{uid}}}"#));
        }
        self.keep_rest("advisory", &rest);
    }

    /// Keeps the rest of a list's first element, and the other elements.
    fn keep_elements(&mut self, name: &str, rest: &Object<'_>, mut others: Vec<String>) {
        if !rest.members.is_empty() {
            others.insert(0, rest.json());
        }
        if !others.is_empty() {
            self.keep(name, &format!("[{}]", others.join(",")));
        }
    }
}

/// Removes a list, and returns its first element, and the other elements as JSON. `None` if there is no list of
/// objects.
fn first<'a>(object: &mut Object<'a>, name: &str) -> Option<(Object<'a>, Vec<String>)> {
    if object.get(name).elements().next().is_none_or(|element| element.entries().next().is_none()) {
        return None;
    }
    let list = object.take(name)?;
    let others = Value::new(&list).elements().skip(1).map(|element| element.raw().to_owned()).collect();
    let element = match &list {
        Cow::Borrowed(list) => Object::read(Value::new(list).elements().next()?),
        Cow::Owned(list) => Object::read(Value::new(list).elements().next()?).into_owned(),
    };
    Some((element, others))
}
