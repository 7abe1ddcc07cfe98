// What a part of the page shows when it has nothing else to show: loading, empty, or a problem in the service's words.
import { html } from "./markup.js";
import { t } from "./words.js";

export function Loading({ children }) {
  return html`<p class="state" role="status"><span class="spinner" aria-hidden="true"></span> ${children ?? t("loading")}</p>`;
}

export function Empty({ children }) {
  return html`<p class="state empty">${children}</p>`;
}

export function ProblemBox({ problem, onAgain }) {
  const { title, detail, code, value, limit, request_id: requestId } = problem;
  return html`<div class="problem" role="alert">
    <strong><span aria-hidden="true">⚠</span> ${title}</strong>
    <p lang="en">${detail}</p>
    <p class="fine">
      <code>${code}</code>
      ${value != null && html` · ${t("value")}: <code>${value}</code>`}
      ${limit != null && html` · ${t("limit")}: <code>${limit}</code>`}
      ${requestId && html` · ${t("request")}: <code>${requestId}</code>`}
    </p>
    ${onAgain && html`<button type="button" onClick=${onAgain}>${t("try_again")}</button>`}
  </div>`;
}

export function Progress({ share, children }) {
  const known = share !== null;
  return html`<div class="progress">
    <progress max="100" value=${known ? Math.round(share * 100) : undefined} aria-label=${children}></progress>
    <span role="status">${children}${known ? ` ${Math.round(share * 100)} %` : ""}</span>
  </div>`;
}
