//! What the repository promises about itself.

mod image;
mod layering;
mod reference_docs;
mod way;
