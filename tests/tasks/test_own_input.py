"""Own examples are what was written, with the way to every answer; what is wrong with them is said with its place and rule."""

from typing import Any

import pytest

from sleepkit import tasks
from sleepkit.errors import InvalidInputError
from sleepkit.tasks import explore
from tests.support.explored import CASES, assert_same_batch, depth_beside, make

MAPS = " ".join(["3x+5"] * 8)
POINTERS = " ".join(["n0>n0", *(f"n{node}>n{node - 1}" for node in range(1, 12))])
SUMS = " ".join(
    [
        *(f"x{number}=1" for number in range(1, 8)),
        "g1={}({},{}) g2=xor(g1,g3) g3=xor(g1,x1)",
        *(f"g{number}=xor(x1,x2)" for number in range(4, 16)),
        "? g15",
    ]
)


def test_names_along_a_cycle_make_an_example_whose_edges_stand_in_one_order() -> None:
    task = make("depo")
    along = explore.read(task, "a c f b", depth=2)
    again = explore.read(task, "a c f b ? a c f b", depth=2)
    assert_same_batch(along, again)
    assert sorted(explore.write(task, along).split(" ? ")[0].split()) == ["a>c", "b>a", "c>f", "f>b"]
    assert explore.reasoning(task, along).text.values.tolist() == [list("acf"), list("cfb"), list("fba"), list("bac")]


def test_a_walk_tells_where_each_of_its_edges_stands() -> None:
    task = make("depo")
    example = explore.read(task, "f>b a>c b>a c>f ? Q3 a Q1 f", depth=None)
    way, start = explore.reasoning(task, example), task.config.context_len - 8  # type: ignore[attr-defined]
    assert way.text.values.tolist() == [list("acfb"), ["f", "b", "", ""]]
    question = start + 8 + 1
    assert way.position.values.tolist() == [[question, start + 2, start + 6, start], [question + 4, start, -1, -1]]
    assert [task.vocab[token] for token in example.tokens[0, [question, start + 2, start + 6, start]]] == list("aacf")


def test_a_chain_tells_the_facts_in_their_order_with_values_and_places() -> None:
    task = make("gsm")
    example = explore.read(task, "k1 p0 = 3 + k0 p1 . k5 p5 = 4 . k0 p1 = 2 . ? k1 p0")
    way = explore.reasoning(task, example)
    assert way.text.values.tolist() == [["? k1 p0", "k0 p1 = 2", "k1 p0 = 3 + k0 p1 = 5"]]
    assert way.attrs == {"form": "chain"}
    words = [task.vocab[token] for token in example.tokens[0, way.position.values[0]]]
    assert words == ["?", "k0", "k1"]
    assert example.coords["depth"].tolist() == [[3]]


def test_an_automaton_tells_every_state_of_the_ring() -> None:
    task = make("rule110-fixed")
    strings = ["1" + "0" * 63, "01" * 32]
    way = explore.reasoning(task, explore.read(task, " ".join(strings), depth=12))
    assert [str(text) for text in way.text[:, 0].values] == strings
    assert str(way.text[0, 1].item()) == "1" + "0" * 62 + "1"
    assert way.position[:, 0].values.tolist() == [0, 64]
    assert way.attrs == {"form": "automaton", "asked_cell": 0}


def test_a_gate_is_worked_out_from_the_inputs_up() -> None:
    task = make("circuit-sums")
    written = "x1=1 x2=0 x3=1 x4=0 x5=0 x6=0 x7=0 g2 = xnor(g1, g3) g1=xor(x1,x2) g3=xor(x3,x4) "
    example = explore.read(task, written + " ".join(f"g{number}=xor(x5,x6)" for number in range(4, 16)) + " ? g2")
    way = explore.reasoning(task, example)
    inputs, gates = ["x1 = 1", "x2 = 0", "x3 = 1", "x4 = 0"], ["g1 = x1 xor x2 = 1", "g3 = x3 xor x4 = 1"]
    assert way.text.values.tolist() == [["? g2", *inputs, *gates, "g2 = g1 xnor g3 = 1"]]
    assert way.position.values.tolist() == [[14 + 60, 0, 2, 4, 6, 18, 22, 14]]
    assert example.coords["depth"].tolist() == [[2]]
    assert example.coords["size"].tolist() == [[3]]


@pytest.mark.parametrize("case", CASES)
def test_what_is_written_is_read_as_the_same_example(case: str) -> None:
    task = make(case)
    for split in ("train", "validation", "test"):
        for index in range(6):
            batch = task.batch(split, index, 1)
            text = explore.write(task, batch)
            spread = "\r\n \t" + text.replace(" ", "  \t") + "\n"
            for each in (text, spread):
                assert_same_batch(explore.read(task, each, depth=depth_beside(task, batch)), batch)


def test_the_longest_examples_are_read_too() -> None:
    task = tasks.create("rule110", width=64, n_strings=400, rollout_depth=(1, 2))
    batch = task.batch("test", 0, 1)
    text = explore.write(task, batch)
    assert len(text) > explore.LONGEST_TEXT
    assert_same_batch(explore.read(task, text), batch)


@pytest.mark.parametrize(
    "mark", ["\xa0", "\u2003", "\u3000", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\x00", "\u200b", "\u0663", "\ud800"]
)
@pytest.mark.parametrize("case", ["rule110", "depo", "gsm", "circuit"])
def test_white_space_of_other_kinds_and_digits_of_other_scripts_are_refused_by_their_place(case: str, mark: str) -> None:
    task = make(case)
    text = explore.write(task, task.batch("test", 0, 1))
    with pytest.raises(
        InvalidInputError, match=r"^text: character 6 must be a space, a tab, a line end or printable ASCII"
    ) as caught:
        explore.read(task, text[:5] + mark + text[5:], depth=1)
    assert str(caught.value).isprintable()


def test_a_text_that_is_too_long_is_refused_before_it_is_read() -> None:
    task = make("rule110")
    with pytest.raises(InvalidInputError, match=r"^text: must have at most 20000 characters, got 20001$"):
        explore.read(task, "0" * 20_001, depth=1)


@pytest.mark.parametrize(
    ("case", "text", "depth", "message"),
    [
        ("rule110", "0110", 1, "text: string 1 must have 16 cells, not 4, got '0110'"),
        ("rule110", "01" * 8 + " 0x1", 1, "text: string 2 must hold cells 0 and 1, not 'x', got '0x1'"),
        ("rule110", " ".join(["01" * 8] * 3), 1, "text: the number of strings must be 4, got '3'"),
        ("rule110", "t=1 t=2 " + "01" * 8, None, "text: string 1 must have one depth at most, got 't=2'"),
        ("rule110", " ".join(["01" * 8] * 4) + " t=2", 1, "text: a depth must stand before a string, got 't=2'"),
        ("rule110", " ".join(["t=11 " + "01" * 8] * 4), None, "text: depths must be among 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, got"),
        ("rule110", "01" * 8, None, "depth: must be given where the text names none, as in string 1, got None"),
        ("rule110", "t=2 " + "01" * 8, 3, "depth: must be None or what the text names, 2 in string 1, got 3"),
        ("rule110", "01" * 8, 11, "depth: must be 1 to 10, got 11"),
        ("rule110-fixed", "01" * 32, 11, "depth: must be one of 12, got 11"),
        ("depo", "a b z", 1, "text: name 3 must be one of the names a to l, got 'z'"),
        ("depo", "a b a", 1, "text: name 3 must not come twice on a cycle, got 'a'"),
        ("depo", "a", 1, "text: the number of nodes must be between 2 and 8, got '1'"),
        ("depo", "", 1, "text: the number of nodes must be between 2 and 8, got '0'"),
        ("depo", "? >", 1, "text: the number of nodes must be between 2 and 8, got '0'"),
        ("depo", "a b c d e f g h i", 1, "text: the number of nodes must be between 2 and 8, got '9'"),
        ("depo", "a b c d ? a b c d a", 1, "text: question 5 must start from a name that no other question starts from, got 'a'"),
        ("depo", "a b c d ?", 1, "text: the number of questions must be between 1 and 4, got '0'"),
        ("depo", "a b c d ? e", 1, "text: question 1 must start from a name on the cycle, got 'e'"),
        ("depo", "a b ? a ? b", 1, "text: the question mark must stand once, got '? a ? b'"),
        ("depo", "a b ? Q5 a", None, "text: question 1 must have one number of hops, Q1 to Q4, got 'Q5'"),
        ("depo", "a b ? Q2 Q1 a", None, "text: question 1 must have one number of hops, Q1 to Q4, got 'Q1'"),
        ("depo", "a b ? a Q1", 1, "text: hops must stand before a name, got 'Q1'"),
        ("depo", "a b ? a", None, "depth: must be given where the text names none, as in question 1, got None"),
        ("depo", "a>b b", 1, "text: edge 2 must lead from one name to another, as a>c, got 'b'"),
        ("depo", "a>b b>c c>b", 1, "text: edge 3 must be the only one to its name, got 'c>b'"),
        ("depo", "a>b a>c", 1, "text: edge 2 must be the only one from its name, got 'a>c'"),
        ("depo", "a>b b>c", 1, "text: edges must lead on from every name, got 'c'"),
        ("depo", "a>b b>a c>d d>c", 1, "text: edges must make one cycle of 4 names, not one of 2 beside others, got 'a'"),
        ("depo-1-2", "a0 b1", 1, "text: name 1 must be one of the names b0 to a2b2, got 'a0'"),
        ("gsm", "k0 p0 = 3 .", None, "text: must ask a question, got 'k0 p0 = 3 . [ANS]'"),
        ("gsm", "k0 p0 = 3 ? k0 p0", None, "text: must end every sentence, got 'k0 p0 = 3 ? k0 p0'"),
        ("gsm", "k0 p0 = 3 . ? k0", None, "text: must ask about a kind at a place, got '? k0'"),
        ("gsm", "k0 p0 = 3 . ? k0 p1", None, "text: the question must be about a quantity that a fact states, got 'k0 p1'"),
        (
            "gsm",
            "k0 p0 = 12 . ? k0 p0",
            None,
            "text: word 4 must be a number up to 9, a kind (k0 to k11), a place (p0 to p15) or",
        ),
        ("gsm", "k0 p0 = 7 . ? k0 p0", None, "text: fact 1 must have a number of 1 to 4, got 'k0 p0, 7'"),
        ("gsm", "k0 p0 = k1 p1 . ? k0 p0", None, "text: fact 1 must read quantities that facts state, got 'k1 p1'"),
        ("gsm", "k0 p0 = 3 . k0 p0 = 4 . ? k0 p0", None, "text: fact 2 must state a quantity that no other states, got 'k0 p0'"),
        ("gsm", "k0 p0 = k0 p0 . ? k0 p0", None, "text: facts must not read each other in a circle, got 'k0 p0 -> k0 p0'"),
        (
            "gsm",
            "k2 p2 = k0 p0 . k0 p0 = 1 + k1 p0 . k1 p0 = k0 p0 . ? k2 p2",
            None,
            "text: facts must not read each other in a circle, got 'k0 p0 -> k1 p0 -> k0 p0'",
        ),
        ("gsm", "k0 p0 = 1 . k1 p1 = k0 p0 - k0 p0 . ? k1 p1", None, "text: fact 2 must read different quantities, got 'k1 p1'"),
        (
            "gsm",
            "k0 p0 = 1 . k1 p0 = 2 . k1 p1 = k0 p0 - k1 p0 . ? k0 p0",
            None,
            "text: fact 3 must have a value of 1 to 1000, got 'k1 p1 = -1'",
        ),
        ("gsm", "k0 p0 = 1 . k1 p1 = all 2 p0 . ? k1 p1", None, "text: fact 2 must total all quantities at p0, 1, got '2'"),
        ("gsm", "k0 p0 = 1 . ? k0 p0", 2, "depth: must be None or what the text names, 1 in the question, got 2"),
        ("gsm", "k0 p0 = 1 * 2 . ? k0 p0", None, "text: must name quantities by kind and place, got '2'"),
        (
            "gsm-leaves",
            "k0 p0 = 1 . k1 p0 = 1 + k0 p0 . ? k1 p0",
            None,
            "text: fact 2 must have one of the forms leaf, copy, got",
        ),
        (
            "gsm-leaves",
            "k0 p0 = 1 . k1 p0 = k0 p0 . k2 p0 = k1 p0 . ? k2 p0",
            None,
            "text: the question must take at most 2 operations, got 'a chain of 3 facts'",
        ),
        (
            "gsm",
            " ".join(f"k{i % 12} p{i // 12} = 1 ." for i in range(110)) + " ? k0 p0",
            1,
            "text: the facts must take at most 509",
        ),
        ("affine", "3x+5 0x+1", 1, "text: map 2 must have a factor in 1..10 and a shift in 0..10, got '0x+1'"),
        ("affine", "3x+5 3x", 1, "text: map 2 must look like 3x+5, got '3x'"),
        ("affine", "3x+5 ? 1", 1, "text: the number of maps must be 8, got '1'"),
        ("affine", MAPS + " ? 1 2 3", 1, "text: the number of questions must be 4, after a question mark, got '3'"),
        ("affine", MAPS, 1, "text: the number of questions must be 4, after a question mark, got '0'"),
        ("affine", MAPS + " ? 1 2 3 11", 1, "text: question 4 must be about one of 0 to 10, got '11'"),
        ("affine", MAPS + " ? d=9 1", None, "text: question 1 must have a depth of 1 to 8, got 'd=9'"),
        ("affine", MAPS + " ? d=2", None, "text: question 1 must be about one of 0 to 10, got ''"),
        ("affine", MAPS + " ? 1", None, "depth: must be given where the text names none, as in question 1, got None"),
        ("images", "12345 11345", 1, "text: permutation 2 must hold each of 12345 once, got '11345'"),
        ("elements", "123498765", 1, "text: permutation 1 must be in the group S4xZ5, got '123498765'"),
        ("elements", " ".join(["123456789"] * 8) + " ? 1", 1, "text: question 1 must be a depth, as d=1, got '1'"),
        ("pointers", "n0>n1 n0>n2", 1, "text: edge 2 must be the only one from its node, got 'n0>n2'"),
        ("pointers", "n0>n32", 1, "text: edge 1 must lead from one of n0 to n31 to another, as n0>n1, got 'n0>n32'"),
        (
            "pointers-12",
            POINTERS + " ? n2 n1 n3",
            2,
            "text: question 2 must start where 2 hops meet no node twice, got 'n1 n0 n0'",
        ),
        ("circuit", "x2=0", None, "text: input 1 must be x1=0 or x1=1, got 'x2=0'"),
        ("circuit", "x1=0 x2=1", None, "text: inputs and gates must be 4 and 32, got '2 and 0'"),
        ("circuit", "x1=0 x2=1 x3=0 x4=1 g1=and(x1)", None, "text: gate 1 must look like g1=and(x1,x2), got 'g1=and(x1)'"),
        (
            "circuit-sums",
            SUMS.format("and", "x1", "x2"),
            None,
            "text: gate 1 must be of a kind among xor, xnor, got 'g1=and(x1,x2)'",
        ),
        ("circuit-sums", SUMS.format("xor", "x1", "x9"), None, "text: gate 1 must read inputs or gates that there are, got 'x9'"),
        ("circuit-sums", SUMS.format("xor", "x1", "x1"), None, "text: gate 1 must read two different ones, got 'x1'"),
        (
            "circuit-sums",
            SUMS.format("xor", "g2", "g3"),
            None,
            "text: gates must not read each other in a circle, got 'g1 -> g2 -> g1'",
        ),
        (
            "circuit-sums",
            SUMS.format("xor", "x1", "g3").replace("g3=xor(g1,x1)", "g3=xor(x2,x1)"),
            None,
            "text: gate g1 must read two of one level, not of 0 and 1, got 'g1=xor(x1,g3)'",
        ),
    ],
)
def test_what_is_wrong_with_a_text_is_said_with_its_place_and_rule(case: str, text: str, depth: Any, message: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        explore.read(make(case), text, depth=depth)
    assert str(refused.value).startswith(message)


def test_more_than_one_example_and_what_is_no_text_are_refused() -> None:
    task = make("depo")
    for of_one in (explore.write, explore.reasoning):
        with pytest.raises(InvalidInputError, match=r"^batch: must hold one example, got 2$"):
            of_one(task, task.batch("test", 0, 2))
    with pytest.raises(InvalidInputError, match=r"^text: must be a string, got 'int'$"):
        explore.read(task, 5, depth=1)  # type: ignore[arg-type]


def test_a_question_before_the_facts_is_the_same_as_one_behind_them() -> None:
    task = make("gsm")
    first, last = (explore.read(task, text) for text in ("? k1 p1 k1 p1 = 2 .", "k1 p1=2.\n?k1 p1"))
    assert_same_batch(first, last)
