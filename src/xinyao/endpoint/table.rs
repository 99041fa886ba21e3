//! The table itself, row by row from the document.

use super::{BodyKind, Endpoint, Field, Kind, Need, Spec};

const COUNT: Kind = Kind::Int { min: 0, max: i64::MAX };

const fn required(name: &'static str, kind: Kind, meaning: &'static str) -> Field {
    Field { name, kind, need: Need::Required, default: None, meaning }
}

const fn optional(name: &'static str, kind: Kind, meaning: &'static str) -> Field {
    Field { name, kind, need: Need::Optional, default: None, meaning }
}

const fn or(mut field: Field, default: &'static str) -> Field {
    field.default = Some(default);
    field
}

const fn when(mut field: Field, other: &'static str, is: &'static str) -> Field {
    field.need = Need::When { field: other, is };
    field
}

const APP_ID: Field = required("app_id", Kind::Text, "租户 id");
const SID: Field = required("sid", Kind::Sid, "会话 id, 32 位无符号字符串");

/// What every answer has (§5.4).
pub const ANSWER: [Field; 2] = [
    required("code", Kind::Int { min: i64::MIN, max: i64::MAX }, "请求状态码, 取值 0 (成功)"),
    required("msg", Kind::Text, "状态描述"),
];

const IS_RECORD: Field =
    or(optional("is_record", Kind::Switch { one: "不开启", two: "开启" }, "是否录音"), "1");
const FORBID_POLICY: Field = or(
    optional("forbid_policy", Kind::TimeRanges, "禁呼时间段"),
    r#"["00:00-08:00","12:00-13:00","20:00-23:59"]"#,
);
const RECALL_POLICY: Field =
    optional("recall_policy", Kind::States, "重呼策略: 遇到这些状态码时重呼 (§10, §18)");
const RECALL_INTERVAL: Field =
    or(optional("recall_interval", Kind::Int { min: 0, max: 525_600 }, "重呼间隔, 分钟"), "30");

const CHAT_ANSWER: &[Field] = &[
    SID,
    required("cmd", Kind::OneOf(&["evt.say", "evt.finish", "evt.wait", "evt.transfer"]), "命令"),
    required("prompt", Kind::Text, "话术文字内容"),
    required("prompt_id", Kind::Text, "机器人话术 id"),
    required("channel", Kind::Text, "渠道标识"),
    optional(
        "relation_list",
        Kind::List(&[
            optional("relation_title", Kind::Text, "关联问标题"),
            optional("question_name", Kind::Text, "常见问题"),
        ]),
        "关联问题列表",
    ),
    optional(
        "ext",
        Kind::Object(&[
            optional("user_data", Kind::Text, "用户随路数据"),
            optional("g_vars", Kind::FlatMap, "变量, map 结构"),
        ]),
        "扩展字段",
    ),
    optional(
        "debug_info",
        Kind::Object(&[
            optional("prompt_source", Kind::Int { min: 1, max: 2 }, "话术来源 1: 多轮对话 2: 知识库"),
            optional(
                "intent_source",
                Kind::Int { min: 1, max: 5 },
                "意图识别来源 1: 规则 2: 模型 3: 相似度计算 4: 知识库 5: 系统",
            ),
            optional("intent", Kind::Text, "用户意图"),
            optional("score", Kind::Float, "意图置信度"),
        ]),
        "调试信息",
    ),
];

const CHAT_EXAMPLE: &str = r#"{"code":0,"msg":"success","result":{"sid":"ad84177a55e14ce02a46331bd500243c","cmd":"evt.say","prompt":"您好, 请问有什么可以帮助您?","prompt_id":"iQwtR","channel":"wx_mp","ext":{"user_data":"this is user data","g_vars":{"age":24,"name":"张三","sex":"先生"}},"debug_info":{"prompt_source":1,"intent_source":5,"current_state_id":"3HrBg","last_state_id":"NQZG2","intent":"evt.init","score":1}}}"#;

/// The eight endpoints, by discriminant.
pub static TABLE: [Spec; 8] = [
    Spec {
        endpoint: Endpoint::AddTask,
        name: "addtask",
        section: 10,
        summary: "创建外呼任务",
        path: "/api/v1/coeus/apiserver/agent/addtask",
        body: BodyKind::Json,
        repeatable: false,
        fields: &[
            APP_ID,
            required("task_name", Kind::Text, "任务名称"),
            IS_RECORD,
            required("bot_id", Kind::Text, "机器人 id, 由 syncprompt 获取"),
            required("voice", Kind::Text, "发音人别名 (需要提前配置)"),
            required("disnumber", Kind::Text, "外显号码 (由线路方提供)"),
            optional("team_url", Kind::Text, "回调地址"),
            FORBID_POLICY,
            RECALL_POLICY,
            RECALL_INTERVAL,
            or(optional("is_ring_asr", Kind::Switch { one: "启用", two: "禁用" }, "是否启用 asr ring"), "1"),
            or(
                optional("ring_asr_code", Kind::StateGroups, "ring 错误码"),
                r#"["777,781","775,776,787,788,790","778,780,791,793,794,796","773"]"#,
            ),
            or(optional("makecall_timeout", Kind::Int { min: 1, max: 3600 }, "呼叫超时时长, 秒"), "45"),
        ],
        answer: &[required(
            "result",
            Kind::Object(&[required("task_id", Kind::Text, "外呼任务 id")]),
            "结果集",
        )],
        example: r#"{"app_id":"81351552582062080","task_name":"xxx外呼任务0920","is_record":2,"bot_id":"102094990155681792","voice":"aixia","disnumber":"xxx","team_url":"http://101.132.237.99:38081/xinyaoai/report","forbid_policy":["00:00-08:00","12:00-13:00","20:00-23:59"],"recall_policy":["777","781","775","776","787","788","790"],"recall_interval":30,"is_ring_asr":1,"ring_asr_code":["777,781","775,776,787,788,790","778,780,791,793,794,796","773"],"makecall_timeout":45}"#,
        answer_example: r#"{"code":0,"msg":"success","result":{"task_id":"107126618320961536"}}"#,
    },
    Spec {
        endpoint: Endpoint::Outnum,
        name: "outnum",
        section: 6,
        summary: "下发号码",
        path: "/api/v1/coeus/apiserver/agent/outnum",
        body: BodyKind::Multipart,
        repeatable: false,
        fields: &[
            APP_ID,
            required("task_id", Kind::Text, "外呼任务 id"),
            required("call_count", Kind::Int { min: 1, max: 150_000 }, "批次号码数量, 最多 15 万"),
            required("file_suffix", Kind::OneOf(&["excel", "xlsx", "csv", "txt"]), "文件类型"),
            required("disnum_group_id", Kind::Text, "外显号码组 id"),
            optional("call_sn_name", Kind::Text, "业务名称"),
            required("file", Kind::File, "号码文件: 第一行为半角英文表头, 第一列为号码"),
        ],
        answer: &[required(
            "result",
            Kind::Object(&[
                required("call_sn", Kind::Text, "外呼任务批次 id (每下发一次号码文件产生一个)"),
                required("call_count", COUNT, "该批次号码数量 (因为号码规则校验, 可能少于原始号码数量)"),
            ]),
            "结果集",
        )],
        example: r#"{"app_id":"200000000","task_id":"5682792453123984","call_count":"50000","file_suffix":"csv","disnum_group_id":"1","call_sn_name":"批次1227"}"#,
        answer_example: r#"{"code":0,"msg":"success","result":{"call_sn":"5682792453545984","call_count":58980}}"#,
    },
    Spec {
        endpoint: Endpoint::TaskList,
        name: "tasklist",
        section: 11,
        summary: "查询外呼任务列表",
        path: "/api/v1/coeus/apiserver/agent/tasklist",
        body: BodyKind::Json,
        repeatable: true,
        fields: &[
            APP_ID,
            optional("task_name", Kind::Text, "任务名称"),
            optional("task_id", Kind::Text, "任务 id"),
            or(optional("page_no", Kind::Int { min: 1, max: i64::MAX }, "当前页码"), "1"),
            or(optional("page_size", Kind::Int { min: 1, max: 50 }, "每页条数, 最大 50 条"), "10"),
        ],
        answer: &[
            required("num_per_page", COUNT, "每页条数"),
            required("total_rows", COUNT, "总计行数"),
            required("total_pages", COUNT, "总计页数"),
            required("current_page", COUNT, "当前页数"),
            required(
                "result",
                Kind::List(&[
                    required("task_id", Kind::Text, "外呼任务 id"),
                    APP_ID,
                    required("task_name", Kind::Text, "任务名称"),
                    IS_RECORD,
                    required("bot_id", Kind::Text, "机器人 id"),
                    required("voice", Kind::Text, "发音人"),
                    required("disnumber", Kind::Text, "外显号码"),
                    optional("team_url", Kind::Text, "回调地址"),
                    FORBID_POLICY,
                    RECALL_POLICY,
                    RECALL_INTERVAL,
                ]),
                "结果集",
            ),
        ],
        example: r#"{"app_id":"81351552582062080","page_no":1,"page_size":10}"#,
        answer_example: r#"{"code":0,"msg":"success","num_per_page":10,"total_rows":1,"total_pages":1,"current_page":1,"result":[{"task_id":"107126618320961536","app_id":"200000000","task_name":"外呼任务0921","is_record":2,"bot_id":"102094990155681792","voice":"艾夏tts模板","disnumber":"06682561108","team_url":"http://127.0.0.1:38081/xinyaoai/report","forbid_policy":["00:00-08:00","12:00-13:00","20:00-23:59"],"recall_policy":["777","781","775","776","787","788","790"],"recall_interval":30}]}"#,
    },
    Spec {
        endpoint: Endpoint::SyncPrompt,
        name: "syncprompt",
        section: 12,
        summary: "同步业务话术",
        path: "/api/v1/coeus/apiserver/agent/syncprompt",
        body: BodyKind::Json,
        repeatable: true,
        fields: &[APP_ID],
        answer: &[required(
            "result",
            Kind::List(&[
                required("bot_id", Kind::Text, "话术机器人 id"),
                required("bot_name", Kind::Text, "话术机器人名称"),
            ]),
            "结果集",
        )],
        example: r#"{"app_id":"81351552582062080"}"#,
        answer_example: r#"{"code":0,"msg":"success","result":[{"bot_id":"114660944623140864","bot_name":"省呗"},{"bot_id":"104516283748601856","bot_name":"滴水贷"}]}"#,
    },
    Spec {
        endpoint: Endpoint::FollowedData,
        name: "followed_data",
        section: 13,
        summary: "获取随路数据",
        path: "/api/v1/coeus/apiserver/followed/data",
        body: BodyKind::Json,
        repeatable: true,
        fields: &[required("session_id", Kind::Text, "会话 id (从 SIP UserToUser 获取)")],
        answer: &[optional(
            "result",
            Kind::List(&[
                required("dialog_type", Kind::Int { min: 1, max: 2 }, "1: 机器人话术 2: 用户话术"),
                required("content", Kind::Text, "对话内容"),
                required("create_time", Kind::Text, "会话产生时间"),
            ]),
            "结果集 (文档的类型栏写 string, 示例为数组)",
        )],
        example: r#"{"session_id":"9082792453545984"}"#,
        answer_example: r#"{"code":0,"msg":"success","result":[{"dialog_type":1,"content":"您好, 这里是心耀智能测试流程, 您可以配合测试一下吗?","create_time":"2023-05-30 10:06:54"},{"dialog_type":2,"content":"转人工","create_time":"2023-05-30 10:06:54"}]}"#,
    },
    Spec {
        endpoint: Endpoint::BotdmStart,
        name: "botdm_start",
        section: 14,
        summary: "智能客服开启会话",
        path: "/api/v1/gaia/botdm/start",
        body: BodyKind::Json,
        repeatable: false,
        fields: &[
            APP_ID,
            required("bot_id", Kind::Text, "机器人 id"),
            SID,
            required(
                "channel",
                Kind::OneOf(&["h5", "wx_oa", "wx_mp", "wx_work", "weibo", "email", "app"]),
                "渠道",
            ),
            optional("var_json", Kind::FlatMap, "变量数据, 无嵌套"),
            optional("user_data", Kind::Text, "用户随路数据"),
        ],
        answer: &[required("result", Kind::Object(CHAT_ANSWER), "结果集")],
        example: r#"{"app_id":"200000000","bot_id":"12705770053645123","sid":"ad84177a55e14ce02a46331bd500243c","channel":"wx_mp","var_json":{"name":"张三","sex":"先生","age":24},"user_data":"this is user data"}"#,
        answer_example: CHAT_EXAMPLE,
    },
    Spec {
        endpoint: Endpoint::BotdmTrigger,
        name: "botdm_trigger",
        section: 15,
        summary: "智能客服触发会话",
        path: "/api/v1/gaia/botdm/trigger",
        body: BodyKind::Json,
        repeatable: false,
        fields: &[
            SID,
            required(
                "cmd",
                Kind::OneOf(&["evt.input", "evt.complete"]),
                "evt.input: 用户输入; evt.complete: evt.say 已处理完",
            ),
            when(optional("text", Kind::Text, "用户输入文本"), "cmd", "evt.input"),
            when(optional("prompt_id", Kind::Text, "机器人话术 id"), "cmd", "evt.complete"),
        ],
        answer: &[required("result", Kind::Object(CHAT_ANSWER), "结果集")],
        example: r#"{"cmd":"evt.input","text":"明天北京天气怎么样?","sid":"ad84177a55e14ce02a46331bd500243c"}"#,
        answer_example: r#"{"code":0,"msg":"success","result":{"sid":"ad84177a55e14ce02a46331bd500243c","cmd":"evt.say","prompt":"明天北京零下10度, 有4级风, 天气寒冷, 请注意添衣保温。","prompt_id":"ncYaq","channel":"wx_mp","ext":{"user_data":"this is user data","g_vars":{"age":24,"name":"张三","sex":"先生"}},"debug_info":{"prompt_source":1,"intent_source":1,"intent":"evt.intent.查询天气","score":1}}}"#,
    },
    Spec {
        endpoint: Endpoint::BotdmStop,
        name: "botdm_stop",
        section: 16,
        summary: "智能客服关闭会话",
        path: "/api/v1/gaia/botdm/stop",
        body: BodyKind::Json,
        repeatable: false,
        fields: &[SID],
        answer: &[],
        example: r#"{"sid":"ad84177a55e14ce02a46331bd500243c"}"#,
        answer_example: r#"{"code":0,"msg":"success"}"#,
    },
];
