//! The SaaS's contract, as its document (v1.0.0) states it. No IO, no clock, no randomness: what
//! these need is an argument. Section numbers (§) are those of the vendor's document.

pub mod call_state;
pub mod callback;
pub mod checks;
pub mod endpoint;
pub mod number;
pub mod number_file;
pub mod signature;

pub use endpoint::{Endpoint, Target, TargetSet};
pub use signature::Credential;
