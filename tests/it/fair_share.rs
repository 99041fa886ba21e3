//! When there is not enough for all: the apps by weight, whoever is in a conversation first, and nobody is forgotten.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::support::{
    ADDTASK, Act, Answer, Ask, BOTDM_START, BOTDM_STOP, BOTDM_TRIGGER, FOLLOWED_DATA, Gateway, OUTNUM,
    SYNCPROMPT, TASKLIST, Upstream, answer, eventually, ok, post, within,
};

/// Two apps with these keys, `greedy` at 127.0.0.2 and `modest` at 127.0.0.3.
fn apps(greedy: &str, modest: &str) -> String {
    format!(
        "apps: [{{name: greedy, networks: [127.0.0.2], {greedy}}}, {{name: modest, networks: [127.0.0.3], {modest}}}]"
    )
}

fn greedy(path: &str) -> Ask {
    post(path, "{}").from("127.0.0.2")
}

fn modest(path: &str) -> Ask {
    post(path, "{}").from("127.0.0.3")
}

/// Clients that ask again and again, until this is dropped.
struct Crowd {
    answers: Arc<Mutex<BTreeMap<u16, usize>>>,
    _clients: JoinSet<()>,
}

impl Crowd {
    fn of(clients: usize, ask: &Ask, gateway: &Gateway) -> Self {
        let answers = Arc::<Mutex<BTreeMap<u16, usize>>>::default();
        let client = |ask: Ask, proxy: SocketAddr, answers: Arc<Mutex<BTreeMap<u16, usize>>>| async move {
            loop {
                let answer = ask.clone().send(proxy).await;
                *answers.lock().unwrap().entry(answer.status).or_default() += 1;
                if answer.status != 200 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        let clients = (0..clients).map(|_| client(ask.clone(), gateway.proxy, Arc::clone(&answers)));
        Self { _clients: clients.collect(), answers }
    }

    /// How many were answered so.
    fn answered(&self, status: u16) -> usize {
        self.answers.lock().unwrap().get(&status).copied().unwrap_or_default()
    }
}

/// What the upstream got of each target, from number `from` on until there are `count`.
async fn taken(upstream: &Upstream, from: usize, count: usize) -> BTreeMap<String, usize> {
    upstream.has_seen(from + count).await;
    let mut taken = BTreeMap::new();
    for seen in &upstream.seen()[from..from + count] {
        *taken.entry(seen.target.clone()).or_default() += 1;
    }
    taken
}

#[tokio::test]
async fn apps_that_want_more_than_there_is_have_it_by_weight() {
    let upstream = Upstream::start();
    let limits = "limits: {global: {limit: 60/s, burst: 1}}";
    let gateway = Gateway::to(&upstream).with(apps("weight: 3", "")).with(limits).start();
    let _crowds = [Crowd::of(40, &greedy(TASKLIST), &gateway), Crowd::of(20, &modest(SYNCPROMPT), &gateway)];
    let taken = taken(&upstream, 30, 160).await;
    assert!((112..=128).contains(&taken[TASKLIST]), "{taken:?}");
}

#[tokio::test]
async fn conversations_go_before_batches_which_have_a_fifth() {
    let upstream = Upstream::start();
    let limits = "limits: {global: {limit: 4/s, burst: 1, max_wait: 1m}}";
    let gateway = Gateway::to(&upstream).with(limits).start();
    assert_eq!(gateway.post(TASKLIST, "{}").await.status, 200);
    let mut lines = Vec::new();
    for path in [ADDTASK, BOTDM_TRIGGER].into_iter().flat_map(|path| [path; 5]) {
        let mut line = gateway.line().await;
        line.send(post(path, "{}").to_bytes()).await;
        lines.push(line);
    }
    upstream.has_seen(11).await;
    let order: String =
        upstream.seen()[1..].iter().map(|seen| if seen.target == ADDTASK { 'A' } else { 'T' }).collect();
    // However many batches went while nobody else was there.
    assert!(
        order.trim_start_matches('A').starts_with("TTTTAT") && order.matches('A').count() == 5,
        "{order}"
    );
    for line in &mut lines {
        assert_eq!(line.answer().await.status, 200);
    }
}

#[tokio::test]
async fn an_app_may_have_a_priority_of_its_own() {
    let upstream = Upstream::start();
    let limits = "limits: {global: {limit: 60/s, burst: 1}}";
    let both = apps("priority: batch, weight: 50", "priority: interactive");
    let gateway = Gateway::to(&upstream).with(both).with(limits).start();
    let _crowds =
        [Crowd::of(20, &greedy(BOTDM_TRIGGER), &gateway), Crowd::of(40, &modest(ADDTASK), &gateway)];
    let taken = taken(&upstream, 30, 100).await;
    assert!((16..=24).contains(&taken[BOTDM_TRIGGER]), "{taken:?}");
}

#[tokio::test]
async fn no_app_starves_and_who_is_over_its_share_is_refused_first() {
    let upstream = Upstream::start();
    let limits = "limits: {global: {limit: 50/s, burst: 1, max_wait: 500ms}}";
    let gateway = Gateway::to(&upstream).with(apps("weight: 10", "")).with(limits).start();
    let crowd = Crowd::of(60, &greedy(BOTDM_TRIGGER), &gateway);
    upstream.has_seen(10).await;
    for path in [TASKLIST, ADDTASK, TASKLIST, ADDTASK] {
        assert_eq!(gateway.ask(modest(path)).await.status, 200);
    }
    eventually(async || crowd.answered(429) > 0).await;
    let refused = within(async {
        loop {
            let answer = gateway.ask(greedy(BOTDM_TRIGGER)).await;
            if answer.status != 200 {
                return answer;
            }
        }
    });
    let refused: Answer = refused.await;
    refused.refused(429, -42901, "rate_limited");
    assert_eq!(refused.header("retry-after"), "1");
    let limited = r#"xinyao_rate_limited_total{app="modest""#;
    assert!(gateway.metrics().await.sum(limited) < 1.0);
}

#[tokio::test]
async fn who_waits_is_seen_and_leaves_when_its_client_goes() {
    let upstream = Upstream::start();
    let limits = "limits: {global: {limit: 1/m, burst: 1, max_wait: 130s}}, upstream: {max_in_flight: 1}";
    let gateway = Gateway::to(&upstream).with(format!("{{{limits}}}")).start();
    assert_eq!(gateway.post(TASKLIST, "{}").await.status, 200);
    let mut lines = [gateway.line().await, gateway.line().await];
    lines[0].send(post(TASKLIST, "{}").to_bytes()).await;
    lines[1].send(post(ADDTASK, "{}").to_bytes()).await;
    // They take no room of what is under way.
    gateway.counts(r#"xinyao_waiting{app="crm",priority="interactive"}"#, 1.0).await;
    gateway.counts(r#"xinyao_waiting{app="crm",priority="batch"}"#, 1.0).await;
    let status = gateway.status().await;
    assert_eq!((&status["global"]["waiting"], &status["in_flight"]), (&2.into(), &0.into()));
    let answer = gateway.post(ADDTASK, "{}").await;
    answer.refused(429, -42901, "rate_limited");
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert!((131..=180).contains(&seconds), "{answer:?}");
    drop(lines);
    gateway.counts(r#"xinyao_waiting{app="crm",priority="interactive"}"#, 0.0).await;
    gateway.counts(r#"xinyao_waiting{app="crm",priority="batch"}"#, 0.0).await;
    assert_eq!(upstream.seen().len(), 1);
}

/// The upstream has had enough.
fn busy(status: &str, fields: &str) -> Act {
    answer(status, fields, r#"{"code":-1,"msg":"busy"}"#)
}

#[tokio::test]
async fn an_upstream_that_answers_429_gets_less_and_apps_hardly_feel_it() {
    let room = Mutex::new(Instant::now());
    let refused = Arc::new(Mutex::new(Vec::new()));
    // It takes 40 a second, and two at once.
    let upstream = Upstream::scripted({
        let refused = Arc::clone(&refused);
        move |_| {
            let (now, mut free_at) = (Instant::now(), room.lock().unwrap());
            let served = *free_at <= now + Duration::from_millis(25);
            if served {
                *free_at = now.max(*free_at) + Duration::from_millis(25);
            }
            refused.lock().unwrap().push(!served);
            if served { ok() } else { busy("429 Too Many Requests", "") }
        }
    });
    let gateway = Gateway::to(&upstream).with(apps("", "")).start();
    let crowds = [Crowd::of(4, &greedy(BOTDM_TRIGGER), &gateway), Crowd::of(4, &modest(TASKLIST), &gateway)];
    eventually(async || {
        let global = &gateway.status().await["global"];
        global["allowed_per_second"].as_f64().unwrap() < 40.0 && global["configured_per_second"] == 2000.0
    })
    .await;
    let (from, since) = (upstream.seen().len(), Instant::now());
    let failed = || crowds.iter().map(|crowd| crowd.answered(429)).sum::<usize>();
    let before = failed();
    upstream.has_seen(from + 120).await;
    let (took, failures) = (since.elapsed(), failed() - before);
    assert!(took >= Duration::from_secs(2), "120 in {took:?}");
    let refused = refused.lock().unwrap()[from..from + 120].iter().filter(|refused| **refused).count();
    assert!(refused <= 12 && failures <= 12, "{refused} refused, {failures} felt it");
    let rate = gateway.metrics().await.value(r#"xinyao_global_rate{kind="allowed"}"#).unwrap();
    assert!(rate < 100.0, "{rate}");
}

#[tokio::test]
async fn what_reads_has_another_turn_after_a_429_or_503() {
    for (status, fields) in [("429 Too Many Requests", "retry-after: 1\r\n"), ("503 Service Unavailable", "")]
    {
        for path in [TASKLIST, SYNCPROMPT, FOLLOWED_DATA] {
            let upstream = Upstream::in_turn([busy(status, fields), ok()]);
            let gateway = Gateway::to(&upstream).start();
            let since = Instant::now();
            let answer = gateway.post(path, r#"{"a":1}"#).await;
            assert_eq!((answer.status, answer.code()), (200, 0), "{path}");
            assert!(fields.is_empty() || since.elapsed() >= Duration::from_secs(1));
            let bodies: Vec<Vec<u8>> = upstream.seen().into_iter().map(|seen| seen.body).collect();
            assert_eq!(bodies, [br#"{"a":1}"#.to_vec(), br#"{"a":1}"#.to_vec()]);
        }
    }
}

#[tokio::test]
async fn what_acts_is_answered_as_the_upstream_answered() {
    for status in ["429 Too Many Requests", "503 Service Unavailable"] {
        let upstream = Upstream::scripted(move |_| busy(status, "retry-after: 1\r\nx-own: 1\r\n"));
        let gateway = Gateway::to(&upstream).start();
        for (count, path) in (1..).zip([ADDTASK, OUTNUM, BOTDM_START, BOTDM_TRIGGER, BOTDM_STOP]) {
            let answer = gateway.post(path, "{}").await;
            assert!(status.starts_with(&answer.status.to_string()), "{answer:?}");
            assert_eq!((answer.header("retry-after"), answer.header("x-own"), answer.code()), ("1", "1", -1));
            assert_eq!(answer.header("x-gateway-error"), "");
            assert_eq!(upstream.seen().len(), count);
        }
    }
}

#[tokio::test]
async fn a_pause_longer_than_requests_may_wait_is_passed_on_and_so_is_a_second_no() {
    let upstream = Upstream::scripted(|_| busy("429 Too Many Requests", "retry-after: 60\r\n"));
    let gateway = Gateway::to(&upstream).start();
    let answer = gateway.post(TASKLIST, "{}").await;
    assert_eq!((answer.status, answer.header("retry-after"), upstream.seen().len()), (429, "60", 1));
    let upstream = Upstream::scripted(|_| busy("429 Too Many Requests", ""));
    let gateway = Gateway::to(&upstream).start();
    let answer = gateway.post(TASKLIST, "{}").await;
    assert_eq!((answer.status, answer.code(), upstream.seen().len()), (429, -1, 2));
    let upstream = Upstream::scripted(|_| busy("429 Too Many Requests", ""));
    let limits = "limits: {global: {limit: 2000/s, max_wait: 0s}}";
    let gateway = Gateway::to(&upstream).with(limits).start();
    let answer = gateway.post(TASKLIST, "{}").await;
    assert_eq!((answer.status, answer.code(), upstream.seen().len()), (429, -1, 1));
    // Nobody may wait, and it asks for less and less.
    let mut answer = gateway.post(TASKLIST, "{}").await;
    while answer.code() == -1 {
        answer = gateway.post(TASKLIST, "{}").await;
    }
    let message = answer.refused(429, -42901, "rate_limited");
    assert!(message.contains("the upstream answers 429 or 503"), "{message}");
}

#[tokio::test]
async fn an_upstream_that_fails_now_and_then_slows_nobody_down() {
    let count = Mutex::new(0);
    let upstream = Upstream::scripted(move |_| {
        let mut count = count.lock().unwrap();
        *count += 1;
        if *count % 40 == 0 { busy("503 Service Unavailable", "") } else { ok() }
    });
    let gateway = Gateway::to(&upstream).start();
    let mut line = gateway.line().await;
    for number in 1..=400 {
        let status = post(BOTDM_TRIGGER, "{}").send_on(&mut line).await.status;
        assert_eq!(status, if number % 40 == 0 { 503 } else { 200 });
    }
    let global = gateway.status().await["global"].clone();
    assert_eq!(global["allowed_per_second"], global["configured_per_second"], "{global}");
}

#[tokio::test]
async fn that_recordings_are_short_says_nothing_of_the_api() {
    let upstream = Upstream::scripted(|seen| match seen.target.as_str() {
        "/coeus/a.wav" => busy("503 Service Unavailable", "retry-after: 60\r\n"),
        _ => ok(),
    });
    let gateway = Gateway::to(&upstream).start();
    assert_eq!(gateway.ask(crate::support::get("/coeus/a.wav")).await.status, 503);
    let global = gateway.status().await["global"].clone();
    assert_eq!(global["allowed_per_second"], global["configured_per_second"], "{global}");
}
