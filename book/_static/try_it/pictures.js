// "Words in, pictures out": chapter 5's towers as recsys_tutorial/serving/export/pictures.py has
// them. Nothing is fetched before somebody asks, and then all thumbnails at once: a server that was
// asked for ten of them would know which.

import { Bundle, lines } from "./bundle.js";
import { both, element } from "./dom.js";
import { rank, rounded } from "./lists.js";
import { dot, vectors } from "./models.js";
import { Words } from "./words.js";

const TO_TRY = [
  ["fish", "鱼"], ["a red car", "红色汽车"], ["music", "音乐"], ["fruit", "水果"],
  ["an old computer", "旧电脑"], ["flower in the garden", "花园里的花"],
];

export class Pictures {
  constructor(bundle, gallery, words) {
    this.bundle = bundle;
    this.titles = lines(gallery.titles);
    this.creators = lines(gallery.creators);
    this.vectors = vectors(gallery.numbers, gallery.scales);
    this.words = new Words(words);
    this.made = new Map(); // addresses of thumbnails that were shown
  }

  static async open(folder) {
    const bundle = await Bundle.open(folder);
    return new Pictures(bundle, ...await Promise.all([bundle.file("gallery"), bundle.file("words")]));
  }

  // A number per picture, or null where no piece of the text is known.
  scores(text) {
    const vector = this.words.encode(text);
    if (!vector.some((v) => v)) return null;
    const { dim } = this.words;
    return Float64Array.from(this.titles, (_, i) => dot(vector, 0, this.vectors, i, dim));
  }

  // The rows of the best pictures, best first.
  search(text, k = 10) {
    const scores = this.scores(text);
    return scores ? rank(scores.map(rounded), [], k) : [];
  }

  // A promise of the addresses of pictures, for `src`.
  async addresses(rows) {
    const { sizes, pictures } = await this.bundle.file("thumbnails");
    if (!this.ends) {
      let end = 0;
      this.ends = Array.from(sizes, (size) => (end += size));
    }
    return rows.map((row) => {
      if (!this.made.has(row)) {
        const bytes = pictures.subarray(this.ends[row] - sizes[row], this.ends[row]);
        this.made.set(row, URL.createObjectURL(new Blob([bytes], { type: "image/webp" })));
      }
      return this.made.get(row);
    });
  }
}

class Section {
  constructor(box, folder) {
    Object.assign(this, { box, folder, turn: 0, opening: null });
    this.field = element("input", {
      id: "picture-words", type: "search", maxLength: 300, autocomplete: "off", spellcheck: false,
    });
    this.field.addEventListener("input", () => this.follow());
    this.said = element("p", { role: "status", className: "said" });
    this.grid = element("ol", { className: "pictures" });
    this.grid.setAttribute("aria-label", "Pictures found");
    box.replaceChildren(
      element("label", { htmlFor: this.field.id }, both("Words, in English", "输入英文单词")), this.field,
      element("p", { className: "buttons" }, ...TO_TRY.map((words) => this.suggestion(...words))),
      this.said, this.grid);
  }

  suggestion(english, chinese) {
    const made = element("button", { type: "button" }, both(english, chinese));
    made.addEventListener("click", () => {
      this.field.value = english;
      this.follow();
    });
    return made;
  }

  // A promise of the pictures, which are fetched once; after a failure the next call tries again.
  open() {
    if (!this.opening) {
      this.opening = Pictures.open(this.folder);
      this.opening.catch(() => { this.opening = null; });
    }
    return this.opening;
  }

  async follow() {
    const turn = ++this.turn;
    const late = () => turn !== this.turn; // the reader went on meanwhile
    const text = this.field.value.trim();
    try {
      if (!text) return this.show([], "");
      if (!this.pictures) this.said.textContent = "The pictures are being read. 正在读取图片。";
      this.pictures = await this.open();
      if (late()) return;
      const rows = this.pictures.search(text);
      this.show(rows, rows.length ? "Names are here, drawings are being read. 正在读取图片。"
        : "No word of this is known. 没有认识的词。");
      const addresses = await this.pictures.addresses(rows);
      if (late() || !rows.length) return;
      addresses.forEach((address, place) => this.draw(rows[place], place, address));
      this.said.textContent = `${rows.length} pictures for “${text}”`;
    } catch (error) {
      if (!late()) this.show([], `This did not work: ${error.message}`);
    }
  }

  show(rows, said) {
    const { titles, creators } = this.pictures ?? {};
    this.grid.replaceChildren(...rows.map((row) => element("li", { "data-row": row },
      element("figure", {}, element("span", { className: "drawing" }),
        element("figcaption", {}, titles[row], element("small", {}, `by ${creators[row]}`))))));
    this.said.textContent = said;
  }

  draw(row, place, address) {
    const { side } = this.pictures.bundle.manifest.info;
    const image = { src: address, alt: this.pictures.titles[row], width: side, height: side };
    this.grid.children[place].querySelector(".drawing").replaceChildren(element("img", image));
  }
}

const box = document.getElementById("picture-search");
box.page = new Section(box, new URL("./data/pictures/", import.meta.url));
