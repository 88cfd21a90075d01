import numpy as np
import pytest

from heedful.data.tones import DIGITS, GUESTS, PARTS, RATE, VOICES, first_of, said_in, speak, spoken_by


def test_a_recording_depends_on_its_row_part_and_voice_alone():
    said = speak(7, part="test")
    again = speak(7, part="test")
    assert np.array_equal(said.samples, again.samples)
    assert (said.text, said.voice) == (again.text, again.voice) == (said_in(7, part="test"), spoken_by(7))
    assert not np.array_equal(said.samples[:500], speak(7).samples[:500])
    assert speak(7, part="test", voice="iris").voice == "iris"
    with pytest.raises(ValueError, match=r"^`voice` must be one of ann, .*, iris, jon: got 'bob'\.$"):
        speak(0, voice="bob")


def test_words_stand_where_they_are_heard():
    for row in range(20):
        said = speak(row)
        assert said.text.split() == [word for word, _, _ in said.words]
        assert set(said.text.split()) <= set(DIGITS)
        assert np.array_equal(np.rint(said.samples * 32768), said.samples * 32768)
        times = [time for _, start, end in said.words for time in (start, end)]
        assert times == sorted(times)
        inside = np.zeros(len(said.samples), bool)
        for _, start, end in said.words:
            inside[round(start * RATE) : round(end * RATE)] = True
        loud, quiet = said.samples[inside], said.samples[~inside]
        assert np.mean(loud**2) > 20 * np.mean(quiet**2)


def test_parts_follow_each_other_and_strangers_are_in_none():
    assert [first_of(part) for part in PARTS] == [0, PARTS["train"], PARTS["train"] + PARTS["valid"]]
    assert {spoken_by(row) for row in range(100)} == set(VOICES)
    assert not set(GUESTS) & set(VOICES)
