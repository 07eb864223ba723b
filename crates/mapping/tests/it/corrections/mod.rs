//! Records whose events were once wrong, each as a whole event of both schemas.

mod activities;
mod alerts;
mod endpoints;
mod inventory;
mod processes;
mod records;
mod several;
mod threats;
mod unified_alerts;
mod users;
