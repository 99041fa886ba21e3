//! The callback's way: intake, store, dispatch, delivery.

pub mod deliver;
pub mod delivery_state;
pub mod dispatch;
mod enrich;
mod filter;
pub mod schedule;
mod settings;
mod webhook;

pub use settings::*;
