// Jobs that the service keeps: what each is at, its result, and an end to it.
import { useEffect, useState } from "preact/hooks";
import { ask, isMissing, problemOf } from "./api.js";
import { recall } from "./heard.js";
import { html } from "./markup.js";
import { Empty, Loading, ProblemBox } from "./states.js";
import { moment } from "./times.js";
import { t } from "./words.js";

const BUSY_MS = 1000;
const IDLE_MS = 10_000;
const SHAPES = { queued: "…", running: "▶", done: "✓", failed: "✕", cancelled: "–" };

export const isOver = (job) => !["queued", "running"].includes(job.status);

export function Jobs() {
  const [jobs, setJobs] = useState(null);
  const [problem, setProblem] = useState(null);
  const look = async () => {
    try {
      const found = await ask("v1/jobs?limit=50");
      setJobs(found.jobs ?? found);
      setProblem(null);
    } catch (error) {
      setProblem(problemOf(error));
    }
  };
  useEffect(() => void look(), []);
  useEffect(() => {
    if (!jobs) return undefined;
    const timer = setTimeout(look, jobs.every(isOver) ? IDLE_MS : BUSY_MS);
    return () => clearTimeout(timer);
  }, [jobs]);
  const end = async (job) => {
    try {
      await ask(`v1/jobs/${encodeURIComponent(job.id)}`, { method: "DELETE" });
    } catch (error) {
      setProblem(problemOf(error));
    }
    await look();
  };
  return html`<section aria-labelledby="jobs-title">
    <h2 id="jobs-title">${t("jobs_title")}</h2>
    ${problem && !isMissing(problem) && html`<${ProblemBox} problem=${problem} onAgain=${look} />`}
    ${isMissing(problem) && html`<${Empty}>${t("jobs_missing")}<//>`}
    ${!problem && !jobs && html`<${Loading} />`}
    ${jobs?.length === 0 && html`<${Empty}>${t("jobs_empty")}<//>`}
    ${jobs?.length > 0 && html`<ul class="jobs">${jobs.map((job) => html`<${Job} key=${job.id} job=${job} onEnd=${() => end(job)} />`)}</ul>`}
  </section>`;
}

function Job({ job, onEnd }) {
  const name = recall(job.id)?.file?.name ?? `${t("job")} ${job.id.slice(0, 8)}`;
  return html`<li class="card job">
    <div>
      <strong>${name}</strong>
      <span class="fine">${moment(job.created_at)}${job.expires_at ? ` · ${t("until", { when: moment(job.expires_at) })}` : ""}</span>
    </div>
    <span class=${`status status-${job.status}`}><span aria-hidden="true">${SHAPES[job.status]}</span> ${t(`job_${job.status}`)}</span>
    ${!isOver(job) && html`<progress max="100" value=${job.progress} aria-label=${`${name}: ${t(`job_${job.status}`)}`}></progress><span>${job.progress} %</span>`}
    ${job.error && html`<p class="fine bad" lang="en">${job.error.title}: ${job.error.detail}</p>`}
    <span class="row">
      ${job.status !== "failed" && job.status !== "cancelled" && html`<a class="button" href=${`#/call/${encodeURIComponent(job.id)}`}>${t("open")}</a>`}
      <button type="button" onClick=${onEnd} aria-label=${`${isOver(job) ? t("forget") : t("cancel")} ${name}`}>${isOver(job) ? t("forget") : t("cancel")}</button>
    </span>
  </li>`;
}
