//! How requests leave for the SaaS.

use std::net::IpAddr;

use crate::config::read::At;
use crate::config::report::Report;
use crate::config::written::{Egress, File, Http2, SourceIps};
use crate::net::{self, EgressSettings};

/// How many addresses the SaaS's whitelist holds (§2.2).
const MAX_ALLOWED_IPS: usize = 5;

/// Settings of connections to the SaaS.
pub(super) fn settings(file: &File, report: &mut Report) -> EgressSettings {
    let (written, upstream) = (&file.egress, &file.upstream);
    check(written, report);
    EgressSettings {
        source_ips: match &*written.source_ips {
            SourceIps::None => net::SourceIps::None,
            SourceIps::Auto => own(file).map_or(net::SourceIps::Auto, |own| net::SourceIps::List(vec![own])),
            SourceIps::List(list) => net::SourceIps::List(values(list)),
        },
        allowed_ips: values(&written.allowed_ips),
        proxy: written.proxy.as_ref().map(|proxy| proxy.0.clone()),
        connect_timeout: upstream.connect_timeout.0,
        idle_timeout: upstream.idle_timeout.0,
        http2: match *upstream.http2 {
            Http2::Auto => net::Http2::Auto,
            Http2::Never => net::Http2::Never,
        },
        ca_file: upstream.ca_file.as_ref().map(|path| path.0.clone()),
    }
}

/// Of several replicas on one host, each of which listens at an allowed address of its own, that of this one.
fn own(file: &File) -> Option<IpAddr> {
    let address = file.listen.proxy.0.ip();
    let allowed = file.egress.allowed_ips.iter().any(|allowed| allowed.value == address);
    (allowed && file.store.postgres.is_some()).then_some(address)
}

fn check(written: &Egress, report: &mut Report) {
    let allowed = &written.allowed_ips;
    if let Some(one_too_many) = allowed.get(MAX_ALLOWED_IPS) {
        let message = format!("{} allowed_ips: the SaaS's whitelist holds at most five", allowed.len());
        report.fault(one_too_many.place, message).help("keep the five that are registered there (§2.2)");
    }
    if !allowed.sound {
        return;
    }
    match &*written.source_ips {
        SourceIps::None => {}
        SourceIps::Auto if allowed.is_empty() => {
            let fault = report.fault(written.source_ips.place, "`auto` has no allowed_ips to choose from");
            fault.help("list the addresses that the SaaS's whitelist has in `egress.allowed_ips`");
        }
        SourceIps::Auto => {}
        SourceIps::List(list) if list.is_empty() && written.source_ips.sound => {
            let fault = report.fault(written.source_ips.place, "a list without an address");
            fault.help("write `none` to let the kernel choose");
        }
        SourceIps::List(list) => list.iter().for_each(|source| check_source(source, allowed, report)),
    }
}

fn check_source(source: &At<IpAddr>, allowed: &[At<IpAddr>], report: &mut Report) {
    if allowed.iter().all(|allowed| allowed.value != source.value) {
        let message = format!("source IP {} is not in `allowed_ips`", source.value);
        let help =
            "the SaaS refuses what comes from elsewhere: register it there, and list it in `allowed_ips`";
        report.fault(source.place, message).help(help);
    }
}

fn values(list: &[At<IpAddr>]) -> Vec<IpAddr> {
    list.iter().map(|address| address.value).collect()
}
