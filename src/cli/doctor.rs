//! `doctor`: whether the gateway can do its work from here; a line and a hint for each thing it needs.

mod callbacks;
mod cluster;
mod next_step;
mod store;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::{Failed, certificate, print};
use crate::config::Config;
use crate::net::connect::{Connected, Connector, Protocol, compatible};
use crate::net::resolve::Name;
use crate::net::{EgressSettings, Origin};
use crate::proxy::parse_date;
use crate::xinyao::signature::TOLERANCE;

const DEADLINE: Duration = Duration::from_secs(10);

/// What was found out about one thing.
pub(super) struct Finding {
    ok: bool,
    what: String,
    hint: Option<&'static str>,
}

impl Finding {
    pub(super) fn good(what: String) -> Self {
        Self { ok: true, what, hint: None }
    }

    pub(super) fn bad(what: String, hint: &'static str) -> Self {
        Self { ok: false, what, hint: Some(hint) }
    }

    pub(super) fn note(what: String, hint: &'static str) -> Self {
        Self { ok: true, what, hint: Some(hint) }
    }

    fn tell(&self) -> Result<(), Failed> {
        print(&format!("{}  {}\n", if self.ok { "ok  " } else { "FAIL" }, self.what))?;
        self.hint.map_or(Ok(()), |hint| print(&format!("      {hint}\n")))
    }
}

/// Looks at everything, tells it, and fails if anything is amiss.
pub(super) async fn doctor(config: Config) -> Result<(), Failed> {
    let mut well = true;
    let mut tell = |finding: &Finding| {
        well &= finding.ok;
        finding.tell()
    };
    match Connector::new(&config.proxy.egress) {
        Ok(connector) => {
            let saas = &config.proxy.upstream;
            for (key, origin) in
                [("upstream.base_url", &saas.base_url), ("upstream.recordings_url", &saas.recordings_url)]
            {
                for finding in upstream(&connector, key, origin, &config.proxy.egress).await {
                    tell(&finding)?;
                }
            }
        }
        Err(error) => tell(&Finding::bad(
            format!("egress: {:#}", anyhow::Error::from(error)),
            "no connection can be made until this is put right; `ip address` lists this host's",
        ))?,
    }
    for finding in callbacks::look(&config.hub).await {
        tell(&finding)?;
    }
    for finding in store::look(&config.store) {
        tell(&finding)?;
    }
    if let Some(cluster) = &config.store.cluster {
        for finding in cluster::look(cluster).await {
            tell(&finding)?;
        }
    }
    if let Some(shared) = &config.proxy.limits.shared {
        tell(&cluster::look_at_limits(shared).await)?;
    }
    for finding in certificate::look(&config) {
        tell(&finding)?;
    }
    if well { Ok(()) } else { Err(Failed::Told) }
}

async fn upstream(
    connector: &Connector,
    key: &'static str,
    origin: &Origin,
    egress: &EgressSettings,
) -> Vec<Finding> {
    let key = if egress.proxy.is_some() { "egress.proxy" } else { key };
    let (host, port) = connector.dial(origin);
    let addresses = match Name::watch(&host, port).first(DEADLINE).await {
        Ok(addresses) => addresses,
        Err(error) => {
            return vec![Finding::bad(format!("DNS ({key}): {error}"), next_step::for_name(key))];
        }
    };
    let listed: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    let mut findings = vec![Finding::good(format!("DNS: {host} is {}", listed.join(", ")))];
    for &source in connector.sources() {
        for &address in addresses.iter().filter(|address| compatible(source, **address)) {
            findings.extend(route(connector, origin, address, source, egress).await);
        }
    }
    findings
}

async fn route(
    connector: &Connector,
    origin: &Origin,
    address: SocketAddr,
    source: Option<IpAddr>,
    egress: &EgressSettings,
) -> Vec<Finding> {
    let from = source.map_or_else(String::new, |source| format!(" from {source}"));
    let connected = match connector.connect(origin, address, source).await {
        Ok(connected) => connected,
        Err(error) => {
            let hint = next_step::for_connection(&error);
            return vec![Finding::bad(format!("connect {origin} at {address}{from}: {error}"), hint)];
        }
    };
    let local = connected.stream.tcp().local_addr().map(|local| local.ip());
    let mut findings = vec![Finding::good(format!("TCP and TLS: {origin} at {address}{from}"))];
    if let Ok(local) = local {
        findings.push(egress_ip(local, egress));
    }
    findings.push(match tokio::time::timeout(DEADLINE, clock(connected, origin)).await {
        Ok(Ok(finding)) => finding,
        Ok(Err(error)) => {
            let hint = "no HTTP server of the SaaS's is there: check the URL, and what is in between";
            Finding::bad(format!("clock ({origin}): {error:#}"), hint)
        }
        Err(_) => {
            let hint =
                "it accepts connections and is silent: the SaaS, or what is in between, is stuck; try again";
            Finding::bad(format!("clock ({origin}): no answer within {DEADLINE:?}"), hint)
        }
    });
    findings
}

fn egress_ip(local: IpAddr, egress: &EgressSettings) -> Finding {
    let what = format!("egress IP: connections leave this host from {local}");
    if egress.allowed_ips.is_empty() {
        return Finding::note(
            what,
            "egress.allowed_ips is empty: list the addresses registered with the SaaS",
        );
    }
    if egress.proxy.is_some() || egress.allowed_ips.contains(&local) {
        return Finding::good(what);
    }
    Finding::note(
        what,
        "it is not in egress.allowed_ips: fine behind NAT if the NAT's address is, else set egress.source_ips",
    )
}

/// Compares the server's clock with this host's.
async fn clock(connected: Connected, origin: &Origin) -> anyhow::Result<Finding> {
    let request = Request::head("/").header("host", origin.authority()).body(Empty::<Bytes>::new())?;
    let io = TokioIo::new(connected.stream);
    let answer = match connected.protocol {
        Protocol::Http1 => {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            tokio::spawn(connection);
            sender.send_request(request).await?
        }
        Protocol::Http2 => {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            let request = Request::head(format!("{origin}/")).body(Empty::<Bytes>::new())?;
            sender.send_request(request).await?
        }
    };
    let date = answer.headers().get(http::header::DATE).context("the answer has no Date field")?;
    let Some(theirs) = parse_date(date.as_bytes()) else { bail!("the answer's Date field is no date") };
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let skew = Duration::from_secs(theirs.abs_diff(ours));
    let what = format!("clock: {} s from {origin}'s", skew.as_secs());
    Ok(match skew {
        skew if skew > TOLERANCE => Finding::bad(
            what,
            "the SaaS refuses signatures that are over 5 minutes off; the gateway makes up for it, but set this \
             host's clock: is NTP at work (timedatectl)?",
        ),
        skew if skew > Duration::from_secs(30) => Finding::note(what, "set this host's clock (NTP)"),
        _ => Finding::good(what),
    })
}
