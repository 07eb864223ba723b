//! The compressions of request bodies, as the key `compression` of a sink names them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Compression of request bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// No compression.
    None,
    /// gzip, level 1.
    Gzip,
    /// Zstandard, level 1.
    Zstd,
}

impl Compression {
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}
