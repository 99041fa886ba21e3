//! Logs, metrics, masking.
mod settings;
pub use settings::{Format, Settings};
