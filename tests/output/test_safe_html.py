"""HTML, Markdown, LaTeX and SVG of a stranger: nothing in them runs, loads or reaches out of its box."""

from __future__ import annotations

import time
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpunb.output.sanitize import html

ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href='jav&#x09;ascript:alert(1)'>x</a>",
    "<a href='&#106;avascript:alert(1)'>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<a href='/lab/api/shutdown'>x</a>",
    "<a href='//evil.example'>x</a>",
    "<iframe srcdoc='<script>parent.x=1</script>'></iframe>",
    "<object data='data:text/html,x'></object><embed src=x>",
    "<form action=https://evil.example><input name=key><button>go</button></form>",
    "<style>@import 'https://evil.example/x.css'; * {display:none}</style>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<p style='background:url(https://evil.example/p.png)'>x</p>",
    "<p style='background-color:red;position:fixed;top:0;left:0;z-index:9999'>x</p>",
    "<p style='color:\\75rl(https://evil.example)'>x</p>",
    "<img src='https://evil.example/pixel.png'><img srcset='https://evil.example/a 2x'>",
    "<img src='http://127.0.0.1:8888/api/kernels'>",
    "<video poster=https://evil.example/p.png src=https://evil.example/v.mp4></video>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href=https://evil.example/>",
    "<div id=app class='jp-Notebook lm-Widget' name=x data-commandlinker-command=x>x</div>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
    '<svg></p><style><a id="</style><img src=1 onerror=alert(1)>">',
    "<table background='javascript:alert(1)'><td background=javascript:alert(1)>",
    "<template><script>alert(1)</script></template>",
    "<x-y onclick=alert(1)>x</x-y>",
    "</div></div></body><script>alert(1)</script>",
    "<!--><img src=x onerror=alert(1)>-->",
    "<![CDATA[<img src=x onerror=alert(1)>]]>",
    "<audio src='data:text/html;base64,AAAA' autoplay>",
    "<details ontoggle=alert(1) open>x</details>",
    "$\\href{javascript:alert(1)}{x}$ \\hr<wbr>ef{javascript:alert(1)}{y}",
]


class Page(HTMLParser):
    """Fails at anything that is not to be looked at."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.depth = 0

    def handle_starttag(self, tag, attrs):
        assert tag in html._TAGS, tag
        for name, value in attrs:
            assert not name.startswith("on"), name
            assert not name.startswith("data-"), name
            assert name not in ("id", "name", "srcset", "poster", "action", "background"), name
            text = (value or "").lower()
            if name == "href":
                assert text.startswith(("http://", "https://", "mailto:")), text
            if name == "src":
                assert text.startswith(("data:image/", "data:audio/", "data:video/")), text
            if name == "class":
                assert text in ("dataframe", "mathjax_ignore tex2jax_ignore"), text
            if name == "style":
                assert "url" not in text
                assert "position" not in text
        if tag not in ("img", "br", "hr", "col", "source"):
            self.depth += 1

    def handle_endtag(self, tag):
        self.depth -= 1
        assert self.depth >= 0

    def handle_comment(self, data):
        raise AssertionError(data)

    def handle_decl(self, decl):
        raise AssertionError(decl)


def looked_at(made: str) -> None:
    page = Page()
    page.feed(made)
    page.close()
    assert page.depth == 0
    assert made.startswith("<div ")
    assert made.endswith("</div>")


@pytest.mark.parametrize("text", ATTACKS)
def test_nothing_of_an_attack_is_left(text: str) -> None:
    made = html.clean_html(text)
    assert made is not None
    looked_at(made)
    assert "alert(1)</script" not in made


@pytest.mark.parametrize("text", ATTACKS)
def test_nor_in_markdown(text: str) -> None:
    for form in (text, f"`{text}`", f"[x]({text})", f"- a\n\n      {text}"):
        made = html.markdown_html(form)
        assert made is not None
        looked_at(made)


@given(
    st.lists(
        st.sampled_from([*ATTACKS, "<table>", "</table>", "<p>", "'", '"', "&lt;", "<", ">"]), max_size=6
    )
)
@settings(max_examples=300, deadline=None)
def test_nor_of_their_mixtures(parts: list[str]) -> None:
    made = html.clean_html("".join(parts))
    if made is not None:
        looked_at(made)


# where a parser changes its mind: what is text in one of these is markup in another
PLACES = sorted(
    html._words(
        "svg math template noscript noembed noframes table select option style script title textarea xmp "
        "iframe plaintext foreignObject desc mtext mi annotation-xml mglyph malignmark form p a b nobr "
        "frameset head caption colgroup tr td listing pre details"
    )
)
PIECES = (
    "<img src=x onerror=alert(1)>",
    "</{0}><img src=x onerror=alert(1)>",
    "<!--</{0}><img src=x onerror=alert(1)>-->",
    "<p id='</{0}><img src=x onerror=alert(1)>'>",
    "<![CDATA[</{0}><script>alert(1)</script>]]>",
    "<{0} onload=alert(1) style=position:fixed href=javascript:alert(1) xlink:href=javascript:alert(1)>",
)


def test_nor_of_any_element_in_any_other() -> None:
    """Every pair of places, open and closed, around every piece: mutations live at their borders."""
    for outer in PLACES:
        for inner in PLACES:
            for piece in PIECES:
                made = html.clean_html(
                    f"<{outer}><{inner}>{piece.format(inner)}</{outer}>{piece.format(outer)}"
                )
                assert made is not None
                looked_at(made)


def test_what_people_show_stays() -> None:
    import pandas as pd

    made = html.clean_html(pd.DataFrame({"n": [1, 2], "word": ["<b>", "x"]})._repr_html_())
    assert made is not None
    for piece in ('class="dataframe"', "<thead>", "<td>&lt;b&gt;</td>", "text-align:right"):
        assert piece in made
    picture = "<img src='data:image/png;base64,iVBORw0KGgo=' width=20>"
    assert 'src="data:image/png;base64,iVBORw0KGgo="' in (html.clean_html(picture) or "")
    assert "<h1>hi</h1>" in (html.markdown_html("# hi") or "")
    assert 'href="https://example.org"' in (html.markdown_html("[x](https://example.org)") or "")


@pytest.mark.parametrize(
    "text",
    [
        "<div>" * 300_000,
        "<div></x>" * 100_000,
        "<div><table><td></div>" * 20_000,
        "<b><i><u>" * 50_000,
        "x" * (html.LONGEST + 1),
        "<" * 3_000_000,
        "<a " + "b=c " * 500_000 + ">",
        "<p " + "style='color:red;" * 50_000,
        "&#" * 1_000_000,
        "<svg><math>" * 30_000,
    ],
)
def test_bombs_cost_little(text: str) -> None:
    begun = time.process_time()
    made = html.clean_html(text)
    assert made is None or len(made) < 20 << 20
    assert time.process_time() - begun < 60


@pytest.mark.parametrize(
    "text", ["[" * 200_000, "> " * 100_000, "*a " * 80_000, "![" * 100_000, "`" * 250_000, "- " * 100_000]
)
def test_markdown_bombs_cost_little(text: str) -> None:
    begun = time.process_time()
    html.markdown_html(text)
    assert time.process_time() - begun < 60


def test_latex() -> None:
    assert html.safe_latex(r"$\frac{1}{2} < x$") == r"$\frac{1}{2} \lt  x$"
    for bad in (
        r"\href{javascript:alert(1)}{x}",
        r"\def\x#1{\h#1}",
        r"\require{html}",
        r"\mmlToken{mi}[href=javascript:alert(1)]{x}",
        r"\style{position:fixed}{x}",
        r"\HREF{x}",
    ):
        assert html.safe_latex(bad) is None
        assert html.safe_latex(html.plain_tex(bad)) is not None
    assert "<" not in (html.safe_latex("<img src=x onerror=alert(1)>") or "<")


def test_a_drawing_becomes_a_picture() -> None:
    made = html.svg_picture("<svg onload=alert(1)><script>x</script></svg>")
    looked_at(made)


def test_a_closed_frame_has_no_way_out() -> None:
    from html import unescape

    made = html.frame('<script>"</iframe><script>alert(1)</script><meta http-equiv=refresh><LINK rel=x>')
    assert made.count("<iframe") == 1
    assert made.count("<script") == 0
    inner = unescape(made)
    for policy in ('sandbox=""', "default-src 'none'", "frame-src 'none'"):
        assert policy in made.replace("&#x27;", "'")
        assert policy in inner.replace("&#x27;", "'").partition("srcdoc")[2]
    assert "script-src" not in inner
    assert "allow-" not in inner
    body = unescape(inner)
    assert "<meta http-equiv=refresh" not in body
    assert "<LINK" not in body


OTHERS = """
DeclareMathOperator DeclarePairedDelimiter def gdef edef xdef let futurelet newcommand renewcommand
providecommand newenvironment require href url style class cssId data htmlClass htmlId htmlStyle
htmlData unicode label ref eqref tag includegraphics color definecolor textcolor colorbox fcolorbox
bbox enclose mathchoice rule raise lower kern hskip hspace moveleft llap rlap smash verb char
catcode csname input mmlToken mathtip texttip toggle action Newextension
"""


@pytest.mark.parametrize("command", OTHERS.split())
def test_latex_changes_nothing_of_the_page(command: str) -> None:
    text = rf"$x \{command}{{\alpha}}{{x}}$"
    assert html.safe_latex(text) is None
    shown = html.plain_tex(text)
    assert f"\\{command}" not in shown
    assert html.safe_latex(shown) is not None
    markdown = html.markdown_html(text) or ""
    assert markdown.startswith(html.BOX)
    entity = html.markdown_html(text.replace("\\", "&#92;")) or ""
    assert entity.startswith(html.BOX)


def test_what_sympy_and_people_write_stays() -> None:
    for text in (
        r"$\displaystyle \int_{0}^{\infty} e^{- x^{2}}\, dx = \frac{\sqrt{\pi}}{2}$",
        r"$\left[\begin{matrix}1 & 0\\y & x\end{matrix}\right]$",
        r"\begin{align*}a &= \operatorname{sinc}(x) \\ b &\leq \mathbb{R}\end{align*}",
        r"$\begin{cases} x & \text{for}\: x < 1 \\ 0 & \text{otherwise} \end{cases}$",
        r"$\{1, 2\} \cup \lvert x \rvert \quad \hat{y} \approx \sum_i \alpha_i$",
    ):
        assert html.safe_latex(text) is not None, text
        assert html.plain_tex(text) == text
    assert (html.markdown_html(r"mine: $\alpha$") or "").startswith(html.BOX_WITH_MATH)
