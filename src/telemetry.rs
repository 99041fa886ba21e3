//! Logs, metrics, masking: how the process is seen from outside.

pub mod histogram;
pub mod log;
pub mod mask;
pub mod process;
mod settings;

pub use settings::{Format, Settings};
