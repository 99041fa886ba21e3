//! Checking a request's fields against the table of endpoints.

use serde_json::Value;

use super::answer::Failure;
use super::route::Fields;
use crate::xinyao::endpoint::{Field, Kind, Need};

/// Whether `given` is what `fields` ask for; keys they do not name are let be.
pub(super) fn check(fields: &'static [Field], given: &Fields) -> Result<(), Failure> {
    for field in fields {
        let wrong = |problem| Err(Failure::Parameter { field: field.name, problem });
        match given.get(field.name) {
            None if matches!(field.kind, Kind::File) => {}
            None if needed(field, given) => return wrong("不能为空"),
            None => {}
            Some(Value::String(text)) if text.is_empty() && needed(field, given) => {
                return wrong("不能为空");
            }
            Some(value) => {
                if let Some(problem) = problem(&field.kind, value) {
                    return wrong(problem);
                }
            }
        }
    }
    Ok(())
}

fn needed(field: &Field, given: &Fields) -> bool {
    match field.need {
        Need::Required => true,
        Need::Optional => false,
        Need::When { field, is } => given.get(field).and_then(Value::as_str) == Some(is),
    }
}

fn problem(kind: &Kind, value: &Value) -> Option<&'static str> {
    let (good, problem) = match kind {
        Kind::Text => (value.is_string(), "应为 string"),
        Kind::Int { min, max } => (integer(value, *min, *max), "应为 int, 或超出范围"),
        Kind::Float => (value.is_number(), "应为 float"),
        Kind::Switch { .. } => (integer(value, 1, 2), "应为 1 或 2"),
        Kind::OneOf(names) => (value.as_str().is_some_and(|text| names.contains(&text)), "取值错误"),
        Kind::Sid => (value.as_str().is_some_and(is_sid), "应为 32 位字符串"),
        Kind::TimeRanges => (texts(value, is_time_range), "应为 HH:MM-HH:MM 列表"),
        Kind::States => (texts(value, is_state), "应为状态码列表"),
        Kind::StateGroups => (texts(value, |group| group.split(',').all(is_state)), "应为状态码组列表"),
        Kind::FlatMap => (value.as_object().is_some_and(is_flat), "应为无嵌套的 map"),
        Kind::Object(_) => (value.is_object(), "应为 object"),
        Kind::List(_) => (value.is_array(), "应为 list"),
        Kind::File => (true, ""),
    };
    (!good).then_some(problem)
}

fn integer(value: &Value, min: i64, max: i64) -> bool {
    value.as_i64().is_some_and(|number| (min..=max).contains(&number))
}

fn is_sid(text: &str) -> bool {
    text.chars().count() == 32
}

fn texts(value: &Value, good: impl Fn(&str) -> bool) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(|item| item.as_str().is_some_and(&good)))
}

/// The document's own examples have stray quotes and backslashes in these (§10.3).
fn is_state(text: &str) -> bool {
    text.trim_matches(['"', '\\', ' ']).parse::<i64>().is_ok()
}

fn is_time_range(text: &str) -> bool {
    let time =
        |text: &str| text.split_once(':').is_some_and(|(hour, minute)| below(hour, 24) && below(minute, 60));
    text.split_once('-').is_some_and(|(from, to)| time(from) && time(to))
}

fn below(text: &str, limit: u8) -> bool {
    text.len() == 2 && text.parse::<u8>().is_ok_and(|number| number < limit)
}

fn is_flat(map: &Fields) -> bool {
    map.values().all(|value| !value.is_array() && !value.is_object())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xinyao::Endpoint;

    fn checked(endpoint: Endpoint, key: &str, value: Option<Value>) -> Result<(), Failure> {
        let mut given: Fields = serde_json::from_str(endpoint.spec().example).unwrap();
        match value {
            Some(value) => given.insert(key.into(), value),
            None => given.remove(key),
        };
        check(endpoint.spec().fields, &given)
    }

    #[test]
    fn the_documents_examples_pass() {
        for endpoint in Endpoint::ALL.into_iter().filter(|endpoint| *endpoint != Endpoint::Outnum) {
            assert_eq!(checked(endpoint, "x", Some(1.into())), Ok(()), "{endpoint:?}");
        }
    }

    #[test]
    fn each_kind_is_held_to() {
        use serde_json::json;
        for (endpoint, key, value) in [
            (Endpoint::AddTask, "task_name", None),
            (Endpoint::AddTask, "task_name", Some(json!(""))),
            (Endpoint::AddTask, "task_name", Some(json!(7))),
            (Endpoint::AddTask, "is_record", Some(json!(3))),
            (Endpoint::AddTask, "forbid_policy", Some(json!(["8:00-24:00"]))),
            (Endpoint::AddTask, "recall_policy", Some(json!(["busy"]))),
            (Endpoint::AddTask, "ring_asr_code", Some(json!("777"))),
            (Endpoint::TaskList, "page_size", Some(json!(51))),
            (Endpoint::BotdmStart, "sid", Some(json!("short"))),
            (Endpoint::BotdmStart, "channel", Some(json!("fax"))),
            (Endpoint::BotdmStart, "var_json", Some(json!({"a": {"b": 1}}))),
            (Endpoint::BotdmTrigger, "text", None),
        ] {
            let result = checked(endpoint, key, value);
            assert!(
                matches!(result, Err(Failure::Parameter { field, .. }) if field == key),
                "{key}: {result:?}"
            );
        }
    }
}
