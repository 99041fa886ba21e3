//! The callback's way: subscribers and responders.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;
use secrecy::{ExposeSecret, SecretString};

use super::{listen, networks, unique};
use crate::config::node::Place;
use crate::config::read::{At, Named, OneOrMany, nearest};
use crate::config::report::{Report, quote};
use crate::config::scalars::{AppName, HeaderText, Secret};
use crate::config::written::{EventKind, File, Inbound, Outside, Strategy, Subscriber, Where};
use crate::hub::{self, Apps, InboundSettings, Responder, SubscriberSettings};

/// Settings of the hub.
pub(super) fn settings(file: &File, report: &mut Report) -> hub::Settings {
    unique("subscriber", file.subscribers.iter().map(|subscriber| &subscriber.name), report);
    let known = Known {
        apps: file.apps.iter().map(|app| app.name.0.clone()).collect(),
        all: file.apps.iter().all(|app| app.name.sound),
    };
    let callbacks = &file.callbacks;
    hub::Settings {
        listen: listen::settings(file.listen.callbacks.0, file.listen.callbacks_tls.as_ref(), file),
        public_url: callbacks.public_url.0.clone(),
        proxy_url: file.proxy_url.0.clone(),
        keys: callbacks.key.0.iter().map(|key| key.0.clone()).collect(),
        networks: networks(&callbacks.networks),
        max_body_bytes: callbacks.max_body.0,
        body_idle_timeout: file.limits.body_idle_timeout.0,
        dedup_window: *callbacks.dedup_window,
        subscribers: file.subscribers.iter().map(|written| subscriber(written, &known, report)).collect(),
        inbound_query: file.inbound_query.iter().map(|written| inbound(written, &known, report)).collect(),
        team_urls: hub::TeamUrlSettings {
            rewrite: *callbacks.rewrite_team_url,
            networks: networks(&callbacks.team_url_networks),
            pass_outside: *callbacks.team_url_outside == Outside::Pass,
        },
        apps: known.apps,
    }
}

/// The apps that may be named.
struct Known {
    apps: Vec<String>,
    /// Whether these are all: not so when an app's name could not be read.
    all: bool,
}

impl Known {
    fn chosen(&self, written: &At<Vec<At<AppName>>>, report: &mut Report) -> Apps {
        if written.is_empty() && written.sound {
            report
                .warning(written.place, "an empty list: it is for no app")
                .help("write `[\"*\"]` for all apps");
        }
        let mut named = Vec::new();
        for app in &written.value {
            match &app.value {
                AppName::All => return Apps::All,
                AppName::One(name) => {
                    self.check(name, app.place, report);
                    named.push(name.clone());
                }
            }
        }
        Apps::Named(named)
    }

    fn check(&self, name: &str, place: Place, report: &mut Report) {
        if !self.all || self.apps.iter().any(|app| app == name) {
            return;
        }
        let meant = nearest(name, self.apps.iter().map(String::as_str));
        let hint = meant.map_or(String::new(), |meant| format!("; did you mean `{meant}`?"));
        let apps = if self.apps.is_empty() { "none".to_owned() } else { self.apps.join(", ") };
        let message = format!("no app is named {}{hint}", report.quoted(place));
        let fault = report.fault(place, message);
        fault.help(format!("`apps` has: {apps}"));
    }
}

fn subscriber(written: &Subscriber, known: &Known, report: &mut Report) -> SubscriberSettings {
    if written.events.is_empty() && written.events.sound {
        report.warning(written.events.place, "no events: this subscriber gets nothing");
    }
    SubscriberSettings {
        name: written.name.0.clone(),
        url: written.url.0.clone(),
        apps: known.chosen(&written.apps, report),
        events: written.events.iter().map(|event| kind(event.value).to_owned()).collect(),
        filter: filter(&written.r#where),
        timeout: written.timeout.0,
        max_in_flight: written.max_in_flight.size(),
        ordered: *written.ordered,
        since: *written.since,
        rate_per_second: written.rate_limit.map(|rate| rate.0),
        retry: written.retry.iter().map(|delay| delay.value).collect(),
        signing_secrets: signing_secrets(&written.signing_secret, report),
        headers: headers(&written.headers, report),
        enrich: *written.enrich,
        guarded: false,
    }
}

fn kind(event: EventKind) -> &'static str {
    match event {
        EventKind::CallRecord => "call_record",
        EventKind::IntentResult => "intent_result",
        EventKind::InboundQuery => "inbound_query",
        EventKind::Unknown => "unknown",
    }
}

fn filter(written: &Where) -> BTreeMap<String, Vec<String>> {
    let fields = [
        ("task_id", &written.task_id),
        ("bot_id", &written.bot_id),
        ("call_sn", &written.call_sn),
        ("call_sn_name", &written.call_sn_name),
        ("label", &written.label),
        ("state", &written.state),
        ("degree_name", &written.degree_name),
    ];
    let named = fields.into_iter().filter(|(_, wanted)| !wanted.0.is_empty());
    named.map(|(name, wanted)| (name.to_owned(), texts(wanted))).collect()
}

fn texts(written: &OneOrMany<String>) -> Vec<String> {
    written.0.iter().map(|text| text.value.clone()).collect()
}

/// Standard Webhooks wants `whsec_` and the base64 of 24 to 64 bytes.
fn signing_secrets(written: &OneOrMany<Secret>, report: &mut Report) -> Vec<SecretString> {
    for secret in &written.0 {
        let encoded = secret.value.0.expose_secret().strip_prefix("whsec_");
        let key = encoded.and_then(|encoded| STANDARD.decode(encoded).ok());
        let help = "make one with: echo \"whsec_$(openssl rand -base64 32)\"";
        match key {
            None => {
                report.fault(secret.place, "a signing secret is `whsec_` and base64").help(help);
            }
            Some(key) if !(24..=64).contains(&key.len()) => {
                let message = "Standard Webhooks wants signing secrets of 24 to 64 bytes";
                report.warning(secret.place, message).help(help);
            }
            Some(_) => {}
        }
    }
    written.0.iter().map(|secret| secret.value.0.clone()).collect()
}

/// Headers that a delivery sets itself, or that frame it.
const RESERVED: [&str; 6] =
    ["host", "content-length", "content-type", "transfer-encoding", "connection", "te"];

fn headers(written: &Named<HeaderText>, report: &mut Report) -> BTreeMap<String, String> {
    for (name, value) in written {
        let lower = name.to_ascii_lowercase();
        let ours = lower.starts_with("webhook-") || lower.starts_with("x-xinyao-");
        if HeaderName::try_from(name.as_str()).is_err() {
            report.fault(value.place, format!("{} is no header's name", quote(name)));
        } else if ours || RESERVED.contains(&lower.as_str()) {
            let fault = report.fault(value.place, format!("header {} is set by the gateway", quote(name)));
            fault.help("choose another name");
        }
    }
    written.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect()
}

fn inbound(written: &Inbound, known: &Known, report: &mut Report) -> InboundSettings {
    unique("responder", written.responders.iter().map(|responder| &responder.name), report);
    let hedged = *written.strategy == Strategy::Priority && written.responders.len() > 1;
    if hedged && *written.hedge_after >= written.deadline.0 && written.hedge_after.sound {
        let message =
            "`hedge_after` is not before `deadline`: the next responder is asked only after a failure";
        report.warning(written.hedge_after.place, message).help("let it be a part of the deadline");
    }
    InboundSettings {
        apps: known.chosen(&written.apps, report),
        strategy: match *written.strategy {
            Strategy::Priority => hub::Strategy::Priority,
            Strategy::Race => hub::Strategy::Race,
        },
        hedge_after: *written.hedge_after,
        deadline: written.deadline.0,
        responders: written.responders.iter().map(|r| responder(&r.name.0, &r.url.0)).collect(),
        fallback_prompt: written.fallback.prompt.value.clone(),
        fallback_transfer: written.fallback.transfer.value.clone(),
    }
}

fn responder(name: &str, url: &str) -> Responder {
    Responder { name: name.to_owned(), url: url.to_owned() }
}
