// A judged call: on one timeline what was heard of each side, what was said, and what it adds up to.
import { useEffect, useRef, useState } from "preact/hooks";
import { Alerts } from "./alerts.js";
import { useCorrections } from "./corrections.js";
import { Badge, idOf } from "./emotions.js";
import { html } from "./markup.js";
import { useOfPlayer, usePlayer } from "./player.js";
import { Probabilities } from "./probabilities.js";
import { Empty, ProblemBox } from "./states.js";
import { Summary } from "./summary.js";
import { clock, signed } from "./times.js";
import { Timeline } from "./timeline.js";
import { Transcript } from "./transcript.js";
import { has, t } from "./words.js";

const STEP_MS = 5000;
const RATES = [0.75, 1, 1.25, 1.5, 2];

export function Call({ answer, file, title, onFile }) {
  const player = usePlayer();
  const [selected, setSelected] = useState(null);
  const corrections = useCorrections(answer);
  const { segments } = answer;
  const select = (segment, { plays = true } = {}) => {
    setSelected(idOf(segment));
    if (plays && player.canPlay) player.playSpan(segment.start_ms, segment.end_ms);
    else player.seek(segment.start_ms);
  };
  const jump = (ms) => {
    const at = segments.find((one) => one.start_ms <= ms && ms < one.end_ms) ?? segments.find((one) => one.start_ms >= ms);
    if (at) setSelected(idOf(at));
    player.seek(ms);
  };
  useKeys({ player, segments, selected, select });
  const shared = { answer, player, selected, corrections, onSelect: select, onJump: jump };
  const controls = html`<${Controls} player=${player} answer=${answer} file=${file} onFile=${onFile} />`;
  return html`<${Heading} answer=${answer} title=${title} />
    <${Alerts} alerts=${answer.alerts ?? []} onJump=${jump} />
    <section class="card sound" aria-label=${t("timeline")}>
      <${Timeline} ...${shared} file=${file} controls=${controls}><${Probabilities} ...${shared} /><//>
    </section>
    ${corrections.problem && html`<${ProblemBox} problem=${corrections.problem} />`}
    ${segments.length === 0
      ? html`<${Empty}>${t("nobody_speaks")}<//>`
      : html`<div class="columns"><${Transcript} ...${shared} /><${Summary} ...${shared} /></div>`}`;
}

function Heading({ answer, title }) {
  const url = useRef(null);
  useEffect(() => () => url.current && URL.revokeObjectURL(url.current), []);
  const save = (event) => {
    url.current ??= URL.createObjectURL(new Blob([JSON.stringify(answer, null, 1)], { type: "application/json" }));
    event.currentTarget.href = url.current;
  };
  const known = (code) => (has(`warning_${code}`) ? t(`warning_${code}`) : code);
  return html`<div class="heading">
    <h1>${title}</h1>
    <a class="button" href="#" download=${`${answer.request_id}.json`} onClick=${save}>${t("save_json")}</a>
    <p>
      ${answer.emotion ? html`${t("overall")} <${Badge} emotion=${answer.emotion} confidence=${answer.confidence} /> ` : ""}
      ${answer.sentiment && html`<span>${t("sentiment")} ${t(`sentiment_${answer.sentiment.label}`)} (${signed(answer.sentiment.score)})</span>`}
      <span class="fine">${clock(answer.audio.duration_ms)} · ${t("channels", { n: answer.audio.channels })} · ${answer.model.name} ${answer.model.version}</span>
    </p>
    ${answer.warnings.length > 0 && html`<ul class="warnings" aria-label=${t("warnings")}>${answer.warnings.map((code) => html`<li>⚠ ${known(code)}</li>`)}</ul>`}
  </div>`;
}

function Controls({ player, answer, file, onFile }) {
  const isPlaying = useOfPlayer(player, (one) => one.isPlaying);
  const canPlay = useOfPlayer(player, (one) => one.canPlay);
  const failed = useOfPlayer(player, (one) => Boolean(one.audio.error));
  const rate = useOfPlayer(player, (one) => one.audio.playbackRate);
  const second = useOfPlayer(player, (one) => Math.floor(one.timeMs / 1000));
  const whole = answer.audio.duration_ms;
  const position = `${clock(second * 1000)} / ${clock(whole)}`;
  return html`<button type="button" class="primary round" disabled=${!canPlay} aria-label=${isPlaying ? t("pause") : t("play")} onClick=${() => player.toggle()}>
      <span aria-hidden="true">${isPlaying ? "❚❚" : "▶"}</span>
    </button>
    <input type="range" min="0" max=${Math.ceil(whole / 1000)} value=${second} aria-label=${t("position")} aria-valuetext=${position}
      onInput=${(event) => player.seek(Number(event.target.value) * 1000)} />
    <span class="clock">${position}</span>
    <label class="quiet">${t("speed")}
      <select value=${rate} onChange=${(event) => (player.audio.playbackRate = Number(event.target.value))}>
        ${RATES.map((one) => html`<option value=${one}>${one}×</option>`)}
      </select>
    </label>
    ${(!file || failed) &&
    html`<label class="button file">${failed ? t("cannot_play") : t("add_sound")}
      <input type="file" accept="audio/*" onChange=${(event) => event.target.files[0] && onFile?.(event.target.files[0])} /></label>`}`;
}

// Space plays, arrows step, j and k walk from segment to segment: as in players, wherever nothing else wants the key.
function useKeys(now) {
  const latest = useRef();
  latest.current = now; // a second key may come before the first has been drawn
  useEffect(() => {
    const pressed = (event) => {
      const { player, segments, selected, select } = latest.current;
      if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
      if (event.target.closest?.("button, a, input, select, textarea, summary, [role=toolbar], [role=group]")) {
        if (!["j", "k"].includes(event.key) || event.target.matches("input, select, textarea")) return;
      }
      const at = segments.findIndex((one) => idOf(one) === selected);
      const walk = (by) => segments[at + by] && select(segments[at + by], { plays: player.isPlaying });
      const act = {
        " ": () => player.canPlay && player.toggle(),
        ArrowRight: () => player.seek(player.timeMs + STEP_MS),
        ArrowLeft: () => player.seek(player.timeMs - STEP_MS),
        j: () => walk(1),
        k: () => walk(at < 0 ? 1 : -1),
      }[event.key];
      if (!act) return;
      event.preventDefault();
      act();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}
