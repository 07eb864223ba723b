//! Takes the place of `traces.rs` in a build without the feature `traces`: there is no flag, and nothing is exported.

#[derive(Debug, Clone, clap::Args)]
pub struct TraceArgs {}

pub struct TraceExport;

impl TraceArgs {
    /// # Errors
    /// Never.
    pub fn start(&self) -> anyhow::Result<TraceExport> {
        Ok(TraceExport)
    }
}

impl TraceExport {
    /// # Errors
    /// Never.
    pub async fn end(self) -> anyhow::Result<()> {
        Ok(())
    }
}
