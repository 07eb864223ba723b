//! Files that are read with limits, and files that only the owner may read.

pub mod file_path;
pub mod file_system;
pub mod private;
pub mod read_file;
