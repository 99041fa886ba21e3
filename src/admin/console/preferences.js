// Language and theme, remembered by the browser.

const LANGUAGE = "xinyao.language";
const THEME = "xinyao.theme";

export const LANGUAGES = ["en", "zh"];
export const THEMES = ["auto", "light", "dark"];

function read(key, known, otherwise) {
  const value = localStorage.getItem(key);
  return known.includes(value) ? value : otherwise;
}

export function language() {
  return read(LANGUAGE, LANGUAGES, navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
}

export function setLanguage(value) {
  localStorage.setItem(LANGUAGE, value);
}

export function theme() {
  return read(THEME, THEMES, "auto");
}

export function setTheme(value) {
  localStorage.setItem(THEME, value);
  applyTheme();
}

export function applyTheme() {
  const value = theme();
  if (value === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = value;
}
