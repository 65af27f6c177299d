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
