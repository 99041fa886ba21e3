// Who gets events, how far each has come, and what can be done about it.

import { get, post } from "../api.js";
import { attempt, confirm, news, open } from "../dialog.js";
import { h } from "../dom.js";
import { count, duration, milliseconds } from "../format.js";
import { t } from "../i18n.js";
import { ago, badge, button, code, empty, heading, link, table } from "../parts.js";
import { live } from "../poll.js";

const SECONDS = 3;
const KINDS = ["call_record", "intent_result", "inbound_query", "unknown"];
const TONES = { active: "good", probing: "warn", paused: "odd" };

export default function subscribers(main) {
  const region = h("div");
  main.append(heading(t("page.subscribers"), t("subscribers.about")), region);
  const polled = live(
    region,
    SECONDS,
    (signal) => get("subscribers", {}, signal),
    ({ subscribers: rows }) =>
      rows.length
        ? table(t("page.subscribers"), columns(polled.refresh), rows, ({ name }) => name)
        : empty(t("subscribers.none"), t("subscribers.none.about")),
  );
  return polled.stop;
}

function columns(refresh) {
  return [
    {
      title: t("name"),
      kind: "name",
      cell: (one) => [
        h("b", null, one.name),
        h("div", { class: "muted break" }, one.url ?? t("subscribers.gone")),
      ],
    },
    {
      title: t("state"),
      cell: (one) =>
        badge(
          one.configured ? TONES[one.state] : "dim",
          one.configured ? t(`subscriber.${one.state}`) : t("subscriber.gone"),
          one.configured ? t(`subscriber.${one.state}.about`) : null,
        ),
    },
    {
      title: t("backlog"),
      kind: "number",
      cell: (one) => [
        count(one.backlog),
        one.backlog
          ? h("div", { class: "muted" }, t("subscribers.oldest", { time: duration(one.oldest_age_seconds) }))
          : null,
      ],
    },
    { title: t("tile.in_flight"), kind: "number", cell: (one) => count(one.in_flight) },
    { title: t("subscribers.delivered"), kind: "number", cell: (one) => count(one.delivered) },
    { title: t("subscribers.failed"), kind: "number", cell: (one) => count(one.failed) },
    {
      title: t("page.dead-letters"),
      kind: "number",
      cell: (one) => (one.dead ? link(count(one.dead), "dead-letters", null, { subscriber: one.name }) : "0"),
    },
    { title: t("subscribers.expired"), kind: "number", cell: (one) => count(one.expired) },
    {
      title: t("last_error"),
      kind: "words",
      cell: (one) =>
        one.last_error
          ? [
              h("span", { class: "error-text" }, one.last_error),
              h("div", { class: "muted" }, ago(one.last_error_at)),
            ]
          : h("span", { class: "none" }, "–"),
    },
    { title: t("actions"), kind: "actions", cell: (one) => actions(one, refresh) },
  ];
}

function actions(one, refresh) {
  const act = (name) => ({
    kind: "small",
    label: t("subscribers.act", { action: t(`action.${name}`), name: one.name }),
  });
  const purge = button(t("action.purge"), () => askPurge(one, refresh), {
    ...act("purge"),
    kind: "small danger",
  });
  if (!one.configured) return h("div", { class: "row" }, purge);
  const paused = one.state === "paused";
  return h(
    "div",
    { class: "row" },
    paused
      ? button(t("action.resume"), () => resume(one, refresh), act("resume"))
      : button(t("action.pause"), () => askPause(one, refresh), act("pause")),
    button(t("action.test"), () => askTest(one), act("test")),
    button(t("action.replay"), () => askReplay(one, refresh), act("replay")),
    purge,
  );
}

function path(one, action) {
  return `subscribers/${encodeURIComponent(one.name)}/${action}`;
}

function resume(one, refresh) {
  return attempt(async () => {
    await post(path(one, "resume"));
    news(t("subscribers.resumed", { name: one.name }));
    await refresh();
  });
}

function askPause(one, refresh) {
  confirm({
    title: t("pause.title", { name: one.name }),
    text: t("pause.text"),
    action: t("action.pause"),
    work: async () => {
      await post(path(one, "pause"));
      news(t("subscribers.paused", { name: one.name }));
      await refresh();
    },
  });
}

function askPurge(one, refresh) {
  confirm({
    title: t("purge.title", { name: one.name }),
    text: [t("purge.text", { n: one.backlog }), t(one.configured ? "purge.once" : "purge.gone")],
    action: t("action.purge"),
    kind: "danger",
    typed: one.name,
    work: async () => {
      const { purged } = await post(path(one, "purge"));
      news(t("subscribers.purged", { name: one.name, n: purged }));
      await refresh();
    },
  });
}

function askReplay(one, refresh) {
  const yesterday = new Date(Date.now() - 3_600_000 - new Date().getTimezoneOffset() * 60_000)
    .toISOString()
    .slice(0, 19);
  const field = (label, input) => h("label", { class: "field" }, h("span", null, label), input);
  confirm({
    title: t("replay.title", { name: one.name }),
    text: t("replay.text"),
    action: t("action.replay"),
    fields: [
      field(
        t("since"),
        h("input", { name: "since", type: "datetime-local", step: "1", required: true, value: yesterday }),
      ),
      field(t("replay.until"), h("input", { name: "until", type: "datetime-local", step: "1" })),
      h(
        "fieldset",
        null,
        h("legend", null, t("replay.kinds")),
        KINDS.map((kind) =>
          h(
            "label",
            { class: "check" },
            h("input", { type: "checkbox", name: "events", value: kind }),
            t(`kind.${kind}`),
          ),
        ),
      ),
    ],
    work: async (form) => {
      const time = (name) => (form.get(name) ? new Date(form.get(name)).toISOString() : undefined);
      const { replayed } = await post(path(one, "replay"), {
        since: time("since"),
        until: time("until"),
        events: form.getAll("events"),
      });
      news(t("replayed", { n: replayed }));
      await refresh();
    },
  });
}

function askTest(one) {
  confirm({
    title: t("test.title", { name: one.name }),
    text: t("test.text", { url: one.url }),
    action: t("action.test"),
    work: () => post(path(one, "test")),
    after: ({ results }) => told(one, results),
  });
}

function told(one, results) {
  const columns = [
    { title: t("kind"), cell: (row) => t(`kind.${row.event}`) },
    {
      title: t("result"),
      cell: (row) => badge(row.ok ? "good" : "bad", t(row.ok ? "test.taken" : "test.refused")),
    },
    { title: t("status"), cell: (row) => row.status ?? "–" },
    { title: t("latency"), kind: "number", cell: (row) => milliseconds(row.latency_ms) },
    {
      title: t("answer"),
      kind: "words",
      cell: (row) => [row.error ? h("div", { class: "error-text" }, row.error) : null, code(row.answer)],
    },
  ];
  open(t("test.results", { name: one.name }), () => [
    results.length
      ? table(t("test.results", { name: one.name }), columns, results, (row) => row.event)
      : h("p", null, t("test.none")),
  ]);
}
