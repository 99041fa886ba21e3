//! Chat sessions (§14, §15, §16), and the dialogs of simulated calls (§13).

use serde_json::{Value, json};

use super::answer::{Answer, Failure, success};
use super::house::House;
use super::route::{Fields, text};

/// One chat.
#[derive(Debug)]
pub(super) struct Session {
    /// What start was told.
    given: Fields,
    /// The newest thing the bot said.
    prompt_id: &'static str,
    /// What follows once the client has shown that.
    then: Then,
    over: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Wait,
    Finish,
    Transfer,
}

/// What the bot says to something.
#[derive(Debug)]
struct Reply {
    /// Words that lead to it.
    words: &'static [&'static str],
    prompt_id: &'static str,
    prompt: &'static str,
    intent: &'static str,
    /// §15.4: 1 rules, 4 knowledge base, 5 system.
    intent_source: u8,
    then: Then,
}

const OPENING: Reply = Reply {
    words: &[],
    prompt_id: "iQwtR",
    prompt: "您好, 请问有什么可以帮助您?",
    intent: "evt.init",
    intent_source: 5,
    then: Then::Wait,
};
const UNCLEAR: Reply = Reply {
    words: &[],
    prompt_id: "wX3mB",
    prompt: "抱歉, 我没有听懂, 您可以换个说法吗?",
    intent: "evt.unknown",
    intent_source: 5,
    then: Then::Wait,
};
const REPLIES: [Reply; 4] = [
    Reply {
        words: &["人工", "转接", "agent"],
        prompt_id: "t7HqZ",
        prompt: "好的, 正在为您转接人工客服, 请稍候。",
        intent: "evt.intent.转人工",
        intent_source: 1,
        then: Then::Transfer,
    },
    Reply {
        words: &["再见", "拜拜", "bye"],
        prompt_id: "b9KfD",
        prompt: "感谢您的咨询, 再见。",
        intent: "evt.intent.再见",
        intent_source: 1,
        then: Then::Finish,
    },
    Reply {
        words: &["天气"],
        prompt_id: "ncYaq",
        prompt: "明天北京零下10度, 有4级风, 天气寒冷, 请注意添衣保温。",
        intent: "evt.intent.查询天气",
        intent_source: 1,
        then: Then::Wait,
    },
    Reply {
        words: &["利息", "利率", "额度"],
        prompt_id: "r2VxC",
        prompt: "年化利率7.2%起, 具体额度以审批结果为准。",
        intent: "evt.intent.问利息",
        intent_source: 4,
        then: Then::Wait,
    },
];

/// §14. A session that is started again begins anew.
pub(super) fn start(house: &House, fields: Fields) -> Answer {
    let sid = text(&fields, "sid").to_owned();
    let session = Session { given: fields, prompt_id: OPENING.prompt_id, then: OPENING.then, over: false };
    let answer = said(&sid, &session, &OPENING);
    house.memory().sessions.put(&sid, session);
    answer
}

/// §15. What the bot says is a prompt; what follows is told when the client has shown it.
pub(super) fn trigger(house: &House, fields: &Fields) -> Result<Answer, Failure> {
    let sid = text(fields, "sid");
    let mut memory = house.memory();
    let session = memory.sessions.get_mut(sid).filter(|session| !session.over);
    let session = session.ok_or_else(|| Failure::NoSession(sid.to_owned()))?;
    if text(fields, "cmd") == "evt.input" {
        let reply = reply(text(fields, "text"));
        (session.prompt_id, session.then) = (reply.prompt_id, reply.then);
        return Ok(said(sid, session, reply));
    }
    if text(fields, "prompt_id") != session.prompt_id {
        return Err(Failure::Parameter { field: "prompt_id", problem: "不是最近一次话术的 id" });
    }
    let cmd = match session.then {
        Then::Wait => "evt.wait",
        Then::Finish => "evt.finish",
        Then::Transfer => "evt.transfer",
    };
    session.over = session.then != Then::Wait;
    Ok(success(json!({ "result": result(sid, session, cmd, "") })))
}

/// §16.
pub(super) fn stop(house: &House, fields: &Fields) -> Result<Answer, Failure> {
    let sid = text(fields, "sid");
    let mut memory = house.memory();
    let session = memory.sessions.get_mut(sid).filter(|session| !session.over);
    session.ok_or_else(|| Failure::NoSession(sid.to_owned()))?.over = true;
    Ok(success(json!({})))
}

/// §13. A simulated call's session is named by its `call_id`.
pub(super) fn followed(house: &House, fields: &Fields) -> Result<Answer, Failure> {
    let id = text(fields, "session_id");
    let memory = house.memory();
    let call = memory.calls.get(id).ok_or_else(|| Failure::NoDialog(id.to_owned()))?;
    Ok(success(json!({ "result": call.followed() })))
}

fn reply(words: &str) -> &'static Reply {
    let found = REPLIES.iter().find(|reply| reply.words.iter().any(|word| words.contains(word)));
    found.unwrap_or(&UNCLEAR)
}

fn said(sid: &str, session: &Session, reply: &Reply) -> Answer {
    let mut result = result(sid, session, "evt.say", reply.prompt);
    result["debug_info"] = json!({
        "prompt_source": if reply.intent_source == 4 { 2 } else { 1 },
        "intent_source": reply.intent_source,
        "intent": reply.intent,
        "score": 1,
    });
    if reply.prompt_id == UNCLEAR.prompt_id {
        result["relation_list"] = json!([{ "relation_title": "您是否想问", "question_name": "利率是多少" }]);
    }
    success(json!({ "result": result }))
}

fn result(sid: &str, session: &Session, cmd: &str, prompt: &str) -> Value {
    let given = |name| session.given.get(name).cloned();
    json!({
        "sid": sid,
        "cmd": cmd,
        "prompt": prompt,
        "prompt_id": session.prompt_id,
        "channel": given("channel"),
        "ext": {
            "user_data": given("user_data").unwrap_or_else(|| "".into()),
            "g_vars": given("var_json").unwrap_or_else(|| json!({})),
        },
    })
}
