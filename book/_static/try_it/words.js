// A wish as a vector: the sum of its word pieces' vectors. recsys_tutorial/serving/export/words.py
// makes the table and does the same in Python.

import { unitRows, vectors } from "./models.js";
import { lines } from "./bundle.js";

const WORDS = /[a-z0-9]+|[^\sa-z0-9]/gu;

export class Words {
  constructor({ pieces, numbers, scales }) {
    this.places = new Map(lines(pieces).map((piece, place) => [piece, place]));
    this.dim = numbers.length / scales.length;
    this.vectors = vectors(numbers, scales);
  }

  // Of each word the longest known beginning, again and again; an unknown word is left out.
  pieces(text) {
    const plain = text.toLowerCase().normalize("NFD").replace(/\p{Mn}/gu, "");
    return (plain.match(WORDS) ?? []).flatMap((word) => this.piecesOf(word));
  }

  piecesOf(word) {
    const found = [];
    for (let start = 0, end; start < word.length; start = end) {
      const mark = start ? "##" : "";
      for (end = word.length; end > start; end--) {
        if (this.places.has(mark + word.slice(start, end))) break;
      }
      if (end === start) return [];
      found.push(this.places.get(mark + word.slice(start, end)));
    }
    return found;
  }

  // Float64Array (dim,) of length 1; zeros where no piece is known.
  encode(text) {
    const sum = new Float64Array(this.dim);
    for (const piece of this.pieces(text)) {
      for (let d = 0; d < this.dim; d++) sum[d] += this.vectors[piece * this.dim + d];
    }
    return unitRows(sum, 1);
  }
}
