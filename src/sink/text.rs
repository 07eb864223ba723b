use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use crate::settings::Secret;

/// A value that may be a secret and mostly is none: a text, a number, true or false, `{ file }` or `{ env }`. Debug does
/// not show it, since it cannot tell which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(pub Secret);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Through a value: a secret that is read directly warns when it is written out.
        match Value::deserialize(deserializer)? {
            Value::Bool(value) => Ok(Self(Secret::Literal(value.to_string()))),
            Value::Number(value) => Ok(Self(Secret::Literal(value.to_string()))),
            other => Secret::deserialize(other).map(Self).map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for Text {
    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": ["number", "boolean"] }, generator.subschema_for::<Secret>()] })
    }
}
