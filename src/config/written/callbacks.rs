//! What the SaaS pushes and who gets it, as written.

use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;

use crate::config::read::{At, Named, OneOrMany};
use crate::config::record::record;
use crate::config::scalars::{
    AppName, BaseUrl, Count, HeaderText, Name, PerSecond, Secret, Size, Timeout, WebUrl, choice,
};

record! {
    /// What the SaaS pushes.
    struct Callbacks {
        /// How the SaaS reaches the callbacks listener.
        public_url: BaseUrl = "http://localhost:8081",
        /// Signs callback URLs; required once the listener is not on loopback. A list rotates it: the first
        /// signs, all verify.
        key: OneOrMany<Secret> = "",
        /// Where callbacks may come from.
        networks: Vec<At<IpNet>> = "[0.0.0.0/0, \"::/0\"]",
        /// Largest callback; past it, 413.
        max_body: Size = "16MiB",
        /// How long, from the first, an identical body for the same app and label is acknowledged and not
        /// delivered again (never for `inbound_query`); `0s`: off.
        dedup_window: Duration = "10m",
        /// Whether the `team_url` of an addtask is replaced by a callback URL of the gateway's, so that its
        /// callbacks go to the app's subscribers and to the original. An addtask without one gets the app's
        /// callback URL.
        rewrite_team_url: bool = "true",
        /// Where a replaced `team_url` may point, by name or address; looked at again at each delivery.
        team_url_networks: Vec<At<IpNet>> =
            "[10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 127.0.0.0/8, \"fc00::/7\", \"::1/128\"]",
        /// What is done about a `team_url` that points elsewhere: `reject` (400), or `pass` (left as it is:
        /// the SaaS calls it directly).
        team_url_outside: Outside = "reject",
    }

    /// Someone who wants events.
    struct Subscriber {
        /// Its name: `[a-z0-9-]`, unique.
        name: Name,
        /// Where events are posted.
        url: WebUrl,
        /// Whose events it wants: names of apps, or `*`.
        apps: Vec<At<AppName>> = "[\"*\"]",
        /// Which kinds it wants: `call_record`, `intent_result`, `inbound_query` (a copy after the answer was
        /// given), `unknown`.
        events: Vec<At<EventKind>> = "[call_record, intent_result]",
        /// Which of these it wants: all named fields have to match.
        r#where: Where = "{}",
        /// To the end of its answer.
        timeout: Timeout = "10s",
        /// Most deliveries under way.
        max_in_flight: Count = "32",
        /// One at a time, in order of arrival: a failing event holds the queue.
        ordered: bool = "false",
        /// Where a new subscriber begins (RFC 3339); empty: now.
        since: Option<Timestamp> = "",
        /// Most deliveries by the second, as in `200/s`; the burst is one second's worth. Empty: no limit.
        rate_limit: Option<PerSecond> = "",
        /// Delays before the second, third … attempt, with ±10 % jitter; after the last, a dead letter.
        retry: Vec<At<Duration>> = "[5s, 10s, 15s, 1m, 5m, 30m, 2h, 6h, 12h]",
        /// `whsec_…`: deliveries carry Standard Webhooks headers. A list signs with each (rotation).
        signing_secret: OneOrMany<Secret> = "",
        /// Headers to add.
        headers: Named<HeaderText> = "{}",
        /// Whether bodies are enriched: `record_url` made absolute on the proxy listener's address, `state_text`
        /// added (§18), SSML stripped into `dialog_plain`.
        enrich: bool = "false",
    }

    /// Which events are wanted. Values are compared as text; a list matches when any of it does.
    struct Where {
        /// Ids of tasks.
        task_id: OneOrMany<String> = "",
        /// Ids of bots.
        bot_id: OneOrMany<String> = "",
        /// Ids of batches.
        call_sn: OneOrMany<String> = "",
        /// Names of batches.
        call_sn_name: OneOrMany<String> = "",
        /// Labels of callback URLs.
        label: OneOrMany<String> = "",
        /// Call states (§18); one of the event's is enough.
        state: OneOrMany<String> = "",
        /// Names of intent degrees, such as `A类`; one of the event's is enough.
        degree_name: OneOrMany<String> = "",
    }

    /// Who answers inbound queries of some apps.
    struct Inbound {
        /// Whose queries: names of apps, or `*`.
        apps: Vec<At<AppName>> = "[\"*\"]",
        /// `priority`: responders are asked in order, the next one after `hedge_after`; `race`: all at once.
        strategy: Strategy = "priority",
        /// When the next responder is asked beside the last. One that fails earlier is followed at once.
        hedge_after: Duration = "300ms",
        /// When the fallback is given.
        deadline: Timeout = "2s",
        /// Who is asked. A good answer is 2xx with code 0 and a prompt.
        responders: Vec<At<Responder>> = "[]",
        /// What is said when nobody answers in time.
        fallback: Fallback = "{}",
    }

    /// An internal service that answers inbound queries.
    struct Responder {
        /// Its name, for metrics and logs.
        name: Name,
        /// Where queries are posted.
        url: WebUrl,
    }

    /// What is said when nobody answers in time, as code 0.
    struct Fallback {
        /// What the bot says; empty: HTTP 200 with code -50402.
        prompt: String = "\"\"",
        /// Where the caller is transferred.
        transfer: String = "\"\"",
    }
}

choice! {
    /// What is done about a `team_url` outside the networks.
    "choice for a team_url" enum Outside {
        /// The request is refused.
        Reject = "reject",
        /// It is left as it is.
        Pass = "pass",
    }

    /// A kind of callback.
    "kind of event" enum EventKind {
        /// §7.
        CallRecord = "call_record",
        /// §8.
        IntentResult = "intent_result",
        /// §9.
        InboundQuery = "inbound_query",
        /// Anything else.
        Unknown = "unknown",
    }

    /// In what order responders are asked.
    "strategy" enum Strategy {
        /// In order, hedged.
        Priority = "priority",
        /// All at once.
        Race = "race",
    }
}
