// Deliveries that were given up.

import { get, post } from "../api.js";
import { confirm, news } from "../dialog.js";
import { h } from "../dom.js";
import { t } from "../i18n.js";
import { Listing } from "../listing.js";
import { button, code, empty, heading, table, time } from "../parts.js";
import { filters } from "../filters.js";
import { live } from "../poll.js";

const SECONDS = 5;
/** Most ids of one call. */
const AT_ONCE = 1000;

const idOf = (row) => `${row.subscriber} ${row.event_id}`;

export default function deadLetters(main, { query }) {
  const subscriber = query.get("subscriber");
  const form = h("div");
  const region = h("div");
  main.append(heading(t("page.dead-letters"), t("dead.about")), form, region);
  const listing = new Listing("dead-letters", "dead_letters", idOf, { subscriber });
  const chosen = new Set();
  let asked = false;
  const polled = live(
    region,
    SECONDS,
    async (signal) => {
      if (!asked) {
        const { subscribers } = await get("subscribers", {}, signal);
        form.replaceChildren(
          filters("dead-letters", query, [
            {
              name: "subscriber",
              label: t("subscriber"),
              kind: "choice",
              options: [["", t("any")], ...subscribers.map(({ name }) => [name, name])],
            },
          ]),
        );
        asked = true;
      }
      return listing.refresh(signal);
    },
    () => {
      const there = new Set(listing.rows.map(idOf));
      [...chosen].filter((id) => !there.has(id)).forEach((id) => chosen.delete(id));
      if (listing.rows.length === 0) return empty(t("dead.none"), t("dead.none.about"));
      return h(
        "div",
        null,
        bar(listing, chosen, subscriber, polled),
        list(listing, chosen, polled.draw),
        listing.foot(polled.draw),
      );
    },
  );
  return polled.stop;
}

function bar(listing, chosen, subscriber, polled) {
  const rows = listing.rows.filter((row) => chosen.has(idOf(row)));
  return h(
    "div",
    { class: "bar", role: "group", "aria-label": t("actions") },
    h("span", { class: "bar-count", role: "status" }, t("dead.chosen", { n: rows.length })),
    button(t("dead.replay"), () => ask("replay", rows, polled), { disabled: rows.length === 0 }),
    button(t("dead.discard"), () => ask("discard", rows, polled), {
      kind: "danger",
      disabled: rows.length === 0,
    }),
    subscriber ? button(t("dead.replay_all"), () => askAll("replay", subscriber, polled)) : null,
    subscriber
      ? button(t("dead.discard_all"), () => askAll("discard", subscriber, polled), { kind: "danger" })
      : null,
  );
}

function list(listing, chosen, draw) {
  const choose = (ids, on) => {
    ids.forEach((id) => (on ? chosen.add(id) : chosen.delete(id)));
    draw();
  };
  const all = listing.rows.map(idOf);
  const every = all.every((id) => chosen.has(id));
  const box = (label, checked, on, indeterminate = false) =>
    h("input", {
      type: "checkbox",
      "aria-label": label,
      checked,
      indeterminate,
      onchange: (event) => on(event.target.checked),
    });
  const columns = [
    {
      title: t("choose"),
      kind: "choose",
      head: box(t("dead.choose_all"), every, (on) => choose(all, on), chosen.size > 0 && !every),
      cell: (row) =>
        box(t("dead.choose", { id: row.event_id, name: row.subscriber }), chosen.has(idOf(row)), (on) =>
          choose([idOf(row)], on),
        ),
    },
    {
      title: t("dead.at"),
      cell: (row) => h("a", { href: `#/events/${encodeURIComponent(row.event_id)}` }, time(row.dead_at)),
    },
    { title: t("subscriber"), cell: (row) => row.subscriber },
    { title: t("kind"), cell: (row) => t(`kind.${row.event}`) },
    { title: t("app"), cell: (row) => row.app },
    { title: t("call_sn"), cell: (row) => code(row.call_sn) },
    { title: t("attempts"), kind: "number", cell: (row) => row.attempts },
    {
      title: t("last_error"),
      kind: "words",
      cell: (row) => h("span", { class: "error-text" }, row.last_error ?? "–"),
    },
  ];
  return table(t("page.dead-letters"), columns, listing.rows, idOf);
}

/** `rows` by subscriber, in parts that one call takes. */
function calls(rows) {
  const names = [...new Set(rows.map((row) => row.subscriber))];
  return names.flatMap((subscriber) => {
    const ids = rows.filter((row) => row.subscriber === subscriber).map((row) => row.event_id);
    return Array.from({ length: Math.ceil(ids.length / AT_ONCE) }, (_, at) => ({
      subscriber,
      ids: ids.slice(at * AT_ONCE, (at + 1) * AT_ONCE),
    }));
  });
}

function ask(action, rows, polled) {
  question(
    action,
    t(`dead.${action}.title`, { n: rows.length }),
    t(`dead.${action}.text`),
    null,
    calls(rows),
    polled,
  );
}

function askAll(action, subscriber, polled) {
  const typed = action === "discard" ? subscriber : null;
  question(
    action,
    t(`dead.${action}_all.title`, { name: subscriber }),
    t(`dead.${action}.text`),
    typed,
    [{ subscriber }],
    polled,
  );
}

function question(action, title, text, typed, told, polled) {
  confirm({
    title,
    text,
    typed,
    action: t(`action.${action}`),
    kind: action === "discard" ? "danger" : "primary",
    work: async () => {
      let done = 0;
      for (const body of told) {
        const answer = await post(`dead-letters/${action}`, body);
        done += answer.replayed ?? answer.discarded;
      }
      news(t(action === "discard" ? "discarded" : "replayed", { n: done }));
      await polled.refresh();
    },
  });
}
