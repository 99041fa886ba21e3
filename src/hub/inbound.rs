//! Inbound queries (§9): somebody is on the phone, and the SaaS asks what to say. Responders are asked as
//! configured, and the first good answer is passed on as it was given; the others are cut off.

mod answer;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Uri};
use tokio::time::{Instant, sleep_until, timeout_at};

pub use self::answer::Answer;
use super::settings::{Apps, InboundSettings, Strategy};
use crate::net::client::{Client, ClientError};
use crate::store::NewEvent;

/// Longest answer of a responder: a prompt is a few sentences.
const MAX_ANSWER: usize = 64 << 10;

/// Who answers the inbound queries of some apps.
#[derive(Debug)]
pub struct Inbound {
    apps: Apps,
    strategy: Strategy,
    hedge_after: Duration,
    deadline: Duration,
    responders: Vec<Responder>,
    fallback: Answer,
    client: Client,
}

#[derive(Debug)]
struct Responder {
    name: Arc<str>,
    url: Uri,
}

/// A responder's URL is none.
#[derive(Debug, thiserror::Error)]
#[error("the URL of responder {0} is no URL")]
pub struct BadUrl(String);

/// What responders are told of a query.
#[derive(Debug, Clone)]
pub struct Query {
    headers: HeaderMap,
    body: Bytes,
}

impl From<&NewEvent> for Query {
    /// Body and `Content-Type` as they came, and whose it is. The copy that subscribers get has the same
    /// `webhook-id`.
    fn from(event: &NewEvent) -> Self {
        let text = |text: &str| HeaderValue::from_str(text).ok();
        let content_type = event.content_type.clone().and_then(|it| HeaderValue::from_maybe_shared(it).ok());
        let fields = [
            (CONTENT_TYPE, content_type),
            (HeaderName::from_static("webhook-id"), text(&event.id.to_string())),
            (HeaderName::from_static("x-xinyao-event"), text(event.kind.name())),
            (HeaderName::from_static("x-xinyao-app"), text(&event.app)),
            (HeaderName::from_static("x-xinyao-label"), event.label.as_deref().and_then(text)),
        ];
        let headers = fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        Self { headers, body: event.body.clone() }
    }
}

/// What came of asking.
#[derive(Debug)]
pub struct Asked {
    /// What is said.
    pub answer: Answer,
    /// Who said it; nobody, when it is the fallback.
    pub by: Option<Arc<str>>,
    /// What was wrong with the responder that failed last.
    pub failure: Option<String>,
}

/// Why a responder's answer is not used.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("{0}")]
    Client(#[from] ClientError),
    #[error("answered with status {0}")]
    Status(u16),
    #[error("its answer is over 64 KiB")]
    TooLong,
    #[error("its answer {0}")]
    Content(&'static str),
}

impl Inbound {
    /// As configured.
    ///
    /// # Errors
    /// A responder's URL is none.
    pub fn new(settings: &InboundSettings, client: Client) -> Result<Self, BadUrl> {
        let responders = settings.responders.iter().map(|responder| {
            let url = responder.url.parse().map_err(|_| BadUrl(responder.name.clone()))?;
            Ok(Responder { name: responder.name.as_str().into(), url })
        });
        Ok(Self {
            apps: settings.apps.clone(),
            strategy: settings.strategy,
            hedge_after: settings.hedge_after,
            deadline: settings.deadline,
            responders: responders.collect::<Result<_, _>>()?,
            fallback: Answer::fallback(&settings.fallback_prompt, &settings.fallback_transfer),
            client,
        })
    }

    /// Whether it is for `app`.
    pub fn is_for(&self, app: &str) -> bool {
        self.apps.contains(app)
    }

    /// What to say; within the deadline, whatever the responders do.
    pub async fn ask(&self, query: &Query) -> Asked {
        let mut failure = None;
        let until = Instant::now() + self.deadline;
        let found = timeout_at(until, self.first_good(query, &mut failure)).await;
        match found {
            Ok(Some((answer, by))) => Asked { answer, by: Some(by), failure },
            Ok(None) => Asked { answer: self.fallback.clone(), by: None, failure },
            Err(_) => {
                let late = format!("no answer within {:?}", self.deadline);
                Asked { answer: self.fallback.clone(), by: None, failure: Some(late) }
            }
        }
    }

    /// Asks one after the other, or all at once, until one gives a good answer. Those that have not answered
    /// by then are dropped, and their connections with them.
    async fn first_good(&self, query: &Query, failure: &mut Option<String>) -> Option<(Answer, Arc<str>)> {
        let mut waiting = self.responders.iter();
        let mut asking = FuturesUnordered::new();
        let at_once = match self.strategy {
            Strategy::Priority => 1,
            Strategy::Race => self.responders.len(),
        };
        asking.extend(waiting.by_ref().take(at_once).map(|responder| self.one(responder, query)));
        let mut hedge = Instant::now() + self.hedge_after;
        loop {
            let next = tokio::select! {
                biased;
                outcome = asking.next() => match outcome {
                    Some((responder, Ok(answer))) => return Some((answer, Arc::clone(&responder.name))),
                    Some((responder, Err(unfit))) => {
                        tracing::debug!(responder = %responder.name, error = %unfit, "no good answer");
                        *failure = Some(format!("{}: {unfit}", responder.name));
                        waiting.next()
                    }
                    None => return None,
                },
                () = sleep_until(hedge), if waiting.len() > 0 => waiting.next(),
            };
            if let Some(responder) = next {
                asking.push(self.one(responder, query));
                hedge = Instant::now() + self.hedge_after;
            }
        }
    }

    async fn one<'r>(
        &self,
        responder: &'r Responder,
        query: &Query,
    ) -> (&'r Responder, Result<Answer, Unfit>) {
        (responder, self.exchange(responder, query).await)
    }

    async fn exchange(&self, responder: &Responder, query: &Query) -> Result<Answer, Unfit> {
        let mut request = Request::post(responder.url.clone()).body(query.body.clone()).unwrap_or_default();
        *request.headers_mut() = query.headers.clone();
        let mut reply = self.client.send(request).await?;
        if !reply.status.is_success() {
            return Err(Unfit::Status(reply.status.as_u16()));
        }
        if !reply.read(MAX_ANSWER).await? {
            return Err(Unfit::TooLong);
        }
        Answer::check(reply.headers.get(CONTENT_TYPE), reply.begun()).map_err(Unfit::Content)
    }
}
