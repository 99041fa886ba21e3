// A form of filters; what it holds stands in the address.

import { h } from "./dom.js";
import { t } from "./i18n.js";
import { button } from "./parts.js";
import { address, go } from "./router.js";

/**
 * A field is `{name, label, kind, options}`: `text`, `time`, or `choice` of `[value, text]` options.
 */
export function filters(page, query, fields) {
  const inputs = fields.map((field) => [field.name, input(field, query.get(field.name) ?? "")]);
  const values = () => Object.fromEntries(inputs.map(([name, node]) => [name, read(node)]));
  const apply = (event) => {
    event?.preventDefault();
    go(address(page, null, values()));
  };
  const any = fields.some(({ name }) => query.get(name));
  const form = h(
    "form",
    { class: "filters", role: "search", "aria-label": t("filters"), onsubmit: apply },
    fields.map(({ label }, at) => h("label", { class: "field" }, h("span", null, label), inputs[at][1])),
    h(
      "div",
      { class: "filter-actions" },
      h("button", { type: "submit", class: "button" }, t("filters.apply")),
      any ? button(t("filters.clear"), () => go(address(page))) : null,
    ),
  );
  // A choice is one click.
  inputs
    .filter(([, node]) => node.nodeName === "SELECT")
    .forEach(([, node]) => {
      node.onchange = apply;
    });
  return form;
}

function input({ name, kind, options }, value) {
  if (kind === "choice")
    return h(
      "select",
      { name, value },
      options.map(([option, text]) => h("option", { value: option }, text)),
    );
  if (kind === "time") return h("input", { name, type: "datetime-local", step: "1", value: local(value) });
  return h("input", { name, type: "text", value, autocomplete: "off", spellcheck: "false" });
}

function read(node) {
  if (node.type !== "datetime-local" || !node.value) return node.value.trim();
  return new Date(node.value).toISOString();
}

function local(text) {
  const time = new Date(text);
  if (!text || Number.isNaN(time.getTime())) return "";
  const minutes = time.getTimezoneOffset();
  return new Date(time.getTime() - minutes * 60_000).toISOString().slice(0, 19);
}
