// Talk live: the microphone or a file goes to the service as it is spoken, and what is heard comes back.
import { useEffect, useRef, useState } from "preact/hooks";
import { Alerts, Announcer } from "./alerts.js";
import { ask, isMissing, Problem, problemOf } from "./api.js";
import { scoreOf } from "./board.js";
import { Call } from "./call.js";
import { microphone, recording, SAMPLE_RATE_HZ, wavOf } from "./capture.js";
import { Badge, idOf, labelsOf, nameOf, sideOf } from "./emotions.js";
import { html } from "./markup.js";
import { Empty, ProblemBox } from "./states.js";
import { LiveStream } from "./stream.js";
import { clock, percent, signed } from "./times.js";
import { Utterance } from "./transcript.js";
import { t } from "./words.js";

const QUIET = { session: null, segments: [], partials: {}, speakers: {}, alerts: [], receivedMs: 0, connection: "" };
const NO_CORRECTIONS = { labels: {}, sending: null, isOffered: false };

export function Talk() {
  const [source, setSource] = useState("microphone");
  const [file, setFile] = useState(null);
  const [isFast, setFast] = useState(false);
  const [sides, setSides] = useState("");
  const talk = useTalk();
  const { state, call } = talk;
  if (state === "over") {
    return html`<${Call} answer=${answerOf(call, talk.channels)} file=${talk.sound} title=${file?.name ?? t("talk_title")} />
      <p><button type="button" onClick=${talk.reset}>${t("talk_again")}</button></p>`;
  }
  const isIdle = state === "idle";
  const begin = () => talk.begin(source === "file" ? () => recording(file, { isFast }) : microphone, sides);
  return html`<h1>${t("talk_title")}</h1>
    <section class="card" aria-label=${t("talk_source")}>
      <fieldset disabled=${!isIdle}><legend>${t("talk_source")}</legend>
        <label class="check"><input type="radio" name="source" checked=${source === "microphone"} onChange=${() => setSource("microphone")} /> ${t("microphone")}</label>
        <label class="check"><input type="radio" name="source" checked=${source === "file"} onChange=${() => setSource("file")} /> ${t("file")}</label>
        ${source === "file" &&
        html`<label>${t("recording")} <input type="file" accept="audio/*" onChange=${(event) => setFile(event.target.files[0] ?? null)} /></label>
          <label class="check"><input type="checkbox" checked=${isFast} onChange=${(event) => setFast(event.target.checked)} /> ${t("talk_fast")}</label>`}
        <label>${t("sides")} <input value=${sides} placeholder="agent,customer" pattern="[a-z][a-z0-9_\\-]*(,[a-z][a-z0-9_\\-]*)*" onInput=${(event) => setSides(event.target.value.trim())} /></label>
      </fieldset>
      <p class="fine">${t("talk_consent")}</p>
      ${isIdle
        ? html`<button type="button" class="primary" disabled=${source === "file" && !file} onClick=${begin}>${t("talk_begin")}</button>`
        : html`<button type="button" class="primary" disabled=${state !== "on"} onClick=${talk.end}>${t("talk_end")}</button>`}
    </section>
    ${talk.problem && (isMissing(talk.problem) ? html`<${Empty}>${t("stream_missing")}<//>` : html`<${ProblemBox} problem=${talk.problem} />`)}
    ${!isIdle && html`<${Heard} call=${call} state=${state} level=${talk.level} channels=${talk.channels} />`}`;
}

function Heard({ call, state, level, channels }) {
  const { segments, partials, speakers, alerts, receivedMs, connection } = call;
  const list = useRef();
  useEffect(() => void (list.current && (list.current.scrollTop = list.current.scrollHeight)), [segments.length, partials]);
  const open = Object.values(partials);
  return html`<${Announcer} alerts=${alerts} />
    <section class="card" aria-label=${t("live")}>
      <p class="row"><span role="status">${t(connection === "waiting" ? "talk_waiting" : state === "ending" ? "talk_ending" : "talk_on")}</span>
        <span class="clock">${clock(receivedMs)}</span> <meter min="0" max="1" value=${level} aria-label=${t("level")}></meter></p>
      <${Alerts} alerts=${alerts} />
      <div class="speakers">${Object.values(speakers).map((one) => html`<${Speaker} key=${one.channel} speaker=${one} channels=${channels} />`)}</div>
      ${segments.length + open.length === 0 && html`<p class="fine">${t("talk_listening")}</p>`}
      <ol class="transcript" ref=${list} tabindex="0" aria-label=${t("transcript")} aria-live="polite">
        ${segments.map((one) => html`<${Utterance} key=${idOf(one)} segment=${one} side=${sideOf(one, channels)} corrections=${NO_CORRECTIONS} />`)}
        ${open.map((one) => html`<li key=${one.segment_id} class=${`utterance partial side-${one.channel}`}><span class="when">${clock(one.start_ms)}</span>
          <span class="who">${sideOf(one, channels)}</span> <p class="said" lang="zh-CN">${one.text ?? ""}…</p></li>`)}
      </ol>
    </section>`;
}

function Speaker({ speaker, channels }) {
  const { segment, state } = speaker;
  return html`<div class="speaker">
    <strong>${sideOf(segment, channels)}</strong> ${segment.emotion ? html`<${Badge} emotion=${segment.emotion} confidence=${segment.confidence} />` : segment.judged === false ? t("not_judged") : ""}
    ${state?.emotions && html`<div class="stack" role="img" aria-label=${labelsOf(state.emotions).map((one) => `${nameOf(one)} ${percent(state.emotions[one])}`).join(", ")}>
      ${labelsOf(state.emotions).map((one) => html`<span class=${`fill-${one}`} style=${{ width: `${state.emotions[one] * 100}%` }}></span>`)}</div>`}
    ${scoreOf(state?.sentiment) !== null && html`<span class="fine">${t("sentiment")} ${signed(scoreOf(state.sentiment))} · ${t("n_utterances", { n: state.utterances })}</span>`}
  </div>`;
}

// state: idle -> opening -> on -> ending -> over.
function useTalk() {
  const [state, setState] = useState("idle");
  const [call, setCall] = useState(QUIET);
  const [problem, setProblem] = useState(null);
  const [level, setLevel] = useState(0);
  const [sound, setSound] = useState(null);
  const held = useRef({});
  const fail = (error) => {
    held.current.source?.stop();
    held.current.stream?.leave();
    setProblem(problemOf(error));
    setState("idle");
  };
  useEffect(() => () => (held.current.source?.stop(), held.current.stream?.leave()), []);
  const tell = (message) => {
    setCall((before) => after(before, message));
    if (message.type === "problem") fail(new Problem(message.problem ?? message));
    else if (message.type === "connection" && message.state === "lost") fail(new Problem({ code: `close_${message.code}`, title: t("talk_lost"), detail: message.reason }));
    else if (message.type === "summary") {
      held.current.source.stop();
      setSound(wavOf(held.current.pieces, held.current.source.channels));
      setState("over");
    }
  };
  const end = () => {
    held.current.source.stop();
    held.current.stream.end();
    setState("ending");
  };
  const begin = async (open, roles) => {
    setProblem(null);
    setCall(QUIET);
    setState("opening");
    try {
      await ask("v1/calls"); // tells in words what a refused WebSocket would not: that a key is wanted, say
      const source = await open();
      const stream = new LiveStream({ sampleRateHz: SAMPLE_RATE_HZ, channels: source.channels, roles, tell });
      held.current = { source, stream, pieces: [] };
      stream.open();
      const onPiece = (piece) => {
        held.current.pieces.push(piece);
        stream.send(piece);
        setLevel(loudness(piece));
      };
      await source.start({ onPiece, onEnd: end, room: () => stream.roomMs });
      setState((now) => (now === "opening" ? "on" : now));
    } catch (error) {
      fail(error);
    }
  };
  const reset = () => (setState("idle"), setCall(QUIET), setSound(null));
  return { state, call, problem, level, sound, channels: held.current.source?.channels ?? 1, begin, end, reset };
}

function after(call, message) {
  switch (message.type) {
    case "session":
      return { ...call, session: message };
    case "connection":
      return { ...call, connection: message.state };
    case "ack":
      return { ...call, receivedMs: message.received_ms };
    case "partial":
      return { ...call, partials: { ...call.partials, [message.channel]: message } };
    case "segment": {
      const { segment, speaker } = message;
      const speakers = { ...call.speakers, [segment.channel]: { channel: segment.channel, segment, state: speaker } };
      return { ...call, speakers, partials: withoutEnded(call.partials, segment), segments: [...call.segments, segment].sort((one, other) => one.start_ms - other.start_ms) };
    }
    case "alert":
      return { ...call, alerts: [...call.alerts, message.alert] };
    case "summary":
      return { ...call, summary: message.summary };
    default:
      return call;
  }
}

// By time, not by name: a final segment may begin a little later than what was heard of it first.
function withoutEnded(partials, segment) {
  return Object.fromEntries(Object.entries(partials).filter(([, one]) => one.channel !== segment.channel || one.start_ms >= segment.end_ms));
}

const loudness = (piece) => Math.min(1, Math.sqrt(piece.reduce((sum, sample) => sum + (sample / 32768) ** 2, 0) / piece.length) * 4);

// What was streamed, as the answer to an upload would say it.
function answerOf({ session, segments, summary, alerts, receivedMs }, channels) {
  const ends = [receivedMs, summary?.duration_ms ?? 0, ...segments.map((one) => one.end_ms)];
  return {
    request_id: session.session_id,
    model: session.model,
    emotion: null,
    confidence: null,
    sentiment: null,
    audio: { duration_ms: Math.max(...ends), channels },
    segments,
    summary,
    alerts,
    warnings: [],
  };
}
