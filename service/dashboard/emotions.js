// The six emotions: each has a colour of Okabe and Ito's palette, a pattern (style.css), a shape and a name.
import { html } from "./markup.js";
import { percent } from "./times.js";
import { t } from "./words.js";

export const EMOTIONS = ["angry", "fear", "happy", "neutral", "sad", "surprise"];
export const SHAPES = { angry: "▲", fear: "◆", happy: "●", neutral: "■", sad: "▼", surprise: "★" };

// Those that the bundle tells apart, which may be fewer.
export const labelsOf = (probabilities) => (probabilities ? EMOTIONS.filter((one) => one in probabilities) : EMOTIONS);

export const nameOf = (emotion) => t(`emotion_${emotion}`);

export function Shape({ emotion }) {
  return html`<span class=${`shape ink-${emotion}`} aria-hidden="true">${SHAPES[emotion]}</span>`;
}

export function Badge({ emotion, confidence = null, was = false }) {
  return html`<span class=${`badge ${was ? "was" : ""}`}>
    <span class=${`swatch fill-${emotion}`} aria-hidden="true">${SHAPES[emotion]}</span>
    <span>${nameOf(emotion)}${confidence === null ? "" : ` ${percent(confidence)}`}</span>
  </span>`;
}

export function labelOf(segment) {
  if (segment.judged === false) return t("not_judged");
  if (!segment.emotion) return t("no_emotion");
  return `${nameOf(segment.emotion)} ${percent(segment.confidence)}`;
}

export function sideOf({ role, channel }, channels = 2) {
  if (role) return role === "agent" || role === "customer" ? t(`role_${role}`) : role;
  return channels > 1 ? t("channel_n", { n: channel + 1 }) : t("speaker");
}

// What names a segment in feedback; a service that does not say gets no feedback.
export const idOf = (segment) => segment.id ?? `${segment.channel}-${segment.start_ms}`;
