// ipywidgets 8 asks MathJax 2 to set the labels of its widgets; pass that on to the MathJax 3 of this site.
(() => {
  const Hub = {
    Queue: (...jobs) => jobs.forEach(([what, , node]) => {
      if (what === "Typeset" && node) current.startup?.promise.then(() => current.typesetPromise([node]));
    }),
  };
  let current = window.MathJax;
  Object.defineProperty(window, "MathJax", {
    configurable: true,
    get: () => current && Object.assign(current, { Hub }),
    set: (value) => { current = value; },
  });
})();

// Names for those who cannot see: a button is called what it says, a slider by its label, and a widget's picture is announced as one.
(() => {
  const name = () => {
    for (const o of document.querySelectorAll('summary[aria-label="Toggle hidden content"], .search-button-field[aria-label]')) o.removeAttribute("aria-label");
    for (const o of document.querySelectorAll(".noUi-handle:not([aria-label])"))
      o.setAttribute("aria-label", o.closest(".widget-inline-hbox, .widget-inline-vbox")?.querySelector(".widget-label")?.textContent || "value");
    for (const o of document.querySelectorAll(".widget-subarea img:not([alt]), .jupyter-widgets img:not([alt])")) o.alt = "Picture for the values of the sliders";
    for (const o of document.querySelectorAll(".cell_output:not([tabindex])")) if (o.scrollWidth > o.clientWidth) o.tabIndex = 0;
  };
  document.addEventListener("DOMContentLoaded", () => {
    name();
    new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
  });
})();
