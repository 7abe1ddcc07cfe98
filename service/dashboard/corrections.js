// Labels that people have corrected: sent at once, and shown as such.
import { useEffect, useState } from "preact/hooks";
import { ask, isMissing, problemOf } from "./api.js";
import { idOf } from "./emotions.js";

export function useCorrections(answer) {
  const [labels, setLabels] = useState({}); // by segment id
  const [sending, setSending] = useState(null);
  const [problem, setProblem] = useState(null);
  const [isOffered, setOffered] = useState(answer.segments.some((one) => one.id));
  const id = answer.request_id;
  useEffect(() => {
    if (!isOffered) return;
    ask(`v1/feedback?request_id=${encodeURIComponent(id)}`)
      .then(({ feedback }) => setLabels(latest(feedback)))
      .catch((error) => (isMissing(error) ? setOffered(false) : setProblem(problemOf(error))));
  }, [id]);
  const correct = async (segment, label) => {
    const segmentId = idOf(segment);
    setSending(segmentId);
    setProblem(null);
    try {
      const kept = await ask("v1/feedback", { method: "POST", json: { request_id: id, segment_id: segmentId, label } });
      setLabels((before) => ({ ...before, [segmentId]: kept.label }));
    } catch (error) {
      setProblem(problemOf(error));
    } finally {
      setSending(null);
    }
  };
  return { labels, sending, problem, correct, isOffered };
}

function latest(feedback) {
  const inOrder = [...feedback].sort((one, other) => one.created_at.localeCompare(other.created_at));
  return Object.fromEntries(inOrder.map((one) => [one.segment_id, one.label]));
}
