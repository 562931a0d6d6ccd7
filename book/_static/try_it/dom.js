// Elements of the page, made in one call.

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made && name !== "list") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// A word in English, and the same in Chinese.
export function both(english, chinese) {
  return element("span", {}, `${english} `, element("span", { lang: "zh" }, chinese));
}
