"""The page at ``/docs``: the OpenAPI document as HTML, whole, without a script and without anything from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from itertools import groupby
from typing import Any

HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

_STYLE = """
:root { color-scheme: light dark; --ink: #16202b; --soft: #566573; --line: #d9e0e6; --paper: #fbfcfd; --card: #fff;
  --read: #0f6b5c; --write: #9a4a12; --code: #f1f4f7; --mark: #1d4f91 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4eaf0; --soft: #93a1af; --line: #2b3743; --paper: #10161c;
  --card: #161e26; --read: #58c9b3; --write: #e8a06a; --code: #1d2731; --mark: #8db8ee } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.55 system-ui, sans-serif }
main { max-width: 54rem; margin: 0 auto; padding: 2.5rem 1.25rem 5rem }
h1 { font-size: 1.9rem; letter-spacing: -.02em; margin: 0 }
h1 small { font-size: 1rem; color: var(--soft); font-weight: 400 }
header p { color: var(--soft); margin: .4rem 0 1rem; max-width: 42rem }
nav { display: flex; flex-wrap: wrap; gap: .4rem; margin-bottom: 2rem }
nav a { border: 1px solid var(--line); border-radius: 99px;
  padding: .15rem .75rem; text-decoration: none; font-size: .87rem }
a { color: var(--mark) } a:focus-visible, summary:focus-visible { outline: 2px solid var(--mark); outline-offset: 2px }
h2 { font-size: 1.05rem; margin: 2.2rem 0 .6rem; text-transform: capitalize }
h3 { font-size: .8rem; text-transform: uppercase; letter-spacing: .06em; color: var(--soft); margin: 1rem 0 .3rem }
details { background: var(--card); border: 1px solid var(--line); border-radius: 9px; margin: .45rem 0 }
summary { cursor: pointer; padding: .6rem .9rem; display: flex; flex-wrap: wrap; gap: .3rem .8rem;
  align-items: baseline;
  list-style: none } summary::-webkit-details-marker { display: none }
summary code { font-weight: 600 } summary span { color: var(--soft) }
details > div { padding: 0 .9rem .9rem; border-top: 1px solid var(--line) }
b { font-size: .7rem; letter-spacing: .05em; border-radius: 4px;
  padding: .1rem .4rem; border: 1px solid; color: var(--write) }
b.read { color: var(--read) }
table { width: 100%; border-collapse: collapse } td { padding: .28rem .6rem .28rem 0; border-top: 1px solid var(--line);
  vertical-align: top } tr:first-child td { border-top: 0 } td:last-child { color: var(--soft) }
code, pre { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
em { color: var(--write); font-style: normal }
pre { background: var(--code); border-radius: 6px; padding: .7rem .8rem; overflow-x: auto; margin: .3rem 0 }
"""


def rendered(document: Mapping[str, Any]) -> str:
    """The whole page."""
    entries = [(path, methods) for path, methods in document["paths"].items()]
    groups = [(tag, list(members)) for tag, members in groupby(entries, key=lambda entry: _tag(entry[1]))]
    schemas = document["components"]["schemas"]
    info = document["info"]
    links = "".join(f'<a href="#{escape(tag)}">{escape(tag)}</a>' for tag, _ in groups)
    sections = "".join(_section(tag, members, schemas) for tag, members in groups)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style></head><body><main>"
        f"<header><h1>{escape(info['title'])} <small>API {escape(info['version'])}</small></h1>"
        f"<p>{escape(info['description'])}"
        ' The same, for machines: <a href="/openapi.json">openapi.json</a>.</p></header>'
        f'<nav aria-label="Groups of operations">{links}<a href="#types">types</a></nav>{sections}'
        f'<section id="types"><h2>Types</h2>{"".join(_types(schemas))}</section></main></body></html>'
    )


def _tag(methods: Mapping[str, Any]) -> str:
    return str(methods["post"]["tags"][0])


def _section(tag: str, members: list[tuple[str, Any]], schemas: Mapping[str, Any]) -> str:
    body = "".join(_operation(path, methods, schemas) for path, methods in members)
    return f'<section id="{escape(tag)}"><h2>{escape(tag)}</h2>{body}</section>'


def _operation(path: str, methods: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    post = methods["post"]
    request = _resolved(post["requestBody"]["content"]["application/json"]["schema"], schemas)
    result = post["responses"]["200"]["content"]["application/json"]["schema"]
    badge = '<b class="read">GET · POST</b>' if "get" in methods else "<b>POST</b>"
    example = escape(_example(path, request))
    return (
        f'<details id="{escape(post["operationId"])}"><summary>{badge}<code>{escape(path)}</code>'
        f"<span>{escape(post['summary'])}</span></summary><div>"
        f"<h3>Request</h3>{_fields(request) or '<p>Nothing.</p>'}"
        f"<h3>Answer</h3><p><code>{_kind(result)}</code></p><h3>Example</h3><pre>{example}</pre></div></details>"
    )


def _types(schemas: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in sorted(schemas.items()):
        body = _fields(schema) or f"<p><code>{_kind(schema)}</code></p>"
        about = escape(schema.get("description", "").partition("\n")[0])
        yield (
            f'<details id="type-{escape(name)}"><summary><code>{escape(name)}</code><span>{about}</span></summary>'
            f"<div>{body}</div></details>"
        )


def _fields(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", [])
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td><code>{_kind(kind)}</code></td>"
        f"<td>{'<em>required</em>' if name in required else _default(kind)}</td></tr>"
        for name, kind in schema.get("properties", {}).items()
    )
    return f"<table>{rows}</table>" if rows else ""


def _default(schema: Mapping[str, Any]) -> str:
    return f"default {escape(json.dumps(schema['default']))}" if "default" in schema else "optional"


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in a few words, with links to the types it names."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#type-{name}">{name}</a>'
    if "anyOf" in schema:
        return " | ".join(_kind(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(escape(json.dumps(value)) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}" if isinstance(schema.get("items"), dict) else "list"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_kind(schema['additionalProperties'])}"
    return escape(str(schema.get("type", "anything")))


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    return schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _example(path: str, request: Mapping[str, Any]) -> str:
    body = {name: _sample(request["properties"][name], name) for name in request.get("required", [])}
    sent = f" \\\n     -H 'content-type: application/json' -d '{json.dumps(body)}'" if body else ""
    return f"curl -X POST http://127.0.0.1:8801{path}{sent}"


def _sample(schema: Mapping[str, Any], name: str) -> Any:
    samples: dict[str, Any] = {"integer": 1, "number": 0.5, "boolean": True, "array": [], "object": {}}
    if "enum" in schema:
        return schema["enum"][0]
    return samples.get(str(schema.get("type")), name.upper())
