//! Who may call, as written.

use std::time::Duration;

use ipnet::IpNet;

use crate::config::read::At;
use crate::config::record::record;
use crate::config::scalars::{Count, EndpointName, Name, Rate, Secret, choice};

record! {
    /// An internal app.
    struct App {
        /// Its name: `[a-z0-9-]`, unique.
        name: Name,
        /// Where it calls from: CIDRs or addresses, IPv4 or IPv6.
        networks: Vec<At<IpNet>>,
        /// What it has to show beside its address, as `Authorization: Bearer …`; empty: nothing.
        token: Option<Secret> = "",
        /// Which of `credentials` signs for it.
        credential: String = "default",
        /// Tenant ids (`app_id`) it may act for; empty: any.
        app_ids: Vec<At<String>> = "[]",
        /// What it may call: `addtask`, `outnum`, `tasklist`, `syncprompt`, `followed_data`, `botdm_start`,
        /// `botdm_trigger`, `botdm_stop`, `recordings`, `extra`, or `*` for all of them.
        endpoints: Vec<At<EndpointName>> = "[\"*\"]",
        /// All limits that apply to a request have to admit it.
        rate_limits: Vec<At<RateLimit>> = "[]",
        /// Most requests under way, answers that are still streamed included.
        max_in_flight: Count = "256",
        /// What is done about requests that are not as the SaaS's document asks: `off`, `report` (forwarded,
        /// counted, logged, and the answer tells in `x-gateway-warning`), or `enforce` (400 with every failure).
        checks: Checks = "report",
        /// How long an outnum of the same task and the same numbers is refused, so that nobody is called twice,
        /// unless it has an `Idempotency-Key` or `X-Gateway-Force: true`; `0s`: not at all, at most `24h`.
        outnum_duplicate_window: Duration = "10m",
        /// Its share of `limits.global` when that is short, beside the weights of the other apps that want more
        /// than there is.
        weight: Count = "1",
        /// Who goes first when `limits.global` is short: `interactive` before `batch`, to which a fifth is left. Empty:
        /// `addtask` and `outnum` are `batch`, all else is `interactive`.
        priority: Option<Priority> = "",
    }

    /// A rate limit of an app (GCRA).
    struct RateLimit {
        /// The sustained rate, as in `50/s`, `600/m` or `1000/h`.
        limit: Rate,
        /// How many at once; unless given, one second's worth, at least 1.
        burst: Option<Count> = "",
        /// Which endpoints it counts, all of these together.
        endpoints: Vec<At<EndpointName>> = "[\"*\"]",
        /// How long a request may be delayed before it is refused; `0s`: not at all.
        max_wait: Duration = "0s",
    }
}

choice! {
    /// Who goes first when there is not enough.
    "priority" enum Priority {
        /// Before batch.
        Interactive = "interactive",
        /// After interactive.
        Batch = "batch",
    }

    /// What is done about requests that the SaaS would refuse.
    "kind of checking" enum Checks {
        /// Nothing.
        Off = "off",
        /// They are forwarded, counted and logged.
        Report = "report",
        /// They are refused.
        Enforce = "enforce",
    }
}
