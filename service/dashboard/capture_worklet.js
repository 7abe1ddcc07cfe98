// Hands on what the microphone hears, in pieces of 100 ms.
const PIECE = sampleRate / 10;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Float32Array(PIECE);
    this.filled = 0;
  }

  process([input]) {
    const heard = input[0];
    for (let at = 0; heard && at < heard.length; at++) {
      this.piece[this.filled++] = heard[at];
      if (this.filled === PIECE) {
        this.port.postMessage(this.piece.slice());
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("capture", Capture);
