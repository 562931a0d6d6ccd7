"""The template of a chapter passes, once it has run, what every chapter must pass."""

import nbformat
import pytest
from nbclient import NotebookClient

from scripts import new_chapter
from scripts.machine_speed import kernel_limits
from tests import test_notebooks


def test_the_template_runs_and_has_the_form_of_a_chapter(tmp_path):
    assert new_chapter.main(["12", "my_topic", "A title: and more"], tmp_path) == 0
    path = tmp_path / "notebooks" / "12_my_topic.ipynb"
    notebook = nbformat.read(path, as_version=4)
    assert notebook.cells[0].source.startswith("# 12. A title: and more\n\n[Open in Colab](")
    assert "{" + "number}" not in path.read_text("utf-8")
    client = NotebookClient(notebook, kernel_name="python3", **kernel_limits(120),
                            resources={"metadata": {"path": str(tmp_path)}})  # fmt: skip
    client.execute()
    nbformat.write(notebook, path)
    assert list(test_notebooks.problems(notebook)) == []
    test_notebooks.test_a_chapter_opens_and_closes_as_all_do(path)
    images = [c.metadata.get("mystnb", {}).get("image") for c in notebook.cells
              if "plt.show()" in c.source]  # fmt: skip
    assert len(images) == 2
    assert all(len(image["alt"]) > 30 for image in images)
    assert max(len(line) for c in notebook.cells for line in c.source.split("\n")[3:]) <= 100


BAD = {
    "number": (["0", "x", "Title"], "within 1 to 99"),
    "name": (["12", "My Topic", "Title"], "must be like two_tower_text"),
    "title": (["12", "x", " "], "one line of words"),
    "taken": (["7", "x", "Title"], "07_y.ipynb has this number"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_a_chapter_is_refused(name, tmp_path, capsys):
    arguments, message = BAD[name]
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "07_y.ipynb").write_text("{}")
    assert new_chapter.main(arguments, tmp_path) == 2
    assert message in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "notebooks").iterdir()] == ["07_y.ipynb"]
