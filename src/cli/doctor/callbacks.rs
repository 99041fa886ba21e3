//! Whether the SaaS can reach the callbacks listener, as far as that can be told from this side.

use std::net::IpAddr;

use http::Uri;

use super::{DEADLINE, Finding};
use crate::hub;
use crate::net::resolve::Name;

pub(super) async fn look(hub: &hub::Settings) -> Vec<Finding> {
    let mut findings = vec![key(hub)];
    findings.push(public_url(hub).await);
    findings
}

fn key(hub: &hub::Settings) -> Finding {
    if hub.keys.is_empty() {
        return Finding::note(
            "callbacks: no key signs callback URLs".to_owned(),
            "anybody who reaches the listener can post callbacks: set callbacks.key (openssl rand -hex 32)",
        );
    }
    Finding::good(format!("callbacks: URLs are signed; keys that verify them: {}", hub.keys.len()))
}

async fn public_url(hub: &hub::Settings) -> Finding {
    let url = &hub.public_url;
    let uri: Option<Uri> = url.parse().ok();
    let Some((host, port)) = uri.as_ref().and_then(place) else {
        return Finding::bad(
            format!("callbacks: {url} is no URL"),
            "set callbacks.public_url to how the SaaS reaches the listener, as in https://callbacks.example.com",
        );
    };
    let addresses = match Name::watch(&host, port).first(DEADLINE).await {
        Ok(addresses) => addresses,
        Err(error) => {
            return Finding::bad(
                format!("callbacks: {url}: {error}"),
                "the SaaS looks callbacks.public_url up in public DNS: make the name known there",
            );
        }
    };
    let ips: Vec<IpAddr> = addresses.iter().map(std::net::SocketAddr::ip).collect();
    let listed: Vec<String> = ips.iter().map(ToString::to_string).collect();
    let what = format!("callbacks: the SaaS is told {url}, which is {}", listed.join(", "));
    if ips.iter().any(|ip| is_public(*ip)) {
        return Finding::good(what);
    }
    if ips.iter().all(IpAddr::is_loopback) {
        return Finding::note(
            what,
            "only this host reaches that: set callbacks.public_url to what the SaaS can reach (fine with the sandbox)",
        );
    }
    Finding::note(what, "no public address: fine only if the SaaS has a way into that network")
}

fn place(uri: &Uri) -> Option<(String, u16)> {
    let host = uri.host()?.trim_matches(['[', ']']).to_owned();
    let port = if uri.scheme_str()? == "https" { 443 } else { 80 };
    Some((host, uri.port_u16().unwrap_or(port)))
}

/// Not loopback, and in none of the networks that are everybody's own (RFC 1918, 3927, 4193, 4291).
fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => !(ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified()),
        IpAddr::V6(ip) => {
            !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_everybodys_own_is_not_public() {
        for (ip, public) in [
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("::ffff:10.0.0.1", false),
            ("fd00::1", false),
            ("::1", false),
            ("101.132.237.99", true),
            ("2001:4860::1", true),
        ] {
            assert_eq!(is_public(ip.parse().unwrap()), public, "{ip}");
        }
    }
}
