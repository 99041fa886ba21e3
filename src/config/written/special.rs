//! Values that may be written in more than one form.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::config::node::{Content, Node};
use crate::config::read::{At, Reader, Value};
use crate::config::record::record;
use crate::config::report::quote;
use crate::config::scalars::{CollectorUrl, Count, Rate, Ratio, RedisUrl, Share, Timeout};

/// Which local addresses connections leave from.
#[derive(Debug, Clone, Default)]
pub(in crate::config) enum SourceIps {
    /// Whatever the kernel chooses.
    #[default]
    None,
    /// This host's that are allowed.
    Auto,
    /// These.
    List(Vec<At<IpAddr>>),
}

impl Value for SourceIps {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<(Self, Json)> {
        let Content::Scalar(scalar) = &node.content else {
            let (list, shown) = Vec::read(node, reader)?;
            return Some((Self::List(list), shown));
        };
        match scalar.text.as_str() {
            "none" => Some((Self::None, "none".into())),
            "auto" => Some((Self::Auto, "auto".into())),
            _ => {
                let message = format!("{} is neither none nor auto nor a list", quote(scalar.written()));
                let fault = reader.report.fault(node.place, message);
                fault.help("write `none`, `auto`, or addresses in brackets: [203.0.113.7]");
                None
            }
        }
    }

    fn schema() -> Json {
        let words = json!({"enum": ["none", "auto"]});
        let variable = json!({"type": "string", "pattern": r"\$\{"});
        let title = "none, auto, or a list of IP addresses";
        json!({"title": title, "anyOf": [words, variable, Vec::<At<IpAddr>>::schema()]})
    }
}

record! {
    /// A rate with its burst, and how long who is over it may wait.
    struct RateAndBurst {
        /// The sustained rate.
        limit: Rate,
        /// How many at once; unless given, one second's worth, at least 1.
        burst: Option<Count> = "",
        /// How long a request may wait for its turn before it is refused; `0s`: not at all.
        max_wait: Duration = "1s",
    }
}

/// How long a request waits where only the rate is written.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// A rate, or a rate with its burst and wait.
#[derive(Debug, Clone, Default)]
pub(in crate::config) struct GlobalRate {
    /// The sustained rate.
    pub(in crate::config) rate: Rate,
    /// How many at once.
    pub(in crate::config) burst: Option<Count>,
    /// How long a request may wait.
    pub(in crate::config) max_wait: Duration,
}

impl Value for GlobalRate {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<(Self, Json)> {
        if let Content::Map(_) = &node.content {
            let (both, shown) = RateAndBurst::read(node, reader)?;
            return Some((Self { rate: *both.limit, burst: *both.burst, max_wait: *both.max_wait }, shown));
        }
        let (rate, shown) = Rate::read(node, reader)?;
        Some((Self { rate, burst: None, max_wait: MAX_WAIT }, shown))
    }

    fn schema() -> Json {
        json!({"title": "a rate, or {limit, burst, max_wait}", "anyOf": [Rate::schema(), RateAndBurst::schema()]})
    }
}

record! {
    /// The Redis that limits are shared through, and what holds while it does not answer.
    struct RedisAndFallback {
        /// Which one: `redis://user:password@host:6379/0`, or `rediss://` for TLS.
        url: RedisUrl,
        /// How long a request waits for it at most.
        timeout: Timeout = "20ms",
        /// What each process lets in of each limit while Redis does not answer: above 0, at most 1. One by the
        /// number of replicas keeps the sum where it was.
        fallback_share: Share = "0.5",
    }
}

/// What holds where only the URL is written.
const REDIS_TIMEOUT: Duration = Duration::from_millis(20);
const FALLBACK_SHARE: f64 = 0.5;

/// A Redis, or a Redis with what holds without it.
#[derive(Debug, Clone)]
pub(in crate::config) struct SharedLimits {
    /// Which one.
    pub(in crate::config) url: RedisUrl,
    /// How long a request waits for it.
    pub(in crate::config) timeout: Duration,
    /// What each process has of a limit without it.
    pub(in crate::config) fallback_share: f64,
}

impl Value for SharedLimits {
    const IN_FILE: bool = true;

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<(Self, Json)> {
        if let Content::Map(_) = &node.content {
            let (all, shown) = RedisAndFallback::read(node, reader)?;
            let RedisAndFallback { url, timeout, fallback_share } = all;
            return Some((
                Self { url: url.value, timeout: timeout.0, fallback_share: fallback_share.0 },
                shown,
            ));
        }
        let (url, shown) = RedisUrl::read(node, reader)?;
        Some((Self { url, timeout: REDIS_TIMEOUT, fallback_share: FALLBACK_SHARE }, shown))
    }

    fn schema() -> Json {
        let title = "the URL of a Redis, or {url, timeout, fallback_share}";
        json!({"title": title, "anyOf": [RedisUrl::schema(), RedisAndFallback::schema()]})
    }
}

record! {
    /// Where traces go, and how many of them.
    struct CollectorAndRatio {
        /// The collector: its URL, to which `/v1/traces` is added when it has no path.
        endpoint: CollectorUrl,
        /// How many of the traces that begin here are sent, from 0 to 1. Of those that an app began, all that
        /// the app keeps.
        ratio: Ratio = "1",
    }
}

/// A collector, or a collector with a ratio.
#[derive(Debug, Clone)]
pub(in crate::config) struct Tracing {
    /// Where spans go.
    pub(in crate::config) endpoint: CollectorUrl,
    /// How many traces that begin here are kept.
    pub(in crate::config) ratio: Ratio,
}

impl Value for Tracing {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<(Self, Json)> {
        if let Content::Map(_) = &node.content {
            let (both, shown) = CollectorAndRatio::read(node, reader)?;
            return Some((Self { endpoint: both.endpoint.value, ratio: *both.ratio }, shown));
        }
        let (endpoint, shown) = CollectorUrl::read(node, reader)?;
        Some((Self { endpoint, ratio: Ratio(1.0) }, shown))
    }

    fn schema() -> Json {
        let title = "the URL of a collector, or {endpoint, ratio}";
        json!({"title": title, "anyOf": [CollectorUrl::schema(), CollectorAndRatio::schema()]})
    }
}
