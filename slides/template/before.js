// Settings that must be there before MathJax starts. Formulas carry their own letters
// (fontCache "none"), so that the presenter's window can show copies of them.
window.MathJax = {
  tex: { inlineMath: [["$", "$"]], processEscapes: true },
  svg: { fontCache: "none" },
  options: { enableMenu: false },
  startup: { typeset: false },
};
