//! The API's answers, for people.

use serde_json::Value;

use crate::cli::table::table;
use crate::xinyao::call_state;

/// How the gateway fares.
pub(super) fn status(status: &Value) -> String {
    let mut text =
        format!("xinyao-gateway {}, up {}\n", plain(&status["version"]), span(&status["uptime_seconds"]));
    text += &config(&status["config"]);
    let skew = status["clock_skew_seconds"].as_f64();
    text += &format!("clock    the SaaS's is {:+.1} s from this host's\n", skew.unwrap_or_default());
    for upstream in rows(&status["upstreams"]) {
        let health = if upstream["healthy"] == true { "healthy" } else { "UNREACHABLE" };
        let error = upstream["dns_error"].as_str().map(|error| format!(" ({error})"));
        text += &format!("upstream {} {health}{}\n", plain(&upstream["url"]), error.unwrap_or_default());
    }
    let global = &status["global"];
    let [configured, allowed] =
        ["configured_per_second", "allowed_per_second"].map(|key| global[key].as_f64());
    if allowed < configured || global["waiting"].as_u64() > Some(0) {
        let rate = allowed.unwrap_or_default();
        text += &format!("limits   {rate:.1} requests/s go out at most, {} wait", plain(&global["waiting"]));
        text += if allowed < configured { ": the SaaS answers 429 or 503\n" } else { "\n" };
    }
    let (backlog, store) = (&status["backlog"], &status["store"]);
    if backlog.is_object() {
        text += &format!(
            "backlog  {} deliveries, the oldest waiting for {}; {} dead letters\n",
            plain(&backlog["events"]),
            span(&backlog["oldest_age_seconds"]),
            plain(&backlog["dead_letters"])
        );
    }
    match store["error"].as_str() {
        Some(error) => text += &format!("store    {error}\n"),
        None if store.is_object() => {
            text +=
                &format!("store    {} of {}\n", bytes(&store["size_bytes"]), bytes(&store["max_size_bytes"]));
        }
        None => {}
    }
    text += &cluster(&status["cluster"]);
    let subscribers: Vec<_> = rows(&status["subscribers"]).map(subscriber).collect();
    if !subscribers.is_empty() {
        let head =
            ["SUBSCRIBER", "STATE", "BACKLOG", "OLDEST", "DELIVERED", "FAILED", "DEAD", "EXPIRED", "URL"];
        text += &format!("\n{}", table(&head, &subscribers));
    }
    text
}

/// The replicas that share the store; nothing, where none does.
fn cluster(cluster: &Value) -> String {
    if !cluster.is_object() {
        return String::new();
    }
    let mut text = format!("cluster  this is {}", plain(&cluster["replica"]));
    if let Some(error) = cluster["error"].as_str() {
        return text + &format!("; the others are not known: {}\n", one_line(error));
    }
    let replicas: Vec<_> = rows(&cluster["replicas"]).map(replica).collect();
    let head = [
        "REPLICA",
        "VERSION",
        "SEAT",
        "SILENT",
        "SHARDS",
        "LEDGER",
        "UNDER WAY",
        "WAITING",
        "SOURCE IPS",
        "ADMIN",
    ];
    text += &format!("\n\n{}", table(&head, &replicas));
    text
}

fn replica(one: &Value) -> Vec<String> {
    let list = |key: &str| rows(&one[key]).map(plain).collect::<Vec<_>>().join(" ");
    let silent = one["silent_for_ms"].as_f64().unwrap_or_default() / 1000.0;
    vec![
        plain(&one["name"]),
        plain(&one["version"]),
        plain(&one["epoch"]),
        format!("{silent:.1} s"),
        list("shards"),
        if one["keeps_ledger"] == true { "keeps it" } else { "" }.to_owned(),
        plain(&one["in_flight"]),
        plain(&one["waiting_events"]),
        list("source_ips"),
        plain(&one["admin"]),
    ]
}

fn config(config: &Value) -> String {
    let mut text = format!("config   {}, loaded {}", plain(&config["outcome"]), moment(&config["loaded_at"]));
    if let Some(error) = config["error"].as_str() {
        text += &format!("\n         {}", one_line(error));
    }
    text + &restart_needed(config) + "\n"
}

fn restart_needed(config: &Value) -> String {
    let keys: Vec<String> = rows(&config["restart_needed"]).map(plain).collect();
    if keys.is_empty() { String::new() } else { format!("\n         needs a restart: {}", keys.join(", ")) }
}

/// What came of a reload that went well.
pub(super) fn reload(told: &Value) -> String {
    let warnings = rows(&told["warnings"]).map(|row| finding("warning", row)).collect::<String>();
    let took = told["took_ms"].as_f64().unwrap_or_default();
    format!("the configuration is reloaded, in {took:.0} ms{}{warnings}\n", restart_needed(told))
}

/// The faults of a file, as `check` shows them.
pub(super) fn faults(problem: &Value) -> String {
    rows(&problem["faults"]).map(|row| finding("error", row)).collect()
}

fn finding(label: &str, row: &Value) -> String {
    let mut text = format!("\n\n{label}: {}\n --> {}", plain(&row["message"]), plain(&row["file"]));
    if row["line"].is_number() {
        text += &format!(":{}:{}", row["line"], row["column"]);
    }
    for line in row["snippet"].as_str().unwrap_or_default().lines() {
        text += &format!("\n{}", visible(line));
    }
    if let Some(hint) = row["hint"].as_str() {
        text += &format!("\n = help: {}", one_line(hint));
    }
    text
}

fn subscriber(row: &Value) -> Vec<String> {
    let state =
        if row["configured"] == false { "not configured" } else { row["state"].as_str().unwrap_or("-") };
    let mut cells = vec![plain(&row["name"]), state.to_owned(), plain(&row["backlog"])];
    cells.push(span(&row["oldest_age_seconds"]));
    cells.extend(["delivered", "failed", "dead", "expired", "url"].map(|key| plain(&row[key])));
    cells
}

/// A page of events.
pub(super) fn events(page: &Value) -> String {
    let lines: Vec<_> = rows(&page["events"])
        .map(|event| {
            let mut cells = vec![moment(&event["received_at"])];
            cells.extend(["id", "app", "event", "task_id", "call_sn"].map(|key| plain(&event[key])));
            cells.push(bytes(&event["size"]));
            cells.push(rows(&event["deliveries"]).map(delivery).collect::<Vec<_>>().join(", "));
            cells
        })
        .collect();
    let head = ["RECEIVED", "ID", "APP", "EVENT", "TASK", "BATCH", "SIZE", "DELIVERIES"];
    listing(&head, &lines, page, "no events")
}

fn delivery(delivery: &Value) -> String {
    let attempts = delivery["attempts"].as_u64().unwrap_or_default();
    let tried = if attempts > 1 { format!(" ({attempts} attempts)") } else { String::new() };
    format!("{}: {}{tried}", plain(&delivery["subscriber"]), plain(&delivery["state"]))
}

/// One event with its attempts.
pub(super) fn event(event: &Value) -> String {
    let mut text = String::new();
    for key in ["id", "received_at", "app", "event", "label", "task_id", "call_sn"] {
        text += &format!("{key:12}{}\n", plain(&event[key]));
    }
    text += &format!("{:12}{}\n", "size", bytes(&event["size"]));
    let deliveries: Vec<_> = rows(&event["deliveries"])
        .map(|row| {
            let mut cells = ["subscriber", "state", "attempts"].map(|key| plain(&row[key])).to_vec();
            cells.extend([moment(&row["next_attempt_at"]), plain(&row["last_error"])]);
            cells
        })
        .collect();
    text += &format!("\n{}", table(&["SUBSCRIBER", "STATE", "ATTEMPTS", "NEXT", "LAST ERROR"], &deliveries));
    let attempts: Vec<_> = rows(&event["attempts"])
        .map(|row| {
            let mut cells = vec![moment(&row["at"])];
            cells.extend(["subscriber", "attempt", "status", "latency_ms"].map(|key| plain(&row[key])));
            cells.push(row["error"].as_str().or(row["answer"].as_str()).map_or("-".to_owned(), one_line));
            cells
        })
        .collect();
    if !attempts.is_empty() {
        let head = ["AT", "SUBSCRIBER", "ATTEMPT", "STATUS", "MS", "WHAT CAME OF IT"];
        text += &format!("\n{}", table(&head, &attempts));
    }
    text
}

/// A page of dead letters.
pub(super) fn dead_letters(page: &Value) -> String {
    let lines: Vec<_> = rows(&page["dead_letters"])
        .map(|letter| {
            let mut cells = vec![moment(&letter["dead_at"])];
            cells.extend(
                ["subscriber", "event_id", "app", "event", "call_sn", "attempts"]
                    .map(|key| plain(&letter[key])),
            );
            cells.push(letter["last_error"].as_str().map_or("-".to_owned(), one_line));
            cells
        })
        .collect();
    let head = ["DEAD SINCE", "SUBSCRIBER", "EVENT ID", "APP", "EVENT", "BATCH", "ATTEMPTS", "LAST ERROR"];
    listing(&head, &lines, page, "no dead letters")
}

/// A page of batches.
pub(super) fn batches(page: &Value) -> String {
    let lines: Vec<_> = rows(&page["batches"])
        .map(|batch| {
            let mut cells = vec![moment(&batch["submitted_at"])];
            cells.extend(["call_sn", "app", "task_id", "call_sn_name"].map(|key| plain(&batch[key])));
            cells.push(progress(batch));
            cells.extend(["returned", "accepted", "connected"].map(|key| plain(&batch[key])));
            cells.push(if batch["quiet"] == true { "QUIET" } else { "" }.to_owned());
            cells
        })
        .collect();
    let head = ["SUBMITTED", "BATCH", "APP", "TASK", "NAME", "PROGRESS", "BACK", "OF", "CONNECTED", ""];
    listing(&head, &lines, page, "no batches")
}

/// One batch.
pub(super) fn batch(batch: &Value) -> String {
    let mut text = String::new();
    let keys = ["call_sn", "app", "task_id", "task_name", "call_sn_name", "submitted_at", "sent", "accepted"];
    for key in keys.iter().chain(&["returned", "connected", "first_record_at", "last_record_at", "quiet"]) {
        text += &format!("{key:17}{}\n", plain(&batch[key]));
    }
    text += &format!("{:17}{}\n", "progress", progress(batch));
    let counts = |key: &str| -> Vec<Vec<String>> {
        let counts = batch[key].as_object().into_iter().flatten();
        let meaning = |name: &str| name.parse().ok().and_then(call_state::text).unwrap_or("").to_owned();
        counts.map(|(name, count)| vec![one_line(name), plain(count), meaning(name)]).collect()
    };
    for (head, key) in [("STATE", "by_state"), ("DEGREE", "by_degree")] {
        let lines = counts(key);
        if !lines.is_empty() {
            text += &format!("\n{}", table(&[head, "COUNT", ""], &lines));
        }
    }
    text
}

/// A page of a batch's numbers that have no call record.
pub(super) fn missing(found: &Value) -> String {
    let name = plain(&found["call_sn"]);
    if found["seen"] == false {
        let why = match found["why"].as_str() {
            Some("elsewhere") => "its outnum did not come through this gateway",
            Some("unreadable") => "its upload could not be read as a list of numbers",
            Some("no_room") => "too many uploads came at a time",
            _ => "the gateway stopped before they were kept, or they are kept in a moment",
        };
        return format!("the numbers of batch {name} were not seen: {why}\n");
    }
    let counts = ["missing_count", "distinct", "sent", "unexpected"].map(|key| plain(&found[key]));
    let [missing, distinct, sent, unexpected] = counts;
    let mut text = format!("{missing} of the {distinct} numbers in {sent} rows have no call record\n");
    if unexpected != "0" {
        text += &format!("{unexpected} numbers with a call record are not in the file\n");
    }
    let lines: Vec<_> = rows(&found["missing"])
        .map(|number| {
            let repeats: Vec<_> = rows(&number["repeats"]).map(plain).collect();
            vec![plain(&number["row"]), repeats.join(", ")]
        })
        .collect();
    if lines.is_empty() {
        return text;
    }
    text + "\n" + &listing(&["ROW", "AND AGAIN IN"], &lines, found, "")
}

/// How many of the numbers have come back, as a bar.
fn progress(batch: &Value) -> String {
    const WIDTH: u64 = 20;
    let of = |key: &str| batch[key].as_u64();
    let (Some(returned), Some(accepted)) = (of("returned"), of("accepted").filter(|count| *count > 0)) else {
        return "-".to_owned();
    };
    let share = returned.min(accepted);
    let full = usize::try_from(share * WIDTH / accepted).unwrap_or_default();
    let bar: String = (0..20).map(|at| if at < full { '#' } else { '.' }).collect();
    format!("[{bar}] {:>3} %", share * 100 / accepted)
}

/// A page of requests that must not be sent twice.
pub(super) fn requests(page: &Value) -> String {
    let lines: Vec<_> = rows(&page["requests"])
        .map(|request| {
            let mut cells = vec![moment(&request["begun_at"])];
            let keys = ["id", "state", "app", "endpoint", "task_id", "idempotency_key", "request_id"];
            cells.extend(keys.map(|key| plain(&request[key])));
            cells
        })
        .collect();
    let head = ["CAME", "ID", "STATE", "APP", "ENDPOINT", "TASK", "KEY", "REQUEST ID"];
    listing(&head, &lines, page, "no such requests")
}

fn listing(head: &[&str], lines: &[Vec<String>], page: &Value, none: &str) -> String {
    if lines.is_empty() {
        return format!("{none}\n");
    }
    let more = page["next_cursor"].as_str().map(|cursor| format!("there are more: --cursor {cursor}\n"));
    format!("{}{}", table(head, lines), more.unwrap_or_default())
}

fn rows(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// A value as people write it; without one, a dash.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => one_line(text),
        other => other.to_string(),
    }
}

/// What others sent may hold anything, and is not to move the cursor.
fn one_line(text: &str) -> String {
    visible(text).trim().to_owned()
}

fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

/// A time, to the second.
fn moment(value: &Value) -> String {
    let time = value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    time.map_or("-".to_owned(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Seconds, in the two units that say most.
fn span(value: &Value) -> String {
    let Some(seconds) = value.as_f64() else { return "-".to_owned() };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float's cast saturates")]
    let whole = seconds.round() as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if whole == 0 => "0 s".to_owned(),
        (0, 0, 0) => format!("{whole} s"),
        (0, 0, _) => format!("{minutes} min {} s", whole % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

fn bytes(value: &Value) -> String {
    let Some(mut size) = value.as_f64() else { return "-".to_owned() };
    for unit in ["B", "KiB", "MiB"] {
        if size < 1024.0 {
            return if unit == "B" { format!("{size} B") } else { format!("{size:.1} {unit}") };
        }
        size /= 1024.0;
    }
    format!("{size:.1} GiB")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn units_are_those_people_use() {
        let spans = [0, 59, 61, 3_700, 90_000].map(|seconds| span(&json!(seconds)));
        assert_eq!(spans, ["0 s", "59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
        assert_eq!([5, 2048, 5 << 30].map(|size: u64| bytes(&json!(size))), ["5 B", "2.0 KiB", "5.0 GiB"]);
        assert_eq!(moment(&json!("2026-11-24T08:00:00.123456Z")), "2026-11-24T08:00:00Z");
    }

    #[test]
    fn what_others_sent_stays_on_its_line() {
        assert_eq!(plain(&json!("a\x1b[2J\nb")), "a [2J b");
    }

    #[test]
    fn an_event_is_told_with_its_deliveries_and_the_way_on() {
        let page = json!({
            "events": [{
                "id": "1", "received_at": "2026-11-24T08:00:00Z", "app": "crm", "event": "call_record",
                "label": null, "task_id": "7", "call_sn": null, "size": 10,
                "deliveries": [
                    { "subscriber": "a", "state": "delivered", "attempts": 1 },
                    { "subscriber": "b", "state": "retrying", "attempts": 3 },
                ],
            }],
            "next_cursor": "x",
        });
        let told = events(&page);
        assert!(told.contains("a: delivered, b: retrying (3 attempts)"), "{told}");
        assert!(told.ends_with("there are more: --cursor x\n"), "{told}");
        assert_eq!(events(&json!({ "events": [] })), "no events\n");
    }
}
