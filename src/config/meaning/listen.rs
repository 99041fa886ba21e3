//! The listeners: what each may be told, and what they may not share.

use std::net::SocketAddr;

use super::networks;
use crate::config::read::At;
use crate::config::report::Report;
use crate::config::scalars::Address;
use crate::config::written::{self, File, Tls};
use crate::net::{ClientCertificate, ListenSettings, TlsSettings};

/// Shortest secret that is not warned of, bytes.
const SHORT_SECRET_BYTES: usize = 16;

/// Settings of a listener that others call.
pub(super) fn settings(address: SocketAddr, tls: Option<&Tls>, file: &File) -> ListenSettings {
    ListenSettings {
        address,
        trusted_proxies: networks(&file.trusted_proxies),
        proxy_protocol: *file.proxy_protocol,
        header_timeout: file.limits.header_timeout.0,
        max_headers: file.limits.max_headers.size(),
        max_header_bytes: usize::try_from(file.limits.max_header_size.0).unwrap_or(usize::MAX),
        tls: tls.map(tls_settings),
    }
}

fn tls_settings(written: &Tls) -> TlsSettings {
    TlsSettings {
        certificate_file: written.certificate_file.0.clone(),
        key_file: written.key_file.0.clone(),
        client_ca_file: written.client_ca_file.as_ref().map(|path| path.0.clone()),
        client_certificate: match *written.client_certificate {
            written::ClientCertificate::Required => ClientCertificate::Required,
            written::ClientCertificate::Optional => ClientCertificate::Optional,
        },
    }
}

/// Looks at all that has to do with who can reach what.
pub(super) fn check(file: &File, report: &mut Report) {
    let listen = &file.listen;
    overlaps(&[("proxy", &listen.proxy), ("callbacks", &listen.callbacks), ("admin", &listen.admin)], report);
    for (listener, tls) in [("proxy", &listen.proxy_tls), ("callbacks", &listen.callbacks_tls)] {
        if let Some(tls) = &tls.value {
            client_authority(listener, tls, report);
        }
    }
    admin_token(file, report);
    callbacks_key(file, report);
    if *file.proxy_protocol && file.trusted_proxies.is_empty() && file.trusted_proxies.sound {
        let message = "`proxy_protocol` does nothing while `trusted_proxies` is empty";
        let help = "name the networks of the proxies whose PROXY header is to be believed";
        report.warning(file.proxy_protocol.place, message).help(help);
    }
}

fn overlaps(listeners: &[(&str, &At<Address>)], report: &mut Report) {
    for (index, (name, address)) in listeners.iter().enumerate() {
        let other = listeners[..index].iter().find(|(_, other)| overlap(other.0, address.0));
        if let Some((other, _)) = other.filter(|_| address.sound) {
            let message = format!("the {name} listener can't share {} with the {other} listener", address.0);
            report.fault(address.place, message).help("each listener needs a port of its own");
        }
    }
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || any)
}

/// Whoever says that clients show certificates does not want everybody let in.
fn client_authority(listener: &str, tls: &Tls, report: &mut Report) {
    let (authority, wanted) = (&tls.client_ca_file, &tls.client_certificate);
    if wanted.given && authority.is_none() && authority.sound {
        let message =
            format!("`listen.{listener}_tls` asks clients for no certificate: it has no `client_ca_file`");
        let help = "name the authorities that sign clients' certificates in `client_ca_file`";
        report.fault(wanted.place, message).help(help);
    }
}

fn admin_token(file: &File, report: &mut Report) {
    let (address, token) = (&file.listen.admin, &file.admin.token);
    if token.is_none() && token.sound && address.sound && !address.0.ip().is_loopback() {
        let message = format!("`admin.token` is required: {} is not on loopback", address.0);
        let help = "set `admin.token`, or let `listen.admin` be 127.0.0.1:9090";
        report.fault(address.place, message).help(help);
    }
}

fn callbacks_key(file: &File, report: &mut Report) {
    use secrecy::ExposeSecret;

    let (address, keys) = (&file.listen.callbacks, &file.callbacks.key);
    if !keys.0.is_empty() || !keys.sound {
        let short = keys.0.iter().filter(|key| key.value.0.expose_secret().len() < SHORT_SECRET_BYTES);
        for key in short {
            let message = format!("a key of less than {SHORT_SECRET_BYTES} characters can be guessed");
            report.warning(key.place, message).help("make one with `openssl rand -hex 32`");
        }
    } else if !address.0.ip().is_loopback() && address.sound {
        let message = format!("`callbacks.key` is required: {} is not on loopback", address.0);
        let place = if file.callbacks.given { keys.place } else { address.place };
        let help = "it signs callback URLs: set `callbacks.key` to the output of `openssl rand -hex 32`";
        report.fault(place, message).help(help);
    } else {
        let message =
            "without `callbacks.key` anybody who reaches the callbacks listener can make a callback URL";
        report
            .warning(keys.place, message)
            .help("set `callbacks.key`, or ignore this if nothing but this host pushes here");
    }
}
