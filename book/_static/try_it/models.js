// Scores from the exported tables: what recsys_tutorial/serving/export/scorers.py does in NumPy.
// `liked` is an array of columns. Every function returns a Float64Array, a number per film.

import { standardized } from "./lists.js";

// int8 numbers times their row's scale: Float64Array (n * dim).
export function vectors(numbers, scales) {
  const dim = numbers.length / scales.length;
  return Float64Array.from(numbers, (number, place) => number * scales[Math.floor(place / dim)]);
}

// The same with each row scaled to length 1; rows of zeros stay.
export function unitRows(rows, n) {
  const dim = rows.length / n;
  const units = new Float64Array(rows.length);
  for (let i = 0; i < n; i++) {
    let length = 0;
    for (let d = 0; d < dim; d++) length += rows[i * dim + d] ** 2;
    length = Math.sqrt(length) || 1;
    for (let d = 0; d < dim; d++) units[i * dim + d] = rows[i * dim + d] / length;
  }
  return units;
}

export function dot(a, i, b, j, dim) {
  let sum = 0;
  for (let d = 0; d < dim; d++) sum += a[i * dim + d] * b[j * dim + d];
  return sum;
}

// score(i) = sum over j liked of w_ji: EASE and item neighbours.
export class Neighbours {
  constructor({ counts, sources, weights, scales }) {
    Object.assign(this, { counts, sources, weights, scales });
  }

  // One row per like: what it adds to each film.
  parts(liked) {
    const row = new Map(liked.map((column, place) => [column, place]));
    const parts = liked.map(() => new Float64Array(this.counts.length));
    let place = 0;
    for (let i = 0; i < this.counts.length; i++) {
      for (const end = place + this.counts[i]; place < end; place++) {
        const from = row.get(this.sources[place]);
        if (from !== undefined) parts[from][i] = this.weights[place] * this.scales[i];
      }
    }
    return parts;
  }

  score(liked) {
    return added(this.parts(liked), this.counts.length);
  }
}

// score(i) = sum over j liked of a_j . b_i / sqrt(likes) + prior(i): the text two-tower.
export class Tower {
  constructor({ user_numbers, user_scales, item_numbers, item_scales, prior }) {
    this.users = vectors(user_numbers, user_scales);
    this.items = vectors(item_numbers, item_scales);
    this.prior = prior;
    this.dim = this.users.length / prior.length;
  }

  parts(liked) {
    const root = Math.sqrt(liked.length);
    return liked.map((j) => Float64Array.from(this.prior, (_, i) =>
      dot(this.users, j, this.items, i, this.dim) / root));
  }

  score(liked) {
    const scores = added(this.parts(liked), this.prior.length);
    return scores.map((score, i) => score + this.prior[i]);
  }
}

// score(i) = sum over j liked of max(0, cos(v_i, v_j)): chapter 3's kernel on what films are about.
export class Content {
  constructor({ numbers, scales }) {
    this.n = scales.length;
    this.dim = numbers.length / this.n;
    this.units = unitRows(vectors(numbers, scales), this.n);
  }

  parts(liked) {
    return liked.map((j) => Float64Array.from({ length: this.n }, (_, i) =>
      Math.max(0, dot(this.units, j, this.units, i, this.dim))));
  }

  score(liked) {
    return added(this.parts(liked), this.n);
  }

  // How well each film suits a text's vector: cosines.
  wish(vector) {
    return Float64Array.from({ length: this.n }, (_, i) => dot(vector, 0, this.units, i, this.dim));
  }
}

// A weighted sum of standardised scores. What a like adds is weighed in the same units.
export class Blend {
  constructor(models, weights) {
    Object.assign(this, { models, weights });
  }

  score(liked) {
    const all = this.models.map((model) => standardized(model.score(liked)));
    return all[0].map((_, i) => all.reduce((sum, scores, m) => sum + this.weights[m] * scores[i], 0));
  }

  parts(liked) {
    const sums = liked.map(() => new Float64Array(this.models[0].score([]).length));
    this.models.forEach((model, m) => {
      const scale = this.weights[m] / (spread(model.score(liked)) || Infinity);
      model.parts(liked).forEach((part, row) => part.forEach((value, i) => {
        sums[row][i] += scale * value;
      }));
    });
    return sums;
  }
}

function spread(scores) {
  const mean = scores.reduce((a, b) => a + b, 0) / scores.length;
  return Math.sqrt(scores.reduce((sum, score) => sum + (score - mean) ** 2, 0) / scores.length);
}

function added(parts, n) {
  const sum = new Float64Array(n);
  for (const part of parts) for (let i = 0; i < n; i++) sum[i] += part[i];
  return sum;
}
