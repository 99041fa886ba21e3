//! Call states: §18's table, and the wider groups that §10 lists under `recall_policy`.

/// What state `code` means: §18's text, else the group of §10 that it belongs to.
pub fn text(code: i64) -> Option<&'static str> {
    let exact = STATES.iter().find(|(state, _)| *state == code).map(|(_, text)| *text);
    exact.or_else(|| GROUPS.iter().find(|(_, states)| states.contains(&code)).map(|(text, _)| *text))
}

/// §18, row by row.
pub const STATES: [(i64, &str); 21] = [
    (770, "关机"),
    (771, "停机"),
    (772, "暂时无法接通"),
    (773, "正在通话"),
    (774, "空号"),
    (775, "无人接听"),
    (776, "来电提醒"),
    (777, "呼入限制"),
    (778, "网络忙"),
    (779, "呼出限制"),
    (780, "路忙嘟嘟"),
    (781, "用户拒接"),
    (782, "呼叫转移"),
    (783, "传真机摘机识别"),
    (784, "自动应答机摘机识别"),
    (785, "自然人摘机识别"),
    (786, "接通无人回话"),
    (787, "回铃音标准嘟嘟声"),
    (788, "彩铃"),
    (789, "振铃 40 秒超时未摘机"),
    (790, "摘机后未识别状态"),
];

/// The groups of §10.
pub const GROUPS: [(&str, &[i64]); 17] = [
    ("其他", &[-1, 783, 784]),
    ("接通无人回话", &[786]),
    ("无法接通", &[600, 603, 604, 606, 772]),
    ("拒接", &[777, 781]),
    ("用户通话中", &[773]),
    ("用户正忙", &[182, 183, 486, 789]),
    ("关机", &[770]),
    ("停机", &[701, 771]),
    ("空号", &[774, 792, 795]),
    ("网络忙", &[778, 780, 791, 793, 794, 796]),
    ("无人接听", &[775, 776, 787, 788, 790]),
    ("呼叫转移", &[181, 782]),
    ("呼叫限制", &[779, 785]),
    ("错误请求", &[400, 401]),
    ("用户欠费", &[402]),
    ("线路服务异常", &[403, 404, 405, 406, 407, 408, 409, 471, 474, 479, 480, 484, 485, 487, 488]),
    ("网关异常", &[500, 501, 502, 503, 504, 505]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_text_wins_over_the_group() {
        assert_eq!(text(777), Some("呼入限制"));
        assert_eq!(text(785), Some("自然人摘机识别"));
        assert_eq!(text(796), Some("网络忙"));
        assert_eq!(text(1), None);
    }
}
