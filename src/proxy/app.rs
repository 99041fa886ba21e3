//! An app as it runs: its rights, its token, its limits.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::in_flight::InFlight;
use super::limits::Limits;
use super::settings::AppSettings;
use super::tenant::Tenants;
use crate::xinyao::{Credential, TargetSet};

/// Label of requests that no app was found for.
pub const NOBODY: &str = "none";

/// Who calls.
pub struct App {
    /// Its name.
    pub name: String,
    /// Where its counts stand in the metrics.
    pub slot: usize,
    /// What signs for it.
    pub credential: Credential,
    /// What it may call.
    pub endpoints: TargetSet,
    /// Whom it may act for.
    pub tenants: Arc<Tenants>,
    /// How much it may call.
    pub limits: Limits,
    /// What it has under way.
    pub in_flight: Arc<InFlight>,
    token: Option<SecretString>,
}

impl App {
    /// As configured; `slot` is where the metrics count it.
    pub fn new(settings: &AppSettings, credential: Credential, slot: usize) -> Self {
        Self {
            name: settings.name.clone(),
            slot,
            credential,
            endpoints: settings.endpoints,
            tenants: Arc::new(Tenants::new(&settings.app_ids)),
            limits: Limits::new(&settings.rate_limits),
            in_flight: InFlight::new(settings.max_in_flight),
            token: settings.token.clone(),
        }
    }

    /// Stands for the caller until admission knows better: it may do nothing.
    pub fn nobody(slot: usize) -> Self {
        Self {
            name: NOBODY.into(),
            slot,
            credential: Credential { apikey: String::new(), apisecret: SecretString::default() },
            endpoints: std::iter::empty().collect(),
            tenants: Arc::new(Tenants::new(&[])),
            limits: Limits::new(&[]),
            in_flight: InFlight::new(0),
            token: None,
        }
    }

    /// Whether `token` is what it must show; any will do where it must show none. Takes as long for a
    /// wrong token as for the right one.
    pub fn accepts(&self, token: Option<&[u8]>) -> bool {
        match (&self.token, token) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wanted), Some(shown)) => wanted.expose_secret().as_bytes().ct_eq(shown).into(),
        }
    }
}
