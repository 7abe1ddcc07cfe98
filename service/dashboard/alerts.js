// Alerts, told by shape and word as well as by colour.
import { html } from "./markup.js";
import { sideOf } from "./emotions.js";
import { clock } from "./times.js";
import { t } from "./words.js";

const SHAPES = { info: "ℹ", warning: "▲", critical: "⬢" };

export function Alerts({ alerts, onJump = null }) {
  if (alerts.length === 0) return null;
  return html`<ul class="alerts" aria-label=${t("alerts")}>${alerts.map((alert) => html`<${Alert} key=${alert.id} alert=${alert} onJump=${onJump} />`)}</ul>`;
}

function Alert({ alert, onJump }) {
  return html`<li class=${`alert alert-${alert.severity}`}>
    <span class="severity"><span aria-hidden="true">${SHAPES[alert.severity]}</span> ${t(`severity_${alert.severity}`)}</span>
    ${onJump ? html`<button type="button" class="jump" onClick=${() => onJump(alert.at_ms)}>${clock(alert.at_ms)}</button>` : html`<span class="clock">${clock(alert.at_ms)}</span>`}
    <span>${sideOf(alert)} · <strong>${alert.rule}</strong></span>
    <span lang="en">${alert.message}</span>
  </li>`;
}

// Read out as they come; what was there before is not news.
export function Announcer({ alerts }) {
  const newest = alerts.at(-1);
  return html`<p class="hidden" role="alert">${newest ? `${t(`severity_${newest.severity}`)}: ${newest.message}` : ""}</p>`;
}
