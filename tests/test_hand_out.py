"""Each student has data of their own, and the machine that grades knows whose."""

import csv
import json
from pathlib import Path

import pytest

from scripts import hand_out

ROOT = Path(__file__).resolve().parents[1]


def notebook(*sources):
    cell = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    return {"cells": [cell | {"source": [text]} for text in sources], "metadata": {}}


def test_the_number_follows_from_name_and_key_alone():
    numbers = [hand_out.variant_of(f"student {i}", "autumn") for i in range(1000)]
    assert len(set(numbers)) > 990 and min(numbers) >= 1
    assert hand_out.variant_of("student 0", "autumn") == numbers[0]
    assert hand_out.variant_of("student 0", "spring") != numbers[0]
    assert hand_out.variant_of("ada") == 541_124  # the same in every year, on every machine


def test_the_line_is_replaced_whatever_stands_in_it():
    given = notebook("x = 1\nVARIANT = 0  # yours\ny = VARIANT", "VARIANT=max(3, 4)\n", "z = 2")
    made = hand_out.with_variant(given, 17)
    assert ["".join(c["source"]) for c in made["cells"]] == [
        "x = 1\nVARIANT = 17\ny = VARIANT",
        "VARIANT = 17\n",
        "z = 2",
    ]
    assert given == notebook("x = 1\nVARIANT = 0  # yours\ny = VARIANT", "VARIANT=max(3, 4)\n",
                             "z = 2")  # fmt: skip
    with pytest.raises(ValueError, match="no code cell has a line that begins VARIANT ="):
        hand_out.with_variant(notebook("x = VARIANT", "if x:\n    VARIANT = 3"), 17)


def test_a_class_gets_its_notebooks_and_the_list_of_who_has_what(tmp_path, capsys):
    names = tmp_path / "students.csv"
    names.write_text('name,mail\n"Lovelace, Ada",a@b\n李雷,l@b\n\n', encoding="utf-8-sig")
    out = tmp_path / "out"
    assert hand_out.main(["02", str(names), "--out", str(out), "--key", "k"]) == 0
    assert "3 notebooks" in capsys.readouterr().out  # a head is a name as any other
    variants = hand_out.read_variants(out / "variants.csv")
    assert variants == {n: hand_out.variant_of(n, "k") for n in ("name", "Lovelace, Ada", "李雷")}
    made = json.loads((out / "李雷.ipynb").read_text("utf-8"))
    text = "".join("".join(cell["source"]) for cell in made["cells"])
    assert text.count(f"VARIANT = {variants['李雷']}\n") == 1
    with open(out / "variants.csv", encoding="utf-8") as file:
        assert len(list(csv.reader(file))) == 4


@pytest.mark.parametrize(
    "lines, message",
    [
        ("ada\n../bob\n", r"line 2: '\.\./bob' cannot be a file's name"),
        ("ada\n.hidden\n", "line 2: '.hidden' cannot be"),
        ("Ada\n\nada\n", "line 3: 'ada' is also in line 1"),
        ("\n \n", "names nobody"),
    ],
)
def test_names_that_cannot_be_files_are_refused_before_anything_is_written(
    tmp_path, lines, message
):
    (tmp_path / "s.txt").write_text(lines)
    with pytest.raises(SystemExit, match=message):
        hand_out.main(["02", str(tmp_path / "s.txt"), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text, message",
    [
        ("name,number\na,1\n", "needs the columns student, variant"),
        ("student,variant\na,1\nb,x\n", "line 3: 'x' is no number"),
        ("student,variant\na\n", "line 2: None is no number"),
    ],
)
def test_a_list_of_variants_with_a_fault_names_its_line(tmp_path, text, message):
    (tmp_path / "v.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        hand_out.read_variants(tmp_path / "v.csv")


def test_a_chapter_without_the_line_is_refused(tmp_path):
    (tmp_path / "notebooks" / "exercises").mkdir(parents=True)
    (tmp_path / "notebooks" / "exercises" / "09_x.ipynb").write_text(json.dumps(notebook("x = 1")))
    (tmp_path / "s.txt").write_text("ada")
    with pytest.raises(SystemExit, match="09_x: no code cell has a line"):
        hand_out.main(["09", str(tmp_path / "s.txt")], tmp_path)
    with pytest.raises(SystemExit, match="found none"):
        hand_out.main(["10", str(tmp_path / "s.txt")], tmp_path)


def test_the_exercises_that_take_a_number_have_one_line_for_it():
    with_line = []
    for path in sorted((ROOT / "notebooks" / "exercises").glob("*.ipynb")):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
        if "VARIANT" in text:
            with_line.append(path.name[:2])
            assert len(hand_out.LINE.findall(text)) == 1, path.name
            assert "VARIANT = 0 " in text  # with which the solutions' outputs are stored
    assert {"01", "02"} <= set(with_line)
