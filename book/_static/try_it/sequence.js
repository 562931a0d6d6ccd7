// SASRec's forward pass, event after event: recsys_tutorial/serving/export/sequence.py in JavaScript.
// A matrix is an array of rows, each a Float64Array.

import { dot, vectors } from "./models.js";

const EPSILON = 1e-5; // added to a variance

export class Sequence {
  constructor(tables) {
    this.tables = tables;
    this.n = tables.scales.length;
    this.dim = tables.numbers.length / this.n;
    this.vectors = vectors(tables.numbers, tables.scales);
    this.length = tables.positions.length / this.dim; // events that are read
    this.blocks = Object.keys(tables).filter((name) => name.endsWith("_qkv_weight")).length;
  }

  // `liked` in the order in which the films were liked.
  score(liked) {
    const { prior } = this.tables;
    const state = this.state(liked.slice(-this.length));
    return Float64Array.from(prior, (p, i) => dot(state, 0, this.vectors, i, this.dim) + p);
  }

  state(events) {
    if (!events.length) return new Float64Array(this.dim);
    const { dim } = this;
    let x = events.map((column, place) => Float64Array.from({ length: dim }, (_, d) =>
      this.vectors[column * dim + d] * Math.sqrt(dim) + this.tables.positions[place * dim + d]));
    for (let b = 0; b < this.blocks; b++) x = this.block(x, `${b}_`);
    return this.norm(x.at(-1), "norm");
  }

  // Attention to this and earlier events, then a small network; both are added.
  block(x, name) {
    const { dim } = this;
    const qkv = x.map((row) => this.linear(this.norm(row, `${name}norm`), `${name}qkv`));
    return x.map((row, here) => {
      const logits = qkv.slice(0, here + 1).map((other) => {
        let sum = 0;
        for (let d = 0; d < dim; d++) sum += qkv[here][d] * other[dim + d]; // q . k
        return sum / Math.sqrt(dim);
      });
      const largest = Math.max(...logits);
      const powers = logits.map((logit) => Math.exp(logit - largest));
      const total = powers.reduce((a, b) => a + b);
      const read = new Float64Array(dim);
      powers.forEach((power, before) => {
        for (let d = 0; d < dim; d++) read[d] += (power / total) * qkv[before][2 * dim + d];
      });
      const seen = plus(row, this.linear(read, `${name}out`));
      const inner = this.linear(this.norm(seen, `${name}inner_norm`), `${name}inner_first`);
      return plus(seen, this.linear(inner.map((v) => Math.max(0, v)), `${name}inner_second`));
    });
  }

  linear(row, name) {
    const weight = this.tables[`${name}_weight`]; // (n_out, n_in), row by row
    return Float64Array.from(this.tables[`${name}_bias`], (bias, out) =>
      dot(row, 0, weight, out, row.length) + bias);
  }

  norm(row, name) {
    const mean = row.reduce((a, b) => a + b) / row.length;
    const variance = row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / row.length;
    const weight = this.tables[`${name}_weight`];
    const bias = this.tables[`${name}_bias`];
    return row.map((v, d) => ((v - mean) / Math.sqrt(variance + EPSILON)) * weight[d] + bias[d]);
  }
}

const plus = (a, b) => a.map((v, d) => v + b[d]);
