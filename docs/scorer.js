// How the search of the site ranks what it finds: a lesson stands before the solutions to it.
"use strict";

var Scorer = {
  score: ([page, , , , score]) => (page.startsWith("notebooks/solutions/") ? score - 100 : score),
  // The rest are Sphinx's own values.
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
