"""How others write a fixed-point format: ARM and TI, C++ for hardware, MATLAB, VHDL.

`QFormat.parse` and `QFormat.to_text` are the way here. Each notation is what its document says:

- ``arm``: *ARM Developer Suite, AXD and armsd Debuggers Guide* (DUI 0066), "Q-format".
- ``ti``: *TMS320C64x DSP Library Programmer's Reference*, A.2 "Fractional Q Formats".
- ``ap_fixed``: *Vitis High-Level Synthesis User Guide* (AMD UG1399), "Fixed-Point Identifier
  Summary", "Quantization Modes", "Overflow Modes".
- ``ac_fixed``: *Algorithmic C Datatypes Reference Manual*, "Quantization and Overflow".
- ``numerictype``: *Fixed-Point Designer* (MathWorks), "numerictype", "Rounding Modes", and "fimath
  for Rounding and Overflow Modes", which says what holds where no rule is given.
- ``sfixed``: IEEE Std 1076-2008, ``fixed_generic_pkg``, and ``fixed_pkg`` for the defaults.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ._check import choice

_DETERMINISTIC = ("floor", "toward_zero", "half_up", "half_away", "half_even")


@dataclass(frozen=True)
class Notation:
    """One way to write a format.

    Attributes
    ----------
    text : str
        What is printed, of the numbers ``a`` and ``b`` and maybe the words of both rules.
    pattern : str
        What is read: a regular expression for each token, with groups of these names, and
        ``unsigned`` for the token that says so.
    widths : callable, (a, b) -> (bits, frac)
    numbers : callable, (bits, frac) -> (a, b)
    roundings, overflows : mapping of str to str
        The language's words and our rules; the first is what holds where none is stated.
    lacks : mapping of str to str
        Words that we have no rule for, and what they ask for.
    """

    text: str
    pattern: str
    widths: Callable[[int, int], tuple[int, int]]
    numbers: Callable[[int, int], tuple[int, int]]
    roundings: Mapping[str, str]
    overflows: Mapping[str, str]
    lacks: Mapping[str, str] = field(default_factory=dict)

    def match(self, text: str) -> re.Match[str] | None:
        """Return the match of a whole text; there may be spaces around tokens."""
        return re.fullmatch(r"\s*".join(["", *self.pattern.split(), ""]), text)


_A, _B = "(?P<a>[0-9]{1,4})", "(?P<b>[0-9]{1,4})"  # longer ones are no widths
_SIGNED_A, _SIGNED_B = (number.replace("[", "-?[") for number in (_A, _B))


def _q(widths: Callable, numbers: Callable) -> Notation:
    """Return a notation Qm.n, which says nothing of rules: they have our names and defaults."""
    return Notation(
        "Q{a}.{b}",
        rf"(?P<unsigned>U?)Q{_A}\.{_B}",
        widths,
        numbers,
        {name: name for name in ("half_even", *_DETERMINISTIC)},
        {"saturate": "saturate", "wrap": "wrap"},
    )


_MODES = r"(?: , (?P<rounding>\w+) (?: , (?P<overflow>\w+) )? )?"


def _c_plus_plus(name: str, sign: str, pattern: str) -> Notation:
    """Return the notation of a C++ type ``name<W, I, ...>``; their modes have the same names."""
    mode = name[:2].upper()
    return Notation(
        f"{name}<{{a}},{{b}},{sign}{{rounding}},{{overflow}}>",
        pattern,
        lambda w, i: (w, w - i),
        lambda bits, frac: (bits, bits - frac),
        {
            f"{mode}_TRN": "floor",
            f"{mode}_TRN_ZERO": "toward_zero",
            f"{mode}_RND": "half_up",
            f"{mode}_RND_INF": "half_away",
            f"{mode}_RND_CONV": "half_even",
        },
        {f"{mode}_WRAP": "wrap", f"{mode}_SAT": "saturate"},
        {
            f"{mode}_RND_ZERO": "nearest, ties towards zero",
            f"{mode}_RND_MIN_INF": "nearest, ties towards minus infinity",
            "AC_RND_CONV_ODD": "nearest, ties to the odd integer",
            f"{mode}_SAT_ZERO": "zero for what lies outside the range",
            f"{mode}_SAT_SYM": "a range without its lowest value",
            "AP_WRAP_SM": "wrapping of sign and magnitude",
        },
    )


NOTATIONS = {
    "arm": _q(lambda m, n: (m + n, n), lambda bits, frac: (bits - frac, frac)),
    "ti": _q(lambda m, n: (1 + m + n, n), lambda bits, frac: (bits - frac - 1, frac)),
    "ap_fixed": _c_plus_plus(
        "ap_fixed", "", rf"ap_(?P<unsigned>u?)fixed < {_A} , {_SIGNED_B} {_MODES} >"
    ),
    "ac_fixed": _c_plus_plus(
        "ac_fixed",
        "true,",
        rf"ac_fixed < {_A} , {_SIGNED_B} (?: , (?: true|1 | (?P<unsigned>false|0) ) {_MODES} )? >",
    ),
    "numerictype": Notation(
        "numerictype(1,{a},{b})",
        rf"numerictype \( (?: 1 | true | (?P<unsigned>0|false) ) , {_A} , {_SIGNED_B} \)",
        lambda w, f: (w, f),
        lambda bits, frac: (bits, frac),
        {
            "Nearest": "half_up",
            "Floor": "floor",
            "Zero": "toward_zero",
            "Round": "half_away",
            "Convergent": "half_even",
        },
        {"Saturate": "saturate", "Wrap": "wrap"},
        {"Ceiling": "the next integer towards plus infinity"},
    ),
    "sfixed": Notation(
        "sfixed({a} downto {b})",
        rf"(?i:s|(?P<unsigned>u))(?i:fixed) \( {_SIGNED_A}\s+(?i:downto)\s+{_SIGNED_B} \)",
        lambda high, low: (high - low + 1, -low),
        lambda bits, frac: (bits - frac - 1, -frac),
        {"fixed_round": "half_even", "fixed_truncate": "floor"},
        {"fixed_saturate": "saturate", "fixed_wrap": "wrap"},
    ),
}

_Q = ("arm", "ti")


def read(
    text: str, convention: str | None, rounding: str | None, overflow: str | None
) -> tuple[int, int, str, str]:
    """Return bits, frac, rounding and overflow; parameters are those of `QFormat.parse`."""
    matches = {name: notation.match(text) for name, notation in NOTATIONS.items()}
    found = [(name, match) for name, match in matches.items() if match]
    if not found:
        hint = ""
        if re.fullmatch(r"\s*Q\.?[0-9]+\s*", text):
            hint = ": it leaves the width open, which Qm.n does not"
        raise ValueError(
            "text must be written like Q1.15 (with a convention), ap_fixed<16,4,AP_RND,AP_SAT>, "
            f"ac_fixed<16,4,true,AC_RND,AC_SAT>, numerictype(1,16,12) or sfixed(3 downto -12); "
            f"got {text!r}{hint}"
        )
    name, match = found[0]
    if match["unsigned"]:
        raise ValueError(f"text {text!r} is unsigned; a QFormat is signed")
    if name in _Q:
        if convention is None:
            readings = (NOTATIONS[q].widths(int(match["a"]), int(match["b"])) for q in _Q)
            each = " or ".join(
                f"convention={q!r} ({bits} bits, {frac} of them fraction)"
                for q, (bits, frac) in zip(_Q, readings, strict=True)
            )
            raise ValueError(f"text {text!r} needs {each}")
        choice("convention", convention, _Q)
        name = convention
    elif convention is not None:
        raise ValueError(f"convention is for Qm.n alone, got {convention!r} with {text!r}")
    notation = NOTATIONS[name]
    stated = match.groupdict()
    if "rounding" in stated:
        for rule, word in (("rounding", rounding), ("overflow", overflow)):
            if word is not None:
                raise ValueError(f"{rule} stands in the text of {name}, got {word!r} too")
        rounding, overflow = stated["rounding"], stated["overflow"]
    bits, frac = notation.widths(int(match["a"]), int(match["b"]))
    return (
        bits,
        frac,
        _meaning(f"rounding of {text!r}", rounding, notation.roundings, notation.lacks),
        _meaning(f"overflow of {text!r}", overflow, notation.overflows, notation.lacks),
    )


def _meaning(
    name: str, word: str | None, meanings: Mapping[str, str], lacks: Mapping[str, str]
) -> str:
    """Return our rule for a word, or for the default."""
    if word is None:
        word = next(iter(meanings))
    if word in lacks:
        raise ValueError(
            f"{name} has no equal here: {word} asks for {lacks[word]}; "
            f"allowed: {', '.join(meanings)}"
        )
    choice(name, word, tuple(meanings))
    return meanings[word]


def write(bits: int, frac: int, rounding: str, overflow: str, name: str) -> str:
    """Return the text; parameters are the fields of a `QFormat`, and that of `to_text`."""
    choice("notation", name, tuple(NOTATIONS))
    notation = NOTATIONS[name]
    words = {}
    for rule, ours, theirs in (
        ("rounding", rounding, notation.roundings),
        ("overflow", overflow, notation.overflows),
    ):
        word = next((word for word, meaning in theirs.items() if meaning == ours), None)
        if word is None:
            raise ValueError(
                f"{rule} {ours!r} has no word in {name}, which has {', '.join(theirs)}"
            )
        words[rule] = word
    a, b = notation.numbers(bits, frac)
    text = notation.text.format(a=a, b=b, **words)
    if notation.match(text) is None:
        raise ValueError(f"bits {bits} with frac {frac} has no text in {name}: it would be {text}")
    return text
