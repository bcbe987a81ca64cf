// Shows one answer: its text, what it cost, and the passages behind it.
import { byId, element, saying } from "./dom.js";
import { hush, say } from "./i18n.js";

export function startAnswer() {
  const [place, facts, block, list] = ["answer", "answer-facts", "sources-block", "sources"].map(byId);
  const began = performance.now();
  const text = document.createTextNode("");
  let passages = [];
  byId("result").hidden = false;
  block.hidden = true;
  place.replaceChildren(text);
  place.setAttribute("aria-busy", "true");
  hush(facts);

  function showSources(cited) {
    const used = new Set(cited.map((citation) => citation.chunk_id));
    const others = passages.filter((citation) => !used.has(citation.chunk_id));
    list.replaceChildren(...cited.map((citation) => source(citation, true)), ...others.map((citation) => source(citation, false)));
    block.hidden = list.childElementCount === 0;
  }

  return {
    found: (citations) => {
      passages = citations;
      showSources([]);
    },
    append: (piece) => text.appendData(piece),
    complete: (done) => {
      const cited = done.citations ?? [];
      showSources(cited);
      place.replaceChildren(...withLinks(done.answer || text.data, new Set(cited.map(({ index }) => String(index)))));
      const seconds = Math.round((performance.now() - began) / 100) / 10;
      say(facts, "answer_facts", { model: done.model || "–", tokens: done.usage?.total_tokens ?? 0, seconds });
    },
    end: () => place.setAttribute("aria-busy", "false"),
  };
}

function source(citation, isCited) {
  const { index, title, document_id: documentId, page, text = "" } = citation;
  const summary = element("summary", { text: `[${index}] ${title || documentId} ` });
  if (page) summary.append(element("small", {}, "· ", saying("span", "source_page", { page }), " "));
  if (isCited) summary.append(element("small", {}, "· ", saying("span", "source_cited")));
  const details = element("details", { className: isCited ? "cited" : "" }, summary, element("blockquote", { text }));
  details.id = `source-${index}`;
  details.open = isCited;
  return element("li", {}, details);
}

// Turns each "[1]" of the answer into a link to its passage.
function withLinks(answer, indexes) {
  return answer.split(/(\[\d+\])/).map((part) => {
    const index = part.match(/^\[(\d+)\]$/)?.[1];
    if (!indexes.has(index)) return part;
    const link = element("a", { text: part });
    link.href = `#source-${index}`;
    link.addEventListener("click", () => (byId(`source-${index}`).open = true));
    return link;
  });
}
