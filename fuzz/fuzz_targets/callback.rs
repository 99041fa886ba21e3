//! Any bytes as a callback's body: what is read of them agrees with a reader that builds the tree.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xinyao_gateway::xinyao::callback::{Kind, heading};

fuzz_target!(|body: &[u8]| {
    let kind = heading::read(body).kind;
    let Ok(tree) = serde_json::from_slice::<serde_json::Value>(body) else { return };
    // Of two fields of one name a tree keeps the last, and a null there hides the first: so no equality.
    let has = |name: &str| tree.get(name).is_some_and(|value| !value.is_null());
    assert!(!has("caller") || kind == Kind::InboundQuery);
    assert!(!has("degrees") || matches!(kind, Kind::InboundQuery | Kind::IntentResult));
    assert!(!(has("calls") || has("bot_id")) || kind != Kind::Unknown);
    assert!(tree.is_object() || kind == Kind::Unknown);
});
