//! The subscribers' loops, as the operators' listener sees them.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::team_urls::Addresses;
use crate::admin::{Sample, Standing, Subscribers};
use crate::hub::SubscriberSettings;
use crate::hub::dispatch::{Dispatch, Sampled};
use crate::store::StoreError;
use crate::xinyao::callback::Kind;

/// The loops, and what is configured of each.
pub(super) struct Served {
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) addresses: Arc<Addresses>,
}

impl Subscribers for Served {
    fn standing(&self) -> Vec<Standing> {
        let one = |configured: &SubscriberSettings| {
            let standing = self.dispatch.standing(&configured.name)?;
            Some(Standing {
                name: configured.name.clone(),
                url: configured.url.clone(),
                state: standing.state.name(),
                in_flight: standing.in_flight,
                last_error: standing.last_error.map(|failure| (failure.at, failure.error)),
            })
        };
        self.addresses.subscribers().iter().filter_map(one).collect()
    }

    fn kinds(&self, subscriber: &str) -> Vec<Kind> {
        let configured = self.addresses.subscribers();
        let one = configured.iter().find(|configured| configured.name == subscriber);
        one.into_iter().flat_map(|one| &one.events).filter_map(|kind| kind.parse().ok()).collect()
    }

    fn wants(&self, subscriber: &str, app: &str, kind: Kind) -> bool {
        self.dispatch.wants(subscriber, app, kind)
    }

    fn give_up<'a>(&'a self, subscriber: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.addresses.forget(subscriber))
    }

    fn test<'a>(&'a self, subscriber: &'a str) -> BoxFuture<'a, Option<Vec<Sample>>> {
        Box::pin(async { Some(self.dispatch.test(subscriber).await?.into_iter().map(sample).collect()) })
    }
}

fn sample(Sampled { kind, tried, .. }: Sampled) -> Sample {
    let error = tried.outcome.error();
    let latency_ms = u32::try_from(tried.took.as_millis()).unwrap_or(u32::MAX);
    Sample { kind, status: tried.status, latency_ms, error, answer: tried.answer }
}
