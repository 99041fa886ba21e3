//! What is said of a certificate's days.

use crate::app::{Certificates, SOON_DAYS};
use crate::config::Config;

use super::doctor::Finding;

/// How long it is still valid.
pub(super) fn left(days: i64) -> String {
    if days < 0 {
        format!("the certificate ran out {} days ago: clients refuse it", -days)
    } else {
        format!("the certificate is valid for {days} more days")
    }
}

/// Whether the listeners' certificates can be used.
pub(super) fn look(config: &Config) -> Vec<Finding> {
    let certificates = match Certificates::load(config) {
        Ok(certificates) => certificates,
        Err(error) => {
            let hint = "the gateway does not start with it; `openssl x509 -noout -text -in FILE` shows a certificate";
            return vec![Finding::bad(format!("certificate: {error:#}"), hint)];
        }
    };
    let one = |(listener, days): (&str, i64)| {
        let what = format!("certificate: listen.{listener}_tls: {}", left(days));
        let hint = "put a new one in the place of its files: it is taken up without a restart";
        match days {
            ..0 => Finding::bad(what, hint),
            0..SOON_DAYS => Finding::note(what, hint),
            _ => Finding::good(what),
        }
    };
    certificates.days_left().map(one).collect()
}
