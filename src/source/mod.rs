//! Pulling: streams, positions and their encoding, the polling stage.

mod settings;

pub use settings::{Activities, Pull, Settings, Since, Threats};
