"""What a site needs beside its pages: link previews, a map for search engines, a 404 page."""

import html
import re
from pathlib import Path
from xml.sax.saxutils import escape

import course_figures

CARD = "_static/social_card.png"
DESCRIPTION = 155  # characters that previews and search results show


def description(body):
    """The first words of a page, as plain text.

    >>> description("<h1>Title</h1><p>One <b>idea</b> &amp; more.</p><p>Next.</p>")
    'One idea & more.'
    """
    paragraphs = re.findall(r"<p>(.*?)</p>", body, re.DOTALL)
    for paragraph in paragraphs:
        text = html.unescape(re.sub(r"<[^>]+>", "", paragraph))
        text = " ".join(text.split())
        if len(text) >= 15 and "Open in Colab" not in text and "\\(" not in text:
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
    """The sitemap, the picture of link previews, and 404.html."""
    if exception or app.builder.format != "html":
        return
    out, base = Path(app.outdir), app.config.html_baseurl
    pages = sorted(app.builder.get_target_uri(name) for name in app.env.found_docs)
    (out / "sitemap.xml").write_text(sitemap(base, pages), encoding="utf-8")
    course_figures.draw("social_card", out / CARD, dpi=100)
    first = base + app.builder.get_target_uri(app.config.root_doc)
    (out / "404.html").write_text(not_found(first, base, app.config.html_title), encoding="utf-8")


def sitemap(base, pages):
    """The addresses of all pages, for search engines.

    >>> print(sitemap("https://example.org/", ["a.html"]).splitlines()[2])
    <url><loc>https://example.org/a.html</loc></url>
    """
    lines = [f"<url><loc>{escape(base + page)}</loc></url>" for page in pages]
    return "\n".join(
        ['<?xml version="1.0" encoding="utf-8"?>',
         '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">', *lines, "</urlset>", ""]
    )  # fmt: skip


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
