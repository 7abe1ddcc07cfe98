// What a reader has chosen. The key lives as long as the tab; language and theme are remembered.
import { useEffect, useState } from "preact/hooks";

const listeners = new Set();

function stored(storage, name) {
  try {
    return storage.getItem(`vcemo.${name}`);
  } catch {
    return null; // storage may be forbidden: the choice then lasts as long as the page
  }
}

function store(storage, name, value) {
  try {
    if (value) storage.setItem(`vcemo.${name}`, value);
    else storage.removeItem(`vcemo.${name}`);
  } catch {
    // see stored
  }
}

const ofTheBrowser = (navigator.languages?.[0] ?? navigator.language ?? "en").toLowerCase().startsWith("zh") ? "zh" : "en";

export const preferences = {
  language: stored(localStorage, "language") ?? ofTheBrowser,
  theme: stored(localStorage, "theme") ?? "auto",
  key: stored(sessionStorage, "key") ?? "",
};

export function prefer(name, value) {
  preferences[name] = value;
  store(name === "key" ? sessionStorage : localStorage, name, value);
  apply();
  for (const tell of listeners) tell();
}

export function usePreferences() {
  const [, redraw] = useState(0);
  useEffect(() => {
    const tell = () => redraw((count) => count + 1);
    listeners.add(tell);
    return () => listeners.delete(tell);
  }, []);
  return preferences;
}

export function apply() {
  const root = document.documentElement;
  root.lang = preferences.language === "zh" ? "zh-CN" : "en";
  root.dataset.theme = preferences.theme;
}
