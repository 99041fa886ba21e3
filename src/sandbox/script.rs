//! What is said in simulated calls, and how calls end: tables, and the dice that choose from them.

/// How a call ends, and how often.
#[derive(Debug)]
pub(super) struct Outcome {
    /// `state` of §7: 1, as in §7.3, for a call that was answered; else §18.
    pub(super) state: i64,
    /// `state_desc` of §7.3: the line's SIP code.
    pub(super) sip: &'static str,
    /// Whether somebody, or something, picked up.
    pub(super) answered: bool,
    weight: u32,
}

const fn outcome(state: i64, sip: &'static str, answered: bool, weight: u32) -> Outcome {
    Outcome { state, sip, answered, weight }
}

const OUTCOMES: [Outcome; 13] = [
    outcome(1, "200", true, 440),
    outcome(786, "200", true, 25),
    outcome(784, "200", true, 20),
    outcome(775, "480", false, 160),
    outcome(781, "603", false, 90),
    outcome(773, "486", false, 70),
    outcome(770, "480", false, 60),
    outcome(774, "404", false, 40),
    outcome(772, "480", false, 35),
    outcome(788, "480", false, 20),
    outcome(776, "480", false, 15),
    outcome(778, "503", false, 15),
    outcome(771, "404", false, 10),
];

/// One conversation: what the customer says, and what the bot says to it.
#[derive(Debug)]
pub(super) struct Script {
    /// What §8 makes of it.
    pub(super) degree: &'static str,
    /// Whether the customer hangs up.
    pub(super) customer_hangs_up: bool,
    /// Words of the customer, the intention found in them, the bot's answer (empty: none any more).
    pub(super) turns: &'static [(&'static str, &'static str, &'static str)],
    weight: u32,
}

/// What every call begins with; marked up (SSML) as in §7.3.
pub(super) const OPENING: &str = "<speak><phoneme alphabet=\"py\" ph=\"wei2\" >喂</phoneme>, 您好<break time=\"500ms\"/>您好, 我是您的客户经理, 来电是想邀请您登录APP补充下资料就能领取额度了. </speak>";
const URGE: &str = "好的, 今天之内补充资料的话, 是自动审批, 您稍后抓紧时间补充资料领取下额度, 好吧?";
const SMS: &str = "嗯, 好, 短信稍后就发您, 就先不打扰您了, 祝您生活愉快, 再见。";
const BYE: &str = "好的, 那就先不打扰您了, 再见。";

const SCRIPTS: [Script; 5] = [
    Script {
        degree: "A类",
        customer_hangs_up: false,
        turns: &[("好的好的", "yes", URGE), ("好的", "yes", SMS)],
        weight: 25,
    },
    Script {
        degree: "B类",
        customer_hangs_up: true,
        turns: &[
            ("利息是多少", "问利息", "年化利率是7.2%起, 您看您方便登录APP看一下吗?"),
            ("我先看看吧", "考虑一下", URGE),
            ("嗯", "yes", ""),
        ],
        weight: 20,
    },
    Script {
        degree: "C类",
        customer_hangs_up: false,
        turns: &[("我在开车", "busy", "好的, 那我晚点再给您打过来, 再见。")],
        weight: 20,
    },
    Script { degree: "D类", customer_hangs_up: false, turns: &[("不需要", "no", BYE)], weight: 25 },
    Script {
        degree: "D类", customer_hangs_up: true, turns: &[("别再打了", "不耐烦", "")], weight: 10
    },
];

/// A call that was picked up, but nobody spoke.
pub(super) const SILENCE: Script = Script { degree: "E类", customer_hangs_up: false, turns: &[], weight: 0 };

/// How a call ends.
pub(super) fn throw_outcome(dice: &mut fastrand::Rng) -> &'static Outcome {
    throw(&OUTCOMES, |outcome| outcome.weight, dice)
}

/// What is said in a call with a customer.
pub(super) fn throw_script(dice: &mut fastrand::Rng) -> &'static Script {
    throw(&SCRIPTS, |script| script.weight, dice)
}

/// One of `rows`, of which there is at least one.
fn throw<T>(rows: &'static [T], weight: fn(&T) -> u32, dice: &mut fastrand::Rng) -> &'static T {
    let total: u32 = rows.iter().map(weight).sum();
    let mut left = dice.u32(..total);
    for row in rows {
        match left.checked_sub(weight(row)) {
            Some(rest) => left = rest,
            None => return row,
        }
    }
    &rows[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dice_fall_by_weight() {
        let mut dice = fastrand::Rng::with_seed(7);
        let answered = (0..10_000).filter(|_| throw_outcome(&mut dice).answered).count();
        assert!((4600..5100).contains(&answered), "{answered}");
        let keen = (0..10_000).filter(|_| throw_script(&mut dice).degree == "A类").count();
        assert!((2300..2700).contains(&keen), "{keen}");
    }

    #[test]
    fn every_state_has_a_text_or_is_the_answered_one() {
        for outcome in &OUTCOMES {
            assert!(outcome.state == 1 || crate::xinyao::call_state::text(outcome.state).is_some());
        }
    }
}
