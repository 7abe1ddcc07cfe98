// The service's public JSON, as any other caller asks for it. Every failure is a Problem, in the service's own words.
import { prefer, preferences } from "./preferences.js";
import { t } from "./words.js";

const BASE = new URL(".", document.baseURI);
let askReader = async () => null;

export class Problem extends Error {
  constructor(document) {
    super(document.detail);
    Object.assign(this, document);
  }
}

// ask: shows a form and resolves to the key that was entered, or null.
export function onKeyWanted(ask) {
  askReader = ask;
}

export const addressOf = (path) => new URL(path, BASE);

export async function ask(path, { method = "GET", json } = {}) {
  const body = json === undefined ? undefined : JSON.stringify(json);
  const headers = json === undefined ? {} : { "Content-Type": "application/json" };
  return keyed(async () => {
    let answer;
    try {
      answer = await fetch(addressOf(path), { method, body, headers: { ...headers, ...keyHeader() }, cache: "no-store" });
    } catch {
      throw unreachable();
    }
    return read(answer.status, await answer.text());
  });
}

// fetch tells nothing of what has been sent so far: a phone's upload of an hour deserves a bar.
export async function upload(path, file, { onProgress, signal }) {
  return keyed(
    () =>
      new Promise((resolve, reject) => {
        const request = new XMLHttpRequest();
        const form = new FormData();
        form.append("file", file, file.name);
        request.open("POST", addressOf(path));
        for (const [name, value] of Object.entries(keyHeader())) request.setRequestHeader(name, value);
        request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
        request.onload = () => {
          try {
            resolve(read(request.status, request.responseText));
          } catch (problem) {
            reject(problem);
          }
        };
        request.onerror = () => reject(unreachable());
        request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
        signal?.addEventListener("abort", () => request.abort());
        request.send(form);
      }),
  );
}

export const problemOf = (error) =>
  error instanceof Problem ? error : new Problem({ code: "page_error", title: t("page_error"), detail: String(error?.message ?? error) });

export const isMissing = (problem) => problem?.status === 404 && problem.code === "not_found";

const keyHeader = () => (preferences.key ? { "X-API-Key": preferences.key } : {});

async function keyed(send) {
  for (;;) {
    try {
      return await send();
    } catch (problem) {
      if (problem.status !== 401) throw problem;
      const key = await askReader(problem);
      if (key === null) throw problem;
      prefer("key", key);
    }
  }
}

function read(status, text) {
  let document = null;
  try {
    document = text ? JSON.parse(text) : null;
  } catch {
    // a proxy's page, say
  }
  if (status >= 200 && status < 300) return document;
  throw new Problem(
    document?.title
      ? document
      : { status, code: `http_${status}`, title: `HTTP ${status}`, detail: t("not_ours"), value: null, limit: null },
  );
}

const unreachable = () => new Problem({ status: 0, code: "unreachable", title: t("unreachable"), detail: t("unreachable_detail") });

// A browser's WebSocket can send no header: the key goes along as a subprotocol, which no log of addresses keeps.
export function socketTo(path) {
  const address = addressOf(path);
  address.protocol = address.protocol.replace("http", "ws");
  return new WebSocket(address, preferences.key ? ["vcemo", `vcemo-key.${preferences.key}`] : ["vcemo"]);
}
