"""Write the teacher's page, docs/predictions.md: the notebooks' predictions with their answers.

.venv/bin/python tools/predictions.py
"""

import ast
import re
from pathlib import Path

import nbformat

from tools.run_notebooks import ROOT, notebooks

PAGE = ROOT / "docs" / "predictions.md"
HEAD = """\
# Predictions, with their answers

For who asks them. Let the room vote before the next cell runs. The answer is in bold; → marks the
wrong one that is to be expected most: a guess of the authors, since nobody has counted votes yet.
(Made from the notebooks by `tools/predictions.py`.)
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(notebooks()), encoding="utf-8", newline="\n")


def page(paths: list[Path]) -> str:
    """Return the page for these notebooks, as Markdown; those without predictions are left out."""
    parts = [HEAD]
    for path in paths:
        title, asked = "", []
        section = "Opening"
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                title = title or re.match(r"# (.+)", cell.source)[1]
                section = next(iter(re.findall(r"^## (.+)$", cell.source, re.MULTILINE)), section)
            elif "ntk.predict(" in cell.source:
                asked += [f"*{section}*\n\n{block(call)}" for call in calls(cell.source)]
        if asked:
            link = f"../{path.relative_to(ROOT).as_posix()}"
            parts += [f"## {title}\n\n[The notebook]({link})\n", *asked]
    return "\n".join(parts)


def calls(source: str) -> list[dict[str, str]]:
    """Return the arguments of each ntk.predict in a cell; that of no name is the question."""
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        {"question": ast.literal_eval(call.args[0])}
        | {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
        for call in found
        if ast.unparse(call.func) == "ntk.predict"
    ]


def block(call: dict[str, str]) -> str:
    """Return a prediction as Markdown: question, choices with the answer marked, and the reason."""
    lines = [f"{call['question']}\n"]
    for letter in sorted(call.keys() - {"question", "answer", "tempting", "because"}):
        choice = f"({letter}) {call[letter]}"
        marked = f"**{choice}**" if letter == call["answer"] else choice
        lines.append(f"- {'→ ' * (letter == call.get('tempting'))}{marked}")
    return "\n".join([*lines, f"\nBecause: {call['because']}\n"])


if __name__ == "__main__":
    main()
