"""Formats as other tools write them: what is read, what is refused, and what is printed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import intmlp
from intmlp import QFormat, notation
from support import OVERFLOWS, ROUNDINGS, formats

# The words of each language, from its own documents and apart from the package.
FIMATH = {
    "Floor": "floor",
    "Zero": "toward_zero",
    "Nearest": "half_up",
    "Round": "half_away",
    "Convergent": "half_even",
}
AP = {
    "AP_TRN": "floor",
    "AP_TRN_ZERO": "toward_zero",
    "AP_RND": "half_up",
    "AP_RND_INF": "half_away",
    "AP_RND_CONV": "half_even",
}
AC = {word.replace("AP", "AC"): rule for word, rule in AP.items()}


@pytest.mark.parametrize(
    ("text", "more", "want"),
    [
        ("Q1.15", {"convention": "arm"}, QFormat(16, 15)),
        ("Q0.15", {"convention": "ti"}, QFormat(16, 15)),
        ("Q1.15", {"convention": "ti"}, QFormat(17, 15)),
        ("Q4.12", {"convention": "arm"}, QFormat(16, 12)),  # ARM: -8 to almost 8
        ("Q3.12", {"convention": "ti"}, QFormat(16, 12)),  # TI: (-8, 8)
        (
            "Q3.12",
            {"convention": "ti", "rounding": "floor", "overflow": "wrap"},
            QFormat(16, 12, "floor", "wrap"),
        ),
        ("ap_fixed<16,4>", {}, QFormat(16, 12, "floor", "wrap")),
        ("ap_fixed<16,4,AP_RND>", {}, QFormat(16, 12, "half_up", "wrap")),
        (" ap_fixed < 16, 4,\tAP_RND_CONV , AP_SAT > ", {}, QFormat(16, 12)),
        ("ap_fixed<2,0>", {}, QFormat(2, 2, "floor", "wrap")),
        ("ap_fixed<8,-4>", {}, QFormat(8, 12, "floor", "wrap")),
        ("ac_fixed<16,4>", {}, QFormat(16, 12, "floor", "wrap")),
        ("ac_fixed<16,4,true>", {}, QFormat(16, 12, "floor", "wrap")),
        ("ac_fixed<16,4,1,AC_RND>", {}, QFormat(16, 12, "half_up", "wrap")),
        ("ac_fixed<16,4,true,AC_RND_INF,AC_SAT>", {}, QFormat(16, 12, "half_away")),
        ("numerictype(1,16,12)", {}, QFormat(16, 12, "half_up")),
        ("numerictype(true, 8, 12)", {"overflow": "Wrap"}, QFormat(8, 12, "half_up", "wrap")),
        ("sfixed(3 downto -12)", {}, QFormat(16, 12)),
        ("SFIXED (-5 DOWNTO -12)", {}, QFormat(8, 12)),
        (
            "sfixed(7 downto 0)",
            {"rounding": "fixed_truncate", "overflow": "fixed_wrap"},
            QFormat(8, 0, "floor", "wrap"),
        ),
    ],
)
def test_read(text, more, want):
    assert QFormat.parse(text, **more) == want


@pytest.mark.parametrize(("word", "rule"), [*AP.items(), *AC.items()])
def test_modes_of_c_plus_plus(word, rule):
    kind, sign = ("ap", "") if word in AP else ("ac", "true,")
    text = f"{kind}_fixed<9,3,{sign}{word},{word[:2]}_SAT>"
    assert QFormat.parse(text) == QFormat(9, 6, rule)
    assert QFormat(9, 6, rule).to_text(f"{kind}_fixed") == text
    assert QFormat.parse(text.replace("SAT", "WRAP")) == QFormat(9, 6, rule, "wrap")


@pytest.mark.parametrize(("word", "rule"), FIMATH.items())
def test_modes_of_fimath(word, rule):
    assert QFormat.parse("numerictype(1,9,6)", rounding=word) == QFormat(9, 6, rule)


@pytest.mark.parametrize(
    ("text", "values", "want"),
    [  # the examples of AMD's guide
        ("ap_fixed<3,2,AP_RND,AP_SAT>", [1.25, -1.25], [1.5, -1.0]),
        ("ap_fixed<3,2,AP_RND_INF,AP_SAT>", [1.25, -1.25], [1.5, -1.5]),
        ("ap_fixed<3,2,AP_RND_CONV,AP_SAT>", [0.75, -1.25], [1.0, -1.0]),
        ("ap_fixed<3,2,AP_TRN,AP_SAT>", [1.25, -1.25], [1.0, -1.5]),
        ("ap_fixed<3,2,AP_TRN_ZERO,AP_SAT>", [1.25, -1.25], [1.0, -1.0]),
        ("ap_fixed<4,4,AP_RND,AP_SAT>", [19.0, -19.0], [7.0, -8.0]),
        ("ap_fixed<4,4,AP_RND,AP_WRAP>", [19.0, -19.0], [3.0, -3.0]),
    ],
)
def test_values(text, values, want, backend):
    fmt = QFormat.parse(text)
    assert intmlp.dequantize(intmlp.quantize(values, fmt), fmt).tolist() == want


def test_values_of_matlab(backend):
    halves = np.arange(-3.5, 4)  # the table of convergent, nearest and round in its manual
    for word, want in (
        ("Convergent", [-4, -2, -2, 0, 0, 2, 2, 4]),
        ("Nearest", [-3, -2, -1, 0, 1, 2, 3, 4]),
        ("Round", [-4, -3, -2, -1, 1, 2, 3, 4]),
    ):
        fmt = QFormat.parse("numerictype(1,8,0)", rounding=word)
        assert intmlp.quantize(halves, fmt).tolist() == want


@given(formats(), st.sampled_from(["ap_fixed", "ac_fixed"]))
def test_texts_with_rules_come_back(fmt, name):
    assert QFormat.parse(fmt.to_text(name)) == fmt


@given(formats())
def test_texts_of_widths_come_back(fmt):
    rules = {"rounding": fmt.rounding, "overflow": fmt.overflow}
    for name in ("arm", "ti"):
        if fmt.frac <= fmt.bits - (name == "ti"):
            assert QFormat.parse(fmt.to_text(name), convention=name, **rules) == fmt
        else:
            with pytest.raises(ValueError, match=f"has no text in {name}: it would be Q-"):
                fmt.to_text(name)
    words = {rule: word for word, rule in FIMATH.items()}
    matlab = {"rounding": words[fmt.rounding], "overflow": fmt.overflow.capitalize()}
    assert QFormat.parse(fmt.to_text("numerictype"), **matlab) == fmt
    words = {"half_even": "fixed_round", "floor": "fixed_truncate"}
    if fmt.rounding in words:
        vhdl = {"rounding": words[fmt.rounding], "overflow": f"fixed_{fmt.overflow}"}
        assert QFormat.parse(fmt.to_text("sfixed"), **vhdl) == fmt
    else:
        with pytest.raises(ValueError, match=f"rounding '{fmt.rounding}' has no word in sfixed"):
            fmt.to_text("sfixed")


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ("Q1.15", {}, r"'Q1.15' needs convention='arm' \(16 bits, 15 .*'ti' \(17 bits, 15 of"),
        ("Q1.15", {"convention": "TI"}, "convention must be one of arm, ti; got 'TI'"),
        ("Q15", {"convention": "ti"}, "got 'Q15': it leaves the width open"),
        ("UQ1.15", {"convention": "arm"}, "'UQ1.15' is unsigned"),
        ("Q1.15", {"convention": "arm", "rounding": "Floor"}, "rounding of 'Q1.15' must be one of"),
        ("ap_ufixed<16,4>", {}, "unsigned"),
        ("ac_fixed<16,4,false>", {}, "unsigned"),
        ("ac_fixed<16,4,0,AC_RND>", {}, "unsigned"),
        ("ac_fixed<16,4,AC_RND>", {}, "text must be written like"),
        ("ufixed(3 downto -12)", {}, "unsigned"),
        ("numerictype(0,16,12)", {}, "unsigned"),
        ("numerictype(1,16)", {}, "text must be written like"),
        ("numerictype(1,16,12)", {"rounding": "Ceiling"}, "Ceiling asks for the next integer"),
        ("numerictype(1,16,12)", {"rounding": "floor"}, "must be one of Nearest, Floor, Zero"),
        ("numerictype(1,16,12)", {"overflow": "saturate"}, "must be one of Saturate, Wrap"),
        ("numerictype(1,16,-2)", {}, r"'numerictype\(1,16,-2\)': frac must be in 0..63, got -2"),
        ("sfixed(3 to 12)", {}, "text must be written like"),
        ("sfixed(3 downto 1)", {}, "frac must be in 0..63, got -1"),
        ("sfixed(-12 downto 3)", {}, "bits must be in 2..64, got -14"),
        ("sfixed(3 downto 0)", {"rounding": "half_up"}, "must be one of fixed_round, fixed_trunc"),
        ("ap_fixed<16,4>", {"convention": "arm"}, "convention is for Qm.n alone, got 'arm'"),
        ("ap_fixed<16,4>", {"rounding": "floor"}, "rounding stands in the text of ap_fixed"),
        ("ap_fixed<16,4>", {"overflow": "wrap"}, "overflow stands in the text of ap_fixed"),
        ("ap_fixed<16,4,AP_RND_ZERO>", {}, "AP_RND_ZERO asks for nearest, ties towards zero"),
        ("ap_fixed<16,4,AP_RND_MIN_INF>", {}, "AP_RND_MIN_INF asks for nearest, ties towards m"),
        (
            "ap_fixed<16,4,AP_TRN,AP_SAT_ZERO>",
            {},
            "AP_SAT_ZERO asks for zero for what lies",
        ),
        ("ap_fixed<16,4,AP_TRN,AP_SAT_SYM>", {}, r"AP_SAT_SYM .* allowed: AP_WRAP, AP_SAT"),
        ("ap_fixed<16,4,AP_TRN,AP_WRAP_SM>", {}, "AP_WRAP_SM asks for wrapping"),
        ("ap_fixed<16,4,AP_TRN,AP_WRAP,1>", {}, "text must be written like"),
        ("ap_fixed<16,4,AC_RND>", {}, "rounding of .* must be one of AP_TRN,"),
        (
            "ac_fixed<16,4,true,AC_RND_CONV_ODD>",
            {},
            "CONV_ODD asks for nearest, ties to the odd",
        ),
        ("ap_fixed<65,4>", {}, "'ap_fixed<65,4>': bits must be in 2..64, got 65"),
        ("ap_fixed<8,12>", {}, "frac must be in 0..63, got -4"),
        ("ap_fixed<99999,4>", {}, "text must be written like"),
        ("ap_fixed<١٦,4>", {}, "text must be written like"),  # digits, but not these
        ("", {}, "text must be written like Q1.15 .* got ''"),
    ],
)
def test_refused(text, more, message):
    with pytest.raises(ValueError, match=message):
        QFormat.parse(text, **more)


@pytest.mark.parametrize("text", [None, 16, b"Q1.15", QFormat(8, 4)])
def test_text_is_a_str(text):
    with pytest.raises(TypeError, match="text must be a str"):
        QFormat.parse(text)


@given(st.text("QUap_cfixedsnumrtyle(),<>. -0123456789ATRNSW", max_size=30))
def test_any_other_text_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"text|convention"):
        QFormat.parse(text)


def test_unknown_notation():
    for name in ("q", "ARM", None, 3):
        with pytest.raises(ValueError, match="notation must be one of arm, ti, ap_fixed"):
            QFormat(8, 4).to_text(name)


@pytest.mark.parametrize("name", notation.NOTATIONS)
def test_stochastic_rounding_has_no_notation(name):
    with pytest.raises(ValueError, match=f"rounding 'stochastic' has no word in {name}, which has"):
        notation.write(16, 12, "stochastic", "saturate", name)


def test_every_rule_has_a_word_in_c_plus_plus():
    assert set(AP.values()) == set(FIMATH.values()) == set(ROUNDINGS)
    for overflow in OVERFLOWS:
        assert QFormat(8, 4, overflow=overflow).to_text("ap_fixed").count(",") == 3
