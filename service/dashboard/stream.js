// A call as it is spoken: samples out, what was heard back; goes on after a dropped connection where it was.
import { socketTo } from "./api.js";

const END = JSON.stringify({ type: "end" });
const AHEAD_MS = 8000; // the service closes on callers who run more than 10 s ahead of what it has acknowledged
const BUFFERED_BYTES = 1 << 20;
const WAITS_MS = [250, 500, 1000, 2000, 4000, 8000, 8000, 8000, 8000]; // less in all than the service waits
const DROPPED = new Set([1001, 1005, 1006, 1011, 1012, 1013, 4503]);
const NOT_READY = 503; // as while the service starts again

export class LiveStream {
  // tell: called with every message, and with {type: "connection", state} as connections come and go.
  constructor({ sampleRateHz, channels, roles, tell }) {
    this.sampleRateHz = sampleRateHz;
    this.channels = channels;
    this.roles = roles;
    this.tell = tell;
    this.chunks = []; // not acknowledged yet, each {startMs, endMs, samples}
    this.queuedMs = 0;
    this.sentMs = 0;
    this.receivedMs = 0;
    this.afterSeq = 0;
    this.sessionId = null;
    this.attempt = 0;
    this.isEnding = false;
    this.isOver = false;
  }

  open() {
    const query = new URLSearchParams({ encoding: "pcm16", sample_rate_hz: this.sampleRateHz, channels: this.channels });
    if (this.roles) query.set("channel_roles", this.roles);
    if (this.sessionId) {
      query.set("session_id", this.sessionId);
      query.set("after_seq", this.afterSeq);
    }
    this.isReady = false;
    this.hasSaidEnd = false;
    this.socket = socketTo(`v1/stream?${query}`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = ({ data }) => this.hear(JSON.parse(data));
    this.socket.onclose = (event) => this.closed(event);
  }

  // samples: interleaved Int16Array of a whole number of milliseconds.
  send(samples) {
    const ms = samples.length / this.channels / (this.sampleRateHz / 1000);
    this.chunks.push({ startMs: this.queuedMs, endMs: this.queuedMs + ms, samples });
    this.queuedMs += ms;
    this.flush();
  }

  end() {
    this.isEnding = true;
    this.flush();
  }

  leave() {
    this.isOver = true;
    if (this.isReady && this.socket.readyState === WebSocket.OPEN) this.socket.send(END);
    this.socket?.close(1000);
  }

  // How much more it takes before what it has is acknowledged.
  get roomMs() {
    return this.receivedMs + AHEAD_MS - this.queuedMs;
  }

  hear(message) {
    if (message.type === "problem" && message.status === NOT_READY && this.sessionId) return;
    if (message.seq) this.afterSeq = message.seq;
    if (message.type === "session") {
      this.sessionId = message.session_id;
      this.sentMs = message.received_ms;
      this.isReady = true;
      this.attempt = 0;
      this.tell({ type: "connection", state: "open" });
    }
    if (message.received_ms !== undefined) this.acknowledged(message.received_ms);
    if (message.type === "summary" || message.type === "problem") this.isOver = true;
    this.tell(message);
    this.flush();
  }

  acknowledged(ms) {
    this.receivedMs = Math.max(this.receivedMs, ms);
    while (this.chunks.length && this.chunks[0].endMs <= this.receivedMs) this.chunks.shift();
  }

  flush() {
    if (!this.isReady || this.socket.readyState !== WebSocket.OPEN) return;
    for (const { startMs, endMs, samples } of this.chunks) {
      if (endMs <= this.sentMs) continue;
      if (endMs - this.receivedMs > AHEAD_MS || this.socket.bufferedAmount > BUFFERED_BYTES) return;
      const skipped = Math.max(0, Math.round((this.sentMs - startMs) * (this.sampleRateHz / 1000)) * this.channels);
      this.socket.send(skipped ? samples.subarray(skipped) : samples);
      this.sentMs = endMs;
    }
    if (this.isEnding && !this.hasSaidEnd) {
      this.hasSaidEnd = true;
      this.socket.send(END);
    }
  }

  closed({ code, reason }) {
    if (this.isOver) return;
    const wait = WAITS_MS[this.attempt];
    if (!DROPPED.has(code) || wait === undefined || (!this.sessionId && this.attempt > 0)) {
      this.isOver = true;
      this.tell({ type: "connection", state: "lost", code, reason });
      return;
    }
    this.attempt += 1;
    this.tell({ type: "connection", state: "waiting" });
    setTimeout(() => this.isOver || this.open(), wait);
  }
}
