//! Takes the place of the callback address that an app names in a task (§10), and gives it back where tasks are
//! listed (§11): so an app adopts the gateway by its base URL alone.

mod restore;
mod rewrite;

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::{BoxFuture, Either};
use http::header::{self, HeaderValue};
use tower::{Layer, Service};

pub use self::restore::Restorer;
use self::rewrite::Named;
use super::account::X_GATEWAY_WARNING;
use super::answer::Answer;
use super::body::is_encoded;
use super::call::{Answered, Call, Refused};
use super::outgoing::Outgoing;
use super::refusal::Refusal;
use crate::xinyao::{Endpoint, Target};

/// What stands for the addresses of apps.
pub trait TeamUrls: Send + Sync {
    /// What is to stand in the place of `original`, or where there was none. Kept when ready.
    fn replace<'a>(
        &'a self,
        app: &'a str,
        original: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Place, Refusal>>;

    /// Whether a task may go out whose address nobody can see, for `why`.
    ///
    /// # Errors
    /// It may not.
    fn unseen(&self, app: &str, why: &str) -> Result<Place, Refusal>;

    /// What puts the originals of `app` back into a listing; `None`: there are none.
    fn originals(&self, app: &str) -> Option<Arc<Originals>>;
}

/// What is to stand for an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// This.
    Url(String),
    /// It itself.
    Same,
    /// It itself, which is worth a word.
    Outside(String),
}

/// The addresses of an app, by what stands for them.
#[derive(Debug, Default)]
pub struct Originals {
    /// What stands for them begins with one of these.
    pub prefixes: Vec<String>,
    /// The rest of what stands for each, and the original.
    pub urls: Vec<(String, String)>,
}

/// Puts the exchange of addresses before the services below.
#[derive(Clone, Copy)]
pub struct TeamUrlLayer;

/// See [`TeamUrlLayer`].
#[derive(Clone, Copy)]
pub struct TeamUrled<S>(S);

impl<S> Layer<S> for TeamUrlLayer {
    type Service = TeamUrled<S>;

    fn layer(&self, inner: S) -> TeamUrled<S> {
        TeamUrled(inner)
    }
}

impl<S> Service<Box<Call>> for TeamUrled<S>
where
    S: Service<Box<Call>, Response = Answered, Error = Refused> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Answered;
    type Error = Refused;
    type Future = Either<S::Future, BoxFuture<'static, Result<Answered, Refused>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, call: Box<Call>) -> Self::Future {
        let Some(urls) = &call.worker.running.rooms.team_urls else { return Either::Left(self.0.call(call)) };
        match call.record.target {
            Some(Target::Endpoint(Endpoint::AddTask)) => {
                let urls = Arc::clone(urls);
                Either::Right(Box::pin(add(self.0.clone(), call, urls)))
            }
            Some(Target::Endpoint(Endpoint::TaskList)) => match urls.originals(&call.record.app.name) {
                Some(originals) => Either::Right(Box::pin(list(self.0.clone(), call, originals))),
                None => Either::Left(self.0.call(call)),
            },
            _ => Either::Left(self.0.call(call)),
        }
    }
}

async fn add<S>(mut inner: S, mut call: Box<Call>, urls: Arc<dyn TeamUrls>) -> Result<Answered, Refused>
where
    S: Service<Box<Call>, Response = Answered, Error = Refused>,
{
    match place(&mut call, &*urls).await {
        Ok(Place::Url(_) | Place::Same) => inner.call(call).await,
        Ok(Place::Outside(warning)) => {
            let mut answered = inner.call(call).await?;
            if let Ok(warning) = HeaderValue::try_from(warning) {
                answered.response.headers_mut().append(X_GATEWAY_WARNING, warning);
            }
            Ok(answered)
        }
        Err(refusal) => Err(call.refuse(refusal)),
    }
}

/// Puts what stands for the address in its place, and tells what that is.
async fn place(call: &mut Call, urls: &dyn TeamUrls) -> Result<Place, Refusal> {
    let app = &call.record.app.name;
    if let Some(why) = unseen(call) {
        return urls.unseen(app, why);
    }
    let Outgoing::Whole(body) = &call.body else { return Ok(Place::Same) };
    // What is no JSON object is left to the checks and to the SaaS.
    let Some(named) = rewrite::find(body) else { return Ok(Place::Same) };
    let original = match &named {
        Named::Once { url, .. } => Some(url.as_str()),
        Named::Not { .. } => None,
        Named::Twice => {
            return Err(Refusal::TeamUrl("team_url is given more than once; give it once".into()));
        }
    };
    let place = urls.replace(app, original).await?;
    if let Place::Url(url) = &place {
        let body = rewrite::replace(body, &named, url);
        put(call, body);
    }
    Ok(place)
}

/// Why the SaaS may read an address that can't be read here.
fn unseen(call: &Call) -> Option<&'static str> {
    match &call.body {
        // There is none.
        Outgoing::Raw(_) => None,
        Outgoing::Whole(body) if body.is_empty() => None,
        _ if is_encoded(&call.head.headers) => Some("it is content-encoded; send it as it is"),
        Outgoing::Whole(body) if body.iter().take(4).any(|byte| *byte == 0) => {
            Some("it is in UTF-16 or UTF-32; send it in UTF-8")
        }
        Outgoing::Watched(_) => Some("it is over 1 MiB"),
        Outgoing::Whole(_) => None,
    }
}

/// Whether an address in the call's body is to be replaced.
pub fn rewritten(call: &Call) -> bool {
    call.record.target == Some(Target::Endpoint(Endpoint::AddTask))
        && call.worker.running.rooms.team_urls.is_some()
}

fn put(call: &mut Call, body: Vec<u8>) {
    call.head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    call.body = Outgoing::Whole(Bytes::from(body));
}

async fn list<S>(mut inner: S, mut call: Box<Call>, originals: Arc<Originals>) -> Result<Answered, Refused>
where
    S: Service<Box<Call>, Response = Answered, Error = Refused>,
{
    // A compressed answer could not be looked through.
    call.head.headers.remove(header::ACCEPT_ENCODING);
    let Answered { response, record } = inner.call(call).await?;
    if response.headers().contains_key(header::CONTENT_ENCODING) {
        return Ok(Answered { response, record });
    }
    let mut response = response.map(|body| Answer::restored(Restorer::new(originals), body));
    response.headers_mut().remove(header::CONTENT_LENGTH);
    Ok(Answered { response, record })
}
