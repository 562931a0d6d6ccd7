// A field that finds films as one types, for keyboard, touch and screen reader: the combobox with a
// list box of the ARIA Authoring Practices.

import { element } from "./dom.js";

const MOST = 8;
const plain = (text) => text.toLowerCase().normalize("NFD").replace(/\p{Mn}/gu, "");

// Places of names in which every typed word begins a word; those with the highest weight first.
export function matches(typed, names, weights, most = MOST) {
  const wanted = plain(typed).match(/[\p{L}\p{N}]+/gu) ?? [];
  if (!wanted.length) return [];
  const found = [];
  names.forEach((name, place) => {
    if (wanted.every((word) => name.includes(` ${word}`))) found.push(place);
  });
  return found.sort((a, b) => weights[b] - weights[a] || a - b).slice(0, most);
}

export const searchable = (name) => ` ${(plain(name).match(/[\p{L}\p{N}]+/gu) ?? []).join(" ")}`;

// `input` and `list` are in the page; `chosen(place)` is called when a film is picked.
export function searchField(input, list, titles, weights, chosen) {
  const names = titles.map(searchable);
  let found = [];
  let active = -1;

  function show() {
    list.replaceChildren(...found.map((place, row) => {
      const option = element("li", { role: "option", id: `${list.id}-${row}` }, titles[place]);
      option.setAttribute("aria-selected", String(row === active));
      option.addEventListener("pointerdown", (event) => event.preventDefault()); // keep the focus
      option.addEventListener("click", () => pick(row));
      return option;
    }));
    list.hidden = !found.length;
    input.setAttribute("aria-expanded", String(found.length > 0));
    if (active >= 0) input.setAttribute("aria-activedescendant", `${list.id}-${active}`);
    else input.removeAttribute("aria-activedescendant");
    list.children[active]?.scrollIntoView({ block: "nearest" });
  }
  function close() {
    [found, active] = [[], -1];
    show();
  }
  function pick(row) {
    const place = found[row];
    input.value = "";
    close();
    chosen(place);
  }
  input.addEventListener("input", () => {
    [found, active] = [matches(input.value, names, weights), -1];
    show();
  });
  input.addEventListener("keydown", (event) => {
    const n = found.length;
    if (event.key === "Escape") close();
    else if (event.key === "Enter" && n) pick(Math.max(active, 0));
    else if (event.key === "ArrowDown" && n) active = (active + 1) % n;
    else if (event.key === "ArrowUp" && n) active = (active <= 0 ? n : active) - 1;
    else return;
    event.preventDefault();
    if (event.key.startsWith("Arrow")) show();
  });
  input.addEventListener("blur", close);
}
