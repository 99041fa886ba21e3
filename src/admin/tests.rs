//! The operators' API over a store in memory.

mod listings;
mod operating;
mod support;

use http::StatusCode;
use http::header::{ACCEPT, CONTENT_TYPE};

use self::support::{Api, TOKEN};
use crate::xinyao::callback::Kind;

#[tokio::test]
async fn without_the_token_nothing_is_told_but_health() {
    let api = Api::with_token();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(api.get(path).await.status, StatusCode::OK, "{path}");
    }
    for path in ["/metrics", "/openapi.json", "/api/v1/status", "/api/v1/events", "/api/v1/dead-letters"] {
        let refused = api.get(path).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(refused.headers["www-authenticate"], "Bearer realm=\"xinyao-gateway\"");
        assert_eq!(refused.headers[CONTENT_TYPE], "application/problem+json");
        let shown = api.get_with(path, "authorization", &format!("Bearer {TOKEN}")).await;
        assert_eq!(shown.status, StatusCode::OK, "{path}");
    }
    assert_eq!(api.post("/api/v1/subscribers/crm/purge", "").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn every_error_is_a_problem() {
    let api = Api::new();
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("GET", "/api/v1/events/none", 404),
        ("GET", "/api/v1/events/%FF", 400),
        ("GET", "/api/v1/events?limit=0", 400),
        ("GET", "/api/v1/dead-letters?subscriber=nobody", 404),
        ("POST", "/api/v1/events", 405),
        ("POST", "/api/v1/subscribers/nobody/pause", 404),
        ("POST", "/api/v1/subscribers/crm/replay", 400),
        ("POST", "/api/v1/dead-letters/replay", 400),
    ] {
        let answer = api.send(method, path, "").await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}");
        assert_eq!(answer.headers[CONTENT_TYPE], "application/problem+json", "{method} {path}");
        let problem = answer.json();
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    }
}

#[tokio::test]
async fn a_name_that_has_come_to_point_here_is_told_nothing() {
    let path = "/api/v1/events";
    for (host, status) in [
        ("attacker.example", 421),
        ("attacker.example:9090", 421),
        ("127.0.0.1.attacker.example", 421),
        ("127.0.0.1:9090", 200),
        ("[::1]:9090", 200),
        ("localhost:9090", 200),
        ("gateway", 200),
    ] {
        assert_eq!(Api::new().get_with(path, "host", host).await.status, status, "{host}");
        let open = Api::new().get_with("/healthz", "host", host).await;
        assert_eq!(open.status, StatusCode::OK, "{host}");
    }
    let api = Api::with_token();
    let unproven = api.get_with(path, "host", "attacker.example").await;
    assert_eq!(unproven.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn another_sites_page_may_look_and_not_act() {
    let api = Api::new();
    let path = "/api/v1/subscribers/crm/pause";
    let acted = api.send_with("POST", path, "", "sec-fetch-site", "cross-site").await;
    assert_eq!(acted.status, StatusCode::FORBIDDEN);
    let own = api.send_with("POST", path, "", "sec-fetch-site", "same-origin").await;
    assert_eq!(own.status, StatusCode::OK);
}

#[tokio::test]
async fn metrics_come_in_the_format_that_is_asked_for() {
    let api = Api::new();
    let plain = api.get("/metrics").await;
    assert_eq!(plain.headers[CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    let open = api.get_with("/metrics", ACCEPT.as_str(), "application/openmetrics-text;version=1.0.0").await;
    assert_eq!(open.headers[CONTENT_TYPE], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(open.text().ends_with("# EOF\n") && !plain.text().contains("# EOF"));
}

/// Each row of the document's table leads to a handler, by the method that it names.
#[tokio::test]
async fn what_the_document_lists_is_there() {
    let api = Api::new();
    let (event, _) = api.event(Kind::CallRecord, 0);
    api.batch("b");
    let document = api.get("/openapi.json").await.json();
    let mut seen = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["get", "post"] {
            if item[method]["tags"][0] != "admin" {
                continue;
            }
            let path =
                path.replace("{name}", "crm").replace("{id}", &event.to_string()).replace("{call_sn}", "b");
            let status = api.send(&method.to_ascii_uppercase(), &path, "").await.status;
            // A body that is wanted is missing.
            assert!(status.is_success() || status == StatusCode::BAD_REQUEST, "{method} {path}: {status}");
            seen += 1;
        }
    }
    assert_eq!(seen, 27);
}
