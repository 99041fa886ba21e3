// What pages are made of.

import { h } from "./dom.js";
import { clock, duration, wholeTime } from "./format.js";
import { t } from "./i18n.js";
import { address } from "./router.js";

export function badge(tone, text, title = null) {
  return h("span", { class: `badge ${tone}`, title }, text);
}

/** A button; an `icon` goes before its text. */
export function button(text, onclick, { kind = "", disabled = false, label = null } = {}) {
  return h(
    "button",
    { type: "button", class: `button ${kind}`, onclick, disabled, "aria-label": label },
    text,
  );
}

export function link(text, page, id = null, query = {}) {
  return h("a", { href: address(page, id, query) }, text);
}

/** A time, in full where it is pointed at. */
export function time(text) {
  return text
    ? h("time", { datetime: text, title: wholeTime(text) }, clock(text))
    : h("span", { class: "none" }, "–");
}

/** How long ago a time was. */
export function ago(text) {
  const seconds = Math.max(0, (Date.now() - new Date(text)) / 1000);
  return h("time", { datetime: text, title: wholeTime(text) }, t("ago", { time: duration(seconds) }));
}

export function code(text) {
  return text === null || text === undefined || text === ""
    ? h("span", { class: "none" }, "–")
    : h("span", { class: "code" }, text);
}

export function loading() {
  return h(
    "div",
    { class: "loading", role: "status" },
    h("span", { class: "spinner", "aria-hidden": "true" }),
    t("loading"),
  );
}

export function empty(title, text) {
  return h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), h("p", null, text));
}

/** Why there is nothing to show. */
export function failure(problem, retry) {
  return h(
    "div",
    { class: "failure", role: "alert" },
    h("p", { class: "failure-title" }, problem.title),
    h("p", null, problem.message),
    button(t("retry"), retry),
  );
}

/** How much of a whole, as a bar with its words. */
export function meter(value, whole, { tone = "", label }) {
  const share = whole > 0 ? Math.min(1, value / whole) : 0;
  return h(
    "div",
    {
      class: `meter ${tone}`,
      role: "meter",
      "aria-label": label,
      "aria-valuemin": 0,
      "aria-valuemax": whole,
      "aria-valuenow": Math.min(value, whole),
    },
    h("div", { class: "meter-fill", style: { width: `${share * 100}%` } }),
  );
}

/** Terms and what they say. */
export function facts(pairs) {
  return h(
    "dl",
    { class: "facts" },
    pairs.filter(Boolean).map(([term, value]) => h("div", null, h("dt", null, term), h("dd", null, value))),
  );
}

/**
 * A table that becomes cards where it is narrow. A column is `{title, cell, kind}`; `cell(row)` may be text, a
 * node, or a list of them.
 */
export function table(label, columns, rows, keyOf) {
  const heads = columns.map(({ title, kind = "", head }) =>
    h("th", { role: "columnheader", scope: "col", class: kind }, head ?? title),
  );
  const body = rows.map((row) =>
    h(
      "tr",
      { role: "row", "data-key": keyOf(row) },
      columns.map((column) => cell(column, row)),
    ),
  );
  // Roles are said out: as cards, some browsers forget that it is a table.
  const whole = h(
    "table",
    { role: "table", "aria-label": label },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads)),
    h("tbody", { role: "rowgroup" }, body),
  );
  return h("div", { class: "table-room" }, h("div", { class: "table-frame" }, whole));
}

function cell({ title, cell: content, kind = "" }, row) {
  return h(
    "td",
    { role: "cell", class: kind, "data-label": title },
    h("div", { class: "cell" }, content(row)),
  );
}

/** A part of a page with a heading. */
export function section(title, ...content) {
  return h("section", { class: "section", "aria-label": title }, h("h2", null, title), ...content);
}

/** The page's heading, and what can be done beside it. */
export function heading(title, about, ...actions) {
  return h(
    "div",
    { class: "heading" },
    h("div", null, h("h1", null, title), about ? h("p", { class: "about" }, about) : null),
    actions.length ? h("div", { class: "actions" }, actions) : null,
  );
}
