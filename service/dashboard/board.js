// The calls that run right now: how each side sounds, and what has set off an alert.
import { useEffect, useRef, useState } from "preact/hooks";
import { Alerts, Announcer } from "./alerts.js";
import { ask, isMissing, problemOf, socketTo } from "./api.js";
import { nameOf, Shape, sideOf } from "./emotions.js";
import { html } from "./markup.js";
import { Empty, Loading, ProblemBox } from "./states.js";
import { clock, moment, percent, signed } from "./times.js";
import { t } from "./words.js";

const POLL_MS = 2000;
const STATES = { live: "●", waiting: "◌", ended: "■" };

export function Board() {
  const { calls, problem, isFollowing, again } = useCalls();
  const alerts = (calls ?? []).flatMap((call) => call.alerts).sort((one, other) => one.at_ms - other.at_ms);
  const running = calls?.filter((call) => call.state !== "ended").length ?? 0;
  return html`<h1>${t("board_title")}</h1>
    <${Announcer} alerts=${useNews(alerts, calls !== null)} />
    ${problem && !isMissing(problem) && html`<${ProblemBox} problem=${problem} onAgain=${again} />`}
    ${isMissing(problem) && html`<${Empty}>${t("board_missing")}<//>`}
    ${!problem && !calls && html`<${Loading} />`}
    ${calls && html`<p class="fine" role="status">${t("board_count", { n: running })} · ${t(isFollowing ? "board_pushed" : "board_polled")}</p>`}
    ${calls?.length === 0 && html`<${Empty}>${t("board_empty")} <a href="#/talk">${t("nav_talk")}</a><//>`}
    ${calls?.length > 0 && html`<ul class="board">${calls.map((call) => html`<${RunningCall} key=${call.session_id} call=${call} />`)}</ul>`}`;
}

function RunningCall({ call }) {
  const worst = ["critical", "warning", "info"].find((severity) => call.alerts.some((alert) => alert.severity === severity));
  return html`<li class=${`card running ${worst ? `has-${worst}` : ""}`}>
    <div class="running-head">
      <strong>${t("call")} ${call.session_id.slice(0, 8)}</strong>
      <span class=${`status status-${call.state}`}><span aria-hidden="true">${STATES[call.state]}</span> ${t(`state_${call.state}`)}</span>
      <span class="clock">${clock(call.duration_ms)}</span>
      <span class="fine">${moment(call.started_at)}</span>
    </div>
    <table>
      <thead><tr><th scope="col">${t("side")}</th><th scope="col">${t("emotion")}</th><th scope="col">${t("sentiment")}</th><th scope="col">${t("talk")}</th></tr></thead>
      <tbody>${call.roles.map(
        (role) => html`<tr key=${role.channel}>
          <th scope="row">${sideOf(role, call.roles.length)}</th>
          <td>${role.emotion ? html`<${Shape} emotion=${role.emotion} /> ${nameOf(role.emotion)} ${percent(role.confidence)}` : role.judged === false ? t("not_judged") : "–"}</td>
          <td>${scoreOf(role.sentiment) === null ? "–" : signed(scoreOf(role.sentiment))}</td>
          <td>${clock(role.talk_ms)}</td>
        </tr>`,
      )}</tbody>
    </table>
    <${Alerts} alerts=${call.alerts} />
  </li>`;
}

export const scoreOf = (sentiment) => (sentiment === null || sentiment === undefined ? null : (sentiment.score ?? sentiment));

// Alerts that came after the first look.
function useNews(alerts, hasLooked) {
  const seen = useRef(null);
  if (hasLooked) seen.current ??= new Set(alerts.map((alert) => alert.id));
  return alerts.filter((alert) => !seen.current?.has(alert.id));
}

// Asks once, which also tells whether a key is wanted; then follows the events, and polls where there are none.
function useCalls() {
  const [calls, setCalls] = useState(null);
  const [problem, setProblem] = useState(null);
  const [isFollowing, setFollowing] = useState(false);
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    let isOver = false;
    let timer = null;
    let socket = null;
    const look = async () => {
      try {
        const found = await ask("v1/calls");
        if (isOver) return;
        setCalls(found.calls);
        setProblem(null);
        if (!socket) follow();
        timer = setTimeout(look, POLL_MS);
      } catch (error) {
        if (!isOver) setProblem(problemOf(error));
      }
    };
    const follow = () => {
      socket = socketTo("v1/calls/events");
      socket.onopen = () => (clearTimeout(timer), setFollowing(true));
      socket.onmessage = ({ data }) => setCalls(JSON.parse(data).calls);
      socket.onclose = () => {
        socket = null;
        if (isOver) return;
        setFollowing(false);
        clearTimeout(timer);
        timer = setTimeout(look, POLL_MS);
      };
    };
    look();
    return () => {
      isOver = true;
      clearTimeout(timer);
      socket?.close();
    };
  }, [attempt]);
  return { calls, problem, isFollowing, again: () => (setProblem(null), setAttempt(attempt + 1)) };
}
