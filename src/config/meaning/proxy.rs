//! The request's way: apps, credentials, limits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;

use super::{egress, listen, networks, unique};
use crate::config::read::{At, Named, nearest};
use crate::config::report::Report;
use crate::config::scalars::{Count, EndpointName, Rate, Secret};
use crate::config::written::{App, Checks, Credential, File, Limits, Priority, RateLimit, Upstream};
use crate::proxy;
use crate::xinyao::{self, Target, TargetSet};

/// Settings of the proxy.
pub(super) fn settings(file: &File, report: &mut Report) -> proxy::Settings {
    let apps = &file.apps;
    unique("app", apps.iter().map(|app| &app.name), report);
    if apps.is_empty() && apps.sound {
        let help = "add an entry to `apps` for each internal app, with the networks that it calls from";
        report.warning(apps.place, "no apps: every request will be answered with 403").help(help);
    }
    proxy::Settings {
        listen: listen::settings(file.listen.proxy.0, file.listen.proxy_tls.as_ref(), file),
        upstream: upstream(&file.upstream),
        egress: egress::settings(file, report),
        credentials: credentials(&file.credentials, report),
        next_credentials: next_credentials(&file.credentials, apps, report),
        apps: apps.iter().map(|written| app(written, &file.credentials, report)).collect(),
        limits: limits(&file.limits),
        spool: spool(&file.store.path.0),
    }
}

fn upstream(written: &Upstream) -> proxy::UpstreamSettings {
    proxy::UpstreamSettings {
        base_url: written.base_url.0.clone(),
        recordings_url: written.recordings_url.0.clone(),
        extra_paths: written.extra_paths.iter().map(|prefix| prefix.0.clone()).collect(),
        response_timeout: written.response_timeout.0,
        max_in_flight: written.max_in_flight.size(),
    }
}

fn limits(written: &Limits) -> proxy::LimitSettings {
    proxy::LimitSettings {
        global: proxy::GlobalRate {
            rate: rate(written.global.rate, written.global.burst),
            max_wait: written.global.max_wait,
        },
        shared: written.shared.as_ref().map(|shared| proxy::SharedLimitSettings {
            url: shared.url.0.clone(),
            timeout: shared.timeout,
            fallback_share: shared.fallback_share,
        }),
        max_body_bytes: written.max_body.0,
        body_idle_timeout: written.body_idle_timeout.0,
    }
}

/// Beside the store: there the process may write, and there is a disk under it.
fn spool(store: &Path) -> PathBuf {
    let folder = store.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_owned()
}

fn rate(rate: Rate, burst: Option<Count>) -> proxy::Rate {
    proxy::Rate {
        count: rate.count,
        per: rate.per,
        burst: burst.map_or_else(|| rate.second(), |burst| burst.0),
    }
}

fn credentials(written: &At<Named<Credential>>, report: &mut Report) -> BTreeMap<String, xinyao::Credential> {
    if written.is_empty() && written.sound {
        let help = "credentials: { default: { apikey: ${XINYAO_APIKEY}, apisecret: ${XINYAO_APISECRET} } }";
        report.fault(written.place, "no credentials: requests can't be signed").help(help);
    }
    let meant = written.iter();
    meant.map(|(name, one)| (name.clone(), credential(&one.apikey, &one.apisecret, report))).collect()
}

fn credential(apikey: &At<Secret>, apisecret: &At<Secret>, report: &mut Report) -> xinyao::Credential {
    let text = apikey.0.expose_secret();
    if !text.bytes().all(|c| c.is_ascii_graphic() && c != b':') {
        let fault = report.fault(apikey.place, "an apikey has no spaces and no `:` in it");
        fault.help("it stands in `Authorization: apikey:timestamp:digest` (§3)");
    }
    xinyao::Credential { apikey: text.to_owned(), apisecret: apisecret.0.clone() }
}

fn next_credentials(
    written: &At<Named<Credential>>,
    apps: &[At<App>],
    report: &mut Report,
) -> BTreeMap<String, proxy::NextCredential> {
    let mut next = BTreeMap::new();
    for (name, one) in &written.value {
        let Some(written) = &one.next.value else { continue };
        let of_an_app = || {
            let signed_for = apps.iter().filter(|app| app.credential.value == *name);
            signed_for.flat_map(|app| &app.app_ids.value).next().map(|id| id.value.clone())
        };
        let app_id = written.app_id.value.clone().or_else(of_an_app);
        if app_id.is_none() && one.next.sound {
            report
                .warning(one.next.place, "no tenant is known to prove this credential with")
                .help("the SaaS may want one in the call that proves it: give `app_id`");
        }
        let credential = credential(&written.apikey, &written.apisecret, report);
        next.insert(name.clone(), proxy::NextCredential { credential, app_id });
    }
    next
}

fn app(written: &App, credentials: &Named<Credential>, report: &mut Report) -> proxy::AppSettings {
    if written.networks.is_empty() && written.networks.sound {
        let fault = report.warning(written.networks.place, "no networks: nothing is ever this app");
        fault.help("list the CIDRs or addresses that it calls from");
    }
    known_credential(&written.credential, credentials, report);
    proxy::AppSettings {
        name: written.name.0.clone(),
        networks: networks(&written.networks),
        token: written.token.as_ref().map(|token| token.0.clone()),
        credential: written.credential.value.clone(),
        app_ids: written.app_ids.iter().map(|id| id.value.clone()).collect(),
        endpoints: targets(&written.endpoints),
        rate_limits: written.rate_limits.iter().map(|limit| rate_limit(limit)).collect(),
        max_in_flight: written.max_in_flight.size(),
        outnum_duplicate_window: *written.outnum_duplicate_window,
        checks: match *written.checks {
            Checks::Off => proxy::Checks::Off,
            Checks::Report => proxy::Checks::Report,
            Checks::Enforce => proxy::Checks::Enforce,
        },
        weight: written.weight.0,
        priority: written.priority.map(|priority| match priority {
            Priority::Interactive => proxy::Priority::Interactive,
            Priority::Batch => proxy::Priority::Batch,
        }),
    }
}

fn known_credential(name: &At<String>, credentials: &Named<Credential>, report: &mut Report) {
    if !name.sound || credentials.is_empty() || credentials.contains_key(&name.value) {
        return;
    }
    let names = || credentials.keys().map(String::as_str);
    let hint = nearest(name, names()).map_or(String::new(), |meant| format!("; did you mean `{meant}`?"));
    let known = names().collect::<Vec<_>>().join(", ");
    let message = format!("no credential is named {}{hint}", report.quoted(name.place));
    report.fault(name.place, message).help(format!("there is: {known}"));
}

fn rate_limit(written: &RateLimit) -> proxy::RateLimit {
    proxy::RateLimit {
        rate: rate(*written.limit, *written.burst),
        endpoints: targets(&written.endpoints),
        max_wait: *written.max_wait,
    }
}

fn targets(written: &[At<EndpointName>]) -> TargetSet {
    if written.iter().any(|name| name.value == EndpointName::All) {
        return TargetSet::ALL;
    }
    let named = written.iter().filter_map(|name| match name.value {
        EndpointName::All => None,
        EndpointName::One(target) => Some(target),
    });
    named.collect::<Vec<Target>>().into_iter().collect()
}
