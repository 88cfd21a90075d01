"""What waits is predicted together; nobody gets the answer of another."""

import threading

import pytest

from heedful._errors import DataError
from heedful.tasks.request_queue import QueueClosed, QueueFull, RequestQueue


class Model:
    """Predicts two pairs of an input and its number for each input; waits for its gate, and refuses "bad"."""

    def __init__(self):
        self.gate, self.begun, self.calls = threading.Event(), threading.Event(), []

    def __call__(self, inputs, options, numbers):
        self.calls.append((list(inputs), options))
        self.begun.set()
        assert self.gate.wait(10)
        if "bad" in inputs:
            raise DataError("it is bad.")
        return [(one, number) for one, number in zip(inputs, numbers, strict=True) for _ in range(2)]


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def queue(model):
    queue = RequestQueue(model, batch_size=4, most=10)
    yield queue
    model.gate.set()
    queue.close()
    queue._thread.join(10)
    assert not queue._thread.is_alive()
    assert queue.idle


def begun(queue, model, *requests):
    """Requests of which the first is being predicted while the others are added; their answers."""
    answers = [queue.add(*requests[0])]
    assert model.begun.wait(10)
    answers += [queue.add(*request) for request in requests[1:]]
    model.gate.set()
    return answers


def pairs(*inputs):
    return [(one, number) for number, one in enumerate(inputs) for _ in range(2)]


def test_what_waits_with_the_same_options_is_predicted_together(queue, model):
    requests = [(["x"], 1), (["a"], 1), (["b"], 2), (["c", "d"], 1), (["e", "f"], 1), (["g"], 1)]
    answers = begun(queue, model, *requests)
    assert [answer.result(10) for answer in answers] == [pairs(*inputs) for inputs, _ in requests]
    assert model.calls == [(["x"], 1), (["a", "c", "d", "g"], 1), (["b"], 2), (["e", "f"], 1)]
    assert queue.answered == 8


def test_a_request_is_not_cut(queue, model):
    answers = begun(queue, model, (["x"], 1), (list("abcdef"), 1))
    assert answers[1].result(10) == pairs(*"abcdef")
    assert model.calls[1] == (list("abcdef"), 1)


def test_an_error_is_that_of_its_request(queue, model):
    answers = begun(queue, model, (["x"], 1), (["a"], 1), (["bad"], 1), (["b"], 1))
    with pytest.raises(DataError, match="it is bad."):
        answers[2].result(10)
    assert [answers[i].result(10) for i in (1, 3)] == [pairs("a"), pairs("b")]


def test_requests_whose_predictions_cannot_be_told_apart_are_predicted_alone(queue, model):
    queue._predict = lambda inputs, options, numbers: model(inputs, options, numbers)[1:]
    answers = begun(queue, model, (["x"], 1), (["a"], 1), (["b"], 1))
    assert [answer.result(10) for answer in answers[1:]] == [[("a", 0)], [("b", 0)]]


def test_a_request_that_was_given_up_is_not_predicted(queue, model):
    answer = queue.add(["x"], 1)
    assert model.begun.wait(10)
    assert queue.add(["a"], 1).cancel()
    last = queue.add(["b"], 1)
    model.gate.set()
    assert last.result(10) == pairs("b")
    assert answer.done()
    assert model.calls == [(["x"], 1), (["b"], 1)]


def test_there_is_an_end_to_what_waits(queue, model):
    answers = begun(queue, model, (["x"], 1))
    answers[0].result(10)
    model.gate.clear()
    model.begun.clear()
    queue.add(["y"], 1)
    assert model.begun.wait(10)
    queue.add(["a"] * 9, 1)
    with pytest.raises(QueueFull, match="9 inputs wait already: ask again in [1-9] s.") as error:
        queue.add(["a"] * 2, 1)
    assert error.value.seconds >= 1
    queue.add(["a"], 1)


def test_what_was_taken_is_answered_when_it_closes(queue, model):
    answer = queue.add(["x"], 1)
    assert model.begun.wait(10)
    waiting = queue.add(["a"], 1)
    queue.close()
    with pytest.raises(QueueClosed, match="the server shuts down."):
        queue.add(["b"], 1)
    assert not queue.idle
    model.gate.set()
    assert (answer.result(10), waiting.result(10)) == (pairs("x"), pairs("a"))
