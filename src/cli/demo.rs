//! `demo`: the gateway at work, told step by step. What is shown has happened: an internal app calls the
//! gateway over HTTP, and what the SaaS saw is read from the sandbox's journal.

mod app;
mod results;
mod stage;
mod subscriber;

use anyhow::Context;
use serde_json::{Value, json};
use uuid::Uuid;

use self::app::{App, Called};
use self::stage::Stage;
use super::arguments::Demo;
use super::screen::{Ink, Screen};
use super::table::pad;
use super::{Failed, print};
use crate::xinyao::Endpoint;
use crate::{app as composition, telemetry};

const TENANT: &str = "200000000";
const NUMBERS: usize = 60;

/// Plays one campaign, and stays up afterwards unless told otherwise.
pub(super) async fn demo(asked: Demo) -> Result<(), Failed> {
    telemetry::log::start(telemetry::Settings {
        format: telemetry::Format::Text,
        level: tracing::level_filters::LevelFilter::ERROR,
        access: false,
        mask_numbers: true,
    });
    let stop = composition::asked_to_stop()?;
    let stage = Stage::set().await?;
    let play = Play { screen: Screen::new(), app: App::calling(stage.proxy()), stage: &stage };
    let played = async {
        play.all().await?;
        if asked.exit { Ok(()) } else { play.stay().await }
    };
    let outcome = tokio::select! {
        outcome = played => outcome,
        () = stop => Ok(()),
    };
    stage.clear().await;
    outcome
}

struct Play<'a> {
    screen: Screen,
    app: App,
    stage: &'a Stage,
}

impl Play<'_> {
    async fn all(&self) -> Result<(), Failed> {
        self.introduce()?;
        self.without_gateway().await?;
        let bot = self.with_gateway().await?;
        self.campaign(&bot).await?;
        self.chat(&bot).await?;
        self.callbacks().await?;
        self.one_call().await?;
        self.ring_back().await?;
        self.summary().await?;
        self.look_on()
    }

    fn introduce(&self) -> Result<(), Failed> {
        let (proxy, source, saas) = (self.stage.proxy(), self.stage.source_ip, self.stage.sandbox_address);
        self.title("心耀 gateway, at work")?;
        say(format!("crm app ── unsigned ──▶ gateway {proxy}"))?;
        say(format!("gateway ── signed, from {source} ──▶ SaaS {saas} (a sandbox: nobody is called)"))?;
        say("crm-hook, warehouse ◀── events ── gateway ◀── callbacks ── SaaS")
    }

    async fn without_gateway(&self) -> Result<(), Failed> {
        self.title("1  An app calls the SaaS by itself, without the keys")?;
        let direct = App::calling(self.stage.sandbox_address);
        let refused = direct.try_post(Endpoint::SyncPrompt, &json!({ "app_id": TENANT })).await?;
        say(format!(
            "{} {} {}",
            self.screen.ink(Ink::Bad, "✗"),
            refused.status,
            refused.body["msg"].as_str().unwrap_or_default()
        ))
    }

    /// The same request to the gateway; the bot that it found.
    async fn with_gateway(&self) -> Result<String, Failed> {
        self.title("2  The same request, to the gateway")?;
        let body = json!({ "app_id": TENANT });
        self.dim(format!(
            "curl http://{}{} -d '{body}'",
            self.stage.proxy(),
            Endpoint::SyncPrompt.spec().path
        ))?;
        let called = self.app.post(Endpoint::SyncPrompt, &body).await?;
        let bots = called.body["result"].as_array().context("syncprompt answered no list")?;
        let names: Vec<&str> = bots.iter().filter_map(|bot| bot["bot_name"].as_str()).collect();
        self.done(Endpoint::SyncPrompt, &called, &format!("{} bots: {}", names.len(), names.join(", ")))?;
        self.seen()?;
        Ok(text(&called.body["result"][0]["bot_id"]))
    }

    async fn campaign(&self, bot: &str) -> Result<(), Failed> {
        self.title("3  A campaign")?;
        let task = json!({
            "app_id": TENANT,
            "task_name": "demo 回访",
            "is_record": 2,
            "bot_id": bot,
            "voice": "aixia",
            "disnumber": "02066668888",
        });
        let called = self.app.post(Endpoint::AddTask, &task).await?;
        let task_id = text(&called.body["result"]["task_id"]);
        self.done(Endpoint::AddTask, &called, &format!("task {task_id}"))?;

        let count = NUMBERS.to_string();
        let fields = [
            ("app_id", TENANT),
            ("task_id", &task_id),
            ("call_count", &count),
            ("file_suffix", "csv"),
            ("disnum_group_id", "1"),
            ("call_sn_name", "demo 批次"),
        ];
        let called = self.app.upload(&fields, &numbers(NUMBERS)).await?;
        let result = &called.body["result"];
        let told = format!("{} numbers accepted, batch {}", result["call_count"], text(&result["call_sn"]));
        self.done(Endpoint::Outnum, &called, &told)?;
        self.seen()?;

        let query = json!({ "app_id": TENANT, "task_id": task_id });
        let called = self.app.post(Endpoint::TaskList, &query).await?;
        let row = &called.body["result"][0];
        self.done(Endpoint::TaskList, &called, &format!("{:?} is listed", text(&row["task_name"])))
    }

    async fn chat(&self, bot: &str) -> Result<(), Failed> {
        self.title("4  A chat with the bot")?;
        let sid = Uuid::now_v7().simple().to_string();
        let start = json!({
            "app_id": TENANT, "bot_id": bot, "sid": sid, "channel": "wx_mp", "var_json": { "name": "张三" },
        });
        let called = self.app.post(Endpoint::BotdmStart, &start).await?;
        self.done(Endpoint::BotdmStart, &called, &bot_says(&called))?;
        for words in ["利率是多少?", "再见"] {
            let input = json!({ "sid": sid, "cmd": "evt.input", "text": words });
            let called = self.app.post(Endpoint::BotdmTrigger, &input).await?;
            self.done(Endpoint::BotdmTrigger, &called, &format!("您: {words}  {}", bot_says(&called)))?;
        }
        let called = self.app.post(Endpoint::BotdmStop, &json!({ "sid": sid })).await?;
        self.done(Endpoint::BotdmStop, &called, "closed")
    }

    fn look_on(&self) -> Result<(), Failed> {
        self.title("What to look at next")?;
        let admin = self.stage.admin();
        say(format!("the console    {}", self.link(format!("http://{admin}/"))))?;
        say(format!("how it fares   {}", self.link(format!("http://{admin}/api/v1/status"))))?;
        say(format!("events         {}", self.link(format!("http://{admin}/api/v1/events?limit=3"))))?;
        say(format!("metrics        {}", self.link(format!("http://{admin}/metrics"))))?;
        say(format!("or             xinyao-gateway events --admin http://{admin}"))?;
        say("your own       config.yaml, then: xinyao-gateway check && xinyao-gateway run")
    }

    /// Waits until it is ended from outside.
    async fn stay(&self) -> Result<(), Failed> {
        print("\nIt stays up. Ctrl-C ends it.\n")?;
        std::future::pending().await
    }
}

/// How it is told.
impl Play<'_> {
    fn title(&self, text: &str) -> Result<(), Failed> {
        print(&format!("\n{}\n", self.screen.ink(Ink::Bold, text)))
    }

    fn dim(&self, text: impl AsRef<str>) -> Result<(), Failed> {
        say(self.screen.ink(Ink::Dim, text))
    }

    fn link(&self, text: impl AsRef<str>) -> String {
        self.screen.ink(Ink::Link, text)
    }

    fn done(&self, endpoint: Endpoint, called: &Called, what: &str) -> Result<(), Failed> {
        let (good, spec) = (self.screen.ink(Ink::Good, "✓"), endpoint.spec());
        let took = self.screen.ink(Ink::Dim, format!("{:4.1} ms", called.took.as_secs_f64() * 1000.0));
        say(format!("{good} {} {}  {took}  {what}", pad(spec.name, 14), pad(spec.summary, 18)))
    }

    /// What the SaaS saw of the last request.
    fn seen(&self) -> Result<(), Failed> {
        let requests = self.stage.sandbox.requests();
        let seen = requests.last().context("the sandbox saw no request")?;
        let authorization = seen.headers.get(http::header::AUTHORIZATION);
        let authorization = authorization.and_then(|value| value.to_str().ok()).unwrap_or("none");
        self.dim("  the app sent     no Authorization")?;
        self.dim(format!("  the SaaS saw     Authorization: {authorization}"))?;
        self.dim(format!("  and it came from {}, which is in its whitelist", seen.peer.ip()))
    }
}

fn say(text: impl AsRef<str>) -> Result<(), Failed> {
    print(&format!("   {}\n", text.as_ref()))
}

fn bot_says(called: &Called) -> String {
    format!("机器人: {}", called.body["result"]["prompt"].as_str().unwrap_or_default())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A file of numbers that nobody has: none begins with 100.
fn numbers(count: usize) -> String {
    (0..count).fold("phone,name\n".to_owned(), |file, n| file + &format!("100{n:08},客户{n}\n"))
}
