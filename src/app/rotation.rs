//! Credentials that are to take over: each is proven on a call that only reads, and the old one signs until then.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::reload::Reloads;
use crate::proxy::{self, NextCredential, Unproven};
use crate::xinyao::Credential;

const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LAST_PAUSE: Duration = Duration::from_mins(5);

/// Names of what can come of a try.
const OUTCOMES: [&str; 3] = ["accepted", "refused", "unreachable"];

/// How the credentials stand that are to take over, by the names of those whose place they take.
#[derive(Default)]
pub(super) struct Rotation(Mutex<BTreeMap<String, Standing>>);

struct Standing {
    /// Which one was tried.
    tried: Fingerprint,
    proven: bool,
    /// Why it was not accepted.
    error: Option<String>,
    at: Timestamp,
    counts: [u64; OUTCOMES.len()],
}

/// Tells one credential from another.
type Fingerprint = [u8; 32];

fn fingerprint(credential: &Credential) -> Fingerprint {
    // No apikey has a colon in it.
    let digest = Sha256::new().chain_update(&credential.apikey).chain_update(":");
    digest.chain_update(credential.apisecret.expose_secret()).finalize().into()
}

impl Standing {
    fn proves(&self, next: &NextCredential) -> bool {
        self.proven && self.tried == fingerprint(&next.credential)
    }
}

impl Rotation {
    /// Lets those sign that were proven by this process: the ones whose place they take may be void by now.
    pub(super) fn apply(&self, settings: &mut proxy::Settings) {
        let known = self.known();
        for (name, next) in &settings.next_credentials {
            if known.get(name).is_some_and(|known| known.proves(next)) {
                settings.credentials.insert(name.clone(), next.credential.clone());
            }
        }
    }

    /// Forgets those that the settings, which run, do not name.
    pub(super) fn forget(&self, settings: &proxy::Settings) {
        self.known().retain(|name, _| settings.next_credentials.contains_key(name));
    }

    /// Those of `settings` that are still to be proven.
    pub(super) fn unproven(&self, settings: &proxy::Settings) -> Vec<(String, NextCredential)> {
        let known = self.known();
        let proven = |name: &String, next| known.get(name).is_some_and(|known| known.proves(next));
        let left = settings.next_credentials.iter().filter(|(name, next)| !proven(name, next));
        left.map(|(name, next)| (name.clone(), next.clone())).collect()
    }

    /// Notes what came of trying `next` in the place of `name`.
    fn tried(&self, name: &str, next: &Credential, outcome: &Result<(), Unproven>) {
        let mut known = self.known();
        let mut counts = known.get(name).map(|known| known.counts).unwrap_or_default();
        counts[which(outcome)] += 1;
        let (tried, proven) = (fingerprint(next), outcome.is_ok());
        let error = outcome.as_ref().err().map(ToString::to_string);
        known.insert(name.to_owned(), Standing { tried, proven, error, at: Timestamp::now(), counts });
    }

    /// How those stand that were tried, for operators.
    pub(super) fn shown(&self) -> Value {
        let one = |(name, tried): (&String, &Standing)| {
            json!({
                "name": name,
                "next": if tried.proven { "signs" } else { "not_proven" },
                "tried_at": tried.at.to_string(),
                "error": tried.error,
            })
        };
        self.known().iter().map(one).collect()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Standing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn which(outcome: &Result<(), Unproven>) -> usize {
    match outcome {
        Ok(()) => 0,
        Err(Unproven::Refused(_)) => 1,
        Err(Unproven::Unreachable(_)) => 2,
    }
}

/// Proves what is to take over, as often as it takes, and with each change of the configuration.
pub(super) async fn rotate(reloads: Arc<Reloads>) {
    let mut changes = reloads.changes();
    let mut pause = FIRST_PAUSE;
    loop {
        changes.borrow_and_update();
        let (proxy, left) = reloads.unproven().await;
        if left.is_empty() {
            pause = FIRST_PAUSE;
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        }
        let mut failed = false;
        for (name, next) in left {
            let outcome = proxy.prove(&next).await;
            reloads.rotation().tried(&name, &next.credential, &outcome);
            failed |= !took_over(&reloads, &name, outcome).await;
        }
        if failed {
            match tokio::time::timeout(pause, changes.changed()).await {
                Ok(Ok(())) => pause = FIRST_PAUSE,
                Ok(Err(_)) => return,
                Err(_) => pause = (pause * 2).min(LAST_PAUSE),
            }
        }
    }
}

/// Whether what came of a try has the next credential sign in the place of `name`.
async fn took_over(reloads: &Reloads, name: &str, outcome: Result<(), Unproven>) -> bool {
    if let Err(error) = outcome {
        tracing::error!(credential = name, %error, "the next credential is not proven, and the old one goes on signing");
        return false;
    }
    if let Err(error) = reloads.adopt().await {
        let error = format!("{error:#}");
        tracing::error!(credential = name, error, "the next credential is proven, but can't take over");
        return false;
    }
    tracing::info!(credential = name, "the next credential is proven, and signs from now on");
    true
}

/// `xinyao_credential_proofs_total`
pub(super) struct Metrics(pub(super) Arc<Rotation>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let known = self.0.known();
        if known.is_empty() {
            return Ok(());
        }
        let help = "Tries of credentials that are to take over";
        let mut family =
            encoder.encode_descriptor("xinyao_credential_proofs", help, None, MetricType::Counter)?;
        for (name, standing) in &*known {
            for (outcome, count) in OUTCOMES.into_iter().zip(standing.counts) {
                let labels = [("credential", name.as_str()), ("outcome", outcome)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
