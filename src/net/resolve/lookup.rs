//! One look-up: the hosts file first, then the system's DNS servers.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::{Duration, Instant};

use hickory_resolver::config::{
    LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver};

/// For how long an entry of the hosts file is believed: it has no TTL, and people edit it.
const HOSTS_TTL: Duration = Duration::from_secs(30);
/// Two tries of this much fit into a look-up's deadline. So a firewall that swallows AAAA queries only
/// slows a look-up down: after both tries the A records alone are the answer.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);

/// The addresses of a name, and for how long.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ttl: Duration,
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupFailure {
    #[error(transparent)]
    Dns(#[from] NetError),
    #[error("DNS did not answer within {0:?}")]
    Timeout(Duration),
    #[error("DNS knows no address of it")]
    NoAddresses,
}

/// Something that can look a name up. Tests have their own.
pub(super) trait Lookup: Send + Sync + 'static {
    fn look_up(&self, host: &str) -> impl Future<Output = Result<Answer, LookupFailure>> + Send;
}

/// This host's hosts file and resolv.conf, read anew for each look-up: an edit of either is followed,
/// and no cache of the resolver's own stands between the DNS servers' TTLs and ours.
pub(super) struct System;

impl Lookup for System {
    async fn look_up(&self, host: &str) -> Result<Answer, LookupFailure> {
        let hosts = Hosts::from_system().unwrap_or_default();
        if let Some(answer) = in_hosts(&hosts, host) {
            return Ok(answer);
        }
        let (config, options) = hickory_resolver::system_conf::read_system_conf().unwrap_or_else(|error| {
            tracing::debug!(%error, "no usable resolv.conf; the name server of this host is asked");
            local_server()
        });
        ask(config, options, host).await
    }
}

/// What resolv.conf(5) says of a file without name servers.
fn local_server() -> (ResolverConfig, ResolverOpts) {
    let server = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
    (ResolverConfig::from_name_servers(vec![server]), ResolverOpts::default())
}

/// As nsswitch's `files` before `dns`: what the file names of either family is the whole answer, so that
/// a pinned IPv4 address does not wait for a DNS server's word on IPv6.
fn in_hosts(hosts: &Hosts, host: &str) -> Option<Answer> {
    let name = Name::from_str(&host.to_ascii_lowercase()).ok()?;
    let addresses: Vec<IpAddr> = [RecordType::A, RecordType::AAAA]
        .into_iter()
        .filter_map(|kind| hosts.lookup_static_host(&Query::query(name.clone(), kind)))
        .flat_map(|found| {
            found.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>()
        })
        .collect();
    (!addresses.is_empty()).then_some(Answer { addresses, ttl: HOSTS_TTL })
}

/// A and AAAA records, in the servers' order. `localhost` and its kin never leave this host (RFC 6761).
pub(super) async fn ask(
    config: ResolverConfig,
    mut options: ResolverOpts,
    host: &str,
) -> Result<Answer, LookupFailure> {
    options.use_hosts_file = ResolveHosts::Never;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // A resolver that is made anew knows no statistics to order by.
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    options.timeout = options.timeout.min(TRY_TIMEOUT);
    options.attempts = 1;
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    let found = builder.build()?.lookup_ip(host).await?;
    let ttl = found.valid_until().saturating_duration_since(Instant::now());
    Ok(Answer { addresses: found.iter().collect(), ttl })
}
