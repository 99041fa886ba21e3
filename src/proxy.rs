//! The request's way.
mod settings;
pub use settings::{AppSettings, LimitSettings, Rate, RateLimit, Settings, UpstreamSettings};
