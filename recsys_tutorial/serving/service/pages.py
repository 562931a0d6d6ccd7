"""The pages for people: where to begin, and the endpoints as the OpenAPI document has them.

Plain HTML without a script: nothing is fetched from anywhere.
"""

from __future__ import annotations

import html
import json

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
}
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem }
code, pre { font-size: .9rem; background: #8882; padding: .1rem .3rem; border-radius: .2rem }
pre { padding: .6rem; overflow-x: auto } td, th { text-align: left; padding: .1rem .8rem .1rem 0;
vertical-align: top } :root { color-scheme: light dark }
"""


def page(title: str, body: str) -> str:
    """A whole page.

    Parameters
    ----------
    title : str
    body : str, HTML

    Returns
    -------
    str
    """
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style><main><h1>{html.escape(title)}</h1>{body}</main></html>"
    )


def home(examples: list[str]) -> str:
    """The first page.

    Parameters
    ----------
    examples : list of str, commands to try

    Returns
    -------
    str, HTML
    """
    links = {
        "/docs": "every endpoint",
        "/openapi.json": "the same for programs",
        "/health": "is it well?",
        "/metrics": "for Prometheus",
        "/models": "the versions",
    }
    rows = "".join(f'<li><a href="{path}">{path}</a>: {text}</li>' for path, text in links.items())
    tries = "".join(f"<pre>{html.escape(line)}</pre>" for line in examples)
    form = (
        '<form action="/search"><label>Search for a film: <input name="q" required maxlength="200">'
        "</label> <button>Search</button></form>"
    )
    return page("A recommender as a service", f"{form}<ul>{rows}</ul>{tries}")


def documentation(document: dict) -> str:
    """The endpoints of an OpenAPI document: what each takes and answers.

    Parameters
    ----------
    document : dict, OpenAPI 3.1

    Returns
    -------
    str, HTML
    """
    schemas = document.get("components", {}).get("schemas", {})
    parts = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<h2><code>{method.upper()} {html.escape(path)}</code></h2>")
            about = operation.get("description") or operation["summary"]
            parts.append(f"<p>{html.escape(about)}</p>")
            rows = [
                (f"{one['in']}: {one['name']}", one["schema"], one.get("required", False))
                for one in operation.get("parameters", [])
            ]
            content = operation.get("requestBody", {}).get("content", {})
            for body in content.values():
                schema = schemas[body["schema"]["$ref"].split("/")[-1]]
                required = schema.get("required", [])
                rows += [(f"body: {name}", value, name in required)
                         for name, value in schema["properties"].items()]  # fmt: skip
            parts.append(_table(rows))
            parts.append(f"<p>Answers: {_answers(operation['responses'])}</p>")
    return page(f"{document['info']['title']}: endpoints", "".join(parts))


def _table(rows: list[tuple[str, dict, bool]]) -> str:
    if not rows:
        return ""
    lines = "".join(
        f"<tr><td><code>{html.escape(name)}</code></td><td>{'required' if needed else ''}</td>"
        f"<td><code>{html.escape(_short(schema))}</code></td></tr>"
        for name, schema, needed in rows
    )
    return f"<table>{lines}</table>"


def _short(schema: dict) -> str:
    """A schema in one line, without its title."""
    return json.dumps({name: value for name, value in schema.items() if name != "title"})


def _answers(responses: dict) -> str:
    return "; ".join(
        f"{status} {html.escape(answer['description'])}" for status, answer in responses.items()
    )
