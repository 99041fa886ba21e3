//! A credential is rotated: the next one is proven first, and the old one signs until then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use xinyao_gateway::xinyao::Credential;

use crate::support::{Act, Gateway, OUTNUM, Seen, TASKLIST, Upstream, answer, eventually, ok};

const OLD: (&str, &str) = ("key", "secret");
const NEW: (&str, &str) = ("new-key", "new-secret");

/// A SaaS that accepts one of the two, by switch.
struct Saas {
    upstream: Upstream,
    accepts_new: Arc<AtomicBool>,
}

impl Saas {
    fn start() -> Self {
        let accepts_new = Arc::<AtomicBool>::default();
        let switch = Arc::clone(&accepts_new);
        let upstream = Upstream::scripted(move |seen| -> Act {
            let wanted = if switch.load(Ordering::Relaxed) { NEW } else { OLD };
            if is_signed_by(seen, wanted) {
                ok()
            } else {
                answer("200 OK", "", r#"{"code":-7,"msg":"no such key"}"#)
            }
        });
        Self { upstream, accepts_new }
    }

    fn accept_the_new_one_only(&self) {
        self.accepts_new.store(true, Ordering::Relaxed);
    }

    fn proofs(&self) -> Vec<Seen> {
        self.upstream.seen().into_iter().filter(|seen| is_signed_by(seen, NEW)).collect()
    }
}

fn is_signed_by(seen: &Seen, (apikey, apisecret): (&str, &str)) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let credential = Credential { apikey: apikey.into(), apisecret: apisecret.into() };
    credential.verify(seen.header("authorization"), now).is_ok()
}

fn next(saas: &Saas, app: &str) -> Gateway {
    let next = "credentials: {default: {next: {apikey: new-key, apisecret: new-secret}}}";
    Gateway::to(&saas.upstream).crm(app).with(next).start()
}

async fn code(gateway: &Gateway) -> i64 {
    gateway.post(TASKLIST, r#"{"app_id":"t1"}"#).await.code()
}

async fn standing(gateway: &Gateway) -> Value {
    gateway.status().await["credentials"][0].clone()
}

#[tokio::test]
async fn the_old_one_signs_until_the_next_is_proven_and_then_the_next_signs_all() {
    let saas = Saas::start();
    let gateway = next(&saas, "app_ids: [t1, t2]");
    eventually(async || standing(&gateway).await["next"] == "not_proven").await;
    let told = standing(&gateway).await;
    assert!(told["error"].as_str().unwrap().contains("code -7 no such key"), "{told}");
    assert_eq!(code(&gateway).await, 0);
    let proof = &saas.proofs()[0];
    assert_eq!((proof.method.as_str(), proof.target.as_str()), ("POST", TASKLIST));
    let body: Value = serde_json::from_slice(&proof.body).unwrap();
    assert_eq!(body, json!({ "app_id": "t1", "page_no": 1, "page_size": 1 }));

    // It is tried again, by itself.
    saas.accept_the_new_one_only();
    assert_eq!(code(&gateway).await, -7);
    eventually(async || code(&gateway).await == 0).await;
    assert_eq!(standing(&gateway).await["next"], "signs");
    assert_eq!(gateway.post(OUTNUM, "").await.status, 200);
    assert!(is_signed_by(saas.upstream.seen().last().unwrap(), NEW));
    for (outcome, least) in [("accepted", 1.0), ("refused", 1.0)] {
        let line = format!(r#"xinyao_credential_proofs_total{{credential="default",outcome="{outcome}"}}"#);
        assert!(gateway.metrics().await.value(&line) >= Some(least), "{outcome}");
    }
    assert!(!gateway.operate("/api/v1/config").await.text().contains("new-"));
}

#[tokio::test]
async fn what_is_proven_stays_so_across_reloads_and_moves_into_its_place() {
    let saas = Saas::start();
    saas.accept_the_new_one_only();
    let mut gateway = next(&saas, "app_ids: [t1]");
    eventually(async || code(&gateway).await == 0).await;
    gateway.change("limits: {max_body: 1MiB}").await;
    assert_eq!(code(&gateway).await, 0);
    // A file that is no good makes nobody forget.
    gateway.rewrite("{credentials: {default: {next: null}}, limits: {max_body: much}}");
    assert_eq!(gateway.reload().await.status, 422);
    gateway.change("{credentials: {default: {next: {apikey: new-key, apisecret: new-secret}}}, limits: {max_body: 1MiB}}").await;
    assert_eq!(code(&gateway).await, 0);
    gateway.change("credentials: {default: {apikey: new-key, apisecret: new-secret, next: null}}").await;
    assert_eq!(code(&gateway).await, 0);
    assert_eq!(gateway.status().await["credentials"], json!([]));
    // The way back.
    gateway.change("credentials: {default: {apikey: key, apisecret: secret}}").await;
    assert_eq!(code(&gateway).await, -7);
}

#[tokio::test]
async fn without_an_answer_nothing_changes() {
    let upstream = Upstream::in_turn([Act::Close, ok()]);
    let next = "credentials: {default: {next: {apikey: new-key, apisecret: new-secret, app_id: t9}}}";
    let mut gateway = Gateway::to(&upstream).with(next).start();
    eventually(async || standing(&gateway).await["error"].is_string()).await;
    let told = standing(&gateway).await;
    assert!(told["error"].as_str().unwrap().contains("can't be asked"), "{told}");
    assert_eq!(gateway.post(TASKLIST, "{}").await.status, 200);
    assert!(is_signed_by(upstream.seen().last().unwrap(), OLD));
    // At a reload it is tried at once.
    gateway.change("limits: {max_body: 1MiB}").await;
    eventually(async || standing(&gateway).await["next"] == "signs").await;
    let proof: Value = serde_json::from_slice(&upstream.seen().last().unwrap().body).unwrap();
    assert_eq!(proof["app_id"], "t9");
}
