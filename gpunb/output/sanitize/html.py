"""Sanitizers for a stranger's HTML, Markdown, LaTeX and SVG.

HTML goes through nh3 (ammonia) with an allowlist: no script, no
style sheet, no form, no frame, no class or id that the page around it knows,
no address that the browser fetches by itself. The rest is put into a box that
clips it, so that it can't be drawn over the rest of the page. Markdown becomes
HTML here and is cleaned the same way, since frontends accept HTML inside it; SVG
becomes a picture, in which browsers run no script.
"""

from __future__ import annotations

import base64
import re
from functools import cache
from html import escape, unescape
from typing import Any

from gpunb.output.sanitize import tex

__all__ = ["clean_html", "frame", "markdown_html", "plain_tex", "safe_latex", "svg_picture", "what_is_active"]

LONGEST = 4 << 20  # maximum characters of HTML
LONGEST_MARKDOWN = 256 << 10
MOST_MARKS = 8_000  # of one kind in Markdown: for each one the parser may search to the end
MOST_TAGS = 20_000  # that can nest: a parser's work grows with the square of the depth
DEEPEST = 200


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TEXT = (
    "a abbr b bdi blockquote br center cite code dd del details dfn div dl dt em figcaption figure font "
    "h1 h2 h3 h4 h5 h6 hr i ins kbd li mark meter ol p pre progress q rp rt ruby s samp small span strike "
    "strong sub summary sup tt u ul var "
)
_TABLE = "caption col colgroup table tbody td tfoot th thead tr "
_MEDIA = "audio img source video"
_TAGS = _words(_TEXT + _TABLE + _MEDIA)
# the content of these is not text
_WITH_CONTENT = _words(
    "applet embed frameset head iframe math noembed noframes noscript object script select style svg "
    "template textarea title xmp"
)
_EVERYWHERE = frozenset(["align", "dir", "lang", "style", "title", "valign"])
_ATTRIBUTES: dict[str, set[str]] = {
    "*": set(_EVERYWHERE),
    "a": {"href"},
    "audio": {"controls", "loop", "src"},
    "col": {"span", "width"},
    "colgroup": {"span"},
    "details": {"open"},
    "font": {"color", "face", "size"},
    "img": {"alt", "height", "src", "width"},
    "meter": {"max", "min", "value"},
    "ol": {"start", "type"},
    "progress": {"max", "value"},
    "source": {"src", "type"},
    "table": {"border", "cellpadding", "cellspacing", "width"},
    "td": {"bgcolor", "colspan", "height", "rowspan", "width"},
    "th": {"bgcolor", "colspan", "height", "rowspan", "scope", "width"},
    "tr": {"bgcolor"},
    "video": {"controls", "height", "loop", "src", "width"},
}
# none of these takes a URL as its value, and none is drawn outside the box
_STYLE = _words(
    "border border-bottom border-collapse border-color border-left border-radius border-right border-spacing "
    "border-style border-top border-width background-color color display float font-family font-size "
    "font-style font-variant font-weight height letter-spacing line-height margin margin-bottom margin-left "
    "margin-right margin-top max-height max-width min-height min-width opacity overflow overflow-x "
    "overflow-y padding padding-bottom padding-left padding-right padding-top table-layout text-align "
    "text-decoration text-indent text-transform vertical-align white-space width word-break word-wrap"
)
_DATA = re.compile(
    r"data:(image/(png|jpeg|gif|webp|bmp|svg\+xml)|audio/[a-z0-9.+-]{1,40}|video/[a-z0-9.+-]{1,40})"
    r"(;codecs=[\w.,\"-]{1,60})?;base64,[A-Za-z0-9+/=\s]*\Z"
)
_LINK = re.compile(r"(https?://|mailto:)[^\s\x00-\x20]{1,2000}\Z", re.IGNORECASE)
_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]{0,40})")
_FLAT = _words("area base br col dd dt hr img input li link meta option p source td th track tr wbr")

# names of removed content for the user; not part of the defence
_ACTIVE: dict[str, tuple[tuple[str, ...], re.Pattern[str]]] = {
    "scripts": (
        ("<script", "javascript:", " on", "\non", "/on", '"on', "'on", "\ton"),
        re.compile(r"<script|[\s/\"']on[a-z]{3,24}\s*=|javascript:"),
    ),
    "frames": (("<iframe", "<object", "<embed", "<frame"), re.compile(r"<(?:iframe|object|embed|frame)\b")),
    "style sheets": (("<style", "<link"), re.compile(r"<(?:style(?!\s+scoped)|link)\b")),
    "drawings": (("<svg", "<math", "<canvas"), re.compile(r"<(?:svg|math|canvas)\b")),
    "forms": (
        ("<form", "<input", "<button", "<select", "<textarea"),
        re.compile(r"<(?:form|input|button|select|textarea)\b"),
    ),
    "addresses to load": (
        ("src", "poster"),
        re.compile(r"\b(?:src|srcset|poster)\s*=\s*[\"']?\s*(?!data:)[\w./]"),
    ),
}

BOX = '<div class="mathjax_ignore tex2jax_ignore" style="contain:paint;overflow:auto">'
BOX_WITH_MATH = '<div style="contain:paint;overflow:auto">'


def clean_html(text: str) -> str | None:
    """Reduce `text` to passive HTML in a clipping box; None if it is too large or too deep to clean."""
    inner = clean_fragment(text)
    return None if inner is None else f"{BOX}{inner}</div>"


def clean_fragment(text: str) -> str | None:
    """Reduce `text` as `clean_html` does, without the box."""
    if len(text) > LONGEST or not _shallow(text):
        return None
    result: str = _cleaner().clean(text.replace("\x00", ""))
    return result


@cache
def _cleaner() -> Any:
    import nh3

    return nh3.Cleaner(
        tags=set(_TAGS),
        clean_content_tags=set(_WITH_CONTENT),
        attributes=_ATTRIBUTES,
        attribute_filter=_attribute,
        url_schemes={"http", "https", "mailto", "data"},
        link_rel="noopener noreferrer nofollow",
        filter_style_properties=set(_STYLE),
        allowed_classes={"table": {"dataframe"}},
    )


def _attribute(tag: str, name: str, value: str) -> str | None:
    """Filter an attribute's value: nothing is fetched, and a link is followed by a click only."""
    if name == "src":
        return value if _DATA.match(value) else None
    if name == "href":
        return value if _LINK.match(value) else None
    if name == "style":
        return None if re.search(r"url|image|\\|expression|@", value, re.IGNORECASE) else value
    return value if len(value) <= 2000 or tag == "img" else None


def _shallow(text: str) -> bool:
    """Whether `text` is shallow enough to be parsed in bounded time."""
    if text.count("<") > 10 * MOST_TAGS:
        return False
    open_tags: dict[str, int] = {}
    depth = seen = 0
    for end, name in _TAG.findall(text):
        tag = name.lower()
        if tag in _FLAT:
            continue
        if not end:
            seen += 1
            depth += 1
            open_tags[tag] = open_tags.get(tag, 0) + 1
            if depth > DEEPEST or seen > MOST_TAGS:
                return False
        elif open_tags.get(tag):
            open_tags[tag] -= 1
            depth -= 1
    return True


def what_is_active(text: str) -> list[str]:
    """Name the active content of `text`, which is not shown."""
    low = text.lower()
    return [
        name
        for name, (words, pattern) in _ACTIVE.items()
        if any(word in low for word in words) and pattern.search(low)
    ]


def markdown_html(text: str) -> str | None:
    """Render Markdown to clean HTML; None if it is too long or can't be parsed."""
    from markdown_it import MarkdownIt

    if len(text) > LONGEST_MARKDOWN or max(text.count(mark) for mark in "[*_>`") > MOST_MARKS:
        return None
    made: str = MarkdownIt("js-default").disable("linkify", ignoreInvalid=True).render(text)
    inner = clean_fragment(made)
    if inner is None:
        return None
    box = BOX_WITH_MATH if tex.only_typesets(unescape(unescape(made))) else BOX
    return f"{box}{inner}</div>"


def safe_latex(text: str) -> str | None:
    """Return LaTeX for MathJax or KaTeX if its commands only typeset, else None."""
    if len(text) > LONGEST_MARKDOWN or not tex.only_typesets(text):
        return None
    return text.replace("<", r"\lt ").replace(">", r"\gt ")


def plain_tex(text: str) -> str:
    """Disable all LaTeX commands in `text` that could do more than typeset."""
    return tex.without_others(text)


def svg_picture(text: str) -> str:
    """Wrap an SVG drawing as a picture: browsers run no script in it and fetch nothing for it."""
    data = base64.b64encode(text.encode("utf-8", "replace")).decode()
    return f'{BOX}<img alt="drawing" src="data:image/svg+xml;base64,{data}"></div>'


_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
    "media-src data: blob:; form-action 'none'; base-uri 'none'; frame-src 'none'"
)
_HEAD_TAGS = re.compile(r"<(?=/?(?:meta|link|base)\b)", re.IGNORECASE)  # not stopped by the policy


def frame(text: str, height: int = 480) -> str:
    """Wrap HTML with its styles and drawings in a sandboxed frame, without scripts and network.

    Scripts stay out: no policy of a page keeps them from WebRTC. The frame around the frame
    is what a link in it can't leave: where the inner one may go is the outer one's policy.
    """
    inner = _closed(_HEAD_TAGS.sub("&lt;", text), "width:100%;height:100%;border:none")
    outer = f"<style>html,body{{margin:0;height:100%}}</style>{inner}"
    return _closed(outer, f"width:100%;height:{height}px;border:1px dashed var(--jp-border-color2,#bbb)")


def _closed(body: str, style: str) -> str:
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    page = f'<!doctype html><meta charset="utf-8">{policy}<body>{body}</body>'
    return (
        f'<iframe sandbox="" referrerpolicy="no-referrer" credentialless srcdoc="{escape(page)}" '
        f'style="{style}"></iframe>'
    )
