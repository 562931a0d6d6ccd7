// The softmax of a few similarities, under a slider for the temperature: no library, no network.
(() => {
  const element = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };
  const softmax = (scores, tau) => {
    const largest = Math.max(...scores);
    const powers = scores.map((s) => Math.exp((s - largest) / tau));
    const sum = powers.reduce((a, b) => a + b);
    return powers.map((p) => p / sum);
  };
  const percent = (share) => `${(100 * share).toFixed(share > 0.0995 ? 0 : 1)}\u00a0%`;

  function build(box, number) {
    const scores = box.dataset.similarities.split(",").map(Number); // the first is the positive
    const id = `temperature-${number}`;
    const slider = element("input", { type: "range", id, min: -2, max: 1, step: 0.05 });
    const shown = element("output", { htmlFor: id, className: "temperature-value" });
    const said = element("p", { className: "temperature-said" });
    said.setAttribute("aria-live", "polite");
    const rows = scores.map((score, place) => {
      const bar = element("div", { className: place ? "negative" : "positive" });
      const value = element("td", { className: "number" });
      const name = `${place ? "negative" : "positive"}, ${score.toFixed(1)}`;
      const head = element("th", { scope: "row" }, name);
      const row = element("tr", {}, head, element("td", { className: "bar" }, bar), value);
      return { row, bar, value };
    });
    const heads = ["similarity", "", "share"].map((text) =>
      element(text ? "th" : "td", text ? { scope: "col" } : {}, text));
    const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads)),
      element("tbody", {}, ...rows.map(({ row }) => row)));

    const draw = () => {
      const tau = 10 ** Number(slider.value);
      const shares = softmax(scores, tau);
      shown.value = tau.toFixed(tau < 0.095 ? 3 : 2);
      slider.setAttribute("aria-valuetext", `temperature ${shown.value}`);
      rows.forEach(({ bar, value }, place) => {
        bar.style.width = `${100 * shares[place]}%`;
        value.textContent = percent(shares[place]);
      });
      const negatives = shares.slice(1);
      const push = Math.max(...negatives) / negatives.reduce((a, b) => a + b);
      said.textContent = `Loss ${(-Math.log(shares[0])).toFixed(2)}. Of the push on the negatives, ` +
        `the nearest one takes ${percent(push)}.`;
    };
    slider.addEventListener("input", draw);
    slider.value = box.dataset.start;
    const label = element("label", { htmlFor: id }, "Temperature τ = ", shown);
    box.replaceChildren(label, slider, table, said);
    draw();
  }
  document.addEventListener("DOMContentLoaded", () =>
    document.querySelectorAll("div.temperature").forEach(build));
})();
