// Small helpers. Text goes into text nodes only: nothing that came from a server is ever read as HTML.
import { hush, say, t } from "./i18n.js";

export const byId = (id) => document.getElementById(id);

export function element(tag, { text, className } = {}, ...children) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  made.append(...children);
  return made;
}

export function saying(tag, key, values) {
  const made = element(tag);
  say(made, key, values);
  return made;
}

export function clearError(place) {
  place.replaceChildren();
}

export function showError(place, error) {
  const sentence = error.key ? saying("span", error.key, error.values) : element("span", { text: error.message });
  const facts = [error.type, error.requestId && t("error_request", { id: error.requestId })].filter(Boolean);
  place.replaceChildren(sentence, ...(facts.length ? [element("small", { text: facts.join(" · ") })] : []));
}

// Runs an action of a person and shows its failure in `place`. A form that is busy does not start a second one.
export async function attempt(place, status, form, action) {
  if (form?.dataset.busy) return;
  clearError(place);
  if (form) form.dataset.busy = "true";
  try {
    await action();
  } catch (error) {
    if (status) hush(status);
    showError(place, error);
    if (error.status === 401) byId("token").focus();
  } finally {
    if (form) delete form.dataset.busy;
  }
}
