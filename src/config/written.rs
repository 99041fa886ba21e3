//! The file as written: every key with its text, type and default. These doc comments are what users
//! read: the JSON Schema and `docs/configuration.md` are made of them.

mod apps;
mod callbacks;
mod gateway;
mod special;

use std::net::IpAddr;

use ipnet::IpNet;

use super::read::{At, Named};
use super::record::record;
use super::scalars::{
    Address, BaseUrl, Count, FilePath, OriginUrl, PathPrefix, ProxyUrl, Secret, Size, Timeout, choice,
};

pub(super) use apps::{App, Checks, Priority, RateLimit};
pub(super) use callbacks::{Callbacks, EventKind, Inbound, Outside, Strategy, Subscriber, Where};
pub(super) use gateway::{Log, LogFormat, LogLevel, Store};
pub(super) use special::{GlobalRate, SharedLimits, SourceIps, Tracing};

record! {
    /// Everything.
    struct File {
        /// Where the three listeners listen.
        listen: Listen = "{}",
        /// The operators' listener.
        admin: Admin = "{}",
        /// Networks of the proxies in front of the proxy and callbacks listeners: from these peers,
        /// `X-Forwarded-For` and `Forwarded` (and the PROXY protocol, if `proxy_protocol` is on) are believed.
        trusted_proxies: Vec<At<IpNet>> = "[]",
        /// Whether trusted proxies begin each connection with a PROXY protocol header, v1 or v2.
        proxy_protocol: bool = "false",
        /// How internal subscribers reach the proxy listener; links that `enrich` makes begin with it.
        proxy_url: BaseUrl = "http://localhost:8080",
        /// The SaaS.
        upstream: Upstream = "{}",
        /// How requests leave for the SaaS.
        egress: Egress = "{}",
        /// Keys and secrets that the SaaS gave out, by names of your choice. At least one is needed.
        credentials: Named<Credential> = "{}",
        /// Who may call. The first app that matches a request's address and token wins; when none does, the
        /// answer is 403.
        apps: Vec<At<App>> = "[]",
        /// Limits that hold for all apps.
        limits: Limits = "{}",
        /// What the SaaS pushes.
        callbacks: Callbacks = "{}",
        /// Who gets what the SaaS pushed.
        subscribers: Vec<At<Subscriber>> = "[]",
        /// Who answers when the SaaS asks what to say to an inbound call. The first entry whose apps match serves.
        inbound_query: Vec<At<Inbound>> = "[{}]",
        /// Where callbacks are kept.
        store: Store = "{}",
        /// Logs.
        log: Log = "{}",
        /// An OpenTelemetry collector that traces go to, by OTLP over HTTP: its URL, or `{endpoint, ratio}`. Empty: none.
        tracing_otlp: Option<Tracing> = "",
    }

    /// Where the three listeners listen.
    struct Listen {
        /// For apps, with unsigned requests.
        proxy: Address = "0.0.0.0:8080",
        /// For the SaaS. Off loopback, `callbacks.key` is required.
        callbacks: Address = "0.0.0.0:8081",
        /// For operators and Prometheus. Off loopback, `admin.token` is required.
        admin: Address = "127.0.0.1:9090",
        /// TLS on the proxy listener; empty: none.
        proxy_tls: Option<Tls> = "",
        /// TLS on the callbacks listener; empty: none.
        callbacks_tls: Option<Tls> = "",
    }

    /// TLS on a listener. The files are looked at every second, and taken up when they have changed and are sound.
    struct Tls {
        /// The certificate and its issuers' below it, in PEM.
        certificate_file: FilePath,
        /// Its private key, in PEM.
        key_file: FilePath,
        /// A PEM bundle of the authorities that sign clients' certificates; empty: clients are asked for none.
        client_ca_file: Option<FilePath> = "",
        /// Whether clients have to show a certificate of these authorities: `required`, or `optional` (who shows one must
        /// show a good one).
        client_certificate: ClientCertificate = "required",
    }

    /// The operators' listener.
    struct Admin {
        /// When set, everything but `/healthz` and `/readyz` wants `Authorization: Bearer` with it.
        token: Option<Secret> = "",
    }

    /// The SaaS.
    struct Upstream {
        /// Its API.
        base_url: OriginUrl = "https://api.xinyaoai.com",
        /// Where recordings are streamed from: `GET /coeus/…`, the `record_url` of a call record.
        recordings_url: OriginUrl = "https://coeus.xinyaoai.com",
        /// Further path prefixes to let through: endpoints that the SaaS has and this gateway does not know yet.
        extra_paths: Vec<At<PathPrefix>> = "[]",
        /// To a connection that is ready for a request, TLS included.
        connect_timeout: Timeout = "3s",
        /// To the head of the answer, all attempts together.
        response_timeout: Timeout = "30s",
        /// How long an unused connection is kept.
        idle_timeout: Timeout = "60s",
        /// Whether HTTP/2 is spoken: `auto` when the SaaS chooses it (ALPN), or `never`.
        http2: Http2 = "auto",
        /// A PEM bundle of certificate authorities that are trusted beside the system's.
        ca_file: Option<FilePath> = "",
        /// Most requests under way; past it, 503 `overloaded` at once.
        max_in_flight: Count = "1024",
    }

    /// How requests leave for the SaaS.
    struct Egress {
        /// The addresses registered in the SaaS's whitelist, at most five (§2.2).
        allowed_ips: Vec<At<IpAddr>> = "[]",
        /// Which local addresses connections leave from: `none` (whatever the kernel chooses), `auto` (those
        /// of this host's that are in `allowed_ips`), or a list, each of them in `allowed_ips`.
        source_ips: SourceIps = "none",
        /// `http://host:port` (CONNECT) or `socks5://host:port`, when the whitelisted address belongs to a proxy.
        /// `source_ips` then choose the way to it.
        proxy: Option<ProxyUrl> = "",
    }

    /// A key and secret that the SaaS gave out.
    struct Credential {
        /// The apikey.
        apikey: Secret,
        /// The apisecret. It never leaves the gateway.
        apisecret: Secret,
        /// What takes this credential's place, once the SaaS has accepted it on a call that only reads.
        next: Option<NextCredential> = "",
    }

    /// A credential that is to take over.
    struct NextCredential {
        /// The apikey.
        apikey: Secret,
        /// The apisecret.
        apisecret: Secret,
        /// The tenant whose tasks are asked for to prove it; unless given, the first of the `app_ids` of the apps
        /// that the credential signs for.
        app_id: Option<String> = "",
    }

    /// Limits that hold for all apps.
    struct Limits {
        /// All apps together: a rate, or `{limit, burst, max_wait}`. When it is short, or the SaaS answers 429 or
        /// 503, requests wait for their turn: the apps by `weight`, `interactive` ones first.
        global: GlobalRate = "2000/s",
        /// The Redis that all replicas share their limits through: its URL, or `{url, timeout, fallback_share}`.
        /// Empty: each process keeps its own.
        shared: Option<SharedLimits> = "",
        /// Largest body; past it, 413. Uploads are streamed, never held in memory.
        max_body: Size = "64MiB",
        /// Most header fields of a request; past it, 431.
        max_headers: Count = "100",
        /// Largest head of a request; past it, 431.
        max_header_size: Size = "64KiB",
        /// From a connection's first byte to the end of a request's head.
        header_timeout: Timeout = "10s",
        /// Longest pause between two parts of a body, the client's or the upstream's.
        body_idle_timeout: Timeout = "30s",
    }
}

choice! {
    /// Whether clients have to show a certificate.
    "client certificate choice" enum ClientCertificate {
        /// Who has none is refused.
        Required = "required",
        /// Who shows one must show a good one.
        Optional = "optional",
    }

    /// Whether HTTP/2 is spoken.
    "protocol choice" enum Http2 {
        /// When the SaaS chooses it.
        Auto = "auto",
        /// HTTP/1.1 only.
        Never = "never",
    }
}
