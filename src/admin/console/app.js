// The console: a frame, a page in it, and the door before both.

import { gate, get, Problem } from "./api.js";
import { attempt } from "./dialog.js";
import { h } from "./dom.js";
import { clock } from "./format.js";
import { t, tag } from "./i18n.js";
import apps from "./pages/apps.js";
import batches from "./pages/batches.js";
import config from "./pages/config.js";
import deadLetters from "./pages/dead-letters.js";
import event from "./pages/event.js";
import events from "./pages/events.js";
import overview from "./pages/overview.js";
import requests from "./pages/requests.js";
import subscribers from "./pages/subscribers.js";
import { button, failure, loading } from "./parts.js";
import { freshness } from "./poll.js";
import { applyTheme, language, setLanguage, setTheme, theme, THEMES } from "./preferences.js";
import { address, here } from "./router.js";
import { forget, remember, token } from "./session.js";

/** Pages by their place in the address, in the order of the menu. */
const PAGES = { overview, apps, subscribers, events, "dead-letters": deadLetters, batches, requests, config };

const root = document.getElementById("root");
let leave = () => {};
let inside = false;

function frame() {
  const menu = h(
    "button",
    { type: "button", class: "button menu-button", "aria-expanded": "false", "aria-controls": "menu" },
    t("menu"),
  );
  const items = Object.keys(PAGES).map((page) =>
    h("li", null, h("a", { href: address(page), "data-page": page }, t(`page.${page}`))),
  );
  const nav = h("nav", { id: "menu", class: "menu", "aria-label": t("menu") }, h("ul", null, items));
  const toggle = (open) => {
    menu.setAttribute("aria-expanded", open);
    nav.classList.toggle("open", open);
  };
  menu.onclick = () => toggle(menu.getAttribute("aria-expanded") !== "true");
  nav.onclick = () => toggle(false);
  const main = h("main", { id: "main", tabindex: "-1" });
  root.replaceChildren(
    button(t("skip"), () => main.focus(), { kind: "skip" }),
    h(
      "header",
      { class: "top" },
      menu,
      h("a", { class: "brand", href: address("overview") }, mark(), "xinyao-gateway"),
      h("span", { id: "fresh", class: "fresh" }),
      switches(),
    ),
    h("div", { class: "columns" }, nav, main),
    h("div", { id: "news", class: "news", role: "status", "aria-live": "polite" }),
  );
}

function mark() {
  return h("img", { src: "console/icon.svg", alt: "", width: "20", height: "20" });
}

function switches() {
  const other = language() === "zh" ? ["en", "English"] : ["zh", "中文"];
  const themes = h(
    "select",
    { "aria-label": t("theme"), value: theme(), onchange: () => setTheme(themes.value) },
    THEMES.map((name) => h("option", { value: name }, t(`theme.${name}`))),
  );
  return h(
    "div",
    { class: "switches" },
    themes,
    h(
      "button",
      { type: "button", class: "button quiet", lang: other[0], onclick: () => speak(other[0]) },
      other[1],
    ),
    token() && inside ? button(t("logout"), logout, { kind: "quiet" }) : null,
  );
}

function speak(name) {
  setLanguage(name);
  start();
}

function logout() {
  forget();
  start();
}

/** Shows the page that the address names. */
function route(focus) {
  leave();
  const place = here();
  const name = place.page in PAGES ? place.page : "overview";
  const page = name === "events" && place.id !== null ? event : PAGES[name];
  const main = document.getElementById("main");
  main.replaceChildren();
  for (const item of document.querySelectorAll("[data-page]")) {
    if (item.dataset.page === name) item.setAttribute("aria-current", "page");
    else item.removeAttribute("aria-current");
  }
  document.title = `${t(`page.${name}`)} · xinyao-gateway`;
  leave = page(main, place) ?? (() => {});
  if (focus) {
    main.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }
}

function login(message) {
  leave();
  leave = () => {};
  inside = false;
  const input = h("input", {
    id: "token",
    name: "token",
    type: "password",
    autocomplete: "current-password",
    required: true,
    "aria-describedby": "login-problem",
  });
  const problem = h("p", { id: "login-problem", class: "dialog-problem", role: "alert" }, message);
  const form = h(
    "form",
    { class: "login" },
    h("div", { class: "login-brand" }, mark(), h("h1", null, "xinyao-gateway")),
    h("p", { class: "about" }, t("login.about")),
    // Who keeps passwords wants to know whose it is.
    h("input", { type: "text", name: "username", autocomplete: "username", value: "admin", hidden: true }),
    h("label", { class: "field", for: "token" }, h("span", null, t("login.token")), input),
    problem,
    h("button", { type: "submit", class: "button primary" }, t("login.enter")),
  );
  form.onsubmit = (event) => {
    event.preventDefault();
    // A header field takes no more than this; nor does a token of the configuration's.
    remember(input.value.trim().replace(/[^\x21-\x7e]/g, "?"));
    start();
  };
  root.replaceChildren(
    h("header", { class: "top bare" }, switches()),
    h("main", { id: "main", class: "login-page", tabindex: "-1" }, form),
  );
  document.title = `${t("login.enter")} · xinyao-gateway`;
  input.focus();
}

function words() {
  document.documentElement.lang = tag();
  freshness.dispatchEvent(new CustomEvent("change", { detail: { state: "live", problem: null } }));
}

/** From the beginning: is a token wanted? */
async function start() {
  leave();
  leave = () => {};
  words();
  if (!inside) root.replaceChildren(h("main", { class: "login-page" }, loading()));
  try {
    await get("status");
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.status !== 401) root.replaceChildren(h("main", { class: "login-page" }, failure(error, start)));
    return;
  }
  inside = true;
  frame();
  route(false);
}

gate.addEventListener("closed", ({ detail: { had } }) => login(had ? t("login.wrong") : ""));

freshness.addEventListener("change", ({ detail: { state, problem } }) => {
  const place = document.getElementById("fresh");
  if (!place) return;
  place.className = `fresh ${state}`;
  const text =
    state === "stale"
      ? t("fresh.stale", { time: clock(Date.now()), why: problem.message })
      : t(`fresh.${state}`);
  // Said when it changes, not with every answer.
  if (place.dataset.state !== state) place.setAttribute("role", state === "stale" ? "alert" : "status");
  place.dataset.state = state;
  if (place.textContent !== text) place.textContent = text;
});

window.addEventListener("hashchange", () => {
  if (inside) route(true);
});
applyTheme();
attempt(start);
