//! The callback addresses that apps name in their tasks (§10, `team_url`). A callback URL of the gateway's takes
//! the place of each; its label says which, and what comes to it goes to the address like to any subscriber.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::settings::{Apps, SubscriberSettings};
use crate::store::TeamUrl;

/// What labels, and names of subscribers, begin with.
const PREFIX: &str = "team-url-";
/// Hex digits of a digest that follow.
const DIGITS: usize = 16;

/// The delays of a subscriber that configures none.
const RETRY_SECONDS: [u64; 9] = [5, 10, 15, 60, 300, 1800, 7200, 21_600, 43_200];

/// What tells one address of an app from the others: the label of its callback URL, and the name of its
/// subscriber.
pub fn label(app: &str, url: &str) -> String {
    let digest = Sha256::new().chain_update(app).chain_update([0]).chain_update(url).finalize();
    format!("{PREFIX}{}", &hex::encode(digest)[..DIGITS])
}

/// The address as a subscriber: it gets what came to its own callback URL.
pub fn subscriber(team_url: &TeamUrl) -> SubscriberSettings {
    let label = label(&team_url.app, &team_url.url);
    SubscriberSettings {
        name: label.clone(),
        url: team_url.url.clone(),
        apps: Apps::Named(vec![team_url.app.clone()]),
        events: ["call_record", "intent_result", "unknown"].map(str::to_owned).into(),
        filter: BTreeMap::from([("label".to_owned(), vec![label])]),
        timeout: Duration::from_secs(10),
        max_in_flight: 32,
        ordered: false,
        since: Some(team_url.since),
        rate_per_second: None,
        retry: RETRY_SECONDS.map(Duration::from_secs).into(),
        signing_secrets: Vec::new(),
        headers: BTreeMap::new(),
        enrich: false,
        guarded: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::is_label;

    #[test]
    fn labels_tell_addresses_apart() {
        let one = label("crm", "http://10.0.0.1/a");
        assert!(is_label(&one));
        assert_ne!(one, label("crm", "http://10.0.0.1/b"));
        assert_ne!(one, label("erp", "http://10.0.0.1/a"));
    }
}
