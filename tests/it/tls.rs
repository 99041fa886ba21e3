//! TLS on the listeners that others call.

use std::time::Duration;

use crate::support::{
    Authority, Binary, Builder, Gateway, Line, OK, Pair, TASKLIST, Upstream, answer, bytes, callback,
    eventually, get, post,
};

/// A gateway whose proxy and callbacks listeners speak TLS with `pair`, with `more` of it.
fn secured(upstream: &Upstream, pair: &Pair, more: &str) -> Builder {
    let tls = format!("{{certificate_file: {}, key_file: {}{more}}}", pair.certificate(), pair.key());
    Gateway::to(upstream).with(format!("listen: {{proxy_tls: {tls}, callbacks_tls: {tls}}}"))
}

#[tokio::test]
async fn requests_and_callbacks_come_under_tls() {
    let (authority, large) = (Authority::new(), bytes(3 << 20));
    let recording = large.clone();
    let upstream = Upstream::scripted(move |seen| match seen.target.as_str() {
        "/coeus/a.wav" => answer("200 OK", "", &recording),
        _ => answer("200 OK", "", OK),
    });
    let mut gateway = secured(&upstream, &authority.pair("gateway.test"), "").start();
    let client = authority.client(None);
    let mut line = client.connect(gateway.proxy).await.unwrap();
    for _ in 0..3 {
        assert_eq!(post(TASKLIST, "{}").send_on(&mut line).await.status, 200);
    }
    assert_eq!(get("/coeus/a.wav").send_on(&mut line).await.body, large);
    let mut saas = client.connect(gateway.callbacks).await.unwrap();
    let acknowledged = post(&callback(None), r#"{"bot_id":"1"}"#).send_on(&mut saas).await;
    assert_eq!((acknowledged.status, acknowledged.code()), (200, 0));
    // Whoever speaks no TLS there gets no answer.
    let mut plain = Line::to(gateway.proxy).await;
    drop(plain.try_send(post(TASKLIST, "{}").to_bytes()).await);
    assert!(plain.try_answer(false).await.is_err());
    gateway.counts(r#"xinyao_tls_handshakes_failed_total{listener="proxy"}"#, 1.0).await;
    // The end of a connection is told as TLS wants it.
    let stopping = gateway.stop();
    line.closed().await;
    stopping.await;
}

#[tokio::test]
async fn another_certificate_is_taken_up_and_connections_stay() {
    let (old, new) = (Authority::new(), Authority::new());
    let (upstream, pair) = (Upstream::start(), old.pair("gateway.test"));
    let gateway = secured(&upstream, &pair, "").start();
    let mut line = old.client(None).connect(gateway.proxy).await.unwrap();
    assert_eq!(post(TASKLIST, "{}").send_on(&mut line).await.status, 200);
    pair.replace(&new.pair("gateway.test"));
    eventually(async || new.client(None).connect(gateway.proxy).await.is_ok()).await;
    assert!(old.client(None).connect(gateway.proxy).await.is_err());
    assert_eq!(post(TASKLIST, "{}").send_on(&mut line).await.status, 200);
    gateway.counts(r#"xinyao_certificate_reloads_total{listener="proxy",outcome="ok"}"#, 1.0).await;
    let left =
        gateway.metrics().await.value(r#"xinyao_certificate_expiry_seconds{listener="proxy"}"#).unwrap();
    assert!(left > 86_400.0, "{left}");
}

#[tokio::test]
async fn a_broken_pair_changes_nothing_and_is_told() {
    let authority = Authority::new();
    let (upstream, pair) = (Upstream::start(), authority.pair("gateway.test"));
    let gateway = secured(&upstream, &pair, "").start();
    let failed = r#"xinyao_certificate_reloads_total{listener="callbacks",outcome="failed"}"#;
    std::fs::write(pair.key(), "no key").unwrap();
    gateway.counts(failed, 1.0).await;
    std::fs::write(pair.key(), authority.pair("gateway.test").key_text()).unwrap();
    gateway.counts(failed, 2.0).await;
    let certificates = gateway.status().await["certificates"].clone();
    let error = certificates[1]["error"].as_str().unwrap();
    assert!(error.contains("is not the key of certificate_file"), "{certificates}");
    authority.client(None).connect(gateway.proxy).await.unwrap();
    pair.replace(&authority.pair("gateway.test"));
    eventually(async || gateway.status().await["certificates"][1]["error"].is_null()).await;
    authority.client(None).connect(gateway.callbacks).await.unwrap();
}

#[tokio::test]
async fn clients_show_a_certificate_where_that_is_wanted() {
    let (authority, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let (upstream, pair) = (Upstream::start(), authority.pair("gateway.test"));
    for (wanted, without) in [("required", false), ("optional", true)] {
        let more = format!(", client_ca_file: {}, client_certificate: {wanted}", clients.file());
        let gateway = secured(&upstream, &pair, &more).start();
        let served = async |shown: Option<&Authority>| {
            let client = authority.client(shown.map(|signer| signer.pair("crm.test")).as_ref());
            // Under TLS 1.3 the client is done first, and learns that it is refused when it reads.
            let Ok(mut line) = client.connect(gateway.proxy).await else { return false };
            line.try_send(post(TASKLIST, "{}").to_bytes()).await.is_ok()
                && line.try_answer(false).await.is_ok_and(|answer| answer.status == 200)
        };
        assert!(served(Some(&clients)).await, "{wanted}");
        assert!(!served(Some(&others)).await, "{wanted}");
        assert_eq!(served(None).await, without, "{wanted}");
    }
}

#[tokio::test]
async fn slow_handshakes_are_cut_off() {
    let (authority, upstream) = (Authority::new(), Upstream::start());
    let pair = authority.pair("gateway.test");
    let gateway = secured(&upstream, &pair, "").with("limits: {header_timeout: 300ms}").start();
    let (mut silent, mut slow) = (Line::to(gateway.proxy).await, Line::to(gateway.proxy).await);
    // The beginning of a ClientHello that does not go on.
    slow.send(b"\x16\x03\x01\x02\x00\x01").await;
    silent.closed().await;
    slow.closed().await;
    gateway.counts(r#"xinyao_tls_handshakes_failed_total{listener="proxy"}"#, 2.0).await;
}

#[tokio::test]
async fn a_balancer_says_for_whom_it_connects_before_tls_begins() {
    let (authority, upstream) = (Authority::new(), Upstream::start());
    let file = "{trusted_proxies: [127.0.0.0/8], proxy_protocol: true}";
    let pair = authority.pair("gateway.test");
    let gateway = secured(&upstream, &pair, "").with(file).crm("networks: [10.1.2.3]").start();
    let client = authority.client(None);
    for (source, status) in [("10.1.2.3", 200), ("10.1.2.4", 403)] {
        let header = format!("PROXY TCP4 {source} 10.0.0.1 5000 443\r\n");
        let mut line = client.connect_after(gateway.proxy, header.as_bytes()).await.unwrap();
        assert_eq!(post(TASKLIST, "{}").send_on(&mut line).await.status, status);
    }
}

#[tokio::test]
async fn check_doctor_and_a_start_say_what_is_wrong_with_a_pair() {
    let (authority, upstream) = (Authority::new(), Upstream::start());
    let (pair, other) = (authority.pair("gateway.test"), authority.pair("gateway.test"));
    std::fs::write(pair.key(), other.key_text()).unwrap();
    let builder = secured(&upstream, &pair, "");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, builder.text()).unwrap();
    let said = |command: &str| {
        let ran = Binary::command().arg(command).arg("--config").arg(&file).output().unwrap();
        let said = [ran.stdout, ran.stderr].concat();
        (ran.status.code(), String::from_utf8(said).unwrap())
    };
    for (command, code) in [("check", 2), ("doctor", 1), ("run", 1)] {
        let (ended, text) = said(command);
        assert_eq!(ended, Some(code), "{text}");
        assert!(text.contains("listen.proxy_tls: key_file") && text.contains("is not the key"), "{text}");
    }
    pair.replace(&authority.pair_until("gateway.test", 2020));
    let (ended, text) = said("check");
    assert!(ended == Some(0) && text.contains("listen.proxy_tls: the certificate ran out"), "{text}");
    let (_, text) = said("doctor");
    assert!(text.contains("FAIL  certificate: listen.callbacks_tls: the certificate ran out"), "{text}");
    std::fs::remove_file(pair.certificate()).unwrap();
    let (ended, text) = said("check");
    assert!(ended == Some(2) && text.contains("certificate_file") && text.contains("No such file"), "{text}");
}

#[tokio::test]
async fn idle_connections_are_closed_under_tls_too() {
    let (authority, upstream) = (Authority::new(), Upstream::start());
    let limits = "limits: {header_timeout: 300ms}";
    let gateway = secured(&upstream, &authority.pair("gateway.test"), "").with(limits).start();
    let mut line = authority.client(None).connect(gateway.proxy).await.unwrap();
    line.closed().await;
    let mut line = authority.client(None).connect(gateway.proxy).await.unwrap();
    line.send("POST / HTTP/1.1\r\nhost: g\r\nx-slow: ").await;
    line.answer().await.refused(408, -40801, "request_timeout");
    assert!(!line.is_silent_for(Duration::from_secs(15)).await);
}
