"""The glossary's two languages, and the way from a chapter's bold term to its definition.

Notebooks are plain Markdown, so that Colab shows them well; a new term is set in bold where it
first occurs. On the site it becomes a link to the glossary, with the definition as its tooltip, and
the page can be found by the term's Chinese names, too.
"""

import html
import re

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

_chinese = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_latin_word = re.compile(r"[A-Za-z]+")


def is_chinese(text):
    """Whether a text is read as Chinese: more Chinese characters than Latin words.

    >>> is_chinese("用 softmax 计算"), is_chinese("two-tower model (双塔)")
    (True, False)
    """
    return len(_chinese.findall(text)) > len(_latin_word.findall(text))


class MarkChinese(SphinxTransform):
    """Tell browsers and screen readers what is Chinese, and give it one group in the index."""

    default_priority = 800  # before the index is collected

    def apply(self):
        for node in self.document.findall(lambda n: isinstance(n, nodes.paragraph | nodes.term)):
            if is_chinese(node.astext()):
                node["classes"].append("language-zh")  # docutils writes it as lang="zh"
        for index in self.document.findall(addnodes.index):
            index["entries"] = [
                (*entry[:4], "中文" if is_chinese(entry[1]) else entry[4])
                for entry in index["entries"]
            ]


def find_term(text, entries):
    """The entry a bold text means: itself, its singular, or the one that begins with it.

    >>> entries = {"embedding": 1, "content-based filtering": 2, "cold start": 3, "cold item": 4}
    >>> find_term("Embeddings", entries), find_term("content-based", entries)
    ('embedding', 'content-based filtering')
    >>> find_term("cold", entries) is None  # two begin with it
    True
    """
    names = {re.sub(r"[-\s]+", " ", name): name for name in entries}
    text = re.sub(r"[-\s]+", " ", text.strip().lower())
    for form in (text, text.removesuffix("s")):
        if form in names:
            return names[form]
    longer = [name for form, name in names.items() if form.startswith(f"{text} ")]
    return longer[0] if len(longer) == 1 else None


def glossary_entries(env):
    """Every term, in lower case, with (page, anchor, tooltip)."""
    entries = {}
    for name, _, kind, docname, anchor, _ in env.get_domain("std").get_objects():
        if kind == "term":
            entries[name.lower()] = (docname, anchor, "")
    for docname in {page for page, _, _ in entries.values()}:
        for item in env.get_doctree(docname).findall(nodes.definition_list_item):
            names = [term.astext() for term in item.findall(nodes.term)]
            definition = next(item.findall(nodes.definition))[0].astext()
            for name in names:
                page, anchor, _ = entries.get(name.lower(), (docname, None, ""))
                if anchor:
                    others = [other for other in names if other != name]
                    tooltip = f"{' · '.join(others)}: {definition}" if others else definition
                    entries[name.lower()] = (page, anchor, " ".join(tooltip.split()))
    return entries


def chinese_names(tooltip):
    """The Chinese names of a term, from its tooltip: its other names, a colon, its definition.

    >>> chinese_names("双塔模型 · two towers: A model of two parts.")
    ['双塔模型']
    >>> chinese_names("A term with: a colon.")
    []
    """
    others, _, _ = tooltip.partition(": ")
    return [name for name in others.split(" · ") if is_chinese(name)]


def searchable(names):
    """A node that search indexes and no reader sees: a template is not shown, nor read out."""
    return nodes.raw("", f'<template lang="zh">{html.escape(" ".join(names))}</template>',
                     format="html")  # fmt: skip


def link_terms(app, doctree, docname):
    """Turn the bold terms of a chapter into links to the glossary."""
    if app.builder.format != "html" or not docname.startswith("notebooks/"):
        return
    if not hasattr(app.env, "glossary_entries"):
        app.env.glossary_entries = glossary_entries(app.env)
    entries = app.env.glossary_entries
    linked, chinese = set(), []
    for strong in list(doctree.findall(nodes.strong)):
        name = find_term(strong.astext(), entries)
        inside_link = isinstance(strong.parent, nodes.reference)
        if name is None or name in linked or inside_link:
            continue
        linked.add(name)
        page, anchor, tooltip = entries[name]
        chinese += chinese_names(tooltip)
        uri = f"{app.builder.get_relative_uri(docname, page)}#{anchor}"
        link = nodes.reference("", "", internal=True, refuri=uri, classes=["glossary-term"])
        link["reftitle"] = tooltip
        link.extend(strong.children)
        strong.children = []
        strong.append(link)
    section = next(doctree.findall(nodes.section), None)
    if chinese and section is not None:
        section.append(searchable(dict.fromkeys(chinese)))


def forget_entries(app, env, docnames):
    """The glossary may have changed since the last build."""
    if hasattr(env, "glossary_entries"):
        del env.glossary_entries


def setup(app):
    app.connect("env-before-read-docs", forget_entries)
    app.add_transform(MarkChinese)
    app.connect("doctree-resolved", link_terms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
