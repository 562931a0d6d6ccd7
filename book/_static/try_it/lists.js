// The list that a reader gets: recsys_tutorial/serving/export/lists.py in JavaScript.
// Equal scores stand in the order of a hash of their columns: recsys_tutorial/ranking.py.

const CANDIDATES = 100;
const DIGITS = 1e9;
const STEP = 0x9e3779b97f4a7c15n;
const u64 = (number) => BigInt.asUintN(64, number);

export const rounded = (value) => Math.round(value * DIGITS) / DIGITS;

// SplitMix64's finalizer of the columns 0 to n - 1: BigUint64Array.
export function tieKeys(n, seed = 0) {
  return BigUint64Array.from({ length: n }, (_, column) => {
    let key = u64((BigInt(seed) ^ BigInt(column)) + STEP);
    key = u64((key ^ (key >> 30n)) * 0xbf58476d1ce4e5b9n);
    key = u64((key ^ (key >> 27n)) * 0x94d049bb133111ebn);
    return key ^ (key >> 31n);
  });
}

// The place of each column in the order of its key, by which ties are settled: made once for n.
let known = new Int32Array(0);
function tiePlaces(n) {
  if (known.length !== n) {
    const keys = tieKeys(n);
    const order = Array.from(keys.keys()).sort((a, b) => (keys[a] < keys[b] ? -1 : 1));
    known = new Int32Array(n);
    order.forEach((column, place) => { known[column] = place; });
  }
  return known;
}

// Gumbel noise from the upper 53 bits of the keys.
export const gumbel = (n, seed) => Float64Array.from(tieKeys(n, seed), (key) =>
  -Math.log(-Math.log((Number(key >> 11n) + 0.5) / 2 ** 53)));

// Minus the mean, over the standard deviation; equal numbers become 0.
export function standardized(scores) {
  const n = scores.length;
  let [low, high, mean] = [Infinity, -Infinity, 0];
  for (const score of scores) {
    low = Math.min(low, score);
    high = Math.max(high, score);
    mean += score / n;
  }
  let variance = 0;
  for (const score of scores) variance += (score - mean) ** 2 / n;
  const spread = low === high ? Infinity : Math.sqrt(variance);
  return Float64Array.from(scores, (score) => (score - mean) / spread);
}

// The k best columns that are not in `left_out`, best first.
export function rank(scores, leftOut, k) {
  const out = new Set(leftOut);
  const ties = tiePlaces(scores.length);
  const columns = Array.from(scores.keys()).filter((column) => !out.has(column));
  columns.sort((a, b) => scores[b] - scores[a] || ties[a] - ties[b]);
  return columns.slice(0, k);
}

// Maximal marginal relevance (recsys_tutorial/trust/diversity.py): places of candidates, in order.
export function mmr(relevance, alike, weight, k) {
  const nearest = relevance.map(() => -Infinity);
  const chosen = [];
  while (chosen.length < k) {
    let [best, bestValue] = [-1, -Infinity];
    relevance.forEach((score, place) => {
      if (chosen.includes(place)) return;
      // Before anything stands above, nothing is near.
      const value = weight * score - (chosen.length ? (1 - weight) * nearest[place] : 0);
      if (value > bestValue) [best, bestValue] = [place, value];
    });
    chosen.push(best);
    nearest.forEach((near, place) => { nearest[place] = Math.max(near, alike(best, place)); });
  }
  return chosen;
}

// The films that a reader is shown. `world` has logLikes and cosine(i, j); `wanted` the sliders:
// wish, popularity, temperature, diversity, seed. wishScores is null without a wish.
export function pageList(scores, liked, world, wanted, k = 10, wishScores = null) {
  const n = scores.length;
  let total = standardized(scores);
  if (wishScores) {
    const share = liked.length ? wanted.wish : 1;
    const wish = standardized(wishScores);
    total = total.map((score, i) => (1 - share) * score + share * wish[i]);
  }
  const popular = standardized(world.logLikes);
  const noise = wanted.temperature ? gumbel(n, wanted.seed) : null;
  total = total.map((score, i) => rounded(score + wanted.popularity * popular[i] +
    (noise ? wanted.temperature * noise[i] : 0)));
  if (!wanted.diversity) return rank(total, liked, k);
  const best = rank(total, liked, CANDIDATES);
  const [high, low] = [total[best[0]], total[best.at(-1)]];
  const relevance = best.map((column) => (total[column] - low) / (high > low ? high - low : 1));
  const alike = (a, b) => rounded(world.cosine(best[a], best[b]));
  return mmr(relevance, alike, 1 - wanted.diversity, k).map((place) => best[place]);
}

// Which likes speak for a film, from what each adds to its score: [column, share] pairs.
export function reasons(weights, liked, n = 3) {
  const speaking = weights.map((weight) => Math.max(0, rounded(weight)));
  const total = speaking.reduce((a, b) => a + b, 0);
  const order = Array.from(speaking.keys()).sort((a, b) => speaking[b] - speaking[a] || a - b);
  return order.slice(0, n).filter((i) => speaking[i] > 0).map((i) => [liked[i], speaking[i] / total]);
}
