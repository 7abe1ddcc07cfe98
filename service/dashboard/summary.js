// What a call adds up to: a card for the whole of it and one for each side.
import { labelsOf, nameOf, Shape, SHAPES, sideOf } from "./emotions.js";
import { html } from "./markup.js";
import { Empty } from "./states.js";
import { clock, percent, signed, span } from "./times.js";
import { t } from "./words.js";

export function Summary({ answer, onJump }) {
  const { summary } = answer;
  if (!summary) return html`<section class="card" aria-label=${t("summary")}><h2>${t("summary")}</h2><${Empty}>${t("summary_missing")}<//></section>`;
  return html`<div class="summary">
    <${Whole} summary=${summary} channels=${answer.audio.channels} />
    ${summary.roles.map((role) => html`<${Side} key=${role.channel} role=${role} channels=${answer.audio.channels} onJump=${onJump} />`)}
  </div>`;
}

function Whole({ summary, channels }) {
  const { duration_ms: whole, speech_ms: speech, silence_ms: silence, overlap_ms: overlap } = summary;
  return html`<section class="card" aria-labelledby="whole-title">
    <h2 id="whole-title">${t("whole_call")}</h2>
    <dl class="facts">
      <div><dt>${t("duration")}</dt><dd>${span(whole)}</dd></div>
      <div><dt>${t("speech")}</dt><dd>${span(speech)} · ${percent(speech / Math.max(1, whole))}</dd></div>
      <div><dt>${t("silence")}</dt><dd>${span(silence)} · ${percent(silence / Math.max(1, whole))}</dd></div>
      ${channels > 1 && html`<div><dt>${t("overlap")}</dt><dd>${span(overlap)}</dd></div>`}
    </dl>
    ${summary.roles.length > 1 &&
    html`<div class="talk">${summary.roles.map(
      (role) => html`<div><span>${sideOf(role, channels)}</span><i style=${{ backgroundSize: `${role.talk_share * 100}% 100%` }} aria-hidden="true"></i><span>${percent(role.talk_share)}</span></div>`,
    )}</div>`}
  </section>`;
}

function Side({ role, channels, onJump }) {
  const side = sideOf(role, channels);
  return html`<section class="card" aria-label=${side}>
    <h2>${side}</h2>
    ${role.judged
      ? html`<${Emotions} emotions=${role.emotions} /> <${Quarters} role=${role} /> <${Moments} role=${role} onJump=${onJump} />`
      : html`<p class="notice"><span class="badge unjudged">${t("not_judged")}</span> ${t("not_judged_why")}</p>`}
    <dl class="facts">
      <div><dt>${t("talk")}</dt><dd>${span(role.talk_ms)} · ${percent(role.talk_share)}</dd></div>
      <div><dt>${t("utterances")}</dt><dd>${role.utterances}</dd></div>
      <div><dt>${t("longest_turn")}</dt><dd>${span(role.longest_turn_ms)}</dd></div>
      <div><dt>${t("interruptions")}</dt><dd>${role.interruptions.length}</dd></div>
    </dl>
    ${role.interruptions.length > 0 &&
    html`<p class="row">${role.interruptions.map((ms) => html`<button type="button" class="jump" onClick=${() => onJump(ms)} aria-label=${`${t("interruption")} ${clock(ms)}`}>${clock(ms)}</button>`)}</p>`}
  </section>`;
}

function Emotions({ emotions }) {
  if (!emotions) return null;
  const shares = labelsOf(emotions).map((emotion) => [emotion, emotions[emotion]]);
  return html`<h3>${t("emotion_shares")}</h3>
    <div class="stack" aria-hidden="true">
      ${shares.map(([emotion, share]) => html`<span class=${`fill-${emotion}`} style=${{ width: `${share * 100}%` }}>${share > 0.09 ? SHAPES[emotion] : ""}</span>`)}
    </div>
    <ul class="legend">${shares.map(([emotion, share]) => html`<li><${Shape} emotion=${emotion} /> ${nameOf(emotion)} <strong>${percent(share)}</strong></li>`)}</ul>`;
}

function Quarters({ role }) {
  const scores = role.sentiment_by_quarter;
  if (!scores) return null;
  return html`<h3>${t("sentiment_by_quarter")}</h3>
    <ol class="quarters">
      ${scores.map(
        (score, number) => html`<li>
          <span class="quarter" aria-hidden="true">${score !== null && html`<i class=${score < 0 ? "below" : "above"} style=${{ height: `${Math.max(2, Math.abs(score) * 50)}%` }}></i>`}</span>
          <span class="fine">${t("quarter", { n: number + 1 })}</span> <strong>${score === null ? "–" : signed(score)}</strong>
        </li>`,
      )}
    </ol>
    <p>${role.sentiment && html`${t("sentiment")}: ${t(`sentiment_${role.sentiment.label}`)} (${signed(role.sentiment.score)})`}
      ${role.shift !== null && html` · ${t("shift")}: <strong>${role.shift > 0.05 ? "↗" : role.shift < -0.05 ? "↘" : "→"} ${signed(role.shift)}</strong>`}</p>`;
}

function Moments({ role, onJump }) {
  return html`<h3>${t("strongest")}</h3>
    ${role.strongest.length === 0 && html`<p class="fine">${t("strongest_none")}</p>`}
    <ul class="moments">
      ${role.strongest.map(
        (moment) => html`<li><button type="button" class="jump" onClick=${() => onJump(moment.start_ms)}>
          ${clock(moment.start_ms)} <${Shape} emotion=${moment.emotion} /> ${nameOf(moment.emotion)} ${percent(moment.confidence)}
        </button></li>`,
      )}
    </ul>`;
}
