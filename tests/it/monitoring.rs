//! Alerts and dashboards ask for what the gateway exports, and tell people what they see.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use xinyao_gateway::store::{MemoryStore, StoreError};

use crate::support::{
    Act, Exported, Gateway, OUTNUM, Postgres, Sandbox, TASKLIST, Upstream, answer, nobody, outnum, post,
};

const RECORD: &str = r#"{"bot_id":"1","call_sn":"9","calls":[{"call_id":"1"}]}"#;

/// All that there is to count, after a day on which much went wrong.
async fn exported() -> Exported {
    let mut exported = Exported::default();
    let postgres = Postgres::start();
    for gateway in [
        well().await,
        refused_by_the_saas().await,
        without_the_saas().await,
        without_a_store().await,
        without_redis(),
        in_a_cluster(&postgres).await,
    ] {
        exported.add(&gateway.metrics().await.0);
    }
    exported
}

/// Requests of all kinds, callbacks, a limit that is reached.
async fn well() -> Gateway {
    let sandbox = Sandbox::start().await;
    let gateway = Gateway::before(&sandbox)
        .crm("rate_limits: [{limit: 1/h, burst: 2, endpoints: [tasklist]}]")
        .with(format!("subscribers: [{{name: hook, url: \"http://{}\", events: [unknown]}}]", nobody()))
        .with(format!("tracing_otlp: http://{}", nobody()))
        .start();
    gateway.post(TASKLIST, r#"{"app_id":"a","page_no":1,"page_size":10}"#).await;
    gateway.post(TASKLIST, r#"{"app_id":1}"#).await;
    gateway.post(TASKLIST, "{}").await.refused(429, -42901, "rate_limited");
    gateway.push(RECORD).await;
    gateway.push(r#"{"caller":"13515525820"}"#).await;
    gateway.call_back(post("/callbacks/crm/0", RECORD)).await.refused(404, -40401, "unknown_url");
    gateway.counts(r#"xinyao_rate_limited_total{app="crm",endpoint="tasklist"}"#, 1.0).await;
    gateway
}

/// The SaaS answers with 401, with a code, and once well.
async fn refused_by_the_saas() -> Gateway {
    let says = |status: &str, code: i32| answer(status, "", format!("{{\"code\":{code}}}"));
    let upstream = Upstream::scripted(move |seen| -> Act {
        match (seen.target.as_str(), seen.body.is_empty()) {
            (OUTNUM, _) => says("200 OK", 0),
            (_, true) => says("401 Unauthorized", -1),
            (_, false) => says("200 OK", -1),
        }
    });
    let gateway = Gateway::to(&upstream).start();
    gateway.post(TASKLIST, "").await;
    gateway.post(TASKLIST, "{}").await;
    gateway.ask(outnum("1", "number\n13800138000\n")).await;
    let sent = r#"xinyao_requests_total{app="crm",endpoint="outnum",status="200",outcome="ok"}"#;
    gateway.counts(sent, 1.0).await;
    gateway
}

/// The SaaS can't be reached, until it is left alone.
async fn without_the_saas() -> Gateway {
    let gateway = Gateway::at(&format!("http://{}", nobody())).start();
    let mut answer = gateway.post(TASKLIST, "{}").await;
    while answer.status == 502 {
        answer = gateway.post(TASKLIST, "{}").await;
    }
    answer.refused(503, -50301, "overloaded");
    let refused =
        r#"xinyao_requests_total{app="crm",endpoint="tasklist",status="503",outcome="rejected_overloaded"}"#;
    gateway.counts(refused, 1.0).await;
    gateway
}

/// Nothing can be kept.
async fn without_a_store() -> Gateway {
    let store = Arc::new(MemoryStore::new());
    let gateway = Gateway::at("http://127.0.0.1:9").store(Arc::clone(&store) as _).start();
    store.refuse(Some(StoreError::Full("the disk is full".into())));
    gateway.push(RECORD).await.refused(500, -50001, "not_kept");
    gateway
}

/// Limits are to be shared.
fn without_redis() -> Gateway {
    Gateway::at("http://127.0.0.1:9").with(format!("limits: {{shared: \"redis://{}\"}}", nobody())).start()
}

/// With others, as far as it knows.
pub async fn in_a_cluster(postgres: &Postgres) -> Gateway {
    let store = format!("store: {{postgres: \"{}?sslmode=disable\"}}", postgres.url());
    let gateway = Gateway::at("http://127.0.0.1:9").with(store).start();
    gateway.counts("xinyao_cluster_replicas", 1.0).await;
    gateway
}

#[tokio::test]
async fn alerts_and_dashboards_ask_for_what_is_exported() {
    let exported = exported().await;
    let asked = alerts().into_iter().map(|alert| (alert.name, alert.expr)).chain(dashboards_ask());
    let lacking: Vec<(String, Vec<String>)> = asked
        .map(|(place, expression)| (place, exported.lacks(&expression)))
        .filter(|(_, lacking)| !lacking.is_empty())
        .collect();
    assert!(lacking.is_empty(), "{lacking:#?}");
}

#[tokio::test]
async fn all_that_is_exported_is_on_a_dashboard() {
    let text: String = dashboards().into_iter().map(|(_, board)| board.to_string()).collect();
    let exported = exported().await;
    let names: BTreeSet<&str> = exported
        .names()
        .filter(|name| name.starts_with("xinyao_"))
        .map(|name| {
            ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
        })
        .collect();
    let missing: Vec<_> = names.into_iter().filter(|name| !text.contains(name)).collect();
    assert!(missing.is_empty(), "no dashboard shows {missing:?}");
}

/// An alert as written.
struct Alert {
    name: String,
    expr: String,
    rule: Value,
}

fn alerts() -> Vec<Alert> {
    let text = std::fs::read_to_string("deploy/prometheus/alerts.yml").unwrap();
    let file: Value = serde_yaml::from_str(&text).unwrap();
    let groups = file["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
    let text = |rule: &Value, key: &str| rule[key].as_str().unwrap_or_default().to_owned();
    rules
        .map(|rule| Alert { name: text(rule, "alert"), expr: text(rule, "expr"), rule: rule.clone() })
        .collect()
}

#[test]
fn each_alert_says_what_it_means_and_what_to_do() {
    let runbook = std::fs::read_to_string("docs/runbook.md").unwrap();
    let anchors: BTreeSet<String> = crate::documents::anchors(&runbook).collect();
    for Alert { name, rule, .. } in alerts() {
        assert!(matches!(rule["labels"]["severity"].as_str(), Some("critical" | "warning")), "{name}");
        for annotation in ["summary", "description"] {
            assert!(rule["annotations"][annotation].as_str().is_some_and(|text| !text.is_empty()), "{name}");
        }
        let link = rule["annotations"]["runbook_url"].as_str().unwrap();
        let anchor = link.strip_prefix("docs/runbook.md#").unwrap_or_else(|| panic!("{name}: {link}"));
        assert!(anchors.contains(anchor), "{name}: {link} leads nowhere: {anchors:?}");
        assert!(runbook.contains(&name), "docs/runbook.md does not name {name}");
    }
}

#[test]
fn each_alert_is_seen_to_fire() {
    let tests = std::fs::read_to_string("deploy/prometheus/alerts.test.yml").unwrap();
    let alerts = alerts();
    assert!(alerts.len() > 20);
    let unseen: Vec<_> =
        alerts.iter().filter(|alert| !tests.contains(&format!("alertname=\"{}\"", alert.name))).collect();
    assert!(unseen.is_empty(), "{:?}", unseen.iter().map(|alert| &alert.name).collect::<Vec<_>>());
}

/// File and content of each dashboard.
fn dashboards() -> Vec<(PathBuf, Value)> {
    let files = std::fs::read_dir("deploy/grafana").unwrap().map(|entry| entry.unwrap().path());
    let boards = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let read = |path: PathBuf| (path.clone(), serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap());
    let boards: Vec<_> = boards.map(read).collect();
    assert!(boards.len() > 3);
    boards
}

/// Place and text of each expression of the dashboards.
fn dashboards_ask() -> Vec<(String, String)> {
    let mut asked = Vec::new();
    for (path, board) in dashboards() {
        let mut ask = |place: &Value, expression: &Value| {
            asked.push((format!("{} {place}", path.display()), expression.as_str().unwrap().to_owned()));
        };
        for panel in board["panels"].as_array().unwrap() {
            let targets = panel["targets"].as_array().into_iter().flatten();
            targets.for_each(|target| ask(&panel["title"], &target["expr"]));
        }
        board["annotations"]["list"]
            .as_array()
            .unwrap()
            .iter()
            .for_each(|one| ask(&one["name"], &one["expr"]));
        for variable in board["templating"]["list"].as_array().unwrap() {
            // label_values(SELECTOR, LABEL)
            let Some(query) = variable["query"]["query"].as_str() else { continue };
            let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
            let (selector, label) = inner.rsplit_once(", ").unwrap();
            ask(&variable["name"], &format!("sum by ({label}) ({selector})").into());
        }
    }
    asked
}

#[test]
fn dashboards_fit_any_grafana() {
    for (path, board) in dashboards() {
        let place = path.display();
        let variables: Vec<_> = board["templating"]["list"]
            .as_array()
            .unwrap()
            .iter()
            .map(|variable| &variable["name"])
            .collect();
        assert!(variables.iter().any(|name| *name == "instance") && variables[0] == "datasource", "{place}");
        for name in uids(&board) {
            assert_eq!(name, "${datasource}", "{place}");
        }
        assert!(board["id"].is_null(), "{place}: an id is one Grafana's own");
    }
}

/// The `uid` of each data source in it.
fn uids(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let own =
                fields.get("datasource").map(|source| source["uid"].as_str().unwrap_or("none").to_owned());
            own.into_iter().chain(fields.values().flat_map(uids)).collect()
        }
        Value::Array(items) => items.iter().flat_map(uids).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn panels_say_what_they_show() {
    for (path, board) in dashboards() {
        let mut taken = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for panel in board["panels"].as_array().unwrap() {
            let place = format!("{} {}", path.display(), panel["title"]);
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{place}: its id is another's");
            let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            for (x, y) in (0..at("w")).flat_map(|x| (0..at("h")).map(move |y| (x, y))) {
                assert!(taken.insert((at("x") + x, at("y") + y)), "{place} lies over another");
            }
            assert!(at("x") + at("w") <= 24, "{place} is too wide");
            if panel["type"] == "row" {
                continue;
            }
            let said = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
            let texts = [&panel["title"], &panel["description"], &panel["fieldConfig"]["defaults"]["unit"]];
            assert!(texts.into_iter().all(said), "{place} lacks title, description or unit");
            assert!(
                panel["targets"].as_array().unwrap().iter().all(|one| said(&one["legendFormat"])),
                "{place}"
            );
        }
    }
}
