use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A number of bytes as settings write it: `5MiB` and `512KiB` are binary, `1MB` and `900KB` decimal, a bare number is bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ByteSize(#[schemars(with = "String")] pub u64);
