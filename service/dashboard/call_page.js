// A call by its id: from this tab's memory, or a job of the service, followed until it is done.
import { useEffect, useState } from "preact/hooks";
import { ask, isMissing, problemOf } from "./api.js";
import { Call } from "./call.js";
import { recall, remember } from "./heard.js";
import { isOver } from "./jobs.js";
import { html } from "./markup.js";
import { Empty, Loading, ProblemBox, Progress } from "./states.js";
import { t } from "./words.js";

const LOOK_MS = 500;

export function CallPage({ name: id }) {
  const [answer, setAnswer] = useState(recall(id)?.answer ?? null);
  const [job, setJob] = useState(null);
  const [problem, setProblem] = useState(null);
  const [file, setFile] = useState(recall(id)?.file ?? null);
  const look = async () => {
    const path = `v1/jobs/${encodeURIComponent(id)}`;
    try {
      const found = await ask(path);
      setJob(found);
      setProblem(found.error);
      if (found.status !== "done") return;
      const result = await ask(`${path}/result`);
      remember(id, { answer: result });
      setAnswer(result);
    } catch (error) {
      setProblem(problemOf(error));
    }
  };
  useEffect(() => {
    if (answer || problem || (job && isOver(job))) return undefined;
    const timer = setTimeout(look, job ? LOOK_MS : 0);
    return () => clearTimeout(timer);
  }, [job, answer, problem]);
  const again = () => (setJob(null), setProblem(null));
  const take = (chosen) => (remember(id, { file: chosen }), setFile(chosen));
  const title = file?.name ?? `${t("call")} ${id.slice(0, 8)}`;
  if (answer) return html`<${Call} answer=${answer} file=${file} title=${title} onFile=${take} />`;
  return html`<h1>${title}</h1>
    ${problem && (isMissing(problem) || problem.status === 404) && html`<${Empty}>${t("call_gone")} <a href="#/">${t("call_again")}</a><//>`}
    ${problem && problem.status !== 404 && html`<${ProblemBox} problem=${problem} onAgain=${again} />`}
    ${!problem && !job && html`<${Loading} />`}
    ${!problem && job && !isOver(job) && html`<${Progress} share=${job.progress / 100}>${t(`job_${job.status}`)}<//>`}
    ${job?.status === "cancelled" && html`<${Empty}>${t("job_cancelled")}<//>`}`;
}
