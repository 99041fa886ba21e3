//! Which endpoint a request is for, and whether it may be answered.

use http::Method;
use serde_json::{Map, Value};

use super::answer::{Answer, Failure};
use super::exchange::Received;
use super::house::House;
use super::{chat, fields, multipart, recordings, tasks, upload};
use crate::xinyao::Endpoint;
use crate::xinyao::endpoint::{self, BodyKind, Spec};

/// Largest JSON body.
const MAX_JSON: usize = 64 << 10;
/// Where recordings are (§7.3).
const RECORDINGS: &str = "/coeus/";

/// The fields of a request, checked.
pub(super) type Fields = Map<String, Value>;

/// Answers a request that was admitted.
pub(super) fn route(house: &House, request: &Received) -> Result<Answer, Failure> {
    let path = request.uri.path();
    if path.starts_with(RECORDINGS) {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return Err(Failure::Method("GET, HEAD"));
        }
        return recordings::get(house, path, &request.headers);
    }
    let spec = endpoint::at(path).ok_or_else(|| Failure::UnknownPath(path.to_owned()))?.spec();
    if request.method != Method::POST {
        return Err(Failure::Method("POST"));
    }
    match spec.body {
        BodyKind::Json => {
            let fields = json(spec, request)?;
            json_endpoint(house, spec.endpoint, fields)
        }
        BodyKind::Multipart => {
            let form = multipart::parse(spec.fields, request)?;
            fields::check(spec.fields, &form.fields)?;
            upload::outnum(house, &form)
        }
    }
}

fn json_endpoint(house: &House, endpoint: Endpoint, fields: Fields) -> Result<Answer, Failure> {
    match endpoint {
        Endpoint::AddTask => tasks::add(house, fields),
        Endpoint::TaskList => Ok(tasks::list(house, &fields)),
        Endpoint::SyncPrompt => Ok(tasks::bots()),
        Endpoint::FollowedData => chat::followed(house, &fields),
        Endpoint::BotdmStart => Ok(chat::start(house, fields)),
        Endpoint::BotdmTrigger => chat::trigger(house, &fields),
        Endpoint::BotdmStop => chat::stop(house, &fields),
        // The table says that it is multipart, so it never comes here.
        Endpoint::Outnum => Err(Failure::Malformed("multipart/form-data expected")),
    }
}

fn json(spec: &'static Spec, request: &Received) -> Result<Fields, Failure> {
    if request.body.len() > MAX_JSON {
        return Err(Failure::TooLarge);
    }
    let mut given: Fields =
        serde_json::from_slice(&request.body).map_err(|_| Failure::Malformed("body is no JSON object"))?;
    given.retain(|_, value| !value.is_null());
    fields::check(spec.fields, &given)?;
    Ok(given)
}

/// The text that `name` has, or none of it.
pub(super) fn text<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}
