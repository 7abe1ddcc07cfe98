// One recording's sound: plays it, or a span of it, and tells whoever listens where it is.
import { useEffect, useRef, useState } from "preact/hooks";

export class Player {
  constructor() {
    this.audio = new Audio();
    this.audio.preload = "auto";
    this.listeners = new Set();
    this.untilMs = null;
    this.timeMs = 0;
    for (const event of ["play", "pause", "seeked", "ratechange", "loadedmetadata", "ended", "error"]) {
      this.audio.addEventListener(event, () => this.tell());
    }
    this.audio.addEventListener("play", () => this.follow());
  }

  get isPlaying() {
    return !this.audio.paused && !this.audio.ended;
  }

  get canPlay() {
    return this.audio.readyState >= 1 && !this.audio.error;
  }

  listen(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  toggle() {
    if (this.isPlaying) this.audio.pause();
    else this.play();
  }

  play() {
    this.untilMs = null;
    this.audio.play().catch(() => this.tell());
  }

  playSpan(startMs, endMs) {
    this.seek(startMs);
    this.untilMs = endMs;
    this.audio.play().catch(() => this.tell());
  }

  seek(ms) {
    this.untilMs = null;
    this.timeMs = Math.max(0, ms);
    this.audio.currentTime = this.timeMs / 1000;
    this.tell();
  }

  // timeupdate comes four times a second: too coarse to stop at a segment's end, or to move a line smoothly.
  follow() {
    this.tell();
    if (this.untilMs !== null && this.audio.currentTime * 1000 >= this.untilMs) {
      this.audio.pause();
      this.untilMs = null;
    }
    if (this.isPlaying) requestAnimationFrame(() => this.follow());
  }

  tell() {
    if (this.canPlay) this.timeMs = this.audio.currentTime * 1000;
    for (const listener of this.listeners) listener(this);
  }

  close() {
    this.audio.pause();
    this.audio.removeAttribute("src");
    this.listeners.clear();
  }
}

export function usePlayer() {
  const player = useRef(null);
  player.current ??= new Player();
  useEffect(() => () => player.current.close(), []);
  return player.current;
}

// Redraws only when what is looked at changes, not at every frame.
export function useOfPlayer(player, look) {
  const [value, setValue] = useState(() => look(player));
  const latest = useRef(look);
  latest.current = look;
  useEffect(() => player.listen(() => setValue(latest.current(player))), [player]);
  return value;
}
