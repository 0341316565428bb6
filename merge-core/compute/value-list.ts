// The values of a pass by number, in the order in which they are first wanted: each is four whole numbers, what is done and of what. Equal ones
// are one. Plain arrays and a table of hashes: small models are merged in no more time than it takes to write a formula down.

/** The code of a constant; its first word is the bits of the float32. */
export const CONSTANT = -1;
/** In the place of a word that is not used. */
export const NONE = -1;

/** The code, and three words. */
export const WORDS = 4;
const FIRST_ROOM = 256;

const float = new Float32Array(1);
const bits = new Int32Array(float.buffer);

export class ValueList {
  #count = 0;
  #words = new Int32Array(FIRST_ROOM * WORDS);
  #floats = new Float32Array(this.#words.buffer);
  /** By hash: a value's number and 1, or 0. Never more than a quarter full. */
  #places = new Int32Array(FIRST_ROOM * WORDS);

  get count(): number {
    return this.#count;
  }

  /** Of all values, one after the other. */
  get words(): Int32Array {
    return this.#words.subarray(0, this.#count * WORDS);
  }

  code(value: number): number {
    return this.word(value, 0);
  }

  word(value: number, at: number): number {
    return this.#words[value * WORDS + at] as number;
  }

  isConstant(value: number): boolean {
    return value >= 0 && this.code(value) === CONSTANT;
  }

  /** What a constant is. */
  float(value: number): number {
    return this.#floats[value * WORDS + 1] as number;
  }

  /** The number of a float32; there is one NaN. */
  addConstant(value: number): number {
    float[0] = value;
    return this.add(CONSTANT, Number.isNaN(value) ? NAN_BITS : (bits[0] as number));
  }

  /** The number of the value with this code and these words. */
  add(code: number, a: number, b = NONE, c = NONE): number {
    for (let place = hashOf(code, a, b, c) & (this.#places.length - 1); ; place = (place + 1) & (this.#places.length - 1)) {
      const value = (this.#places[place] as number) - 1;
      if (value < 0) return this.#append(place, code, a, b, c);
      const at = value * WORDS;
      if (this.#words[at] === code && this.#words[at + 1] === a && this.#words[at + 2] === b && this.#words[at + 3] === c) return value;
    }
  }

  #append(place: number, code: number, a: number, b: number, c: number): number {
    const value = this.#count++;
    const at = value * WORDS;
    this.#places[place] = value + 1;
    this.#words[at] = code;
    this.#words[at + 1] = a;
    this.#words[at + 2] = b;
    this.#words[at + 3] = c;
    if (at + WORDS === this.#words.length) this.#grow();
    return value;
  }

  #grow(): void {
    const old = this.words;
    this.#count = 0;
    this.#words = new Int32Array(old.length * 2);
    this.#floats = new Float32Array(this.#words.buffer);
    this.#places = new Int32Array(old.length * 2);
    for (let at = 0; at < old.length; at += WORDS) this.add(old[at] as number, old[at + 1] as number, old[at + 2], old[at + 3]);
  }
}

const NAN_BITS = 0x7fc00000;

function hashOf(code: number, a: number, b: number, c: number): number {
  let hash = Math.imul(code ^ Math.imul(a, 0x9e3779b1), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 15) ^ b, 0xc2b2ae35);
  hash = Math.imul(hash ^ (hash >>> 13) ^ c, 0x27d4eb2f);
  return hash ^ (hash >>> 16);
}
