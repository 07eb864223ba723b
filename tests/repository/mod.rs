//! What the repository promises about itself.

mod chart_values;
mod commands;
mod comments;
mod crates;
mod definition;
mod dependencies;
mod image;
mod integrations;
mod layering;
mod monitoring;
mod reference_docs;
mod security;
mod states;
mod streams;
mod way;
mod workflow;
