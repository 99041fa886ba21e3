//! An app as it runs: its rights, its token, its limits.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::global::Flow;
use super::in_flight::InFlight;
use super::limits::Limits;
use super::settings::{AppSettings, Checks, Priority};
use super::shared::Shared;
use super::tenant::Tenants;
use crate::xinyao::{Credential, Target, TargetSet};

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
    pub limits: Arc<Limits>,
    /// What it has under way.
    pub in_flight: Arc<InFlight>,
    /// How long the same numbers for the same task are held back; zero: they are not.
    pub outnum_duplicate_window: Duration,
    /// What is done about requests that the SaaS would refuse.
    pub checks: Checks,
    /// The `RateLimit-Policy` field of answers, by target.
    pub policies: [Option<HeaderValue>; Target::COUNT],
    weight: u32,
    priority: Option<Priority>,
    token: Option<SecretString>,
}

impl App {
    /// As configured; `slot` is where the metrics count it. Its limits may be `shared` with other replicas. What is
    /// counted of the app goes on from `earlier`.
    pub fn new(
        settings: &AppSettings,
        credential: Credential,
        slot: usize,
        shared: Option<&Arc<Shared>>,
        earlier: Option<&Self>,
    ) -> Self {
        let limits = match shared {
            Some(shared) => {
                Limits::shared(&settings.rate_limits, &settings.name, shared, earlier.map(|app| &*app.limits))
            }
            None => Limits::new(&settings.rate_limits),
        };
        let limits = match earlier {
            Some(earlier) => limits.after(&earlier.limits),
            None => limits,
        };
        let max = settings.max_in_flight;
        let in_flight = match (earlier, shared) {
            (Some(earlier), _) => earlier.in_flight.at_most(max),
            (None, Some(shared)) => InFlight::shared(max, &settings.name, shared),
            (None, None) => InFlight::new(max),
        };
        Self {
            name: settings.name.clone(),
            slot,
            credential,
            endpoints: settings.endpoints,
            tenants: Arc::new(Tenants::new(&settings.app_ids)),
            outnum_duplicate_window: settings.outnum_duplicate_window,
            policies: limits.policies(),
            limits: Arc::new(limits),
            in_flight: Arc::new(in_flight),
            checks: settings.checks,
            weight: settings.weight,
            priority: settings.priority,
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
            outnum_duplicate_window: Duration::ZERO,
            policies: Default::default(),
            limits: Arc::new(Limits::new(&[])),
            in_flight: Arc::default(),
            checks: Checks::Off,
            weight: 1,
            priority: None,
            token: None,
        }
    }

    /// A copy that shares with this one what all workers must agree on, and nothing else.
    pub fn for_worker(&self) -> Self {
        Self {
            name: self.name.clone(),
            slot: self.slot,
            credential: self.credential.clone(),
            endpoints: self.endpoints,
            tenants: Arc::new(Tenants::clone(&self.tenants)),
            outnum_duplicate_window: self.outnum_duplicate_window,
            policies: self.limits.policies(),
            limits: Arc::clone(&self.limits),
            in_flight: Arc::clone(&self.in_flight),
            checks: self.checks,
            weight: self.weight,
            priority: self.priority,
            token: self.token.clone(),
        }
    }

    /// As what its requests to `target` wait for their turn.
    pub fn flow(&self, target: Target) -> Flow {
        let priority = self.priority.unwrap_or_else(|| Priority::of(target));
        Flow { app: self.slot, weight: self.weight, priority }
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
