// Events, newest first.

import { h } from "../dom.js";
import { bytes } from "../format.js";
import { t } from "../i18n.js";
import { Listing } from "../listing.js";
import { badge, code, empty, heading, link, table, time } from "../parts.js";
import { filters } from "../filters.js";
import { live } from "../poll.js";

const SECONDS = 5;
const NAMES = ["app", "event", "task_id", "call_sn", "since", "until"];
const KINDS = ["call_record", "intent_result", "inbound_query", "unknown"];
const TONES = { pending: "dim", retrying: "warn", delivered: "good", dead: "bad", skipped: "dim" };

/** How a delivery stands; `subject` goes before it. */
export function stateBadge({ state, attempts }, subject = "") {
  return badge(
    TONES[state],
    `${subject}${t(`delivery.${state}`)}${attempts > 1 ? ` ×${attempts}` : ""}`,
    t(`delivery.${state}.about`),
  );
}

export default function events(main, { query }) {
  const region = h("div");
  main.append(
    heading(t("page.events"), t("events.about")),
    filters("events", query, [
      { name: "app", label: t("app") },
      {
        name: "event",
        label: t("kind"),
        kind: "choice",
        options: [["", t("any")], ...KINDS.map((kind) => [kind, t(`kind.${kind}`)])],
      },
      { name: "task_id", label: t("task_id") },
      { name: "call_sn", label: t("call_sn") },
      { name: "since", label: t("since"), kind: "time" },
      { name: "until", label: t("until"), kind: "time" },
    ]),
    region,
  );
  const asked = Object.fromEntries(NAMES.map((name) => [name, query.get(name)]));
  const listing = new Listing("events", "events", ({ id }) => id, asked);
  const polled = live(
    region,
    SECONDS,
    (signal) => listing.refresh(signal),
    () =>
      h(
        "div",
        null,
        page(listing, Object.values(asked).some(Boolean)),
        listing.foot(() => polled.draw()),
      ),
  );
  return polled.stop;
}

function page({ rows }, narrowed) {
  if (rows.length === 0)
    return narrowed
      ? empty(t("events.no_match"), t("events.no_match.about"))
      : empty(t("events.none"), t("events.none.about"));
  const columns = [
    {
      title: t("received"),
      cell: (row) => h("a", { href: `#/events/${encodeURIComponent(row.id)}` }, time(row.received_at)),
    },
    { title: t("kind"), cell: (row) => t(`kind.${row.event}`) },
    {
      title: t("app"),
      cell: (row) => [row.app, row.label ? [" ", badge("plain", row.label, t("label"))] : null],
    },
    {
      title: t("task_id"),
      cell: (row) =>
        row.task_id ? link(code(row.task_id), "events", null, { task_id: row.task_id }) : code(null),
    },
    {
      title: t("call_sn"),
      cell: (row) =>
        row.call_sn ? link(code(row.call_sn), "events", null, { call_sn: row.call_sn }) : code(null),
    },
    { title: t("size"), kind: "number", cell: (row) => bytes(row.size) },
    {
      title: t("deliveries"),
      kind: "words",
      cell: (row) =>
        row.deliveries.length
          ? h(
              "div",
              { class: "badges" },
              row.deliveries.map((one) => stateBadge(one, `${one.subscriber} · `)),
            )
          : h("span", { class: "none" }, t("events.nobody")),
    },
  ];
  return table(t("page.events"), columns, rows, ({ id }) => id);
}
