//! What redaction needs of a parsed event, whichever library parsed it.

use std::collections::HashMap;

use serde_json::Value;

/// A JSON value.
pub(super) trait Tree: Sized {
    /// The value of a key, if this is an object.
    fn member(&mut self, key: &str) -> Option<&mut Self>;
    fn remove_member(&mut self, key: &str);
    /// The keys of an object for which `is_wanted` holds.
    fn keys(&self, is_wanted: &dyn Fn(&str) -> bool) -> Vec<String>;
    /// All values of an object.
    fn for_each_member(&mut self, visit: &mut dyn FnMut(&mut Self));
    /// Gives the members of an object the names that `rename` returns. A name that is taken gets a number.
    fn rename_members(&mut self, rename: &dyn Fn(&str) -> Option<String>);
    /// The elements, if this is a list.
    fn elements(&mut self) -> Option<&mut Vec<Self>>;
    fn is_object(&self) -> bool;
    fn is_null(&self) -> bool;
    fn is_text(&self) -> bool;
    /// A text without quotes; everything else as JSON.
    fn to_text(&self) -> String;
    fn of_text(text: String) -> Self;
    fn parse(text: &str) -> Option<Self>;
    fn to_json(&self) -> Option<Vec<u8>>;
}

/// Both libraries' types have the same methods, but for those about texts.
macro_rules! impl_tree {
    ($value:ty, $is_text:path, $to_text:expr) => {
        impl Tree for $value {
            fn member(&mut self, key: &str) -> Option<&mut Self> {
                self.as_object_mut()?.get_mut(key)
            }

            fn remove_member(&mut self, key: &str) {
                if let Some(object) = self.as_object_mut() {
                    object.remove(key);
                }
            }

            fn keys(&self, is_wanted: &dyn Fn(&str) -> bool) -> Vec<String> {
                let keys = self.as_object().into_iter().flat_map(|object| object.keys());
                keys.filter(|key| is_wanted(key.as_str())).map(|key| key.to_string()).collect()
            }

            fn for_each_member(&mut self, visit: &mut dyn FnMut(&mut Self)) {
                self.as_object_mut().into_iter().flat_map(|object| object.values_mut()).for_each(visit);
            }

            fn rename_members(&mut self, rename: &dyn Fn(&str) -> Option<String>) {
                let Some(object) = self.as_object_mut() else { return };
                if object.keys().all(|key| rename(key.as_str()).is_none()) {
                    return;
                }
                // The smallest number of each name that may be free: a record may have any number of keys that get one.
                let mut numbers = HashMap::new();
                for (key, value) in std::mem::take(object) {
                    let wanted = rename(key.as_str()).unwrap_or_else(|| key.to_string());
                    if !object.contains_key(wanted.as_str()) {
                        object.insert(wanted.into(), value);
                        continue;
                    }
                    let number = numbers.entry(wanted.clone()).or_insert(2);
                    while object.contains_key(format!("{wanted} {number}").as_str()) {
                        *number += 1;
                    }
                    object.insert(format!("{wanted} {number}").into(), value);
                }
            }

            fn elements(&mut self) -> Option<&mut Vec<Self>> {
                self.as_array_mut()
            }

            fn is_object(&self) -> bool {
                self.is_object()
            }

            fn is_null(&self) -> bool {
                self.is_null()
            }

            fn is_text(&self) -> bool {
                $is_text(self)
            }

            fn to_text(&self) -> String {
                $to_text(self)
            }

            fn of_text(text: String) -> Self {
                text.into()
            }

            fn parse(text: &str) -> Option<Self> {
                serde_json::from_str(text).ok()
            }

            fn to_json(&self) -> Option<Vec<u8>> {
                serde_json::to_vec(self).ok()
            }
        }
    };
}

impl_tree!(Value, Value::is_string, |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
#[cfg(feature = "remap")]
impl_tree!(vrl::value::Value, vrl::value::Value::is_bytes, |value: &vrl::value::Value| value
    .to_string_lossy()
    .into_owned());

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Map;

    use super::*;

    /// What [`Tree::rename_members`] does, the slow way.
    fn renamed(object: &Map<String, Value>, rename: impl Fn(&str) -> Option<String>) -> Map<String, Value> {
        let mut renamed = Map::new();
        for (key, value) in object {
            let wanted = rename(key).unwrap_or_else(|| key.clone());
            let numbered = (2..).map(|number| format!("{wanted} {number}"));
            let name = std::iter::once(wanted.clone()).chain(numbered).find(|name| !renamed.contains_key(name));
            renamed.insert(name.unwrap(), value.clone());
        }
        renamed
    }

    proptest! {
        #[test]
        fn each_member_gets_the_first_name_that_is_free(
            members in prop::collection::btree_map("[a-c*](a|b| [234]){0,3}", any::<u8>(), 0..60),
        ) {
            let rename = |key: &str| key.contains('a').then(|| key.replace(['a', 'c'], "*"));
            let object: Map<_, _> = members.into_iter().map(|(key, value)| (key, value.into())).collect();
            let expected = renamed(&object, rename);
            let mut tree = Value::Object(object);
            tree.rename_members(&rename);
            prop_assert_eq!(tree, Value::Object(expected));
        }
    }
}
