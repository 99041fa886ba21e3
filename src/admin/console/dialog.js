// Dialogs and news. A dialog takes the focus, keeps it, and gives it back.

import { Problem } from "./api.js";
import { h } from "./dom.js";
import { t } from "./i18n.js";
import { button } from "./parts.js";

const NEWS_MS = 8000;

/** Says something, to screen readers too. */
export function news(text, tone = "good") {
  const place = document.getElementById("news");
  const item = h("div", { class: `news-item ${tone}` }, h("span", null, text));
  const close = () => item.remove();
  item.append(
    h("button", { type: "button", class: "news-close", "aria-label": t("close"), onclick: close }, "×"),
  );
  place.append(item);
  if (tone === "good") setTimeout(close, NEWS_MS);
}

/** Does something, and tells in words when it came to nothing. Whether it did. */
export async function attempt(work) {
  try {
    await work();
    return true;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.status !== 401) news(`${error.title} ${error.message}`, "bad");
    return false;
  }
}

/** Shows a dialog; what `content(close)` makes is in it. */
export function open(title, content) {
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" });
  const opener = document.activeElement;
  const close = () => dialog.close();
  dialog.append(
    h(
      "div",
      { class: "dialog-head" },
      h("h2", { id: "dialog-title" }, title),
      h("button", { type: "button", class: "dialog-close", "aria-label": t("close"), onclick: close }, "×"),
    ),
    ...content(close),
  );
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (opener?.isConnected) opener.focus();
    else document.getElementById("main")?.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * Asks before something is done. `work(form)` does it; the dialog stays open while that fails.
 * `fields` are labelled inputs; `typed` has to be typed, where there is no way back; `after(result)` comes when
 * the dialog is closed.
 */
export function confirm({
  title,
  text,
  action,
  kind = "primary",
  fields = [],
  typed = null,
  work,
  after = () => {},
}) {
  open(title, (close) => {
    const problem = h("p", { class: "dialog-problem", role: "alert" });
    const submit = h("button", { type: "submit", class: `button ${kind}`, disabled: typed !== null }, action);
    const input =
      typed &&
      h("input", {
        name: "typed",
        autocomplete: "off",
        spellcheck: "false",
        oninput: () => {
          submit.disabled = input.value !== typed;
        },
      });
    const cancel = button(t("cancel"), close);
    const form = h(
      "form",
      { method: "dialog" },
      [text].flat().map((line) => h("p", null, line)),
      fields,
      input && h("label", { class: "field" }, h("span", null, t("dialog.type", { text: typed })), input),
      problem,
      h("div", { class: "dialog-actions" }, cancel, submit),
    );
    // Where the focus begins, Enter does no harm.
    (form.querySelector("input") ?? cancel).autofocus = true;
    form.onsubmit = async (event) => {
      event.preventDefault();
      submit.disabled = true;
      problem.textContent = "";
      try {
        const result = await work(new FormData(form));
        form.closest("dialog").addEventListener("close", () => after(result));
        close();
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        problem.textContent = `${error.title} ${error.message}`;
        submit.disabled = false;
      }
    };
    return [form];
  });
}
