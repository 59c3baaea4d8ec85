"""The API's documentation page: HTML from the OpenAPI document, with a form to try each operation; self-contained."""

import base64
import hashlib
import json
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; }
code, pre { font: 14px/1.45 ui-monospace, monospace; }
pre { border: 1px solid; border-radius: 6px; overflow-x: auto; padding: .75rem; }
summary { cursor: pointer; font-weight: 600; padding: .5rem 0; }
table { border-collapse: collapse; display: block; margin: 0 0 1rem; overflow-x: auto; width: 100%; }
a { overflow-wrap: anywhere; }
label { display: block; margin: .5rem 0; }
input, textarea { box-sizing: border-box; display: block; font: inherit; max-width: 100%; padding: .3rem; }
input { width: 30rem; }
textarea { font: 14px/1.45 ui-monospace, monospace; height: 12rem; width: 100%; }
button { font: inherit; padding: .3rem 1rem; }
th, td { border-bottom: 1px solid; padding: .3rem .6rem .3rem 0; text-align: left; vertical-align: top; }
"""

SCRIPT = """
for (const form of document.querySelectorAll("form")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const output = form.querySelector("output");
    const query = new URLSearchParams();
    let path = form.dataset.path;
    for (const field of form.querySelectorAll("input")) {
      if (field.dataset.in === "path") path = path.replace(`{${field.name}}`, encodeURIComponent(field.value));
      else if (field.value) query.set(field.name, field.value);
    }
    const key = document.getElementById("key").value.trim();
    const headers = key ? { "X-API-Key": key } : {};
    const body = form.querySelector("textarea")?.value;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const address = new URL(path.slice(1), document.baseURI);
    address.search = query;
    output.textContent = "waiting";
    try {
      const answer = await fetch(address, { method: form.dataset.method, headers, body });
      const text = await answer.text();
      let shown = text;
      try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: shown as it is */ }
      output.textContent = `${answer.status} ${answer.statusText}\\n${shown}`;
    } catch (error) {
      output.textContent = `no answer: ${error.message}`;
    }
  });
}
"""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'; "
    f"style-src {_hash(STYLE)}; script-src {_hash(SCRIPT)}"
)
"""Content security policy of the page: its own style sheet and script, and requests to its own host."""


def page(document: dict[str, Any]) -> str:
    """The page for an OpenAPI document."""
    info = document["info"]
    operations = [
        _operation(method.upper(), path, operation, document)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = [_schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    paragraphs = "".join(f"<p>{_text(part)}</p>" for part in info["description"].split("\n\n"))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])} API</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{escape(info['title'])} API {escape(info['version'])}</h1>{paragraphs}"
        '<p>For machines: <a href="openapi.json">openapi.json</a>. '
        "Protected operations need the header <code>X-API-Key</code>.</p>"
        '<label>API key for "Try it" <input id="key" autocomplete="off" spellcheck="false"></label>'
        f"<h2>Operations</h2>{''.join(operations)}<h2>Schemas</h2>{''.join(schemas)}</main>"
        f"<script>{SCRIPT}</script></body></html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    parts = [f"<p>{_text(operation['description'])}</p>"] if operation.get("description") else []
    if operation.get("security"):
        parts.append("<p>Needs a key.</p>")
    rows = [
        [f"<code>{escape(p['name'])}</code>", escape(p["in"]), _type(p["schema"]), _text(p.get("description", ""))]
        for p in operation.get("parameters", [])
    ]
    if rows:
        parts.append(_table(("Parameter", "In", "Type", "Meaning"), rows))
    example: Any = None
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body:
        parts.append(f"<p>Body: {_type(body)}</p>")
        example = _example(body, document)
    answers = []
    for status, response in operation["responses"].items():
        content: dict[str, Any] = next(iter(response.get("content", {}).values()), {})
        answers.append([escape(status), _type(content.get("schema", {})), _text(response["description"])])
    parts.append(_table(("Status", "Body", "Meaning"), answers))
    parts.append(_try_it(method, path, operation, example))
    summary = f"<code>{method} {escape(path)}</code> {escape(operation.get('summary', ''))}"
    return f"<details open><summary>{summary}</summary>{''.join(parts)}</details>"


def _try_it(method: str, path: str, operation: dict[str, Any], example: Any) -> str:
    """A form that sends the operation's request and shows the answer."""
    fields = [
        f'<label>{escape(p["name"])} <input name="{escape(p["name"])}" data-in="{escape(p["in"])}"'
        f"{' required' if p.get('required') else ''}></label>"
        for p in operation.get("parameters", [])
    ]
    if example is not None:
        text = escape(json.dumps(example, indent=2, ensure_ascii=False))
        fields.append(f'<label>Body <textarea spellcheck="false">{text}</textarea></label>')
    name = escape(f"Try {method} {path}")
    return (
        f'<form data-method="{method}" data-path="{escape(path)}" aria-label="{name}">{"".join(fields)}'
        f'<button aria-label="{name}">Try it</button>'
        f'<pre tabindex="0" role="region" aria-label="Answer of {method} {escape(path)}">'
        "<output></output></pre></form>"
    )


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = [
        [
            f"<code>{escape(field)}</code>{'' if field in required else ' (optional)'}",
            _type(rule),
            _text(_rules(rule)),
        ]
        for field, rule in schema.get("properties", {}).items()
    ]
    described = f"<p>{_text(schema.get('description', ''))}</p>"
    table = _table(("Field", "Type", "Rules"), rows) if rows else f"<p>{_type(schema)}</p>"
    return f'<h3 id="{escape(name)}">{escape(name)}</h3>{described}{table}'


def _rules(rule: dict[str, Any]) -> str:
    shown = [str(rule["description"])] if rule.get("description") else []
    flat = {**next((r for r in rule.get("anyOf", []) if r.get("type") != "null"), {}), **rule}
    for key, word in (
        ("minimum", "at least"),
        ("maximum", "at most"),
        ("minLength", "characters at least"),
        ("maxLength", "characters at most"),
        ("minItems", "items at least"),
        ("maxItems", "items at most"),
        ("default", "default"),
    ):
        if key in flat and flat[key] is not None:
            shown.append(f"{word} {json.dumps(flat[key])}")
    return "; ".join(shown)


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(_type(option) for option in schema[key])
    if "enum" in schema:
        return " or ".join(f"<code>{escape(json.dumps(value))}</code>" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return escape(str(schema.get("type", "")))


def _example(schema: dict[str, Any], document: dict[str, Any]) -> Any:
    if "$ref" in schema:
        return _example(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    if schema.get("examples"):
        return schema["examples"][0]
    for option in schema.get("oneOf", []):
        found = _example(option, document)
        if found is not None:
            return found
    return None


def _table(heads: tuple[str, ...], rows: list[list[str]]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(text: str) -> str:
    """Escaped text; what is quoted by backticks becomes code."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if place % 2 else piece for place, piece in enumerate(pieces))
