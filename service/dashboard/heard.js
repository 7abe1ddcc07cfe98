// Calls that this tab has judged: their sound and answer stay here, in memory, and nowhere else.
const calls = new Map();

export function remember(id, call) {
  calls.set(id, { ...calls.get(id), ...call });
}

export const recall = (id) => calls.get(id) ?? null;
