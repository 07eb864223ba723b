//! What the repository promises about itself.

mod chart_values;
mod dependencies;
mod image;
mod layering;
mod monitoring;
mod reference_docs;
mod way;
