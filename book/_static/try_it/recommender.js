// The six models over the bundle's files, each loaded when a list needs it.

import { lines } from "./bundle.js";
import { Blend, Content, dot, Neighbours, Tower } from "./models.js";
import { pageList, reasons, standardized } from "./lists.js";
import { Sequence } from "./sequence.js";
import { Words } from "./words.js";

const MAKE = {
  "item-kNN": async (files) => new Neighbours(await files.file("item-knn")),
  EASE: async (files) => new Neighbours(await files.file("ease")),
  "text tower": async (files) => new Tower(await files.file("tower")),
  SASRec: async (files) => new Sequence(await files.file("sasrec")),
  content: async (files) => new Content(await files.file("content")),
  words: async (files) => new Words(await files.file("words")),
};

export class Recommender {
  constructor(bundle, films) {
    this.bundle = bundle;
    this.info = bundle.manifest.info;
    this.logLikes = Float64Array.from(films.log_likes);
    const texts = lines(films.texts).map((text) => [text, text.lastIndexOf(". ")]);
    this.titles = texts.map(([text, end]) => text.slice(0, end)); // with the year
    this.genres = texts.map(([text, end]) => text.slice(end + 2));
    this.made = new Map();
    this.said = new Map(); // scores of the present likes, by model
    this.content = null; // there once `need("content")` is
  }

  static async open(bundle) {
    return new Recommender(bundle, await bundle.file("films"));
  }

  // A promise of a model.
  need(name) {
    if (!this.made.has(name)) {
      const making = name === "blend" ? this.blend() : MAKE[name](this.bundle);
      making.catch(() => this.made.delete(name));
      this.made.set(name, making);
    }
    return this.made.get(name);
  }

  async blend() {
    const weights = this.info.blend;
    const models = await Promise.all(Object.keys(weights).map((name) => this.need(name)));
    return new Blend(models, Object.values(weights));
  }

  // Standardised scores of one model; `liked` in the order in which the films were picked.
  async scores(name, liked) {
    const key = `${name}:${liked}`;
    if (!this.said.has(key)) {
      if (this.said.size > 20) this.said.clear();
      const raw = name === "popularity" ? this.logLikes : (await this.need(name)).score(liked);
      this.said.set(key, standardized(raw));
    }
    return this.said.get(key);
  }

  async wish(text) {
    const [words, content] = await Promise.all([this.need("words"), this.need("content")]);
    const vector = words.encode(text);
    return vector.some((v) => v) ? content.wish(vector) : null;
  }

  // The columns that a list shows.
  async list(name, state, wishScores, k = 10) {
    const content = state.diversity ? await this.need("content") : null;
    const cosine = (i, j) => dot(content.units, i, content.units, j, content.dim);
    const world = { logLikes: this.logLikes, cosine };
    return pageList(await this.scores(name, state.likes), state.likes, world, state, k, wishScores);
  }

  // Which likes speak for a film: [column, share] pairs. SASRec adds nothing up: there a like says
  // as much as the film's standardised score falls when the like is left out.
  async why(name, liked, column) {
    if (name === "popularity" || !liked.length) return [];
    if (name === "SASRec") {
      const whole = (await this.scores(name, liked))[column];
      const model = await this.need(name);
      const falls = liked.map((_, place) =>
        whole - standardized(model.score(liked.filter((_, other) => other !== place)))[column]);
      return reasons(falls, liked);
    }
    const parts = (await this.need(name)).parts(liked);
    return reasons(parts.map((part) => part[column]), liked);
  }
}
