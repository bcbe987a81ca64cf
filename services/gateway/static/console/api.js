// Calls of the HTTP API.
import { errorOf, PageError } from "./errors.js";
import { readEvents } from "./sse.js";

const KEY = "malla.token";

export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

export const path = (strings, ...parts) => String.raw({ raw: strings }, ...parts.map(encodeURIComponent));

export async function call(method, url, body) {
  const response = await send(method, url, { body, accept: "application/json" });
  return response.json();
}

// Yields the events of a stream. `signal` ends it.
export async function* stream(method, url, { body, signal } = {}) {
  const response = await send(method, url, { body, signal, accept: "text/event-stream" });
  try {
    yield* readEvents(response.body);
  } catch (error) {
    throw signal?.aborted ? error : new PageError("error_broken");
  }
}

// Sends a file as the raw body. XMLHttpRequest, because fetch does not tell how much has been sent.
export function upload(url, file, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", url);
    request.setRequestHeader("Authorization", `Bearer ${token.get()}`);
    request.setRequestHeader("Content-Type", file.type || "application/octet-stream");
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () =>
      request.status < 300 ? resolve(JSON.parse(request.responseText)) : reject(errorOf(request.status, request.responseText));
    request.onerror = () => reject(new PageError("error_network"));
    request.send(file);
  });
}

async function send(method, url, { body, signal, accept }) {
  const headers = { Authorization: `Bearer ${token.get()}`, Accept: accept };
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(url, { method, headers, signal, body: body && JSON.stringify(body), cache: "no-store" });
  } catch (error) {
    throw signal?.aborted ? error : new PageError("error_network");
  }
  if (!response.ok) throw errorOf(response.status, await response.text());
  return response;
}
