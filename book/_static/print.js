// Paper is white: print in light colours whatever the screen shows, and go back afterwards.
(() => {
  const root = document.documentElement.dataset;
  let screen = null;
  const toPaper = () => { screen ??= root.theme; root.theme = "light"; };
  const toScreen = () => { if (screen !== null) root.theme = screen; screen = null; };
  window.addEventListener("beforeprint", toPaper);
  window.addEventListener("afterprint", toScreen);
  window.matchMedia("print").addEventListener("change", (e) => (e.matches ? toPaper : toScreen)());
})();
