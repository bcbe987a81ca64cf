// Asks a question and shows the answer as it comes.
import { stream } from "./api.js";
import { startAnswer } from "./answer.js";
import { attempt, byId } from "./dom.js";
import { ApiError, PageError } from "./errors.js";
import { hush, say } from "./i18n.js";

export function startAsk() {
  const [form, question, button, stop, status, error] = ["ask", "question", "ask-button", "stop", "ask-status", "ask-error"].map(byId);
  const writes = new Map(); // the last change of each collection this page made: a question must see it
  let chosen;
  let running;

  async function run() {
    const query = question.value.trim();
    if (!query) throw new PageError("question_missing");
    running = new AbortController();
    const body = { collection_id: chosen, query, request_id: newId() };
    if (writes.has(chosen)) body.min_seq = String(writes.get(chosen));
    const answer = startAnswer();
    say(status, "asking");
    stop.hidden = false;
    try {
      await show(stream("POST", "/api/v1/query/stream", { body, signal: running.signal }), answer, status);
    } catch (failure) {
      if (!running.signal.aborted) throw failure;
      say(status, "stopped");
    } finally {
      answer.end();
      stop.hidden = true;
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!button.disabled) attempt(error, status, form, run);
  });
  question.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  stop.addEventListener("click", () => {
    running?.abort();
    question.focus();
  });
  return {
    choose: (collectionId) => {
      if (collectionId !== chosen) running?.abort();
      chosen = collectionId;
      button.disabled = !collectionId;
      if (!collectionId) hush(status);
    },
    readWrite: (collectionId, seq) => {
      const at = BigInt(seq);
      if (at > (writes.get(collectionId) ?? 0n)) writes.set(collectionId, at);
    },
  };
}

// Shows the events of a stream (ChatEvent). One that ends in neither `done` nor `error` was cut.
async function show(events, answer, status) {
  for await (const event of events) {
    if (event.retrieval) answer.found(event.retrieval.citations ?? []);
    if (event.delta) {
      answer.append(event.delta.text ?? "");
      say(status, "answering");
    }
    if (event.handoff) {
      say(status, "handoff", { reason: event.handoff.reason ?? "" });
    }
    if (event.error) throw new ApiError(0, event.error);
    if (event.done) {
      answer.complete(event.done);
      if (event.done.finish_reason !== "handoff") say(status, "answered");
      return;
    }
  }
  throw new PageError("error_broken");
}

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID exists on https and localhost only
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
