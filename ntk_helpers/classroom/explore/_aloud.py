"""Give an explorer's sliders, buttons and picture the names and values that a screen reader reads.

ipywidgets gives a slider no name and the index for its value, and a picture no description. A few
lines of script, which come with the explorer, mend this in the page. Where scripts of an output are
not run, all stays as it was, and the sentence under the picture is there to be read.
"""

from html import escape

BUSY, SAID = "ntk-busy", "ntk-said"

STYLE = f".{BUSY} img {{opacity: 0.3}} .{SAID} p {{margin: 0; line-height: 1.4}}"

# The classes are those of ipywidgets 7 and 8. A region that is read aloud must be the same node all
# along, so the attribute is put on what holds the sentence, not on the sentence.
SCRIPT = f"""
const box = this.closest('.widget-vbox'), about = this.dataset.about;
const buttons = {{'fa-play': 'Play: ', 'fa-pause': 'Pause: ', 'fa-stop': 'Back to the first: '}};
const put = (node, name, value) => {{
  if (node && node.getAttribute(name) !== value) node.setAttribute(name, value);
}};
const tell = () => {{
  put(box, 'role', 'group');
  put(box, 'aria-label', about);
  for (const row of box.querySelectorAll('.widget-slider')) {{
    const handle = row.querySelector('.noUi-handle, .ui-slider-handle');
    const value = row.querySelector('.widget-readout');
    if (!handle || !value) continue;
    put(handle, 'aria-label', row.querySelector('.widget-label').textContent);
    put(handle, 'aria-valuetext', value.textContent);
    put(value, 'aria-hidden', 'true');
    put(value, 'contenteditable', 'false'); // what is typed there has no effect
    if (handle.matches('.noUi-handle')) continue;
    put(handle, 'role', 'slider');
    put(handle, 'aria-valuenow', parseFloat(handle.style.left || 0).toFixed());
  }}
  for (const icon of box.querySelectorAll('.widget-play i'))
    for (const name of icon.classList)
      if (buttons[name])
        for (const key of ['title', 'aria-label'])
          put(icon.parentNode, key, buttons[name] + this.dataset.played);
  const said = box.querySelector('.{SAID} .widget-html-content');
  put(said, 'aria-live', 'polite');
  put(box.querySelector('img'), 'alt', said ? said.textContent : about);
}};
const watched = ['aria-valuetext', 'class', 'style'];
const all = {{subtree: true, childList: true, characterData: true, attributeFilter: watched}};
new MutationObserver(tell).observe(box, all);
tell();
"""


def script(about: str, played: str) -> str:
    """Return the HTML that names the parts of the explorer in which it stands.

    Args:
        about: What can be explored: the name of the whole.
        played: The name of the slider that a button plays, if there is one.
    """
    data = f'data-about="{escape(about)}" data-played="{escape(played)}"'
    return f'<style {data} onload="{escape(SCRIPT)}">{STYLE}</style>'


def sentence(text: str) -> str:
    """Return a sentence as HTML."""
    return f"<p>{escape(text)}</p>"
