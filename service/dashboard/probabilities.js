// How probable each emotion was over time, one row an emotion: read by height, not by colour.
import { useState } from "preact/hooks";
import { idOf, labelsOf, nameOf, Shape, sideOf } from "./emotions.js";
import { html } from "./markup.js";
import { clock, percent } from "./times.js";
import { t } from "./words.js";

export function Probabilities({ answer, onSelect }) {
  const judged = answer.segments.filter((one) => one.probabilities);
  const channels = [...new Set(judged.map((one) => one.channel))].sort();
  const [chosen, setChosen] = useState(null);
  if (judged.length === 0) return null;
  const channel = chosen ?? preferred(judged);
  const whole = Math.max(1, answer.audio.duration_ms);
  const segments = judged.filter((one) => one.channel === channel);
  const name = (number) => sideOf(judged.find((one) => one.channel === number), answer.audio.channels);
  return html`<div class="probabilities-head">
      <h2>${t("probabilities")}</h2>
      ${channels.length > 1 &&
      html`<span class="row" role="group" aria-label=${t("side")}>
        ${channels.map((one) => html`<button type="button" aria-pressed=${one === channel} onClick=${() => setChosen(one)}>${name(one)}</button>`)}
      </span>`}
    </div>
    <div class="probabilities" role="img" aria-label=${`${t("probabilities")}, ${name(channel)}: ${strongest(segments)}`}>
      ${labelsOf(judged[0].probabilities).map((emotion) => html`<${Row} key=${emotion} emotion=${emotion} segments=${segments} whole=${whole} onSelect=${onSelect} />`)}
    </div>`;
}

const preferred = (judged) => (judged.find((one) => one.role === "customer") ?? judged[0]).channel;

const strongest = (segments) =>
  segments
    .filter((one) => one.emotion)
    .map((one) => `${clock(one.start_ms)} ${nameOf(one.emotion)} ${percent(one.confidence)}`)
    .join("; ");

function Row({ emotion, segments, whole, onSelect }) {
  return html`<div class="probability">
    <span class="probability-name"><${Shape} emotion=${emotion} /> ${nameOf(emotion)}</span>
    <svg viewBox=${`0 0 ${whole} 1`} preserveAspectRatio="none">
      ${segments.map(
        (one) => html`<rect key=${idOf(one)} class=${`ink-${emotion}`} x=${one.start_ms} width=${one.end_ms - one.start_ms}
          y=${1 - one.probabilities[emotion]} height=${one.probabilities[emotion]} onClick=${() => onSelect(one)}>
          <title>${`${clock(one.start_ms)} ${nameOf(emotion)} ${percent(one.probabilities[emotion])}`}</title>
        </rect>`,
      )}
    </svg>
  </div>`;
}
