//! Logs, metrics, traces, masking: how the process is seen from outside.

pub mod histogram;
pub mod log;
pub mod mask;
pub mod process;
mod settings;
pub mod trace;

pub use settings::{Format, Settings};
