//! `callback-url`

use super::arguments::CallbackUrl;
use super::{Failed, print};
use crate::config::Config;
use crate::hub::{Keys, is_label};

/// Prints where the SaaS is to push callbacks of an app.
pub(super) fn callback_url(asked: &CallbackUrl, config: &Config) -> Result<(), Failed> {
    let hub = &config.hub;
    if !hub.apps.contains(&asked.app) {
        let there = if hub.apps.is_empty() { "none".to_owned() } else { hub.apps.join(", ") };
        return Err(Failed::Usage(format!("error: no app {:?}; there is {there}", asked.app)));
    }
    if let Some(label) = asked.label.as_deref().filter(|label| !is_label(label)) {
        return Err(Failed::Usage(format!(
            "error: {label:?} is no label: it takes 1 to 64 of the characters A-Z a-z 0-9 - . _ ~"
        )));
    }
    let url = Keys::new(&hub.keys).url(&hub.public_url, &asked.app, asked.label.as_deref());
    print(&format!("{url}\n"))
}
