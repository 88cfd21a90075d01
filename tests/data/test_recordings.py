import io
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pytest

from heedful._errors import DataError
from heedful.data.recordings import read_recordings, read_unlabeled_recordings
from heedful.data.sounds import open_sound
from tests.sounds import beep, write

SPOKEN = {"a": "one two", "b": "three", "c": "four five"}
PITCH = {"a": 300.0, "b": 400.0, "c": 500.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three recordings of the same beeps, as every layout has them."""
    root = tmp_path_factory.mktemp("sound")
    for name, text in SPOKEN.items():
        sound = beep(pitch=PITCH[name])
        write(root / f"{name}.wav", sound)
        write(root / "labels" / ("high" if name == "c" else "low") / f"{name}.wav", sound)
        write(root / "common" / "clips" / f"{name}.wav", sound)
        write(root / "beside" / f"{name}.wav", sound)
        (root / "beside" / f"{name}.txt").write_text(f"{text}\n")
        write(root / "libri" / "84" / "1" / f"84-1-{name}.flac", sound)
    (root / "libri" / "84" / "1" / "84-1.trans.txt").write_text("".join(f"84-1-{k} {v}\n" for k, v in SPOKEN.items()))
    with tarfile.open(root / "all.tar", "w") as tar, zipfile.ZipFile(root / "all.zip", "w") as zipped:
        for name in SPOKEN:
            tar.add(root / f"{name}.wav", f"in/{name}.wav")
            zipped.write(root / f"{name}.wav", f"in/{name}.wav")
    (root / "libri.tar").write_bytes(_tarred(root / "libri"))
    (root / "labels.tar").write_bytes(_tarred(root / "labels"))
    rows = [(name, text, "high" if name == "c" else "low") for name, text in SPOKEN.items()]
    (root / "t.tsv").write_text("path\ttext\tspeaker\n" + "".join(f"{n}.wav\t{t}\t{s}\n" for n, t, s in rows))
    (root / "bare.csv").write_text("".join(f"{n}.wav,{t}\n" for n, t, _ in rows))
    (root / "t.jsonl").write_text(
        "".join(
            json.dumps({"audio_filepath": f"all.tar:in/{n}.wav", "transcript": t, "label": s}) + "\n"
            for n, t, s in rows
        )
    )
    (root / "z.csv").write_text("audio,sentence,label\n" + "".join(f"all.zip:in/{n}.wav,{t},{s}\n" for n, t, s in rows))
    (root / "common" / "train.tsv").write_text(
        "client_id\tpath\tsentence_id\tsentence\n" + "".join(f"{s}\t{n}.wav\t1\t{t}\n" for n, t, s in rows)
    )
    kaldi = root / "kaldi"
    kaldi.mkdir()
    (kaldi / "wav.scp").write_text("".join(f"u-{n} ../{n}.wav\n" for n in SPOKEN))
    (kaldi / "text").write_text("".join(f"u-{n} {t}\n" for n, t, _ in rows))
    (kaldi / "utt2spk").write_text("".join(f"u-{n} {s}\n" for n, _, s in rows))
    return root


def _tarred(folder):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(folder, folder.name)
    return stream.getvalue()


@pytest.mark.parametrize(
    "source",
    [
        "t.tsv",
        "bare.csv",
        "t.jsonl",
        "z.csv",
        "common/train.tsv",
        "kaldi",
        "libri",
        "libri.tar",
        "libri/84",
        "beside",
        "t.tsv[:3]",
    ],
)
def test_texts_of_every_layout(folder, source):
    found = read_recordings(f"{folder}/{source}", "text")
    assert found.answers == tuple(SPOKEN.values())
    for row, name in enumerate(SPOKEN):
        np.testing.assert_allclose(found.samples(row), beep(pitch=PITCH[name]), atol=1e-4)


@pytest.mark.parametrize(
    "source", ["t.tsv", "t.jsonl", "z.csv", "common/train.tsv", "kaldi", "labels", "labels.tar", "labels.tar/labels"]
)
def test_labels_of_every_layout(folder, source):
    found = read_recordings(f"{folder}/{source}", "label")
    names = {"low", "high"}
    assert set(found.answers) == names
    row = found.answers.index("high")
    np.testing.assert_allclose(found.samples(row), beep(pitch=PITCH["c"]), atol=1e-4)
    assert set(read_recordings(f"{folder}/libri", "label").answers) == {"84"}


def test_python_data_give_what_files_give(folder):
    from_files = read_recordings(f"{folder}/t.tsv", "label")
    sounds, labels = [from_files.samples(row) for row in range(3)], list(from_files.answers)
    table = {"audio": [{"array": one, "sampling_rate": 8000} for one in sounds], "speaker": labels}
    for data in (
        ([(one, 8000) for one in sounds], labels),
        table,
        ([str(folder / f"{n}.wav") for n in SPOKEN], labels),
    ):
        found = read_recordings(data, "label")
        assert found.answers == from_files.answers
        assert all(np.array_equal(found.samples(row), one) for row, one in enumerate(sounds))
    assert np.array_equal(read_recordings((sounds, labels), "label", rate=8000).samples(1), sounds[1])
    whole = (np.stack([sounds[0], sounds[0]], 1) * 32768).astype(np.int16)
    np.testing.assert_allclose(read_unlabeled_recordings([(whole, 8000)]).samples(0), sounds[0], atol=1e-4)
    with pytest.raises(
        DataError, match=r"^row 0: samples must come with their rate, as in \(samples, 16000\): got samples alone$"
    ):
        read_recordings((sounds, labels), "label")
    with pytest.raises(
        DataError, match=r"^row 1: samples must be numbers \[T\], or \[T, channels\]: got float64 of shape \[0\]$"
    ):
        read_recordings(([(sounds[0], 8000), (np.zeros(0), 8000)], labels[:2]), "label")


def test_segments(folder):
    table = folder / "segments.csv"
    table.write_text("path,text,start,end\na.wav,x,0.05,0.1\na.wav,y,,\na.wav,z,0.1,\n")
    found, whole = read_recordings(table), beep(pitch=PITCH["a"])
    for row, part in enumerate((whole[400:800], whole, whole[800:])):
        np.testing.assert_allclose(found.samples(row), part, atol=1e-4)
    (folder / "offset.jsonl").write_text('{"audio": "a.wav", "text": "x", "offset": 0.05, "duration": 0.05}\n')
    np.testing.assert_array_equal(read_recordings(folder / "offset.jsonl").samples(0), found.samples(0))
    contents = [list(found.select([row]).content()) for row in range(3)]
    assert contents[0] != contents[1] != contents[2]
    for row, says in (
        ("a.wav,x,0.1,0.05", "a segment must end after it begins: got 0.1 s to 0.05 s"),
        ("a.wav,x,soon,1", "start must be seconds from 0 on, as in 12.5: got 'soon'"),
        ("a.wav,x,-1,1", "start must be seconds from 0 on, as in 12.5: got '-1'"),
    ):
        table.write_text(f"path,text,start,end\n{row}\n")
        with pytest.raises(DataError, match=rf"^{table}:2: {says}$"):
            read_recordings(table)
    table.write_text("path,text,start,end\na.wav,x,5,6\n")
    with pytest.raises(
        DataError, match=rf"^{table}:2: a.wav: a segment must lie within its recording of 0.2 s: got 5 s to 6 s$"
    ):
        read_recordings(table).samples(0)
    kaldi = folder / "cut"
    kaldi.mkdir()
    (kaldi / "wav.scp").write_text("r ../a.wav\n")
    (kaldi / "segments").write_text("s r 0.05 0.1\n")
    (kaldi / "text").write_text("s hello\n")
    np.testing.assert_array_equal(read_recordings(kaldi).samples(0), found.samples(0))


def test_rows_that_do_not_fit_are_named(folder, tmp_path):
    table = folder / "bad.tsv"
    rows = [f"{name}.wav\ttext" for name in "abcabc"]
    table.write_text("path\ttext\n" + "\n".join([*rows[:5], "gone.wav\ttext", rows[5]]) + "\n")
    told = rf"^{table}:7: must name a sound below {folder} or {folder}/clips: got 'gone.wav', which is not there$"
    with pytest.raises(DataError, match=told):
        read_recordings(table)
    skipped = read_recordings(table, skip=0.2)
    assert len(skipped) == 6
    assert skipped.notes[0].startswith("1 of 7 rows are bad and were skipped; the first: ")
    for row, says in (
        (
            "all.tar:in/x.wav",
            f"{folder}/all.tar must hold the member 'in/x.wav': got 'in/a.wav', 'in/b.wav', 'in/c.wav'",
        ),
        ("http://x.org/a.wav", "must name a file here, a URL is never fetched: got 'http://x.org/a.wav'"),
        ("", f"must name a sound below {folder} or {folder}/clips: got '', which is not there"),
    ):
        table.write_text(f"path\ttext\n{row}\tx\n")
        with pytest.raises(DataError, match=rf"^{table}:2: {says}$"):
            read_recordings(table)
    table.write_text("path\tspeaker\na.wav\t\n")
    with pytest.raises(DataError, match=rf"^{table}:2: must have a speaker: got an empty one$"):
        read_recordings(table, "label")
    (tmp_path / "wav.scp").write_text("a sph2pipe x.sph |\n")
    (tmp_path / "text").write_text("a one\n")
    with pytest.raises(
        DataError, match=r"wav.scp:1: must name a file, a command is never run: got 'sph2pipe x.sph \|'$"
    ):
        read_recordings(tmp_path)
    (tmp_path / "text").write_text("b one\n")
    with pytest.raises(DataError, match=r"text:1: must name a recording of .*wav.scp: got 'b'$"):
        read_recordings(tmp_path)
    with pytest.raises(DataError, match=rf"^{folder}/a.wav: must be a table .*: got one file without an answer$"):
        read_recordings(folder / "a.wav")
    with pytest.raises(
        DataError, match=r"^tones\[5000:\]|tones: the slice must leave at least one of 1,000 recordings: got none$"
    ):
        read_recordings("tones[5000:]")


def _wav(samples=b"\0" * 800, rate=8000, promised=None, channels=1):
    sizes = len(samples) if promised is None else promised
    return b"".join(
        [
            b"RIFF", (36 + sizes & 0xFFFFFFFF).to_bytes(4, "little"), b"WAVEfmt ", (16).to_bytes(4, "little"),
            (1).to_bytes(2, "little"), channels.to_bytes(2, "little"), rate.to_bytes(4, "little"),
            (rate * 2 * channels & 0xFFFFFFFF).to_bytes(4, "little"), (2 * channels).to_bytes(2, "little"), (16).to_bytes(2, "little"),
            b"data", sizes.to_bytes(4, "little"), samples,
        ]
    )  # fmt: skip


def test_files_that_are_not_what_they_say(tmp_path):
    file = tmp_path / "x.wav"
    whole = io.BytesIO()
    write(tmp_path / "y.flac", np.random.default_rng(0).normal(0, 0.1, 8000))
    flac = (tmp_path / "y.flac").read_bytes()
    assert whole.getvalue() == b""
    for content, says in (
        (_wav(promised=8000), "must be a whole sound: got 800 bytes of samples, where its header promises 8,000"),
        (_wav(rate=0), "must have a rate of 1,000 to 1,000,000 samples a second: got 0"),
        (_wav(rate=4_000_000_000), "must have a rate of 1,000 to 1,000,000 samples a second: got 4,000,000,000"),
        (_wav(b""), "must hold at least one sample: got none"),
        (b"no sound at all", "must be a whole sound: got .*"),
        (b"", "must be a whole sound: got .*"),
        (flac[: len(flac) // 2], "must be a whole sound: got .*"),
    ):
        file.write_bytes(content)
        with pytest.raises(DataError, match=rf"^{file}: {says}$") as error:
            read_unlabeled_recordings(str(file)).samples(0)
        assert "\n" not in str(error.value)
    write(file, np.array([0.1, np.nan, 0.2]), subtype="FLOAT")
    with pytest.raises(DataError, match=rf"^{file}: a sample must be a number up to 2\*\*32: got nan at 1$"):
        read_unlabeled_recordings(str(file)).samples(0)


def test_what_people_expect_of_odd_files(tmp_path):
    file = tmp_path / "x.wav"
    for promised in (0xFFFFFFFF, 0x7FFFF000):  # as a program writes it that does not know the length yet
        file.write_bytes(_wav(b"\1\0" * 400, promised=promised))
        assert len(read_unlabeled_recordings(str(file)).samples(0)) == 400
    eight = np.tile(beep()[:, None], (1, 8))
    np.testing.assert_allclose(read_unlabeled_recordings(str(write(file, eight))).samples(0), beep(), atol=1e-4)
    assert not read_unlabeled_recordings(str(write(file, np.zeros(100)))).samples(0).any()
    assert read_unlabeled_recordings(str(write(file, np.full(100, 5.0)))).samples(0).max() <= 1
    for end, options in (
        (".flac", {}),
        (".ogg", {}),
        (".mp3", {}),
        (".aiff", {}),
        (".wav", {"subtype": "PCM_24"}),
        (".wav", {"subtype": "ULAW"}),
    ):
        samples = read_unlabeled_recordings(str(write(tmp_path / f"y{end}", beep(1.0), **options))).samples(0)
        assert abs(len(samples) - 8000) <= (1200 if end in (".mp3", ".ogg") else 0)
        assert np.abs(samples[1000:7000]).max() == pytest.approx(np.abs(beep()).max(), abs=0.1)


def test_a_long_recording_is_read_in_pieces_at_another_rate(tmp_path):
    file = write(tmp_path / "x.wav", np.tile(beep(1.0, rate=16000), 60), 16000)
    found = read_unlabeled_recordings(str(file)).recordings[0]
    pieces = list(found.blocks(8000))
    assert max(map(len, pieces)) < 20_000
    assert sum(map(len, pieces)) == 480_000
    assert found.rate() == 16000
    middle = np.concatenate(pieces)[8000:16000]
    np.testing.assert_allclose(middle, beep(1.0, rate=8000), atol=0.01)


def test_streams_members_and_copies(folder, tmp_path):
    sound = beep(pitch=PITCH["a"])
    with open(folder / "a.wav", "rb") as stream:
        found = read_unlabeled_recordings(
            [stream, f"{folder}/all.tar:in/a.wav", f"{folder}/all.zip", str(folder / "labels")]
        )
    assert len(found) == 2 + 3 + 3
    assert all(np.allclose(found.samples(row), sound, atol=1e-4) for row in (0, 1, 2))
    again = pickle.loads(pickle.dumps(read_recordings(folder / "t.jsonl")))
    np.testing.assert_allclose(again.samples(0), sound, atol=1e-4)
    with open_sound((folder / "a.wav").read_bytes(), "x") as reader:
        assert (reader.rate, reader.seconds) == (8000, pytest.approx(0.2))
    with pytest.raises(DataError, match=r"no.wav: must be .* got a path where no file or folder is"):
        read_unlabeled_recordings([str(tmp_path / "no.wav")])
