//! The request's way.
pub mod answer_code;
mod settings;
pub mod tenant;
pub use settings::{AppSettings, LimitSettings, Rate, RateLimit, Settings, UpstreamSettings};
