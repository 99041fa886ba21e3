//! `sign`

use std::time::{SystemTime, UNIX_EPOCH};

use super::arguments::Sign;
use super::{Failed, print};
use crate::config::Config;

/// Prints the header's value.
pub(super) fn sign(asked: &Sign, config: &Config) -> Result<(), Failed> {
    let credentials = &config.proxy.credentials;
    let credential = credentials.get(&asked.credential).ok_or_else(|| {
        let known: Vec<&str> = credentials.keys().map(String::as_str).collect();
        Failed::Usage(format!("error: no credential {:?}; there is {}", asked.credential, known.join(", ")))
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let value = credential.authorization(asked.timestamp.unwrap_or(now));
    print(&format!("{}\n", String::from_utf8_lossy(&value)))
}
