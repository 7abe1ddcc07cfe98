// The first page: a recording to judge, and the jobs that the service keeps.
import { useRef, useState } from "preact/hooks";
import { isMissing, problemOf, upload } from "./api.js";
import { remember } from "./heard.js";
import { Jobs } from "./jobs.js";
import { html } from "./markup.js";
import { ProblemBox, Progress } from "./states.js";
import { t } from "./words.js";

const LONG_SECONDS = 60; // longer ones become a job, whose progress is shown
const LONG_BYTES = 8 << 20; // where the browser cannot tell the length
const TOO_LARGE = 413;
const SIDES = ["", "agent,customer", "customer,agent"];

export function Recordings() {
  const [work, setWork] = useState(null); // {stage, share} | {problem, file}
  const [sides, setSides] = useState("");
  const [keep, setKeep] = useState(false);
  const cancel = useRef(null);
  const judge = async (file) => {
    cancel.current = new AbortController();
    setWork({ stage: "sending", share: 0, file });
    const onProgress = (share) => setWork({ stage: share < 1 ? "sending" : "judging", share: share < 1 ? share : null, file });
    try {
      location.hash = `#/call/${await sent(file, { sides, keep, onProgress, signal: cancel.current.signal })}`;
    } catch (error) {
      setWork(error.name === "AbortError" ? null : { problem: problemOf(error), file });
    }
  };
  return html`<h1>${t("recordings_title")}</h1>
    <section class="card" aria-label=${t("upload")}>
      <${DropZone} busy=${Boolean(work?.stage)} onFile=${judge} />
      <div class="row">
        <label>${t("sides")}
          <select value=${sides} onChange=${(event) => setSides(event.target.value)}>
            ${SIDES.map((value) => html`<option value=${value}>${t(`sides_${value.replace(",", "_") || "set"}`)}</option>`)}
          </select>
        </label>
        <label class="check"><input type="checkbox" checked=${keep} onChange=${(event) => setKeep(event.target.checked)} /> ${t("keep")}</label>
      </div>
      ${work?.stage &&
      html`<div class="row"><${Progress} share=${work.share}>${t(work.stage)}<//>
        <button type="button" onClick=${() => cancel.current.abort()}>${t("cancel")}</button></div>`}
      ${work?.problem && html`<${ProblemBox} problem=${work.problem} onAgain=${() => judge(work.file)} />`}
    </section>
    <${Jobs} />`;
}

function DropZone({ busy, onFile }) {
  const [over, setOver] = useState(false);
  const take = (files) => !busy && files[0] && onFile(files[0]);
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    take(event.dataTransfer.files);
  };
  const hover = (event) => (event.preventDefault(), setOver(true));
  return html`<label class=${`drop ${over ? "over" : ""}`} aria-disabled=${busy} onDragOver=${hover} onDragLeave=${() => setOver(false)} onDrop=${drop}>
    <input type="file" accept="audio/*,video/mp4,video/webm,.wav,.flac,.ogg,.opus,.mp3,.m4a,.amr" disabled=${busy}
      onChange=${(event) => (take(event.target.files), (event.target.value = ""))} />
    <span class="drop-shape" aria-hidden="true">⇪</span>
    <strong>${t("drop")}</strong>
    <span class="fine">${t("drop_formats")}</span>
  </label>`;
}

// Returns what the call is known by here: the job's id, or that of the answered request.
async function sent(file, { sides, keep, onProgress, signal }) {
  const query = sides ? `?channel_roles=${encodeURIComponent(sides)}` : "";
  const seconds = await secondsOf(file);
  const isLong = Number.isFinite(seconds) ? seconds > LONG_SECONDS : file.size > LONG_BYTES;
  const asJob = async () => {
    const job = await upload(`v1/jobs${query}`, file, { onProgress, signal });
    remember(job.id, { file });
    return job.id;
  };
  if (keep || isLong) {
    try {
      return await asJob();
    } catch (problem) {
      if (!isMissing(problem)) throw problem;
    }
  }
  try {
    const answer = await upload(`predict${query}`, file, { onProgress, signal });
    remember(answer.request_id, { answer, file });
    return answer.request_id;
  } catch (problem) {
    if (problem.status !== TOO_LARGE) throw problem;
    return asJob(); // which may be longer
  }
}

function secondsOf(file) {
  return new Promise((resolve) => {
    const audio = new Audio();
    const url = URL.createObjectURL(file);
    const end = (seconds) => (URL.revokeObjectURL(url), resolve(seconds));
    audio.preload = "metadata";
    audio.onloadedmetadata = () => end(audio.duration);
    audio.onerror = () => end(NaN);
    audio.src = url;
  });
}
