// The page's texts in Spanish and English. `say` remembers what an element says, so that the toggle can say it again.
import { TEXTS } from "./texts.js";

const KEY = "malla.language";
const remembered = new WeakMap();
let language = "en";

export function t(key, values = {}) {
  const text = TEXTS[language][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => format(values[name]));
}

export function say(element, key, values = {}) {
  element.dataset.i18n = key;
  remembered.set(element, values);
  element.textContent = t(key, values);
}

export function hush(element) {
  delete element.dataset.i18n;
  element.textContent = "";
}

export function startLanguage(toggle) {
  const wanted = sessionStorage.getItem(KEY) ?? navigator.language;
  setLanguage(wanted.toLowerCase().startsWith("es") ? "es" : "en");
  toggle.addEventListener("click", () => {
    setLanguage(language === "es" ? "en" : "es");
    sessionStorage.setItem(KEY, language);
  });
}

function setLanguage(next) {
  language = next;
  document.documentElement.lang = next;
  for (const element of document.querySelectorAll("[data-i18n]")) {
    element.textContent = t(element.dataset.i18n, remembered.get(element));
  }
  document.getElementById("language").lang = next === "es" ? "en" : "es";
}

function format(value) {
  return typeof value === "number" ? new Intl.NumberFormat(language).format(value) : (value ?? "");
}
