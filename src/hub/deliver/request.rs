//! What a subscriber is sent.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Request, Uri};
use jiff::Timestamp;

use super::Unusable;
use crate::hub::enrich::enrich;
use crate::hub::settings::SubscriberSettings;
use crate::hub::webhook::Signer;
use crate::store::Event;

const AGENT: HeaderValue = HeaderValue::from_static(concat!("xinyao-gateway/", env!("CARGO_PKG_VERSION")));

/// What is the same in every request to one subscriber.
pub(super) struct Template {
    url: Uri,
    headers: HeaderMap,
    signer: Signer,
    /// The proxy listener's address, when bodies are to be enriched.
    enrich: Option<String>,
}

impl Template {
    pub(super) fn new(settings: &SubscriberSettings, proxy_url: &str) -> Result<Self, Unusable> {
        let mut headers = HeaderMap::from_iter([(USER_AGENT, AGENT)]);
        for (name, value) in &settings.headers {
            let field = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()));
            let (Ok(name), Ok(mut value)) = field else { return Err(Unusable::Header(name.clone())) };
            // It may hold a secret.
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(Self {
            url: settings.url.parse().map_err(|_| Unusable::Url)?,
            headers,
            signer: Signer::new(&settings.signing_secrets)?,
            enrich: settings.enrich.then(|| proxy_url.to_owned()),
        })
    }

    pub(super) fn fill(&self, event: &Event, attempt: u32, now: Timestamp) -> Request<Bytes> {
        let body = self.enrich.as_ref().map_or_else(|| event.body.clone(), |url| enrich(&event.body, url));
        let (id, seconds) = (event.id.to_string(), now.as_second());
        let mut request = Request::post(self.url.clone()).body(body).unwrap_or_default();
        *request.headers_mut() = self.headers.clone();
        let signature = self.signer.sign(&id, seconds, request.body());
        let headers = request.headers_mut();
        let mut set = |name: &'static str, value: Result<HeaderValue, http::header::InvalidHeaderValue>| {
            // What is no header value can't be said in one.
            if let Ok(value) = value {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        set("webhook-id", HeaderValue::try_from(id));
        set("webhook-timestamp", Ok(seconds.into()));
        if let Some(signature) = signature {
            set("webhook-signature", HeaderValue::try_from(signature));
        }
        set("x-xinyao-event", Ok(HeaderValue::from_static(event.kind.name())));
        set("x-xinyao-app", HeaderValue::from_str(&event.app));
        if let Some(label) = &event.label {
            set("x-xinyao-label", HeaderValue::from_bytes(label.as_bytes()));
        }
        set("x-xinyao-attempt", Ok(attempt.into()));
        if let Some(kind) = &event.content_type {
            set(CONTENT_TYPE.as_str(), HeaderValue::from_maybe_shared(kind.clone()));
        }
        request
    }
}
