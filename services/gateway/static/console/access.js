// The token: kept in this tab's session storage, sent to this origin only.
import { token } from "./api.js";
import { attempt, byId, clearError } from "./dom.js";
import { PageError } from "./errors.js";
import { hush, say } from "./i18n.js";

export function startAccess({ onToken, onForget }) {
  const [form, input, status, error, forget] = ["access", "token", "access-status", "access-error", "forget"].map(byId);

  async function use() {
    await onToken();
    say(status, "token_kept");
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(error, status, form, async () => {
      token.set(read(input.value));
      forget.hidden = false;
      await use();
      input.value = "";
    });
  });
  forget.addEventListener("click", () => {
    token.forget();
    forget.hidden = true;
    hush(status);
    clearError(error);
    onForget();
    input.focus();
  });
  if (token.get()) {
    forget.hidden = false;
    attempt(error, status, form, use);
  }
}

function read(pasted) {
  const value = pasted.trim().replace(/^Bearer\s+/i, "");
  if (!value) throw new PageError("token_missing");
  if (!/^[\w.~+/=-]+$/.test(value)) throw new PageError("token_malformed");
  return value;
}
