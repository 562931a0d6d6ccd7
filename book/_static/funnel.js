// What a request costs when k candidates of a catalogue are read by a network: no library, no network.
(() => {
  const element = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };
  const whole = (number) => Math.round(number).toLocaleString("en");
  const seconds = (s) => {
    for (const [size, unit] of [[3600, "hours"], [60, "minutes"], [1, "seconds"]]) {
      if (s >= size) return `${Number((s / size).toPrecision(2))} ${unit}`;
    }
    return `${Number((1000 * s).toPrecision(2))} milliseconds`;
  };

  function build(box, number) {
    const data = Object.fromEntries(Object.entries(box.dataset).map(([k, v]) => [k, Number(v)]));
    const { items, dim, layers, width, tokens, speed } = data;
    const dots = items * dim; // one dot product each
    const pass = layers * (12 * width ** 2 * tokens + 2 * width * tokens ** 2); // one text read
    const id = `funnel-${number}`;
    const slider = element("input", { type: "range", id, min: 0, max: Math.log10(items), step: 0.1 });
    const shown = element("output", { htmlFor: id, className: "temperature-value" });
    const said = element("p", { className: "temperature-said" });
    said.setAttribute("aria-live", "polite");
    const rows = ["retrieval", "ranking"].map((name, place) => {
      const bar = element("div", { className: place ? "negative" : "positive" });
      const value = element("td", { className: "number" });
      const head = element("th", { scope: "row" }, name);
      return { row: element("tr", {}, head, element("td", { className: "bar" }, bar), value), bar, value };
    });
    const heads = ["stage", "", "share of the work"].map((text) =>
      element(text ? "th" : "td", text ? { scope: "col" } : {}, text));
    const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads)),
      element("tbody", {}, ...rows.map(({ row }) => row)));

    const draw = () => {
      const k = Math.round(10 ** Number(slider.value));
      const work = [dots, k * pass];
      const sum = work[0] + work[1];
      shown.value = whole(k);
      slider.setAttribute("aria-valuetext", `${shown.value} candidates`);
      rows.forEach(({ bar, value }, place) => {
        bar.style.width = `${(100 * work[place]) / sum}%`;
        value.textContent = `${((100 * work[place]) / sum).toFixed(1)}\u00a0%`;
      });
      said.textContent = `A request takes ${seconds(sum / speed)}: ` +
        `${seconds(dots / speed)} for ${whole(items)} dot products, ` +
        `${seconds((k * pass) / speed)} for ${shown.value} passes through the network.`;
    };
    slider.addEventListener("input", draw);
    slider.value = Math.log10(data.start);
    const label = element("label", { htmlFor: id }, "Candidates that are ranked: ", shown);
    box.replaceChildren(label, slider, table, said);
    draw();
  }
  document.addEventListener("DOMContentLoaded", () =>
    document.querySelectorAll("div.funnel").forEach(build));
})();
