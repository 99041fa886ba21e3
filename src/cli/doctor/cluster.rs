//! Whether what replicas share can be used from here: the store and the limits.

use std::time::Duration;

use super::Finding;
use crate::net::connect::client_tls;
use crate::proxy::{RedisFailure, SharedLimitSettings, ask_redis};
use crate::store::{ClusterSettings, Probed, StoreError, probe};

/// Times of events are this host's, and what is too old goes by PostgreSQL's; more than this apart deserves a look.
const APART: Duration = Duration::from_secs(2);

pub(super) async fn look_at_limits(shared: &SharedLimitSettings) -> Finding {
    let url = &shared.url;
    match ask_redis(shared).await {
        Ok(took) => {
            let ms = took.as_secs_f64() * 1000.0;
            Finding::good(format!("limits.shared: {url} answers within {ms:.1} ms"))
        }
        Err(RedisFailure::Slow(_)) => Finding::bad(
            format!("limits.shared: {url} takes longer than limits.shared.timeout"),
            "a Redis nearer by, or a longer timeout: requests wait so long at most",
        ),
        Err(error) => Finding::bad(
            format!("limits.shared: {url}: {error}"),
            "is it up, and are user and password right? meanwhile each gateway keeps to its share of the limits",
        ),
    }
}

pub(super) async fn look(cluster: &ClusterSettings) -> Vec<Finding> {
    let place = cluster.url.place();
    let tls = match cluster
        .url
        .may_use_tls()
        .then(|| client_tls("sslrootcert", cluster.url.ca_file()))
        .transpose()
    {
        Ok(tls) => tls,
        Err(error) => {
            let what = format!("store.postgres: {:#}", anyhow::Error::from(error));
            return vec![Finding::bad(what, "sslrootcert names a file of PEM certificates of authorities")];
        }
    };
    match probe(&cluster.url, tls).await {
        Ok(probed) => found(&place, &probed),
        Err(error) => vec![Finding::bad(format!("store.postgres ({place}): {error}"), way_out(&error))],
    }
}

fn found(place: &str, probed: &Probed) -> Vec<Finding> {
    let what = format!("store.postgres: PostgreSQL {} at {place}", probed.version);
    if !probed.is_new_enough {
        return vec![Finding::bad(what, "the gateway needs PostgreSQL 13 or newer")];
    }
    let mut findings = vec![Finding::good(what)];
    findings.push(match probed.schema {
        _ if !probed.may_make_tables => Finding::bad(
            "store.postgres: this user may make no tables there".into(),
            "GRANT CREATE ON DATABASE … TO the user of the URL; they go into a schema of their own",
        ),
        None => Finding::good("store.postgres: tables will be made in the schema xinyao_gateway".into()),
        Some((version, _)) if probed.is_known_schema() => {
            Finding::good(format!("store.postgres: tables of version {version} are there"))
        }
        Some((version, _)) => Finding::bad(
            format!("store.postgres: tables of version {version} were made by a newer gateway"),
            "upgrade this gateway, as the others have been",
        ),
    });
    let apart = probed.clock_ahead.unsigned_abs();
    let what = format!("store.postgres: its clock is {:.1} s from this host's", apart.as_secs_f64());
    findings.push(if apart > APART {
        Finding::note(what, "set the clocks of both (NTP): retention and retries go by them")
    } else {
        Finding::good(what)
    });
    findings
}

fn way_out(error: &StoreError) -> &'static str {
    let text = error.to_string();
    // Codes of SQLSTATE, which PostgreSQL never translates.
    match ["(28P01)", "(28000)", "(3D000)", "certificate"].iter().position(|known| text.contains(known)) {
        Some(0) => "the password of the URL is not the user's",
        Some(1) => "the server lets this user, from this host, not in: see its pg_hba.conf",
        Some(2) => "that database is not there: CREATE DATABASE it, or name another in the URL",
        Some(3) => {
            "its certificate is not believed: name its authority with ?sslrootcert=FILE, or sslmode=disable in a \
             network that you trust"
        }
        _ => "is it up, and reachable from this host? callbacks would wait on this host until it is",
    }
}
