// What the reader chose, as the part of an address behind "#", which browsers send to nobody.

export const MODELS = ["popularity", "item-kNN", "EASE", "text tower", "SASRec", "blend"];
export const SLIDERS = { // name: lowest, highest, step, start
  wish: [0, 1, 0.05, 0.5],
  popularity: [-3, 3, 0.1, 0],
  temperature: [0, 2, 0.05, 0],
  diversity: [0, 0.95, 0.05, 0],
};

export const start = () => ({
  likes: [],
  text: "",
  seed: 1,
  shown: [...MODELS],
  ...Object.fromEntries(Object.entries(SLIDERS).map(([name, [, , , first]]) => [name, first])),
});

// Only what differs from the start is written.
export function written(state) {
  const first = start();
  const entries = Object.entries(state)
    .filter(([name, value]) => String(value) !== String(first[name]))
    .map(([name, value]) => [name, Array.isArray(value) ? value.join(",") : String(value)]);
  return new URLSearchParams(entries).toString();
}

// The state of such a text. What is not understood, or out of range, is left at its start.
export function read(text, nItems) {
  const given = new URLSearchParams(text.replace(/^#/, ""));
  const state = start();
  const likes = (given.get("likes") ?? "").split(",").filter((part) => /^\d+$/.test(part)).map(Number);
  state.likes = [...new Set(likes)].filter((column) => column < nItems).slice(0, 200);
  state.text = (given.get("text") ?? "").slice(0, 300);
  if (/^\d{1,9}$/.test(given.get("seed") ?? "")) state.seed = Number(given.get("seed"));
  if (given.has("shown")) {
    const names = given.get("shown").split(",");
    state.shown = MODELS.filter((name) => names.includes(name));
  }
  for (const [name, [low, high]] of Object.entries(SLIDERS)) {
    const value = given.get(name);
    if (value && Number.isFinite(Number(value))) {
      state[name] = Math.min(high, Math.max(low, Number(value)));
    }
  }
  return state;
}
