// Waveform, one lane of emotions for each side, and whatever else shares their time, under one moving line.
import { useEffect, useRef, useState } from "preact/hooks";
import WaveSurfer from "wavesurfer";
import { idOf, labelOf, nameOf, SHAPES, sideOf } from "./emotions.js";
import { html } from "./markup.js";
import { useOfPlayer } from "./player.js";
import { usePreferences } from "./preferences.js";
import { clock } from "./times.js";
import { t } from "./words.js";

const ZOOMS = [1, 2, 4, 8, 16, 32];
const WIDEST_PIXELS = 30_000; // browsers draw no wider
const STEPS_S = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800];
const LEAST_TICK_PIXELS = 60;
const LEAST_LABEL_PIXELS = 40;
const LANE_LEAST = 0.4; // height of a segment that is sure of nothing

export function Timeline(props) {
  const { answer, player, file, controls, children } = props;
  const [zoom, setZoom] = useState(0);
  const scroller = useRef();
  const width = useWidth(scroller);
  const whole = Math.max(1, answer.audio.duration_ms);
  const most = ZOOMS.findLastIndex((one) => one * width <= WIDEST_PIXELS);
  const pixels = width * ZOOMS[Math.min(zoom, Math.max(0, most))];
  const seek = (event) => {
    const { left, width: across } = event.currentTarget.getBoundingClientRect();
    player.seek(((event.clientX - left) / across) * whole);
  };
  const channels = [...new Set(answer.segments.map((one) => one.channel))].sort();
  return html`<div class="sound-bar">
      ${controls}
      <div class="zoom" role="group" aria-label=${t("zoom")}>
        <button type="button" aria-label=${t("zoom_out")} disabled=${zoom === 0} onClick=${() => setZoom(zoom - 1)}>−</button>
        <button type="button" aria-label=${t("zoom_in")} disabled=${zoom >= most} onClick=${() => setZoom(zoom + 1)}>+</button>
      </div>
    </div>
    <div class="scroller" ref=${scroller} tabindex="0" role="region" aria-label=${t("timeline_scrolls")}>
      <div class="ruled" style=${{ width: pixels ? `${pixels}px` : "100%" }}>
        <div class="seekable" onClick=${seek}>
          <${Axis} whole=${whole} pixels=${pixels} />
          <${Waveform} player=${player} file=${file} channels=${answer.audio.channels} />
        </div>
        ${channels.map((channel) => html`<${Lane} key=${channel} ...${props} channel=${channel} whole=${whole} />`)}
        ${children}
        <${Line} player=${player} whole=${whole} scroller=${scroller} />
      </div>
    </div>`;
}

function useWidth(element) {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => setWidth(Math.floor(entry.contentRect.width)));
    watch.observe(element.current);
    return () => watch.disconnect();
  }, []);
  return width;
}

function Axis({ whole, pixels }) {
  const step = STEPS_S.find((one) => ((one * 1000) / whole) * pixels >= LEAST_TICK_PIXELS) ?? STEPS_S.at(-1);
  const ticks = Array.from({ length: Math.floor(whole / 1000 / step) + 1 }, (_, number) => number * step * 1000);
  return html`<div class="axis" aria-hidden="true">
    ${ticks.filter((ms) => (1 - ms / whole) * pixels >= LEAST_LABEL_PIXELS).map((ms) => html`<span style=${{ left: `${(ms / whole) * 100}%` }}>${clock(ms, { tenths: step < 1 })}</span>`)}
  </div>`;
}

function Waveform({ player, file, channels }) {
  const box = useRef();
  const [failed, setFailed] = useState(false);
  const surfer = useRef(null);
  const { theme } = usePreferences();
  useEffect(() => {
    if (!file) return undefined;
    setFailed(false);
    const drawn = WaveSurfer.create({
      container: box.current,
      media: player.audio,
      height: channels > 1 ? 36 : 56,
      splitChannels: channels > 1 ? Array.from({ length: channels }, () => ({})) : undefined,
      ...inks(box.current),
      cursorWidth: 0,
      interact: false,
      hideScrollbar: true,
      autoScroll: false,
      normalize: true,
      cspNonce: document.querySelector("script[nonce]").nonce,
    });
    surfer.current = drawn;
    drawn.loadBlob(file).catch(() => surfer.current === drawn && setFailed(true));
    return () => {
      surfer.current = null;
      drawn.destroy();
    };
  }, [file]);
  useEffect(() => surfer.current?.setOptions(inks(box.current)), [theme]);
  return html`<div class="waveform" ref=${box} aria-hidden="true">
    ${!file && html`<p class="fine">${t("no_sound")}</p>`} ${failed && html`<p class="fine">${t("no_waveform")}</p>`}
  </div>`;
}

// A canvas needs colours, not variables: call.css gives them as properties that resolve.
function inks(element) {
  const { color, outlineColor } = getComputedStyle(element);
  return { waveColor: color, progressColor: outlineColor };
}

function Lane({ answer, channel, whole, selected, corrections, onSelect, player }) {
  const segments = answer.segments.filter((one) => one.channel === channel);
  const side = sideOf(segments[0], answer.audio.channels);
  const playing = useOfPlayer(player, ({ timeMs }) => idAt(segments, timeMs));
  const stop = segments.some((one) => idOf(one) === selected) ? selected : idOf(segments[0]);
  const walk = (event) => {
    const step = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" }[event.key];
    if (!step) return;
    event.preventDefault();
    event.target[step]?.focus();
  };
  return html`<p class="lane-name">${side}${segments.every((one) => one.judged === false) ? ` · ${t("not_judged")}` : ""}</p>
    <div class="lane" role="toolbar" aria-label=${t("emotions_of", { who: side })} onKeyDown=${walk}>
      ${segments.map((segment) => {
        const id = idOf(segment);
        const label = corrections.labels[id];
        const emotion = label ?? segment.emotion;
        const told = `${clock(segment.start_ms)}–${clock(segment.end_ms)}, ${side}: ${label ? t("corrected_to", { label: nameOf(label) }) : labelOf(segment)}`;
        const kind = emotion ? `fill-${emotion}` : segment.judged === false ? "unjudged" : "unheard";
        return html`<button type="button" key=${id} title=${told} aria-label=${told} aria-pressed=${id === selected}
          tabindex=${id === stop ? 0 : -1} onClick=${() => onSelect(segment)}
          class=${`block ${kind} ${label ? "corrected" : ""} ${id === playing ? "playing" : ""}`}
          style=${{
            left: `${(segment.start_ms / whole) * 100}%`,
            width: `${((segment.end_ms - segment.start_ms) / whole) * 100}%`,
            height: `${100 * (LANE_LEAST + (1 - LANE_LEAST) * (label ? 1 : (segment.confidence ?? 0)))}%`,
          }}><span aria-hidden="true">${emotion ? SHAPES[emotion] : ""}</span></button>`;
      })}
    </div>`;
}

export const idAt = (segments, ms) => {
  const at = segments.find((one) => one.start_ms <= ms && ms < one.end_ms);
  return at ? idOf(at) : null;
};

function Line({ player, whole, scroller }) {
  const line = useRef();
  useEffect(() => {
    const move = () => {
      if (!line.current) return; // the player's last word, while the page goes
      const share = Math.min(1, player.timeMs / whole);
      line.current.style.left = `${share * 100}%`;
      const { scrollLeft, clientWidth, scrollWidth } = scroller.current;
      const x = share * scrollWidth;
      if (player.isPlaying && (x < scrollLeft || x > scrollLeft + clientWidth)) scroller.current.scrollLeft = x - 40;
    };
    move();
    return player.listen(move);
  }, [player, whole]);
  return html`<div class="line" ref=${line} aria-hidden="true"></div>`;
}
