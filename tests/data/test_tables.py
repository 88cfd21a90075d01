import pytest

from heedful._errors import DataError
from heedful.data import read_images, read_unlabeled


@pytest.fixture
def table(folder):
    def write(text, name="labels.csv"):
        path = folder.parent / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "path,label\npets/dogs/3.png,loud\npets/cats/2.png,quiet\n"),
        ("labels.csv", "\ufeffpath,label\r\npets/dogs/3.png,loud\r\n\r\npets/cats/2.png, quiet"),
        ("labels.CSV", 'Note, LABEL ,id,Path\n"a\nb",loud,1,pets/dogs/3.png\nx,quiet,2,pets/cats/2.png\n'),
        ("labels.tsv", "label\tpath\nloud\tpets/dogs/3.png\nquiet\tpets/cats/2.png\n"),
        ("labels.csv", "pets/dogs/3.png,loud\npets/cats/2.png,quiet\n"),
        ("labels.csv", "loud,pets/dogs/3.png\nquiet,pets/cats/2.png\n"),
        ("labels.csv", "Class,File Name\nloud,pets/dogs/3.png\nquiet,pets/cats/2.png\n"),
    ],
)
def test_table(table, name, text):
    pictures = read_images(table(text, name))
    assert pictures.names == ("pets/dogs/3.png", "pets/cats/2.png")
    assert pictures.classes == ("loud", "quiet")
    assert pictures.labels.tolist() == [0, 1]
    assert pictures.images[:, 0, 2, 3].tolist() == [103, 2]


def test_absolute_paths(table, folder):
    source = table(f"path,label\n{folder}/dogs/3.png,a\npets/cats/2.png,b\n")
    assert read_images(source).images[:, 0, 0, 0].tolist() == [103, 2]


def test_labels_are_in_natural_order(table):
    rows = "".join(f"pets/cats/2.png,{label}\n" for label in (10, 9, 1, 2))
    assert read_images(table("path,label\n" + rows)).classes == ("1", "2", "9", "10")


def test_unlabeled_needs_only_the_paths(table):
    pictures = read_unlabeled(table("id,path\n1,pets/dogs/3.png\n"))
    assert pictures.names == ("pets/dogs/3.png",)
    assert pictures.labels is None


QUOTED = 'path,label\n"pets/dogs/3.png","a\nb\nc"\n'  # the next row begins on line 5


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "must name the columns 'path' and 'label' once: got nothing"),
        ("a,b\nx.png,1\n", 1, "must name the columns 'path' and 'label' once: got 'a', 'b'"),
        ("path,label,Label\n", 1, "must have one column 'label': got 'path', 'label', 'Label'"),
        ("path,class,target\n", 1, "one column must be the label: got 'class', 'target'$"),
        (
            QUOTED + "pets/dogs/4.png,a\n",
            5,
            "must name a picture file below .*: got 'pets/dogs/4.png', which is not there",
        ),
        (QUOTED + "pets/dogs,a\n", 5, "must name a picture file below .*: got 'pets/dogs', which is not there"),
        (QUOTED + ",a\n", 5, "must name a picture file below .*: got '', which is not there"),
        (QUOTED + "\npets/dogs/3.png, \n", 6, "must have a label: got an empty field"),
        (QUOTED + "pets/dogs/3.png\n", 5, "must have 2 fields: got 1"),
        (QUOTED + "pets/dogs/3.png,a,b\n", 5, "must have 2 fields: got 3"),
        (
            QUOTED + "https://example.org/a.png,a\n",
            5,
            "must name a file here, a URL is never fetched: got 'https://example",
        ),
        (
            QUOTED + "HTTP://example.org/a.png,a\n",
            5,
            "must name a file here, a URL is never fetched: got 'HTTP://example",
        ),
        (QUOTED + '"pets/dogs/3.png,a\n', 5, "must be a row of fields: unexpected end of data"),
        (QUOTED.encode() + b"pets/\xff.png,a\n", 5, "must be UTF-8: got the byte 0xff"),
        (QUOTED + "pets/a\nb.png\n", 5, "must have 2 fields: got 1"),
        (QUOTED + "pets/a\0.png,a\n", 5, r"must name a picture file below .*: got 'pets/a\\x00.png'"),
    ],
)
def test_a_bad_row_is_named_by_its_line(table, text, line, message):
    source = table(text)
    with pytest.raises(DataError, match=f"^{source}:{line}: {message}"):
        read_images(source)


def test_a_table_of_no_rows(table):
    source = table("path,label\n")
    with pytest.raises(DataError, match=f"^{source}: must hold at least one picture: got none$"):
        read_images(source)


def test_a_file_that_is_no_picture_is_named_with_its_line(table, folder):
    (folder / "no.png").write_bytes(b"")
    source = table("path,label\npets/cats/2.png,a\npets/no.png,b\n")
    with pytest.raises(DataError, match=f"^{source}:3: pets/no.png: must be a picture .*: got an empty file$"):
        read_images(source)
