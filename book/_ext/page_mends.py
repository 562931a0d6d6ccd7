"""Mends to the theme's pages: no script error, and usable with a keyboard and a screen reader.

Each mend is one rule below with its reason. The browser tests load every page, watch the
console and run axe, so a theme update that makes a rule needless or insufficient shows.
"""

import re
from pathlib import Path

# (pattern, replacement): applied to every finished page.
MENDS = []


def drop_thebe(app, pagename, templatename, context, doctree):
    """Thebe is off, yet its scripts are added, and added twice, which logs an error."""
    context["script_files"] = [
        script
        for script in context["script_files"]
        if "thebe" not in str(getattr(script, "filename", script) or "")
        and "THEBE_JS_URL" not in (getattr(script, "attributes", {}).get("body") or "")
    ]


def mend(html):
    """Apply every rule to one page."""
    for pattern, replacement in MENDS:
        html = re.sub(pattern, replacement, html, flags=re.DOTALL)
    return html


def mend_pages(app, exception):
    if exception or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        before = path.read_text(encoding="utf-8")
        after = mend(before)
        if after != before:
            path.write_text(after, encoding="utf-8")


def setup(app):
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("build-finished", mend_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
