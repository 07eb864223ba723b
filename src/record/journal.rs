/// Bytes for a lane's journal, to be written before the checkpoint that refers to them, or with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// The segment.
    pub segment: u64,
    /// Where in it.
    pub offset: u64,
    /// What to write there.
    pub bytes: Vec<u8>,
}

/// What changes in a lane's journal together with its checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalChange {
    /// What comes to it.
    pub appends: Vec<Append>,
    /// Segments that nothing refers to any more.
    pub dropped: Vec<u64>,
}
