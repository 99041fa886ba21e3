//! What a running gateway can't change: where it listens, where limits are shared, where events are kept, how the log
//! looks, where traces go.

use anyhow::bail;
use serde_json::Value;

use crate::config::Config;

/// Keys that take effect with the next start, as they stand in the file.
const FIXED: [&str; 13] = [
    "listen.proxy",
    "listen.callbacks",
    "listen.admin",
    "listen.proxy_tls",
    "listen.callbacks_tls",
    "limits.shared",
    "store.path",
    "store.postgres",
    "store.replica",
    "store.retention",
    "store.max_size",
    "log.format",
    "tracing_otlp",
];

/// Lets `config` have these from `running`. Those that differ.
pub(super) fn keep(config: &mut Config, running: &Config) -> Vec<&'static str> {
    config.proxy.listen.address = running.proxy.listen.address;
    config.hub.listen.address = running.hub.listen.address;
    config.admin.address = running.admin.address;
    config.proxy.listen.tls.clone_from(&running.proxy.listen.tls);
    config.hub.listen.tls.clone_from(&running.hub.listen.tls);
    config.proxy.limits.shared.clone_from(&running.proxy.limits.shared);
    config.store = running.store.clone();
    config.proxy.spool.clone_from(&running.proxy.spool);
    config.log.format = running.log.format;
    config.traces.clone_from(&running.traces);
    let mut differ = Vec::new();
    for key in FIXED {
        let known = value(&running.redacted, key).cloned().unwrap_or_default();
        if let Some(new) = value_mut(&mut config.redacted, key)
            && *new != known
        {
            *new = known;
            differ.push(key);
        }
    }
    differ
}

/// That nobody gets in who could not before: the file may speak of a loopback address where the one that is
/// listened on until the restart is none.
pub(super) fn guard(config: &Config) -> anyhow::Result<()> {
    let (admin, callbacks) = (config.admin.address, config.hub.listen.address);
    if config.admin.token.is_none() && !admin.ip().is_loopback() {
        bail!("`admin.token` is required: operators are served on {admin}, until a restart");
    }
    if config.hub.keys.is_empty() && !callbacks.ip().is_loopback() {
        bail!("`callbacks.key` is required: callbacks come in on {callbacks}, until a restart");
    }
    Ok(())
}

fn value<'v>(shown: &'v Value, key: &str) -> Option<&'v Value> {
    key.split('.').try_fold(shown, |at, part| at.get(part))
}

fn value_mut<'v>(shown: &'v mut Value, key: &str) -> Option<&'v mut Value> {
    key.split('.').try_fold(shown, |at, part| at.get_mut(part))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config;

    fn config(more: &str) -> Config {
        let file = format!("credentials: {{default: {{apikey: k, apisecret: s}}}}\n{more}");
        config::parse("config.yaml", &file, &BTreeMap::new()).unwrap().config
    }

    #[test]
    fn what_differs_is_named_and_stays() {
        let here = "listen: {callbacks: 127.0.0.1:1, admin: 127.0.0.1:2}";
        let running = config(here);
        let mut same = config(here);
        assert!(keep(&mut same, &running).is_empty());
        let mut other =
            config("listen: {callbacks: 127.0.0.1:3, admin: 127.0.0.1:2}\nstore: {path: elsewhere/x.db}");
        assert_eq!(keep(&mut other, &running), ["listen.callbacks", "store.path"]);
        assert_eq!(other.hub.listen.address, running.hub.listen.address);
        assert_eq!((&other.store.path, &other.proxy.spool), (&running.store.path, &running.proxy.spool));
        assert_eq!(other.redacted, running.redacted);
    }

    #[test]
    fn every_fixed_key_is_one() {
        let running = config("listen: {callbacks: 127.0.0.1:1}");
        let missing: Vec<&str> =
            FIXED.into_iter().filter(|key| value(&running.redacted, key).is_none()).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn a_listener_that_others_reach_stays_guarded() {
        let running = config(
            "listen: {callbacks: 0.0.0.0:1, admin: 0.0.0.0:2}\nadmin: {token: t}\ncallbacks: {key: kkkkkkkkkkkkkkkkkkkkkkkkk}",
        );
        guard(&running).unwrap();
        for open in [
            "listen: {callbacks: 127.0.0.1:1}\ncallbacks: {key: k}",
            "listen: {callbacks: 127.0.0.1:1}\nadmin: {token: t}",
        ] {
            let mut config = config(open);
            keep(&mut config, &running);
            guard(&config).unwrap_err();
        }
    }
}
