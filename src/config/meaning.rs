//! From what was written to what it means: values into the rooms' settings, and everything that is wrong
//! only in the light of something else.

mod egress;
mod hub;
mod listen;
mod proxy;

use std::collections::HashMap;

use ipnet::IpNet;
use tracing::level_filters::LevelFilter;

use super::Config;
use super::node::Place;
use super::read::At;
use super::report::{Report, quote};
use super::scalars::Name;
use super::written::{File, Log, LogFormat, LogLevel, Store};
use crate::net::Networks;
use crate::{admin, store, telemetry};

/// What `file` means. Worth something only when `report` has no fault afterwards.
pub(super) fn of(file: &At<File>, report: &mut Report) -> Config {
    listen::check(file, report);
    Config {
        admin: admin::Settings {
            address: file.listen.admin.0,
            token: file.admin.token.as_ref().map(|token| token.0.clone()),
        },
        proxy: proxy::settings(file, report),
        hub: hub::settings(file, report),
        store: store(&file.store, report),
        log: log(&file.log),
        traces: file.tracing_otlp.as_ref().map(|tracing| telemetry::trace::Settings {
            endpoint: tracing.endpoint.0.clone(),
            ratio: tracing.ratio.0,
        }),
        redacted: file.shown.clone(),
    }
}

/// Longest name of a replica, characters.
const MAX_REPLICA_CHARS: usize = 64;

fn store(written: &Store, report: &mut Report) -> store::Settings {
    let replica = &written.replica;
    if replica.chars().count() > MAX_REPLICA_CHARS || replica.chars().any(char::is_control) {
        let fault = report.fault(replica.place, "a replica's name has at most 64 characters, on one line");
        fault.help("the default is the host's name");
    }
    store::Settings {
        path: written.path.0.clone(),
        retention: written.retention.0,
        max_size_bytes: written.max_size.0,
        cluster: written
            .postgres
            .as_ref()
            .map(|url| store::ClusterSettings { url: url.0.clone(), replica: replica.value.as_str().into() }),
    }
}

fn log(written: &Log) -> telemetry::Settings {
    telemetry::Settings {
        format: match *written.format {
            LogFormat::Text => telemetry::Format::Text,
            LogFormat::Json => telemetry::Format::Json,
        },
        level: match *written.level {
            LogLevel::Trace => LevelFilter::TRACE,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Error => LevelFilter::ERROR,
        },
        access: *written.access,
        mask_numbers: *written.mask_numbers,
    }
}

fn networks(written: &At<Vec<At<IpNet>>>) -> Networks {
    written.iter().map(|network| network.value).collect()
}

/// Reports names that are given twice.
fn unique<'w>(what: &str, names: impl Iterator<Item = &'w At<Name>>, report: &mut Report) {
    let mut seen: HashMap<&str, Place> = HashMap::new();
    for name in names.filter(|name| name.sound) {
        match seen.get(name.0.as_str()) {
            None => {
                seen.insert(&name.0, name.place);
            }
            Some(first) => {
                let line = report.line(*first);
                let fault = report.fault(name.place, format!("duplicate {what} {}", quote(&name.0)));
                fault.help(format!("line {line} has that name already; each {what} needs its own"));
            }
        }
    }
}
