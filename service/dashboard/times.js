// Times and shares as people read them.
import { preferences } from "./preferences.js";

export function clock(ms, { tenths = false } = {}) {
  const whole = tenths ? Math.round(ms / 100) / 10 : Math.floor(ms / 1000);
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  const seconds = (whole % 60).toFixed(tenths ? 1 : 0).padStart(tenths ? 4 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${seconds}` : `${minutes}:${seconds}`;
}

export const percent = (share) => `${Math.round(share * 100)}\u00a0%`;

// How long something took; under a minute by the tenth.
export const span = (ms) => (ms < 60_000 ? `${(ms / 1000).toFixed(1)}\u00a0s` : clock(ms));

export const signed = (score) => (score > 0 ? "+" : score < 0 ? "−" : "±") + Math.abs(score).toFixed(2);

export function moment(iso) {
  const locale = preferences.language === "zh" ? "zh-CN" : "en-GB";
  return new Date(iso).toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" });
}
