// The page's words in English and in Chinese; a test holds that both have the same.
import { preferences } from "./preferences.js";
import { ENGLISH } from "./words_en.js";
import { CHINESE } from "./words_zh.js";

const WORDS = { en: ENGLISH, zh: CHINESE };

export const has = (key) => key in ENGLISH;

// values: for the {names} in the words. A word that is missing shows its key, and is told.
export function t(key, values = {}) {
  const words = WORDS[preferences.language][key];
  if (words === undefined) console.error(`no words for ${key}`);
  return (words ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name]);
}
