//! Being built.
pub mod openapi;
mod settings;
pub use settings::*;
