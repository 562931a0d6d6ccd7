"""What a site needs beside its pages and the sitemap: link previews, a 404 page.

By hand, because the extensions for both do less here: sphinxext-opengraph describes each chapter
by its line of badges and wants the site's address a second time; the page of sphinx-notfound-page
loads twenty files from that address, so it has no looks wherever else the site is copied to.
"""

import html
import re
from pathlib import Path

import course_figures

CARD = "_static/social_card.png"
DESCRIPTION = 155  # characters that previews and search results show


def description(body):
    """The first words of a page, as plain text.

    >>> description("<p>A label</p><p>One <b>idea</b> &amp; what follows from it.</p>")
    'One idea & what follows from it.'
    """
    paragraphs = re.findall(r"<p>(.*?)</p>", body, re.DOTALL)
    for paragraph in paragraphs:
        text = html.unescape(re.sub(r"<[^>]+>", "", paragraph))
        text = " ".join(text.split())
        if len(text) >= 30 and "Open in Colab" not in text and "\\(" not in text:
            if len(text) <= DESCRIPTION:
                return text
            return text[: DESCRIPTION - 1].rsplit(" ", 1)[0] + "…"
    return ""


def tags(title, summary, address, card, site):
    """The Open Graph tags of a page."""
    values = {
        "og:title": title,
        "og:type": "website",
        "og:url": address,
        "og:site_name": site,
        "og:image": card,
        "og:image:width": "1200",
        "og:image:height": "630",
        "og:image:alt": "The course's leaderboard: models with their quality and its interval",
    }
    if summary:
        values["og:description"] = summary
    lines = [f'<meta property="{k}" content="{html.escape(v)}">' for k, v in values.items()]
    lines.append('<meta name="twitter:card" content="summary_large_image">')
    if summary:
        lines.append(f'<meta name="description" content="{html.escape(summary)}">')
    return "\n".join(lines) + "\n"


def add_tags(app, pagename, templatename, context, doctree):
    if not doctree or app.builder.format != "html":
        return
    base = app.config.html_baseurl
    title = re.sub(r"<[^>]+>", "", context.get("title", app.config.html_title))
    context["metatags"] = context.get("metatags", "") + tags(
        html.unescape(title),
        description(context.get("body", "")),
        base + app.builder.get_target_uri(pagename),
        base + CARD,
        app.config.html_title,
    )


def write_files(app, exception):
    """The picture of link previews, and 404.html."""
    if exception or app.builder.format != "html":
        return
    out, base = Path(app.outdir), app.config.html_baseurl
    course_figures.draw("social_card", out / CARD, dpi=100)
    first = base + app.builder.get_target_uri(app.config.root_doc)
    (out / "404.html").write_text(not_found(first, base, app.config.html_title), encoding="utf-8")


def not_found(first, base, title):
    """A page that a server shows at *any* address, so it stands alone and links by full address."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<link rel="icon" href="data:,">
<title>Page not found - {html.escape(title)}</title>
<style>
body {{ font: 1.1rem/1.6 sans-serif; max-width: 40rem; margin: 15vh auto; padding: 0 1rem; }}
html {{ background: #fff; color: #222; }}
a {{ color: #0b5bb5; }}
@media (prefers-color-scheme: dark) {{
  html {{ background: #121212; color: #ddd; }}
  a {{ color: #8ab8ff; }}
}}
</style>
</head>
<body>
<main>
<h1>This page is not here</h1>
<p>It may have moved when a chapter was renamed. Nothing is wrong with your browser.</p>
<ul>
<li><a href="{first}">The first page of the course, with all chapters</a></li>
<li><a href="{base}search.html">Search, in English or Chinese</a></li>
<li><a href="{base}book/glossary.html">The glossary</a></li>
</ul>
</main>
</body>
</html>
"""


def setup(app):
    app.connect("html-page-context", add_tags)
    app.connect("build-finished", write_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
