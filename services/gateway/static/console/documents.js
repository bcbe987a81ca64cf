// The documents of the chosen collection: uploads files, follows their jobs, lists what is there.
import { call, path, upload } from "./api.js";
import { attempt, byId, element, saying, showError } from "./dom.js";
import { PageError, reasonOf } from "./errors.js";
import { say } from "./i18n.js";
import { followJob } from "./jobs.js";

const SHOWN = 200;

export function startDocuments({ onVisible }) {
  const [form, files, button, error] = ["upload", "files", "upload-button", "upload-error"].map(byId);
  let chosen;

  async function list(collectionId) {
    if (collectionId !== chosen) return;
    byId("documents").replaceChildren();
    if (!collectionId) return;
    const answer = await call("GET", path`/api/v1/collections/${collectionId}/documents?page_size=${SHOWN}`);
    if (collectionId === chosen) showDocuments(answer);
  }

  async function add(collectionId, file) {
    const row = newRow(file.name);
    try {
      const url = path`/api/v1/collections/${collectionId}/documents/${file.name}:upload`;
      const answer = await upload(url, file, (part) => row.show("uploading", { percent: Math.floor(part * 100) }, part));
      const job = await followJob(answer.job_id, row);
      if (job.seq) onVisible(collectionId, job.seq);
      row.warn(job.warnings ?? []);
      if (answer.metadata?.duplicate) row.show("job_duplicate", {}, 1);
    } catch (failure) {
      row.fail(failure);
      if (failure.status === 401) throw failure;
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const collectionId = chosen;
    attempt(error, null, form, async () => {
      const picked = [...files.files];
      if (picked.length === 0) throw new PageError("choose_files");
      form.reset();
      for (const file of picked) await add(collectionId, file);
      await list(collectionId);
    });
  });
  return {
    choose: (collectionId) => {
      chosen = collectionId;
      button.disabled = !collectionId;
      attempt(error, null, null, () => list(collectionId));
    },
  };
}

function newRow(name) {
  const note = element("small");
  const bar = element("progress");
  bar.setAttribute("aria-label", name);
  const row = element("li", {}, element("span", { text: name }), bar, note);
  byId("jobs").prepend(row);
  return {
    // `part` is what is done, 0 to 1; undefined where it is not known.
    show: (key, values, part) => {
      say(note, key, values);
      if (part === undefined) bar.removeAttribute("value");
      else bar.value = part;
    },
    // What of the file was not read. The server says it in English, whatever the page speaks.
    warn: (warnings) => {
      if (warnings.length === 0) return;
      const list = element("ul", {}, ...warnings.map((text) => element("li", { text })));
      list.lang = "en";
      row.append(element("div", { className: "warnings" }, saying("strong", "job_warnings"), list));
    },
    fail: (failure) => {
      row.className = "failed";
      bar.remove();
      delete note.dataset.i18n;
      showError(note, failure);
    },
  };
}

function showDocuments({ documents = [], next_page_token: more }) {
  const rows = documents.map((document) =>
    element("li", { text: document.metadata?.title || document.filename || document.document_id }, stateOf(document)),
  );
  if (rows.length === 0) rows.push(saying("li", "contents_none"));
  if (more) rows.push(saying("li", "contents_more"));
  byId("documents").replaceChildren(...rows);
}

function stateOf({ state = "PENDING", chunks = 0, error }) {
  return saying("small", `document_${state}`, { chunks, reason: reasonOf(error) });
}
