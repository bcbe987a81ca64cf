// The tenant's collections: lists them, lets one be chosen, creates one.
import { call } from "./api.js";
import { attempt, byId, element } from "./dom.js";
import { hush, say } from "./i18n.js";

export function startCollections({ onChoice }) {
  const [select, about, refresh, status, error] = ["collection", "collection-description", "refresh", "collection-status", "collection-error"].map(byId);
  let known = [];

  function choose() {
    const chosen = known.find((collection) => collection.collection_id === select.value);
    about.textContent = chosen?.description ?? "";
    onChoice(chosen?.collection_id);
  }

  function show(wanted) {
    select.replaceChildren(...known.map(({ collection_id: id }) => element("option", { text: id })));
    if (known.some((collection) => collection.collection_id === wanted)) select.value = wanted;
    select.disabled = known.length === 0;
    refresh.disabled = false;
    if (known.length === 0) byId("new-collection").open = true;
    say(status, known.length ? "collections_count" : "collections_none", { count: known.length });
    choose();
  }

  async function load(wanted = select.value) {
    say(status, "collections_loading");
    try {
      known = await readAll();
    } catch (failure) {
      hush(status);
      throw failure;
    }
    show(wanted);
  }

  function clear() {
    known = [];
    show();
    refresh.disabled = true;
    hush(status);
  }

  select.addEventListener("change", () => {
    hush(status);
    choose();
  });
  refresh.addEventListener("click", () => attempt(error, status, null, () => load()));
  startCreation(async (id) => {
    await load(id);
    say(status, "collection_created", { id });
  });
  return { load: () => load(), clear };
}

function startCreation(onCreated) {
  const form = byId("create");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(byId("collection-error"), null, form, async () => {
      const { collection } = await call("POST", "/api/v1/collections", {
        collection_id: byId("collection-id").value.trim(),
        language: byId("collection-language").value,
        description: byId("collection-about").value.trim(),
      });
      form.reset();
      byId("new-collection").open = false;
      await onCreated(collection.collection_id);
    });
  });
}

async function readAll() {
  const all = [];
  let page = "";
  do {
    const query = new URLSearchParams({ page_size: "200", ...(page && { page_token: page }) });
    const answer = await call("GET", `/api/v1/collections?${query}`);
    all.push(...(answer.collections ?? []));
    page = answer.next_page_token;
  } while (page);
  return all;
}
