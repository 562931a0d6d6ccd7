// The page "Try it": fields and sliders, and a list beside a list. Nothing is sent anywhere.

import { Bundle } from "./bundle.js";
import { both, element } from "./dom.js";
import { Recommender } from "./recommender.js";
import { searchField } from "./search.js";
import { MODELS, read, SLIDERS, start, written } from "./state.js";

const NAMES = {
  popularity: ["Fading popularity", "热门（随时间衰减）"],
  "item-kNN": ["Item neighbours", "物品近邻"],
  EASE: ["EASE", "线性自编码"],
  "text tower": ["Text two-tower", "文本双塔"],
  SASRec: ["SASRec, in order", "序列模型"],
  blend: ["The best blend", "最佳融合"],
};
const LABELS = {
  wish: ["Say of the wish", "愿望的权重"],
  popularity: ["Popularity prior", "热门先验"],
  temperature: ["Temperature", "温度"],
  diversity: ["Diversity", "多样性"],
};
const percent = (share) => `${Math.round(100 * share)}\u00a0%`;

class Page {
  // The fields come before the titles, which are most of what is loaded first.
  constructor(box) {
    Object.assign(this, { box, recommender: null, turn: 0 });
    this.state = read(location.hash, Infinity);
    this.build();
    this.follow();
  }

  // The titles are there: what was typed meanwhile counts.
  begin(recommender) {
    const { titles, logLikes } = recommender;
    this.recommender = recommender;
    searchField(this.film, this.found, titles, logLikes, (column) => this.like(column));
    this.state.likes = this.state.likes.filter((column) => column < titles.length);
    this.follow();
    if (this.film.value) this.film.dispatchEvent(new Event("input"));
    window.addEventListener("hashchange", () => {
      this.state = read(location.hash, titles.length);
      this.follow();
    });
  }

  build() {
    const options = element("ul", { id: "films-found", role: "listbox", className: "found", hidden: true });
    options.setAttribute("aria-label", "Films found");
    const input = element("input", {
      id: "film", type: "text", role: "combobox", autocomplete: "off", spellcheck: false,
      "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": "films-found",
    });
    Object.assign(this, { film: input, found: options });
    this.likes = element("ul", { className: "likes" });
    this.likes.setAttribute("aria-label", "Films you like");
    this.wish = element("input", { id: "wish", type: "text", maxLength: 300, autocomplete: "off" });
    this.wish.addEventListener("input", () => this.change({ text: this.wish.value }));
    this.sliders = Object.keys(SLIDERS).map((name) => this.slider(name));
    this.boxes = MODELS.map((name) => {
      const box = element("input", { type: "checkbox", id: `show-${name.replace(/\W/g, "-")}` });
      box.addEventListener("change", () => this.change({
        shown: MODELS.filter((_, i) => this.boxes[i].checked) }));
      return box;
    });
    const again = this.button("Draw again", "重新抽取", () => this.change({ seed: this.state.seed + 1 }));
    const copy = this.button("Copy link", "复制链接", () => this.copy());
    const clear = this.button("Clear", "清空", () => this.change(start()));
    const shown = element("fieldset", {}, element("legend", {}, both("Lists", "列表")),
      ...MODELS.map((name, i) => element("span", { className: "choice" }, this.boxes[i],
        element("label", { htmlFor: this.boxes[i].id }, both(...NAMES[name])))));
    this.said = element("p", { role: "status", className: "said" });
    this.lists = element("div", { className: "lists" });
    this.box.replaceChildren(
      element("label", { htmlFor: "film" }, both("Films you like", "喜欢的电影")),
      element("div", { className: "search" }, input, options), this.likes,
      element("label", { htmlFor: "wish" }, both("A wish, in English words", "一个愿望（英文）")), this.wish,
      element("div", { className: "sliders" }, ...this.sliders.map(({ whole }) => whole)),
      shown, element("p", { className: "buttons" }, again, copy, clear), this.said, this.lists);
  }

  button(english, chinese, clicked) {
    const made = element("button", { type: "button" }, both(english, chinese));
    made.addEventListener("click", clicked);
    return made;
  }

  slider(name) {
    const [min, max, step] = SLIDERS[name];
    const input = element("input", { type: "range", id: `slider-${name}`, min, max, step });
    const value = element("output", { htmlFor: input.id });
    input.addEventListener("input", () => this.change({ [name]: Number(input.value) }));
    const label = element("label", { htmlFor: input.id }, both(...LABELS[name]), " ", value);
    return { name, input, value, whole: element("div", {}, label, input) };
  }

  liked(column) {
    const title = this.recommender.titles[column];
    const remove = element("button", { type: "button" }, "×");
    remove.setAttribute("aria-label", `Remove ${title}`);
    remove.addEventListener("click", () => this.change({
      likes: this.state.likes.filter((other) => other !== column) }));
    return element("li", {}, title, " ", remove);
  }

  like(column) {
    if (!this.state.likes.includes(column)) this.change({ likes: [...this.state.likes, column] });
  }

  change(part) {
    this.state = { ...this.state, ...part };
    this.follow();
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(location.href);
      this.said.textContent = "The link is copied. 链接已复制。";
    } catch {
      this.said.textContent = "The browser refused: copy the address of this page.";
    }
  }

  // Everything in the page as the state says.
  async follow() {
    const turn = ++this.turn;
    if (this.wish.value !== this.state.text) this.wish.value = this.state.text;
    for (const { name, input, value } of this.sliders) {
      input.value = this.state[name];
      value.value = Number(this.state[name]).toFixed(2);
    }
    this.boxes.forEach((box, i) => { box.checked = this.state.shown.includes(MODELS[i]); });
    if (!this.recommender) {
      this.said.textContent = "The titles are being read. 正在读取片名。";
      return;
    }
    this.likes.replaceChildren(...this.state.likes.map((column) => this.liked(column)));
    await new Promise(requestAnimationFrame); // a slider that is dragged asks more often than it shows
    if (turn !== this.turn) return; // the reader went on meanwhile
    const text = written(this.state);
    history.replaceState(null, "", text ? `#${text}` : location.pathname);
    try {
      const made = await this.makeLists();
      if (turn !== this.turn) return;
      this.lists.replaceChildren(...made);
      this.said.textContent = made.length ? `${made.length} lists of ten films`
        : "Pick a film or type a wish. 请选择电影或输入愿望。";
    } catch (error) {
      if (turn === this.turn) this.said.textContent = `This did not work: ${error.message}`;
    }
  }

  async makeLists() {
    const { likes, text, shown } = this.state;
    const wishScores = text.trim() ? await this.recommender.wish(text) : null;
    if (!likes.length && !wishScores) return [];
    return Promise.all(shown.map((name) => this.list(name, wishScores)));
  }

  async list(name, wishScores) {
    const columns = await this.recommender.list(name, this.state, wishScores);
    const rows = columns.map((column) => this.row(name, column, wishScores));
    const id = `list-${name.replace(/\W/g, "-")}`;
    const heading = element("h3", { id }, both(...NAMES[name]));
    return element("section", { "aria-labelledby": id, "data-model": name }, heading,
      element("ol", {}, ...rows));
  }

  row(name, column, wishScores) {
    const { titles, genres } = this.recommender;
    const add = element("button", { type: "button" }, "+");
    add.setAttribute("aria-label", `I like ${titles[column]}`);
    add.addEventListener("click", () => this.like(column));
    const answer = element("p", {}, "…");
    const summary = element("summary", {}, both("why", "为什么"));
    const why = element("details", {}, summary, answer);
    why.addEventListener("toggle", async () => {
      if (!why.open) return;
      const found = await this.recommender.why(name, this.state.likes, column);
      const reason = name === "popularity" ? "Everybody is shown what many like."
        : found.map(([like, share]) => `${titles[like]} ${percent(share)}`).join(", ") || "No like speaks for it.";
      const fit = wishScores ? ` Cosine with the wish: ${wishScores[column].toFixed(2)}.` : "";
      answer.textContent = `${genres[column]}. ${reason}${fit}`;
    });
    return element("li", { "data-column": column }, add, element("span", {}, titles[column]), why);
  }
}

const box = document.getElementById("six-lists");
try {
  box.page = new Page(box);
  const bundle = await Bundle.open(new URL("./data/", import.meta.url));
  box.page.begin(await Recommender.open(bundle));
} catch (error) {
  box.textContent = `The page could not be made ready: ${error.message}`;
}
