// One event: what it is, what came of each delivery, try by try, and what it says.

import { bytesOf, get, post } from "../api.js";
import { attempt, confirm, news } from "../dialog.js";
import { h, show } from "../dom.js";
import { bytes, milliseconds } from "../format.js";
import { t } from "../i18n.js";
import { masked } from "../mask.js";
import { badge, button, code, empty, facts, heading, link, section, table, time } from "../parts.js";
import { live } from "../poll.js";
import { stateBadge } from "./events.js";

const SECONDS = 3;
/** A body that is larger is fetched when it is asked for. */
const AT_ONCE_BYTES = 256 << 10;
/** Of a body no more is shown; all of it can be saved. */
const MOST_CHARACTERS = 512 << 10;

export default function event(main, { id }) {
  const region = h("div");
  const body = h("div");
  main.append(
    heading(t("event.title"), id, link(t("event.back"), "events")),
    region,
    section(t("event.body"), body),
  );
  const path = `events/${encodeURIComponent(id)}`;
  let begun = false;
  const polled = live(
    region,
    SECONDS,
    (signal) => get(path, {}, signal),
    (detail) => {
      if (!begun) begin(body, path, detail);
      begun = true;
      return h("div", null, about(detail), deliveries(detail, path, polled.refresh), attempts(detail));
    },
  );
  return polled.stop;
}

function about(detail) {
  return facts([
    [t("received"), time(detail.received_at)],
    [t("kind"), t(`kind.${detail.event}`)],
    [t("app"), link(detail.app, "events", null, { app: detail.app })],
    detail.label && [t("label"), code(detail.label)],
    [
      t("task_id"),
      detail.task_id ? link(code(detail.task_id), "events", null, { task_id: detail.task_id }) : code(null),
    ],
    [
      t("call_sn"),
      detail.call_sn ? link(code(detail.call_sn), "events", null, { call_sn: detail.call_sn }) : code(null),
    ],
    [t("size"), bytes(detail.size)],
  ]);
}

function deliveries({ deliveries: rows }, path, refresh) {
  const columns = [
    { title: t("subscriber"), cell: (row) => h("b", null, row.subscriber) },
    { title: t("state"), cell: stateBadge },
    { title: t("attempts"), kind: "number", cell: (row) => row.attempts },
    { title: t("next_attempt"), cell: (row) => time(row.next_attempt_at) },
    {
      title: t("last_error"),
      kind: "words",
      cell: (row) =>
        row.last_error
          ? h("span", { class: "error-text" }, row.last_error)
          : h("span", { class: "none" }, "–"),
    },
    {
      title: t("actions"),
      kind: "actions",
      cell: (row) =>
        button(t("event.again"), () => again(row, path, refresh), {
          kind: "small",
          label: t("event.again.to", { name: row.subscriber }),
        }),
    },
  ];
  return section(
    t("deliveries"),
    rows.length
      ? table(t("deliveries"), columns, rows, (row) => row.subscriber)
      : empty(t("event.nobody"), t("event.nobody.about")),
  );
}

function again({ subscriber }, path, refresh) {
  confirm({
    title: t("event.again.title", { name: subscriber }),
    text: t("event.again.text"),
    action: t("event.again"),
    work: async () => {
      const { replayed } = await post(`${path}/replay`, { subscriber });
      news(t("replayed", { n: replayed }));
      await refresh();
    },
  });
}

function attempts({ attempts: rows }) {
  if (rows.length === 0)
    return section(t("event.attempts"), empty(t("event.no_attempts"), t("event.no_attempts.about")));
  const one = (row) =>
    h(
      "li",
      { class: row.error ? "bad" : "good", "data-key": `${row.subscriber} ${row.attempt} ${row.at}` },
      h(
        "div",
        { class: "attempt-head" },
        badge(row.error ? "bad" : "good", row.status ?? t("event.no_answer")),
        h("b", null, t("event.attempt", { n: row.attempt, name: row.subscriber })),
        time(row.at),
        h("span", { class: "muted" }, milliseconds(row.latency_ms)),
      ),
      row.error ? h("p", { class: "error-text" }, row.error) : null,
      row.answer
        ? h(
            "details",
            null,
            h("summary", null, t("event.answer")),
            h("pre", { class: "text", tabindex: "0", "aria-label": t("event.answer") }, row.answer),
          )
        : null,
    );
  return section(
    t("event.attempts"),
    h("ol", { class: "timeline", "aria-label": t("event.attempts") }, rows.map(one)),
  );
}

function begin(place, path, { id, size }) {
  const load = () => attempt(async () => present(place, id, await bytesOf(`${path}/body`)));
  if (size > AT_ONCE_BYTES) show(place, button(t("event.load", { size: bytes(size) }), load));
  else load();
}

/** The body in a readable form; its numbers masked until somebody wants to see them. */
function present(place, id, buffer) {
  const text = readable(new TextDecoder().decode(buffer));
  const shown = text.slice(0, MOST_CHARACTERS);
  let open = false;
  const draw = () =>
    show(
      place,
      h(
        "div",
        { class: "row" },
        h(
          "button",
          {
            type: "button",
            class: "button small",
            "aria-pressed": String(open),
            onclick: () => {
              open = !open;
              draw();
            },
          },
          t(open ? "event.mask" : "event.unmask"),
        ),
        button(t("event.save"), () => save(id, buffer), { kind: "small" }),
      ),
      h("pre", { class: "text", tabindex: "0", "aria-label": t("event.body") }, open ? shown : masked(shown)),
      text.length > shown.length ? h("p", { class: "muted" }, t("event.cut")) : null,
    );
  draw();
}

/** JSON with its lines broken. What it says stays as it came: long ids would not survive as numbers. */
function readable(text) {
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  return text
    .replace(/"(?:[^"\\]|\\.)*"|[{}[\],:]|\s+|[^\s{}[\],:"]+/g, (part) => {
      if (part === "{" || part === "[") {
        depth += 1;
        return part + line();
      }
      if (part === "}" || part === "]") {
        depth -= 1;
        return line() + part;
      }
      if (part === ",") return part + line();
      if (part === ":") return ": ";
      return part.trim() === "" ? "" : part;
    })
    .replace(/([{[])\s+([}\]])/g, "$1$2");
}

function save(id, buffer) {
  const url = URL.createObjectURL(new Blob([buffer], { type: "application/octet-stream" }));
  h("a", { href: url, download: `${id}.bin` }).click();
  URL.revokeObjectURL(url);
}
