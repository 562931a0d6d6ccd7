"""Mends to the theme's pages: no script error, no foreign picture, usable with keyboard and reader.

Each mend is one rule below with its reason. The browser tests load every page, watch the
console and run axe, so a theme update that makes a rule needless or insufficient shows.
"""

import re
from pathlib import Path

from docutils import nodes

# (pattern, replacement), applied to every finished page; a page mended twice stays the same.
MENDS = [
    # The visible text "Search Ctrl+K" names the button; another label would hide it from speech
    # control.
    (r'(<button class="btn search-button-field[^>]*?) aria-label="Search"', r"\1"),
    # Decoration inside a labelled button.
    (r'(<i class="theme-switch [^>]*?) title="[^"]*"', r'\1 aria-hidden="true"'),
    # Everything on a page lies in a landmark.
    (
        r'<div id="pst-primary-sidebar" class="bd-sidebar-primary bd-sidebar">',
        '<div id="pst-primary-sidebar" class="bd-sidebar-primary bd-sidebar"'
        ' role="region" aria-label="Sidebar">',
    ),
    # pandas leaves the corner of a table an empty header.
    (r"<th(?: class=\"[^\"]*\")?>(?:\s|&nbsp;)*</th>", "<td></td>"),
    # A bibliography is a list; its roles predate the current ARIA specification.
    (r'role="doc-biblioentry"', 'role="listitem"'),
    # The line that opens a hidden cell carries its own text.
    (r'<summary aria-label="[^"]*">', "<summary>"),
    # The arrow that unfolds a part of the sidebar is a picture alone.
    (r'<summary>(<span class="toctree-toggle")', r'<summary aria-label="Pages of this part">\1'),
    (r'<input (class="task-list-item-checkbox")', r'<input aria-label="task" \1'),
    # 1.5 MB that draw the icons a second time: the style sheet's font has them all.
    (r'<script defer src="[^"]*scripts/fontawesome\.js[^"]*"></script>', ""),
    # What is added to a page is added when it is there; nothing waits for it.
    (
        r'<script ((?:data-sd-tabs-storage-prefix="[^"]*" )?src="[^"]*_static/(?:sphinx_highlight'
        r"|clipboard\.min|copybutton|togglebutton|design-tabs|print|temperature|funnel"
        r"|scripts/sphinx-book-theme)\.js)",
        r"<script defer \1",
    ),
    # What is left of Thebe, which is off.
    (r'<script type="text/x-thebe-config">.*?</script>', ""),
    (r"<script>kernelName = '[^']*'</script>", ""),
]
# The index of the search, 0.1 MB and read before anything is shown: for a search as you type, which
# is off. The page of the search needs it.
SEARCH = r'<script src="[^"]*(?:searchtools|language_data|searchindex)\.js"></script>'


def drop_scripts(app, pagename, templatename, context, doctree):
    """Leave out scripts that a page has no use for.

    Thebe is off, yet its scripts are added, and added twice, which logs an error; MathJax (1.2 MB)
    is added to pages without a formula.
    """
    unwanted = ["thebe", "THEBE_JS_URL"]
    if 'class="math' not in context.get("body", ""):
        unwanted += ["mathjax", "MathJax"]
    context["script_files"] = [
        script
        for script in context["script_files"]
        if not any(
            word in f"{getattr(script, 'filename', script)} {getattr(script, 'attributes', '')}"
            for word in unwanted
        )
    ]


def replace_remote_images(app, doctree):
    """A badge that lives on another host becomes a link with the badge's text."""
    for image in list(doctree.findall(nodes.image)):
        if image["uri"].startswith(("http://", "https://", "//")):
            if isinstance(image.parent, nodes.reference):
                image.parent["classes"].append("badge-link")
            image.replace_self(nodes.Text(image.get("alt") or image["uri"]))


def keep_punctuation(app, doctree):
    """Keep the full stop after a formula on the formula's line."""
    for math in list(doctree.findall(nodes.math)):
        parent, place = math.parent, math.parent.index(math)
        after = parent[place + 1] if place + 1 < len(parent) else None
        if isinstance(after, nodes.Text) and after[0] in ".,;:!?)":
            kept = nodes.inline("", "", classes=["nobr"])
            parent[place : place + 2] = [kept, nodes.Text(after[1:])]
            kept += [math, nodes.Text(after[0])]


def fold_checks(app, doctree):
    """Fold away the source of a cell tagged `check`: it asserts what the prose beside it says."""
    for cell in doctree.findall(nodes.container):
        if "tag_check" in cell["classes"] and cell.get("nb_element") == "cell_code":
            cell["hide_mode"] = "input"
            cell["prompt_show"] = "Show the check of what the text says"
            cell["prompt_hide"] = "Hide the check"


def mend(html):
    """Apply every rule to one page."""
    for pattern, replacement in MENDS:
        html = re.sub(pattern, replacement, html, flags=re.DOTALL)
    return html


def write_first_page(app, exception):
    """The site's own address leads to the landing page: a whole page, with a link to click."""
    if exception or app.builder.format != "html" or app.config.root_doc == "index":
        return
    target, title = app.builder.get_target_uri(app.config.root_doc), app.config.html_title
    (Path(app.outdir) / "index.html").write_text(
        f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<meta http-equiv="refresh" content="0; url={target}">
<title>{title}</title>
</head>
<body><main><h1><a href="{target}">{title}</a></h1></main></body>
</html>
""",
        encoding="utf-8",
    )


def mend_pages(app, exception):
    if exception or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        before = path.read_text(encoding="utf-8")
        after = mend(before)
        if path.name != "search.html":
            after = re.sub(SEARCH, "", after)
        if after != before:
            path.write_text(after, encoding="utf-8")


def setup(app):
    app.connect("doctree-read", replace_remote_images)
    app.connect("doctree-read", keep_punctuation)
    app.connect("doctree-read", fold_checks)
    app.connect("html-page-context", drop_scripts, priority=900)
    app.connect("build-finished", write_first_page, priority=400)  # before the stock redirect
    app.connect("build-finished", mend_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
