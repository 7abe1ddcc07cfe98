// Where a live call's sound comes from: the microphone, or a file at the pace it was spoken.
import { addressOf, Problem } from "./api.js";
import { t } from "./words.js";

export const SAMPLE_RATE_HZ = 16_000;
const PIECE_MS = 100;
const PIECE = (SAMPLE_RATE_HZ / 1000) * PIECE_MS;

export function pcm16(channels) {
  const count = channels[0].length;
  const samples = new Int16Array(count * channels.length);
  channels.forEach((channel, number) => {
    for (let at = 0; at < count; at++) {
      samples[at * channels.length + number] = Math.max(-1, Math.min(1, channel[at])) * 32767;
    }
  });
  return samples;
}

// A source is {channels, start({onPiece, onEnd, room}), stop()}; pieces are interleaved, of 100 ms each.
export async function microphone() {
  const media = await listen();
  const context = new AudioContext({ sampleRate: SAMPLE_RATE_HZ });
  await context.audioWorklet.addModule(addressOf("dashboard/capture_worklet.js"));
  const start = ({ onPiece }) => {
    const node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
    node.port.onmessage = ({ data }) => onPiece(pcm16([data]));
    context.createMediaStreamSource(media).connect(node);
    return context.resume();
  };
  const stop = () => {
    for (const track of media.getTracks()) track.stop();
    if (context.state !== "closed") context.close();
  };
  return { channels: 1, start, stop };
}

async function listen() {
  const audio = { channelCount: 1, echoCancellation: true, noiseSuppression: false };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    // Without https, other than on this very machine, a browser has no mediaDevices at all.
    const detail = navigator.mediaDevices ? error.message : t("no_microphone_insecure");
    throw new Problem({ code: "no_microphone", title: t("no_microphone"), detail });
  }
}

// isFast: as soon as the service has room, instead of in the time it took to speak. room: () => ms that may be sent.
export async function recording(file, { isFast }) {
  const context = new OfflineAudioContext(1, 1, SAMPLE_RATE_HZ);
  const sound = await context.decodeAudioData(await file.arrayBuffer());
  const channels = Array.from({ length: Math.min(2, sound.numberOfChannels) }, (_, number) => sound.getChannelData(number));
  let timer = null;
  let at = 0;
  const pieceAt = (offset) =>
    channels.map((channel) => {
      const piece = new Float32Array(PIECE);
      piece.set(channel.subarray(offset, offset + PIECE));
      return piece;
    });
  const start = ({ onPiece, onEnd, room }) => {
    const begun = performance.now();
    timer = setInterval(() => {
      const due = isFast ? Infinity : ((performance.now() - begun) / PIECE_MS) * PIECE;
      for (; at < sound.length && at + PIECE <= due && room() > PIECE_MS; at += PIECE) onPiece(pcm16(pieceAt(at)));
      if (at < sound.length) return;
      clearInterval(timer);
      onEnd();
    }, PIECE_MS / 2);
  };
  return { channels: channels.length, start, stop: () => clearInterval(timer) };
}

// What was sent, as a file to play: 44 bytes of RIFF before the samples.
export function wavOf(pieces, channels) {
  const bytes = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
  const head = new DataView(new ArrayBuffer(44));
  const text = (offset, letters) => [...letters].forEach((letter, at) => head.setUint8(offset + at, letter.charCodeAt(0)));
  text(0, "RIFF");
  head.setUint32(4, 36 + bytes, true);
  text(8, "WAVEfmt ");
  head.setUint32(16, 16, true);
  head.setUint16(20, 1, true);
  head.setUint16(22, channels, true);
  head.setUint32(24, SAMPLE_RATE_HZ, true);
  head.setUint32(28, SAMPLE_RATE_HZ * channels * 2, true);
  head.setUint16(32, channels * 2, true);
  head.setUint16(34, 16, true);
  text(36, "data");
  head.setUint32(40, bytes, true);
  return new File([head, ...pieces], "live.wav", { type: "audio/wav" });
}
