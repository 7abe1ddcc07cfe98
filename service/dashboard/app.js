// The page's frame: where the reader is, in which language and light, and with which key.
import { render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { onKeyWanted } from "./api.js";
import { Board } from "./board.js";
import { html } from "./markup.js";
import { apply, prefer, preferences, usePreferences } from "./preferences.js";
import { CallPage } from "./call_page.js";
import { Recordings } from "./recordings.js";
import { Talk } from "./talk.js";
import { t } from "./words.js";

const PLACES = { "": Recordings, call: CallPage, live: Board, talk: Talk };
const NAVIGATION = [["", "nav_recordings"], ["live", "nav_live"], ["talk", "nav_talk"]];
const THEMES = ["auto", "light", "dark"];

const here = () => {
  const [place = "", name = ""] = location.hash.replace(/^#\/?/, "").split("/");
  return { place: place in PLACES ? place : "", name: decodeURIComponent(name) };
};

function App() {
  usePreferences();
  const [at, setAt] = useState(here);
  const main = useRef();
  useEffect(() => {
    const moved = () => {
      setAt(here());
      main.current?.focus({ preventScroll: true });
      scrollTo(0, 0);
    };
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  useEffect(() => {
    const entry = NAVIGATION.find(([place]) => place === at.place);
    document.title = entry ? `${t(entry[1])} · VCEMO` : "VCEMO";
  });
  const Place = PLACES[at.place];
  return html`
    <a class="skip" href="#main" onClick=${(event) => (event.preventDefault(), main.current.focus())}>${t("skip")}</a>
    <${Header} at=${at} />
    <main id="main" ref=${main} tabindex="-1"><${Place} key=${`${at.place}/${at.name}`} name=${at.name} /></main>
    <footer><p class="fine">${t("caution")}</p></footer>
    <${KeyDialog} />
  `;
}

function Header({ at }) {
  const { language, theme, key } = preferences;
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  return html`<header>
    <a class="brand" href="#/"><img src="dashboard/icon.svg" alt="" width="28" height="28" /> VCEMO</a>
    <nav aria-label=${t("nav")}>
      ${NAVIGATION.map(
        ([place, word]) =>
          html`<a href=${`#/${place}`} aria-current=${at.place === place ? "page" : undefined}>${t(word)}</a>`,
      )}
    </nav>
    <div class="choices">
      ${key && html`<button type="button" onClick=${() => prefer("key", "")}>${t("forget_key")}</button>`}
      <button type="button" title=${t("theme")} aria-label=${`${t("theme")}: ${t(`theme_${theme}`)}`} onClick=${() => prefer("theme", next)}>
        <span aria-hidden="true">${{ auto: "◐", light: "☀", dark: "☾" }[theme]}</span>
      </button>
      <button type="button" lang=${language === "zh" ? "en" : "zh-CN"} onClick=${() => prefer("language", language === "zh" ? "en" : "zh")}>
        ${language === "zh" ? "English" : "中文"}
      </button>
    </div>
  </header>`;
}

function KeyDialog() {
  const [wanted, setWanted] = useState(null); // {problem, answer}
  const dialog = useRef();
  useEffect(() => {
    let asked = null; // several requests refused at once ask together
    onKeyWanted((problem) => {
      asked ??= new Promise((answer) => setWanted({ problem, answer })).finally(() => (asked = null));
      return asked;
    });
  }, []);
  useEffect(() => {
    if (wanted && !dialog.current.open) dialog.current.showModal();
  }, [wanted]);
  const answer = (key) => {
    wanted?.answer(key);
    setWanted(null);
    dialog.current.close();
  };
  const submit = (event) => {
    event.preventDefault();
    const key = new FormData(event.target).get("key").trim();
    event.target.reset();
    if (key) answer(key);
  };
  return html`<dialog ref=${dialog} aria-labelledby="key-title" onCancel=${() => answer(null)}>
    <form onSubmit=${submit}>
      <h2 id="key-title">${t("key_title")}</h2>
      <p role="status" lang="en">${wanted?.problem.detail}</p>
      <label>${t("key_label")} <input name="key" type="password" autocomplete="off" spellcheck=${false} required /></label>
      <p class="fine">${t("key_kept")}</p>
      <div class="row">
        <button type="submit" class="primary">${t("key_use")}</button>
        <button type="button" onClick=${() => answer(null)}>${t("cancel")}</button>
      </div>
    </form>
  </dialog>`;
}

apply();
render(html`<${App} />`, document.getElementById("app"));
