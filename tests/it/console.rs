//! The console in a real browser: what operators see, and what they can do with it.

use serde_json::json;

use crate::support::{
    Act, Answer, Browser, Gateway, Sandbox, TASKLIST, Upstream, answer, callback, eventually, get, nobody,
    ok, outnum, post,
};

const RECORD: &str = r#"{"task_id":"7","call_sn":"17","bot_id":"1","calls":[{"call_id":"a","num":"13800138000","state":775}]}"#;
/// What would run if it were ever taken for anything but text.
const HOSTILE: &str = r#"<img src=x onerror="window.hit=1"><script>window.hit=1</script>"#;

/// What the SaaS answers to an outnum.
const SUBMITTED: &str = r#"{"code":0,"msg":"success","result":{"call_sn":"17","call_count":3}}"#;
/// What can't be read well in the colours that it has (WCAG 2.2 §1.4.3).
const FAINT: &str = r#"
    const parts = (color) => { const [r, g, b, a = 1] = color.match(/[\d.]+/g).map(Number); return [r, g, b, a]; };
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)).reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
    const behind = (e) => { for (; e; e = e.parentElement) { const color = parts(getComputedStyle(e).backgroundColor); if (color[3] === 1) return color; } };
    const contrast = (e) => { const [one, other] = [light(parts(getComputedStyle(e).color)), light(behind(e))]; return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05); };
    const speaks = (e) => [...e.childNodes].some((node) => node.nodeType === 3 && node.data.trim()) && e.checkVisibility() && !e.disabled;
    return [...document.querySelectorAll("body *:not(svg *, option, noscript)")].filter(speaks).filter((e) => contrast(e) < 4.5).map((e) => `${e.outerHTML} ${contrast(e)}`);
"#;

/// Every page by its place in the address.
const PAGES: [&str; 8] =
    ["overview", "apps", "subscribers", "events", "dead-letters", "batches", "requests", "config"];

/// A gateway whose subscriber `crm-hook` is `subscriber`.
fn gateway(subscriber: &Upstream) -> Gateway {
    Gateway::to(subscriber)
        .with(format!(
            "subscribers: [{{name: crm-hook, url: {}/hook, retry: [50ms, 50ms]}}]",
            subscriber.url()
        ))
        .start()
}

fn page(gateway: &Gateway, page: &str) -> String {
    format!("http://{}/#/{page}", gateway.admin)
}

async fn subscriber(gateway: &Gateway) -> serde_json::Value {
    gateway.operate("/api/v1/subscribers").await.json()["subscribers"][0].clone()
}

#[tokio::test]
async fn the_shell_is_open_and_keeps_to_itself() {
    let gateway = Gateway::to(&Upstream::start()).with("admin: {token: sesame}").start();
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                  base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/console/app.js", "text/javascript; charset=utf-8"),
        ("/console/style/theme.css", "text/css; charset=utf-8"),
        ("/console/icon.svg", "image/svg+xml"),
    ] {
        let file = gateway.operate(path).await;
        assert_eq!((file.status, file.header("content-type")), (200, kind), "{path}");
        assert_eq!(file.header("content-security-policy"), policy, "{path}");
        assert_eq!(file.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(file.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(file.header("cache-control"), "no-cache", "{path}");
        let known: Answer = get(path).header("if-none-match", file.header("etag")).send(gateway.admin).await;
        assert_eq!((known.status, known.body.len()), (304, 0), "{path}");
    }
    assert_eq!(gateway.operate("/console/nothing.js").await.status, 404);
    assert_eq!(gateway.operate("/api/v1/apps").await.status, 401);
}

#[tokio::test]
async fn the_token_opens_the_door_and_nothing_else_does() {
    let gateway = Gateway::to(&Upstream::start()).with("admin: {token: sesame}").start();
    let browser = Browser::at(&page(&gateway, "apps")).await;
    browser.fill("Token", "open says me").await;
    browser.click("Log in").await;
    browser.reads("The token is not the one that is configured").await;
    browser.does_not_read("All apps together").await;

    browser.fill("Token", "sesame").await;
    browser.press("Enter").await;
    browser.reads("All apps together").await;
    browser.reload().await;
    browser.reads("All apps together").await;
    let kept =
        browser.run("return [sessionStorage.length, Object.values(localStorage).join()]", json!([])).await;
    assert_eq!(kept, json!([1, ""]), "it is this tab's and goes with it");

    browser.click("Log out").await;
    browser.reads("This gateway asks for its admin.token").await;
    browser.reload().await;
    browser.reads("This gateway asks for its admin.token").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_subscriber_is_paused_resumed_tested_and_purged() {
    let subscriber_of = Upstream::start();
    let gateway = gateway(&subscriber_of);
    let browser = Browser::at(&page(&gateway, "subscribers")).await;
    browser.click("Pause: crm-hook").await;
    browser.reads("Nothing is delivered to it until it is resumed").await;
    browser.press("Escape").await;
    let focused = "return !document.querySelector('dialog') && name(document.activeElement) === arguments[0]";
    browser.holds(focused, json!(["Pause: crm-hook"])).await;
    assert_eq!(subscriber(&gateway).await["state"], "active", "a question is no action");

    browser.click("Pause: crm-hook").await;
    browser.click("Pause").await;
    browser.reads("crm-hook is paused; its backlog waits.").await;
    browser.reads("Resume").await;
    gateway.push(RECORD).await;
    eventually(async || subscriber(&gateway).await["backlog"] == 1).await;

    browser.click("Purge: crm-hook").await;
    browser.holds("return called('Purge').disabled", json!([])).await;
    browser.fill("Type crm-hook to confirm", "crm-hook").await;
    browser.click("Purge").await;
    browser.reads("crm-hook: 1 deliveries were dropped.").await;
    browser.click("Resume: crm-hook").await;
    browser.reads("crm-hook gets events again.").await;
    eventually(async || subscriber(&gateway).await["state"] == "active").await;
    assert_eq!(subscriber_of.seen().len(), 0);

    browser.click("Test: crm-hook").await;
    browser.click("Test").await;
    browser.reads("What crm-hook answered").await;
    browser.reads("Taken").await;
    subscriber_of.has_seen(2).await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_event_is_followed_through_its_attempts() {
    let said = answer("500 Internal Server Error", "content-type: text/html\r\n", HOSTILE);
    let subscriber = Upstream::in_turn([said, ok()]);
    let gateway = gateway(&subscriber);
    let mut body: serde_json::Value = serde_json::from_str(RECORD).unwrap();
    body["task_name"] = HOSTILE.into();
    body["call_sn"] = HOSTILE.into();
    body["bot_id"] = serde_json::from_str("12345678901234567890").unwrap();
    gateway.call_back(post(&callback(Some("vip")), body.to_string())).await;
    subscriber.has_seen(2).await;

    let browser = Browser::at(&page(&gateway, "events")).await;
    browser.choose("Kind", "Intent result").await;
    browser.reads("No event matches").await;
    browser.choose("Kind", "Call record").await;
    browser.reads("crm-hook · delivered ×2").await;
    browser
        .run(
            "document.querySelector('tbody a').id = 'first'; document.getElementById('first').focus()",
            json!([]),
        )
        .await;
    browser.press("Enter").await;
    browser.reads("Attempt 1 to crm-hook").await;
    browser.reads("answered 500").await;
    browser.reads("Attempt 2 to crm-hook").await;
    browser.click("What was answered").await;
    browser.reads(HOSTILE).await;

    browser.reads(r#""num": "138****8000""#).await;
    browser.does_not_read("13800138000").await;
    browser.click("Show numbers").await;
    browser.reads(r#""num": "13800138000""#).await;
    browser.reads(r#""bot_id": 12345678901234567890"#).await;
    browser.click("Mask numbers").await;
    browser.does_not_read("13800138000").await;

    let found = "return [window.hit ?? null, document.querySelectorAll('main img, main script').length]";
    assert_eq!(browser.run(found, json!([])).await, json!([null, 0]), "what comes from outside is text");
    assert_eq!(browser.complaints().await, Vec::<String>::new());

    browser.click("Deliver again to crm-hook").await;
    browser.click("Deliver again").await;
    browser.reads("Attempt 3 to crm-hook").await;
    subscriber.has_seen(3).await;
}

#[tokio::test]
async fn older_events_stay_while_new_ones_come() {
    let gateway = gateway(&Upstream::start());
    for number in 0..60 {
        gateway.push(RECORD.replace("17", &format!("batch-{number}"))).await;
    }
    let browser = Browser::at(&page(&gateway, "events")).await;
    let rows = "return document.querySelectorAll('tbody tr').length === arguments[0]";
    browser.holds(rows, json!([50])).await;
    browser.click("Show older ones").await;
    browser.holds(rows, json!([60])).await;
    gateway.push(RECORD.replace("17", "the-newest")).await;
    browser.reads("the-newest").await;
    browser.holds(rows, json!([61])).await;
    browser.reads("batch-0").await;
}

#[tokio::test]
async fn dead_letters_are_replayed_and_discarded() {
    let gone = || answer("410 Gone", "", "");
    let subscriber_of = Upstream::in_turn([gone(), gone(), ok()]);
    let gateway = gateway(&subscriber_of);
    for call_sn in ["first", "second"] {
        gateway.push(RECORD.replace("17", call_sn)).await;
    }
    eventually(async || subscriber(&gateway).await["dead"] == 2).await;
    let browser = Browser::at(&page(&gateway, "overview")).await;
    browser.reads("2 dead letters wait for a decision.").await;
    browser.click("Dead letters").await;
    browser.reads("0 chosen").await;
    let box_of = "const row = [...document.querySelectorAll('tbody tr')].find((row) => row.innerText.includes(arguments[0])); row.querySelector('input').click()";
    browser.reads("first").await;
    browser.run(box_of, json!(["first"])).await;
    browser.reads("1 chosen").await;
    browser.click("Replay chosen").await;
    browser.click("Replay").await;
    browser.reads("One delivery is made again.").await;
    subscriber_of.has_seen(3).await;
    assert!(String::from_utf8_lossy(&subscriber_of.seen()[2].body).contains("first"));

    browser.holds("return document.querySelectorAll('tbody tr').length === 1", json!([])).await;
    browser.click("Choose all that are shown").await;
    browser.click("Discard chosen").await;
    browser.click("Discard").await;
    browser.reads("No dead letters").await;
    eventually(async || subscriber(&gateway).await["dead"] == 0).await;
    assert_eq!(subscriber_of.seen().len(), 3);
}

#[tokio::test]
async fn an_unknown_outcome_is_settled() {
    let upstream = Upstream::in_turn([Act::Close, ok()]);
    let gateway = Gateway::to(&upstream).start();
    assert_eq!(gateway.ask(outnum("7", "phone\n13800138000\n")).await.status, 502);
    let browser = Browser::at(&page(&gateway, "overview")).await;
    browser.reads("It is not known whether some requests reached the SaaS").await;
    browser.click("Requests").await;
    browser.choose("State", "Unknown").await;
    browser.click("Settle request").await;
    browser.click("not acted on it").await;
    browser.click("Settle").await;
    browser.reads("Settled: not acted on it.").await;
    browser.reads("Nothing to settle").await;
    assert_eq!(gateway.ask(outnum("7", "phone\n13800138000\n")).await.status, 200, "it may be sent again");
}

#[tokio::test]
async fn a_batch_tells_which_rows_are_missing() {
    let saas = answer("200 OK", "content-type: application/json\r\n", SUBMITTED);
    let upstream = Upstream::in_turn([saas, ok()]);
    let gateway = Gateway::to(&upstream).start();
    gateway.ask(outnum("7", "phone\n13800138000\n13900139000\n13700137000\n13900139000\n")).await;
    gateway.push(RECORD).await;
    let batch = async || gateway.operate("/api/v1/batches/17").await.json();
    eventually(async || batch().await["returned"] == 1).await;
    let missing = async || gateway.operate("/api/v1/batches/17/missing").await.json();
    eventually(async || missing().await["missing_count"] == 2).await;
    let browser = Browser::at(&page(&gateway, "batches")).await;
    browser.reads("1 of 3 numbers came back").await;
    browser.reads("No answer 775").await;
    browser.click("Which are missing of").await;
    browser.reads("3 (again in 5) 4").await;
    browser.click("Close").await;
    browser.does_not_read("Rows with a number").await;
}

#[tokio::test]
async fn a_broken_file_is_told_of_and_a_good_one_taken_up() {
    let mut gateway = Gateway::to(&Upstream::start()).start();
    let browser = Browser::at(&page(&gateway, "config")).await;
    browser.reads("max_in_flight: 1024").await;
    let good = std::fs::read_to_string(gateway.file()).unwrap();
    std::fs::write(gateway.file(), good.replacen("\"upstream\"", "\"upstreem\"", 1)).unwrap();
    browser.click("Read the file again").await;
    browser.reads("It is checked whole").await;
    browser.click("Read the file again").await;
    browser.reads("The file has faults; nothing has changed.").await;
    browser.click("Cancel").await;
    browser.reads("What is wrong with the file").await;
    browser.reads("upstreem").await;
    browser.reads("max_in_flight: 1024").await;

    gateway.rewrite("upstream: {max_in_flight: 77}");
    browser.click("Read the file again").await;
    browser.click("Read the file again").await;
    browser.reads("The file is what runs now.").await;
    browser.reads("max_in_flight: 77").await;
    browser.does_not_read("What is wrong with the file").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn language_and_theme_are_switched_and_remembered() {
    let gateway = gateway(&Upstream::start());
    let browser = Browser::at(&page(&gateway, "events")).await;
    browser.reads("No events yet").await;
    browser.click("中文").await;
    browser.reads("还没有事件").await;
    browser.reload().await;
    browser.reads("还没有事件").await;
    let lang = browser.run("return document.documentElement.lang", json!([])).await;
    assert_eq!(lang, "zh-CN");

    let background =
        async || browser.run("return getComputedStyle(document.body).backgroundColor", json!([])).await;
    browser.prefer("dark").await;
    let dark = background().await;
    browser.prefer("light").await;
    let light = background().await;
    assert_ne!(dark, light);
    browser.choose("主题", "深色").await;
    assert_eq!(background().await, dark);
    browser.reload().await;
    browser.reads("还没有事件").await;
    assert_eq!(background().await, dark);
}

/// Every page, in both languages, on a phone and on a screen.
#[tokio::test]
async fn pages_fit_are_named_and_ask_nobody_else() {
    let sandbox = Sandbox::start().await;
    let failing = Upstream::scripted(|_| answer("410 Gone", "", ""));
    let long = "a-subscriber-with-a-name-as-long-as-a-name-may-be";
    let gateway = Gateway::before(&sandbox)
        .crm("rate_limits: [{limit: 100/s, burst: 200}, {limit: 6/m, burst: 2, endpoints: [outnum]}]")
        .with(format!("subscribers: [{{name: {long}, url: {}/{}}}]", failing.url(), "path/".repeat(30)))
        .start();
    gateway.post(TASKLIST, r#"{"app_id":"a"}"#).await;
    gateway.push(RECORD).await;
    eventually(async || subscriber(&gateway).await["dead"] == 1).await;
    let id = gateway.operate("/api/v1/events").await.json()["events"][0]["id"].as_str().unwrap().to_owned();

    let browser = Browser::at(&page(&gateway, "overview")).await;
    for (language, other) in [("en-GB", "中文"), ("zh-CN", "English")] {
        for name in PAGES.map(String::from).into_iter().chain([format!("events/{id}")]) {
            browser.go(&page(&gateway, &name)).await;
            let drawn = "return document.documentElement.lang === arguments[0] && document.querySelectorAll('main h1').length === 1 && !document.querySelector('.loading')";
            browser.holds(drawn, json!([language])).await;
            for width in [360, 768, 1280] {
                browser.resize(width).await;
                let beyond = browser
                    .run(
                        "return document.documentElement.scrollWidth - document.documentElement.clientWidth",
                        json!([]),
                    )
                    .await;
                assert_eq!(beyond, 0, "{name} in {language} at {width} px");
            }
            let nameless = "return controls().filter((e) => !name(e)).map((e) => e.outerHTML)";
            assert_eq!(browser.run(nameless, json!([])).await, json!([]), "{name} in {language}");
            for scheme in ["light", "dark"] {
                browser.prefer(scheme).await;
                assert_eq!(browser.run(FAINT, json!([])).await, json!([]), "{name} in {language}, {scheme}");
            }
        }
        browser.click(other).await;
    }
    let own = format!("http://{}/", gateway.admin);
    let mut others = browser.requests().await;
    // What is in the page itself, or in the browser, is asked of nobody.
    others.retain(|url| !url.starts_with(&own) && !url.starts_with("data:"));
    assert_eq!(others, Vec::<String>::new());
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_keyboard_is_enough() {
    let gateway = gateway(&Upstream::start());
    let browser = Browser::at(&page(&gateway, "overview")).await;
    browser.reads("Nothing wants attention.").await;
    let focused = async || browser.run("return name(document.activeElement)", json!([])).await;
    browser.press("Tab").await;
    assert_eq!(focused().await, "Skip to the page");
    browser.press("Enter").await;
    browser.holds("return document.activeElement.id === 'main'", json!([])).await;
    browser.press("Tab").await;
    assert_eq!(focused().await, "Requests", "a plot can be walked through");
    let outline =
        browser.run("return getComputedStyle(document.activeElement).outlineStyle", json!([])).await;
    assert_eq!(outline, "solid", "and the focus is seen");

    browser.resize(360).await;
    browser.run("called('Menu').focus()", json!([])).await;
    browser.press("Enter").await;
    browser
        .run(
            "[...document.querySelectorAll('nav a')].find((a) => name(a) === 'Subscribers').focus()",
            json!([]),
        )
        .await;
    browser.press("Enter").await;
    browser.reads("Who gets events").await;
    browser.run("called('Pause: crm-hook').focus()", json!([])).await;
    browser.press("Enter").await;
    browser.reads("Pause crm-hook?").await;
    // Past the dialog's last control comes the browser's own frame, and never the page behind.
    let behind = "return document.getElementById('root').contains(document.activeElement)";
    for _ in 0..6 {
        browser.press("Tab").await;
        assert_eq!(browser.run(behind, json!([])).await, false);
    }
    browser.run("called('Pause').focus()", json!([])).await;
    browser.press("Enter").await;
    browser.reads("crm-hook is paused").await;
}

#[tokio::test]
async fn what_went_wrong_is_told_in_words() {
    let subscriber_of = Upstream::at(nobody().to_string());
    let mut gateway = gateway(&subscriber_of);
    let browser = Browser::at(&page(&gateway, "events/00000000-0000-7000-8000-000000000000")).await;
    browser.reads("There is no such thing (any more).").await;
    browser.reads("or retention has removed it").await;
    browser.go(&page(&gateway, "subscribers")).await;
    browser.reads("crm-hook").await;
    gateway.stop().await;
    browser.reads("Not fresh since").await;
    browser.reads("crm-hook").await;
}
