"""Sanitizer for a stranger's LaTeX: an allowlist of commands that only typeset.

MathJax and KaTeX keep one set of macros, labels and numbers for a whole page, and
some commands make links, styles, classes and attributes. New ones come with each
version, so the list names what is allowed: commands of Plain TeX, LaTeX and AMS that
both know, without definitions, labels, boxes of free size, and colours.
"""

from __future__ import annotations

import re

__all__ = ["only_typesets", "without_others"]

_LETTERS = """
alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa varkappa lambda mu nu xi
omicron pi varpi rho varrho sigma varsigma tau upsilon phi varphi chi psi omega digamma Gamma Delta
Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega varGamma varDelta varTheta varLambda varXi varPi varSigma
varUpsilon varPhi varPsi varOmega aleph beth gimel daleth ell hbar hslash imath jmath wp Re Im partial
nabla infty emptyset varnothing forall exists nexists neg lnot top bot angle measuredangle
sphericalangle triangle Box square blacksquare Diamond lozenge blacklozenge clubsuit diamondsuit
heartsuit spadesuit flat natural sharp surd prime backprime degree complement eth mho Finv Game bigstar
diagup diagdown ldots cdots vdots ddots dots dotsb dotsc dotsi dotsm dotso checkmark circledR maltese
pounds yen S P dag ddag copyright
"""
_OPERATORS = """
sum prod coprod int iint iiint oint intop bigcap bigcup bigodot bigoplus bigotimes bigsqcup biguplus
bigvee bigwedge arccos arcsin arctan arg cos cosh cot coth csc deg det dim exp gcd hom inf injlim ker lg
lim liminf limsup ln log max min Pr projlim sec sin sinh sup tan tanh bmod pmod pod mod limits nolimits
displaylimits operatorname pm mp times div cdot ast star circ bullet cap cup uplus sqcap sqcup vee wedge
land lor setminus smallsetminus wr diamond bigtriangleup bigtriangledown triangleleft triangleright
oplus ominus otimes oslash odot amalg dagger ddagger bigcirc centerdot ltimes rtimes boxplus boxminus
boxtimes boxdot dotplus divideontimes intercal
"""
_RELATIONS = """
leq le geq ge neq ne lt gt ll gg lll ggg prec succ preceq succeq sim simeq approx approxeq cong equiv
propto asymp doteq models perp mid nmid parallel nparallel subset supset subseteq supseteq nsubseteq
nsupseteq subsetneq supsetneq sqsubset sqsupset sqsubseteq sqsupseteq in ni notin owns vdash dashv vDash
Vdash nvdash bowtie smile frown leqslant geqslant nless ngtr nleq ngeq lesssim gtrsim lessgtr gtrless
triangleq circeq bumpeq thickapprox thicksim backsim backsimeq because therefore between not nsim ncong
to gets leftarrow rightarrow uparrow downarrow leftrightarrow updownarrow Leftarrow Rightarrow Uparrow
Downarrow Leftrightarrow Updownarrow longleftarrow longrightarrow longleftrightarrow Longleftarrow
Longrightarrow Longleftrightarrow mapsto longmapsto nearrow searrow swarrow nwarrow hookleftarrow
hookrightarrow leftharpoonup leftharpoondown rightharpoonup rightharpoondown rightleftharpoons
leftrightharpoons leadsto iff implies impliedby xleftarrow xrightarrow nleftarrow nrightarrow
leftrightarrows rightleftarrows twoheadrightarrow upharpoonright curvearrowright circlearrowright
"""
_FORM = """
frac dfrac tfrac cfrac binom dbinom tbinom sqrt root over atop choose of stackrel overset underset
substack overline underline overbrace underbrace overrightarrow overleftarrow overleftrightarrow widehat
widetilde hat tilde bar vec dot ddot dddot acute grave breve check mathring prime left right middle big
Big bigg Bigg bigl Bigl biggl Biggl bigr Bigr biggr Biggr bigm Bigm biggm Biggm lbrace rbrace lbrack
rbrack langle rangle lvert rvert lVert rVert vert Vert lceil rceil lfloor rfloor lgroup rgroup
lmoustache rmoustache ulcorner urcorner llcorner lrcorner backslash begin end quad qquad thinspace
medspace thickspace enspace negthinspace cr hline cline nonumber notag displaystyle textstyle
scriptstyle scriptscriptstyle phantom hphantom vphantom mathstrut strut text textrm textit textbf textsf
texttt textnormal mathrm mathit mathbf mathsf mathtt mathbb mathcal mathfrak mathscr mathnormal
boldsymbol bm pmb rm it bf sf tt cal mit boxed mathop mathbin mathrel mathord mathopen mathclose
mathpunct mathinner hfill space tiny small normalsize large Large b c d H t u v r aa AA ae AE oe OE o O
ss l L i j
"""
_ALLOWED = frozenset(f"{_LETTERS} {_OPERATORS} {_RELATIONS} {_FORM}".split())
_NUMBERED = ["align", "equation", "gather", "multline"]  # not numbered unless the page is set so
_OTHER_ENVIRONMENTS = """
aligned alignedat array bmatrix Bmatrix cases dcases gathered matrix pmatrix rcases smallmatrix split
vmatrix Vmatrix
"""
_ENVIRONMENTS = frozenset([*_NUMBERED, *(f"{name}*" for name in _NUMBERED), *_OTHER_ENVIRONMENTS.split()])
_COMMAND = re.compile(
    r"\\(?:(?P<begin>begin|end)\s*\{(?P<name>[^{}]{0,40})\}|(?P<word>[A-Za-z@]+)|.|\Z)", re.DOTALL
)


def _may_stay(found: re.Match[str]) -> bool:
    if found["begin"]:
        return found["name"] in _ENVIRONMENTS
    return found["word"] is None or (found["word"] in _ALLOWED and found["word"] not in ("begin", "end"))


def only_typesets(text: str) -> bool:
    """Whether `text` has only commands of the allowlist."""
    return all(map(_may_stay, _COMMAND.finditer(text)))


def without_others(text: str) -> str:
    """Disable commands outside the allowlist: their backslash is replaced by a full-width one."""
    return _COMMAND.sub(lambda found: found[0] if _may_stay(found) else f"\uff3c{found[0][1:]}", text)
