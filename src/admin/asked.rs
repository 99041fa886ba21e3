//! What a request asks for: query strings and JSON bodies, within bounds.

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Problem;
use super::cursor::Listing;
use crate::store::{EventFilter, EventId, Finding, RequestState};

/// Rows of a page that names no limit.
const PAGE: usize = 100;
/// Most rows of a page.
const MAX_PAGE: usize = 1000;
/// Most events that one request may name.
const MAX_IDS: usize = 1000;

/// The query string; a key that is not known is an error, since a filter left out would mean more.
pub(super) struct Parameters<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(error) => Err(invalid(format!("the query string: {}", reason(&error)))),
        }
    }
}

/// The part of the path that names something.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let name = Path::from_request_parts(parts, state).await;
        name.map(|Path(name)| Self(name)).map_err(|refused| invalid(refused.body_text()))
    }
}

/// A JSON body, whatever its `Content-Type` says; none is the same as `{}`.
pub(super) struct Told<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Told<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|refused| Problem::new(refused.status(), refused.body_text()))?;
        let text: &[u8] = if body.trim_ascii().is_empty() { b"{}" } else { &body };
        serde_json::from_slice(text).map(Self).map_err(|error| invalid(format!("the body: {error}")))
    }
}

/// What is said of an error's cause, where it has one that says more.
fn reason(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string()
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

/// `GET /api/v1/events?…`; a key without a value is as good as none.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsAsked {
    app: Option<String>,
    event: Option<String>,
    task_id: Option<String>,
    call_sn: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

impl EventsAsked {
    /// Which events, and which page of them.
    pub(super) fn meant(self) -> Result<(EventFilter, PageAsked), Problem> {
        let page = PageAsked::of(Listing::Events, self.limit, self.cursor)?;
        let kinds = given(self.event).into_iter().map(|name| name.parse());
        let filter = EventFilter {
            app: given(self.app),
            kinds: kinds.collect::<Result<_, _>>().map_err(|unknown| invalid(format!("event: {unknown}")))?,
            task_id: given(self.task_id),
            call_sn: given(self.call_sn),
            since: time("since", given(self.since))?,
            until: time("until", given(self.until))?,
        };
        Ok((filter, page))
    }
}

/// `GET /api/v1/history?…`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryAsked {
    since: Option<String>,
}

impl HistoryAsked {
    /// From when on.
    pub(super) fn meant(self) -> Result<Option<Timestamp>, Problem> {
        time("since", given(self.since))
    }
}

/// `GET /api/v1/dead-letters?…`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadLettersAsked {
    subscriber: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

impl DeadLettersAsked {
    /// Whose, and which page of them.
    pub(super) fn meant(self) -> Result<(Option<String>, PageAsked), Problem> {
        let page = PageAsked::of(Listing::DeadLetters, self.limit, self.cursor)?;
        Ok((given(self.subscriber), page))
    }
}

/// `GET /api/v1/batches?…`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchesAsked {
    app: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

impl BatchesAsked {
    /// Whose, and which page of them.
    pub(super) fn meant(self) -> Result<(Option<String>, PageAsked), Problem> {
        let page = PageAsked::of(Listing::Batches, self.limit, self.cursor)?;
        Ok((given(self.app), page))
    }
}

/// `GET /api/v1/batches/{call_sn}/missing?…`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MissingAsked {
    limit: Option<String>,
    cursor: Option<String>,
}

impl MissingAsked {
    /// Behind which row, and how many numbers.
    pub(super) fn meant(self) -> Result<(u32, usize), Problem> {
        let page = PageAsked::of(Listing::Missing, self.limit, self.cursor)?;
        // One that was given out is a number.
        Ok((page.cursor.and_then(|row| row.parse().ok()).unwrap_or_default(), page.limit))
    }
}

/// `GET /api/v1/requests?…`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestsAsked {
    state: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

impl RequestsAsked {
    /// In which state, and which page of them.
    pub(super) fn meant(self) -> Result<(Option<RequestState>, PageAsked), Problem> {
        let page = PageAsked::of(Listing::Requests, self.limit, self.cursor)?;
        let state = given(self.state).map(|name| {
            let state = RequestState::ALL.into_iter().find(|state| state.name() == name);
            state.ok_or_else(|| invalid(format!("state: {name:?} is none of under_way, done, unknown")))
        });
        Ok((state.transpose()?, page))
    }
}

/// `POST /api/v1/requests/{id}/settle`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettleTold {
    outcome: String,
}

impl SettleTold {
    /// What was found out.
    pub(super) fn meant(&self) -> Result<Finding, Problem> {
        match &*self.outcome {
            "done" => Ok(Finding::Done),
            "not_sent" => Ok(Finding::NotSent),
            other => Err(invalid(format!("outcome: {other:?} is neither done nor not_sent"))),
        }
    }
}

/// A page of a listing.
#[derive(Debug)]
pub(super) struct PageAsked {
    pub(super) limit: usize,
    pub(super) cursor: Option<String>,
}

impl PageAsked {
    fn of(listing: Listing, limit: Option<String>, cursor: Option<String>) -> Result<Self, Problem> {
        let limit = given(limit).map_or(Ok(PAGE), |text| {
            let number = text.parse().ok().filter(|number| (1..=MAX_PAGE).contains(number));
            number.ok_or_else(|| invalid(format!("limit: {text:?} is no number from 1 to {MAX_PAGE}")))
        })?;
        let cursor = given(cursor).map(|shown| {
            let cursor = listing.meant(&shown);
            cursor.ok_or_else(|| invalid("cursor: this is no next_cursor of this listing"))
        });
        Ok(Self { limit, cursor: cursor.transpose()? })
    }
}

/// `POST /api/v1/subscribers/{name}/replay`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayTold {
    since: Option<String>,
    until: Option<String>,
    #[serde(default)]
    events: Vec<String>,
    ids: Option<Vec<String>>,
}

/// What is to be delivered again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Those of these events that match.
    Ids(Vec<EventId>, EventFilter),
    /// All that match.
    Matching(EventFilter),
}

impl ReplayTold {
    pub(super) fn meant(self) -> Result<Again, Problem> {
        let kinds = self.events.iter().map(|name| name.parse());
        let filter = EventFilter {
            kinds: kinds
                .collect::<Result<_, _>>()
                .map_err(|unknown| invalid(format!("events: {unknown}")))?,
            since: time("since", given(self.since))?,
            until: time("until", given(self.until))?,
            ..EventFilter::default()
        };
        match self.ids {
            Some(ids) => Ok(Again::Ids(event_ids(&ids)?, filter)),
            None if filter.since.is_none() => {
                Err(invalid("since: say from when on events are delivered again, or name their ids"))
            }
            None => Ok(Again::Matching(filter)),
        }
    }
}

/// `POST /api/v1/events/{id}/replay`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventReplayTold {
    pub(super) subscriber: Option<String>,
}

/// `POST /api/v1/dead-letters/replay` and `/discard`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadLettersTold {
    pub(super) subscriber: String,
    ids: Option<Vec<String>>,
}

impl DeadLettersTold {
    /// Which of them; `None`: all.
    pub(super) fn ids(&self) -> Result<Option<Vec<EventId>>, Problem> {
        self.ids.as_deref().map(event_ids).transpose()
    }
}

fn event_ids(texts: &[String]) -> Result<Vec<EventId>, Problem> {
    if texts.len() > MAX_IDS {
        return Err(invalid(format!("ids: {} of them; at most {MAX_IDS} go in one request", texts.len())));
    }
    let id = |text: &String| text.parse().map_err(|_| invalid(format!("ids: {text:?} is no event's id")));
    texts.iter().map(id).collect()
}

fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// A time as RFC 3339 has it. In a query string an offset's `+` stands for a space, as which it comes here.
fn time(key: &str, text: Option<String>) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let time = text.parse().or_else(|_| text.replace(' ', "+").parse());
    time.map(Some).map_err(|_| {
        invalid(format!("{key}: {text:?} is no time; write it as RFC 3339 has it, e.g. 2026-11-24T08:00:00Z"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xinyao::callback::Kind;

    fn events(query: &str) -> Result<(EventFilter, PageAsked), Problem> {
        let uri: http::Uri = format!("/api/v1/events?{query}").parse().unwrap();
        let (mut parts, ()) = Request::builder().uri(uri).body(()).unwrap().into_parts();
        let asked = futures_util::FutureExt::now_or_never(Parameters::from_request_parts(&mut parts, &()));
        let Parameters(asked): Parameters<EventsAsked> = asked.unwrap()?;
        asked.meant()
    }

    #[test]
    fn what_is_empty_narrows_nothing() {
        let (filter, page) = events("app=&event=&task_id=&call_sn=&since=&until=&limit=&cursor=").unwrap();
        assert_eq!(filter, EventFilter::default());
        assert_eq!((page.limit, page.cursor), (PAGE, None));
    }

    #[test]
    fn filters_are_understood() {
        let query = "app=crm&event=call_record&since=2026-11-24T08:00:00%2B08:00&limit=1000";
        let query = format!("{query}&cursor={}", Listing::Events.shown("x"));
        let (filter, page) = events(&query).unwrap();
        assert_eq!(filter.app.as_deref(), Some("crm"));
        assert_eq!(filter.kinds, [Kind::CallRecord]);
        assert_eq!(filter.since, Some("2026-11-24T00:00:00Z".parse().unwrap()));
        assert_eq!((page.limit, page.cursor.as_deref()), (1000, Some("x")));
        // as curl users write it
        let (unescaped, _) = events("since=2026-11-24T08:00:00+08:00").unwrap();
        assert_eq!(unescaped.since, filter.since);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, named) in [
            ("sinc=2026", "sinc"),
            ("since=yesterday", "since"),
            ("until=2026-11-24", "until"),
            ("event=calls", "event"),
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=-1", "limit"),
            ("limit=many", "limit"),
            ("app=a&app=b", "app"),
            ("cursor=42", "cursor"),
        ] {
            let problem = events(query).expect_err(query);
            assert!(format!("{problem:?}").contains(named), "{query}: {problem:?}");
        }
    }

    #[test]
    fn a_replay_says_what_it_means() {
        let meant = |text: &str| serde_json::from_str::<ReplayTold>(text).unwrap().meant();
        assert!(meant("{}").is_err() && meant(r#"{"ids":["x"]}"#).is_err());
        assert!(meant(r#"{"since":"2026-11-24T00:00:00Z","events":["call"]}"#).is_err());
        assert_eq!(meant(r#"{"ids":[]}"#).unwrap(), Again::Ids(Vec::new(), EventFilter::default()));
        let Again::Matching(filter) = meant(r#"{"since":"2026-11-24T00:00:00Z"}"#).unwrap() else { panic!() };
        assert_eq!(filter.since, Some("2026-11-24T00:00:00Z".parse().unwrap()));
    }

    #[test]
    fn ids_are_bounded() {
        let ids = vec![uuid::Uuid::nil().to_string(); MAX_IDS + 1];
        assert!(event_ids(&ids).is_err());
        assert_eq!(event_ids(&ids[1..]).unwrap().len(), MAX_IDS);
    }
}
