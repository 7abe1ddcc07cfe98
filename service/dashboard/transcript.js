// What was said, in time with the player; a click plays it, one more says what it really was.
import { useEffect, useRef } from "preact/hooks";
import { Badge, idOf, labelsOf, nameOf, Shape, sideOf } from "./emotions.js";
import { html } from "./markup.js";
import { useOfPlayer } from "./player.js";
import { clock } from "./times.js";
import { idAt } from "./timeline.js";
import { t } from "./words.js";

export function Transcript({ answer, player, selected, corrections, onSelect }) {
  const { segments } = answer;
  const list = useRef();
  const heard = useOfPlayer(player, (one) => (one.isPlaying ? idAt(segments, one.timeMs) : null));
  const current = heard ?? selected;
  useEffect(() => {
    const row = current && list.current.querySelector(`[data-id="${CSS.escape(current)}"]`);
    if (!row) return;
    // Only inside the list: the page stays where its reader is.
    const { offsetTop, offsetHeight } = row;
    const { scrollTop, clientHeight } = list.current;
    if (offsetTop < scrollTop || offsetTop + offsetHeight > scrollTop + clientHeight) list.current.scrollTop = offsetTop - 40;
  }, [current]);
  return html`<section class="card" aria-labelledby="transcript-title">
    <h2 id="transcript-title">${t("transcript")}</h2>
    ${!corrections.isOffered && html`<p class="fine">${t("feedback_missing")}</p>`}
    <ol class="transcript" ref=${list} tabindex="0" aria-labelledby="transcript-title">
      ${segments.map((segment) => {
        const id = idOf(segment);
        return html`<${Utterance} key=${id} segment=${segment} side=${sideOf(segment, answer.audio.channels)} isCurrent=${id === current}
          corrections=${corrections} onPlay=${() => onSelect(segment)} />`;
      })}
    </ol>
    <p class="fine keys">${t("keys")}</p>
  </section>`;
}

export function Utterance({ segment, side, isCurrent, corrections, onPlay = null }) {
  const id = idOf(segment);
  const label = corrections.labels[id];
  const times = `${clock(segment.start_ms)}–${clock(segment.end_ms)}`;
  return html`<li class=${`utterance side-${segment.channel}`} data-id=${id} aria-current=${isCurrent ? "true" : undefined}>
    ${onPlay
      ? html`<button type="button" class="when" aria-label=${t("play_span", { times, who: side })} onClick=${onPlay}>
          <span aria-hidden="true">▶</span> ${clock(segment.start_ms)}
        </button>`
      : html`<span class="when">${clock(segment.start_ms)}</span>`}
    <span class="who">${side}</span>
    <span class="judgement" aria-live="polite">
      ${segment.judged === false && html`<span class="badge unjudged">${t("not_judged")}</span>`}
      ${segment.emotion && html`<${Badge} emotion=${segment.emotion} confidence=${segment.confidence} was=${Boolean(label && label !== segment.emotion)} />`}
      ${segment.judged !== false && !segment.emotion && html`<span class="badge unheard">${t("no_emotion")}</span>`}
      ${label && label !== segment.emotion && html`<span class="arrow" aria-hidden="true">→</span> <${Badge} emotion=${label} />`}
      ${label && html`<span class="corrected-note">✎ ${label === segment.emotion ? t("confirmed") : t("corrected")}</span>`}
    </span>
    <p class="said" lang="zh-CN">${segment.text ?? html`<span class="fine">${t("text_withheld")}</span>`}</p>
    ${corrections.isOffered && segment.judged !== false && html`<${Correction} segment=${segment} label=${label} times=${times} corrections=${corrections} />`}
  </li>`;
}

function Correction({ segment, label, times, corrections }) {
  const id = idOf(segment);
  const now = label ?? segment.emotion;
  const labels = labelsOf(segment.probabilities);
  const walk = (event) => {
    const step = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" }[event.key];
    if (!step) return;
    event.preventDefault();
    event.target[step]?.focus();
  };
  return html`<div class="correction" role="toolbar" aria-label=${t("correct_span", { times })} aria-busy=${corrections.sending === id} onKeyDown=${walk}>
    ${labels.map(
      (emotion) => html`<button type="button" key=${emotion} title=${nameOf(emotion)} aria-label=${nameOf(emotion)} aria-pressed=${emotion === now}
        tabindex=${emotion === (now ?? labels[0]) ? 0 : -1} disabled=${corrections.sending === id}
        onClick=${() => corrections.correct(segment, emotion)}><${Shape} emotion=${emotion} /></button>`,
    )}
  </div>`;
}
