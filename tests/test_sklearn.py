"""The estimators in scikit-learn's own tools, and by its own checks."""

import inspect
import io
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks, get_tags

import heedful
from heedful._errors import DataError, SettingsError
from heedful.sklearn import ImageClassifier, ImageRegressor, Smoother, TextClassifier, TextRegressor

TEXTS = [f"a {word} film {row}" for row in range(20) for word in ("fine", "dull")]
LABELS = np.array(["good", "bad"] * 20)
FAST = {
    "training": {"epochs": 4, "batch_size": 12, "learning_rate": 0.02}, "model.ensemble_size": 1, "model.width": 12,
    "model.heads": 2, "model.pooling_heads": 2, "loss.consistency": 0.0, "model.input_dropout": 0.0, "model.token_dropout": 0.0,
    "model.output_dropout": 0.0, "training.ema_decay": 0.5,
}  # fmt: skip
SMALL = {"model.stages": [8], "model.convolutions": [1], "model.width": 8, "model.heads": 2, "model.layers": 1,
         "training": {"epochs": 4, "batch_size": 8, "learning_rate": 0.02}, "augmentation.rotate": 0.0}  # fmt: skip


def shades(count=40, seed=0):
    """Dark and light images, and how light they are."""
    labels = np.arange(count) % 2
    noise = np.random.default_rng(seed).integers(-50, 50, (count, 6, 8))
    return (noise + 60 + 130 * labels[:, None, None]).astype(np.uint8), labels


def text_classifier(**settings):
    return TextClassifier(settings=FAST | settings, random_state=0)


def image_classifier(**settings):
    return ImageClassifier(settings=SMALL | settings, random_state=0)


@pytest.fixture(scope="module")
def fitted():
    """Not to be changed."""
    return text_classifier().fit(TEXTS, LABELS)


@pytest.fixture(scope="module")
def seeing():
    """Not to be changed."""
    return image_classifier().fit(*shades())


def test_texts_are_learned(fitted):
    assert fitted.score(TEXTS, LABELS) == 1
    assert fitted.classes_.tolist() == ["bad", "good"]
    probabilities = fitted.predict_proba(["a fine one", "a dull one"])
    assert probabilities.shape == (2, 2)
    assert probabilities.sum(1) == pytest.approx(1, abs=1e-12)
    assert fitted.predict(["a fine one", "a dull one"]).tolist() == ["good", "bad"]
    assert is_classifier(fitted)
    ours = fitted.model_.predict(["a fine one", "a dull one"])
    assert [one.probability for one in ours] == pytest.approx(probabilities.max(1).tolist(), abs=1e-6)


def test_several_labels_are_an_array_of_zeros_and_ones():
    there = np.array([[1, 0, 0], [0, 1, 0]] * 20)  # the third label never
    model = text_classifier(**{"training.epochs": 6}).fit(TEXTS, there)
    assert model.multilabel_
    assert (model.predict(TEXTS) == there).mean() > 0.8
    probabilities = model.predict_proba(TEXTS)
    assert probabilities.shape == (40, 3)
    assert (probabilities[:, 2] == 0).all()
    again = pickle.loads(pickle.dumps(model))
    assert (again.predict_proba(TEXTS[:5]) == probabilities[:5]).all()
    with pytest.raises(ValueError, match="`y` must have a row for each of 40 rows of `X`: got shape"):
        text_classifier().fit(TEXTS, there[:5])


def test_numbers_of_texts_and_images():
    numbers = np.array([3.0, -1.0] * 20)
    model = TextRegressor(settings=FAST | {"training.epochs": 8}, random_state=0).fit(TEXTS, numbers)
    assert is_regressor(model)
    assert model.score(TEXTS, numbers) > 0.5
    images, labels = shades()
    model = clone(ImageRegressor(settings=SMALL | {"training.epochs": 8}, random_state=0)).fit(images, labels)
    assert model.predict(images).shape == (40,)
    assert model.score(images, labels) > 0.5
    for bad in (numbers[:, None], np.full(40, np.nan), ["a"] * 40, None):
        with pytest.raises(ValueError, match="`y` must (be|hold)"):
            TextRegressor().fit(TEXTS, bad)


def test_images_are_learned(seeing):
    images, labels = shades(seed=1)
    assert seeing.score(images, labels) == 1
    assert seeing.predict_proba(images).sum(1) == pytest.approx(1, abs=1e-12)
    assert seeing.predict(images.astype(float)).tolist() == seeing.predict(images).tolist() == labels.tolist()
    color = np.repeat(images[..., None], 3, 3)
    assert seeing.predict(color).tolist() == labels.tolist()


@pytest.mark.parametrize(
    "names",
    [
        np.array([7, -3]), np.array([7, -3], dtype=np.int8), np.array([True, False]), np.array(["10", "9"]),
        np.array(["ja", "nein"], dtype=object), [1.0, 2.0], ["a", "b"],
    ],
    ids=["int", "int8", "bool", "digits", "object", "whole floats", "list"],
)  # fmt: skip
def test_labels_come_back_as_they_were(names):
    labels = np.asarray(names)[np.arange(40) % 2]
    model = text_classifier().fit(TEXTS, labels if isinstance(names, np.ndarray) else labels.tolist())
    assert model.classes_.dtype == np.asarray(labels).dtype
    assert model.classes_.tolist() == np.unique(labels).tolist()
    predicted = model.predict(TEXTS)
    assert predicted.dtype == labels.dtype
    assert predicted.tolist() == labels.tolist()


def test_many_classes_keep_their_order():
    labels = np.repeat(np.arange(-4, 8), 3)
    texts = [f"word{label} of {row}" for row, label in enumerate(labels)]
    model = text_classifier(**{"training.epochs": 1}).fit(texts, labels)
    assert model.classes_.tolist() == list(range(-4, 8))
    assert model.predict_proba(texts[:2]).shape == (2, 12)
    best = model.predict_proba(texts).argmax(1)
    assert model.predict(texts).tolist() == model.classes_[best].tolist()


def test_texts_in_any_form(fitted):
    expected = fitted.predict(TEXTS[:4]).tolist()
    forms = (
        tuple(TEXTS[:4]),
        np.array(TEXTS[:4]),
        np.array(TEXTS[:4], dtype=object),
        pd.Series(TEXTS[:4], index=[3, 1, 0, 2]),
        iter(TEXTS[:4]),
    )
    for texts in forms:
        assert fitted.predict(texts).tolist() == expected
    again = text_classifier().fit(pd.Series(TEXTS), pd.Series(LABELS, index=range(40, 0, -1)))
    assert again.predict_proba(TEXTS).tolist() == fitted.predict_proba(TEXTS).tolist()


def test_parameters():
    model = TextClassifier(settings={"model.layers": 2}, random_state=3)
    assert model.get_params() == {"settings": {"model.layers": 2}, "random_state": 3, "verbose": False}
    assert model.set_params(random_state=5) is model
    assert model.random_state == 5
    with pytest.raises(ValueError, match="Invalid parameter 'layers' for estimator TextClassifier"):
        model.set_params(layers=3)
    assert clone(model).get_params() == model.get_params()
    assert not hasattr(clone(text_classifier().fit(TEXTS, LABELS)), "model_")


def test_a_seed_gives_the_same_model_and_another_another(fitted):
    same = text_classifier().fit(TEXTS, LABELS).predict_proba(TEXTS)
    assert same.tolist() == fitted.predict_proba(TEXTS).tolist()
    for other in (TextClassifier(settings=FAST, random_state=1), TextClassifier(settings=FAST | {"training.seed": 1})):
        assert np.abs(other.fit(TEXTS, LABELS).predict_proba(TEXTS) - same).max() > 1e-4
    nested = {**FAST, "training": {**FAST["training"], "seed": 9}}
    assert (
        TextClassifier(settings=nested, random_state=0).fit(TEXTS, LABELS).predict_proba(TEXTS).tolist()
        == same.tolist()
    )
    drawn = TextClassifier(settings=FAST, random_state=np.random.RandomState(3)).fit(TEXTS, LABELS)
    again = TextClassifier(settings=FAST, random_state=np.random.RandomState(3)).fit(TEXTS, LABELS)
    assert drawn.predict_proba(TEXTS).tolist() == again.predict_proba(TEXTS).tolist()


def test_fitting_again_forgets_what_was(fitted):
    model = text_classifier().fit(TEXTS, LABELS)
    model.fit([text.upper() for text in TEXTS], np.arange(40) % 2)
    assert model.classes_.tolist() == [0, 1]
    assert model.fit(TEXTS, LABELS).predict_proba(TEXTS).tolist() == fitted.predict_proba(TEXTS).tolist()


def test_nothing_is_printed_unless_asked_for(capfd):
    text_classifier().fit(TEXTS, LABELS)
    assert capfd.readouterr() == ("", "")
    text_classifier().set_params(verbose=True).fit(TEXTS, LABELS)
    assert "epoch 4/4" in capfd.readouterr().out


def test_cross_validation():
    assert cross_val_score(text_classifier(), TEXTS, LABELS, cv=2, scoring="accuracy").tolist() == [1, 1]
    assert cross_val_score(image_classifier(), *shades(), cv=2).min() > 0.9
    assert cross_val_score(text_classifier(), TEXTS, LABELS, cv=2, scoring="roc_auc").tolist() == [1, 1]


def test_a_grid_search_over_settings():
    grid = [FAST | {"training.epochs": 1, "training.learning_rate": 1e-9}, FAST]
    search = GridSearchCV(TextClassifier(random_state=0), {"settings": grid}, cv=2).fit(TEXTS, LABELS)
    assert search.best_params_ == {"settings": FAST}
    assert search.predict(["a fine one"]).tolist() == ["good"]


def test_a_pipeline():
    def lower(texts):
        return [text.lower() for text in texts]

    pipeline = Pipeline([("lower", FunctionTransformer(lower)), ("classify", text_classifier())])
    pipeline.fit([text.upper() for text in TEXTS], LABELS)
    assert pipeline.score(TEXTS, LABELS) == 1
    pipeline.set_params(classify__random_state=7)
    assert pipeline.named_steps["classify"].random_state == 7
    images, labels = shades()
    scaled = Pipeline([("dark", FunctionTransformer(lambda X: X / 2)), ("classify", image_classifier())])
    assert scaled.fit(images, labels).score(images, labels) == 1


def test_a_round_trip_through_pickle_and_joblib(fitted, seeing, tmp_path):
    for model, X in ((fitted, TEXTS), (seeing, shades()[0])):
        content, stream = pickle.dumps(model), io.BytesIO()
        weights = (model.model_.folder.path / "model.safetensors").read_bytes()
        assert weights in content, "the weights are safetensors"
        joblib.dump(model, stream)
        stream.seek(0)
        for again in (pickle.loads(content), joblib.load(stream)):
            assert again.predict_proba(X).tolist() == model.predict_proba(X).tolist()
            assert again.get_params() == model.get_params()
    model.model_.save(tmp_path / "run")
    assert heedful.load(tmp_path / "run").metrics == model.model_.metrics


@pytest.mark.parametrize("make", [TextClassifier, ImageClassifier])
@pytest.mark.parametrize("verb", ["predict", "predict_proba"])
def test_before_it_is_fitted(make, verb):
    with pytest.raises(NotFittedError, match=f"This {make.__name__} instance is not fitted yet"):
        getattr(make(), verb)(["a"])


@pytest.mark.parametrize(
    ("X", "y", "error", "message"),
    [
        (TEXTS, LABELS[:-1], ValueError, r"^`y` must be one label for each of 40 rows of `X`: got shape \(39,\)\.$"),
        (TEXTS, LABELS[:, None], ValueError, r"^`y` must be one label for each of 40 rows of `X`: got shape \(40, 1\)\.$"),
        (TEXTS, ["good"] * 40, ValueError, r"^`y` must hold at least two classes: got 1\.$"),
        (TEXTS, np.linspace(0, 1, 40), ValueError, "Unknown label type: continuous"),
        (TEXTS, None, ValueError, "requires y to be passed, but the target y is None"),
        ([*TEXTS[:39], None], LABELS, ValueError, r"^`X` must hold texts: got None in row 39\.$"),
        ([*TEXTS[:39], 3.5], LABELS, ValueError, r"^`X` must hold texts: got 3.5 in row 39\.$"),
        ([*TEXTS[:39], " "], LABELS, ValueError, r"^`X` must hold texts: got an empty one in row 39\.$"),
        ([[text] for text in TEXTS], LABELS, ValueError, r"^`X` must be one text a row: got shape \(40, 1\)\.$"),
        (pd.DataFrame({"text": TEXTS}), LABELS, ValueError, r"^`X` must be one text a row: got shape \(40, 1\)\.$"),
        ("a fine film", LABELS, ValueError, r"^`X` must be one text a row: got shape \(\)\.$"),
        (TEXTS, [*LABELS[:39], None], ValueError, r"^`y` must hold a label for each row of `X`: got None in row 39\.$"),
        (TEXTS, np.array([1.0] * 39 + [np.nan]), ValueError, r"^`y` must hold a label for each row of `X`: got nan in row 39\.$"),
        (TEXTS, np.array([1, "a"] * 20, dtype=object), ValueError, r"^(`y` must hold labels of one type|Unknown label type|.*mix of)"),
        ([*TEXTS[:39], "\ud800"], LABELS, ValueError, r"^`X` must hold texts: got half a character in row 39, '\\ud800'\.$"),
        (TEXTS[:4], LABELS[:4], DataError, "must hold at least 10 texts, to hold one out"),
    ],
)  # fmt: skip
def test_texts_that_are_none(X, y, error, message):
    with pytest.raises(error, match=message):
        text_classifier().fit(X, y)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((40, 48)), r"^`X` must be images, \[count, height, width\] or .*: got shape \(40, 48\)\.$"),
        (np.zeros((40, 6, 8, 2)), r"^`X` must be images, .* \[count, height, width, 3\]: got shape \(40, 6, 8, 2\)\.$"),
        (np.full((40, 6, 8), np.nan), r"^`X` must hold numbers from 0 to 255: got NaN, infinity or no numbers\.$"),
        (np.full((40, 6, 8), "a"), r"^`X` must hold numbers from 0 to 255: got NaN, infinity or no numbers\.$"),
        (np.full((40, 6, 8), 256), r"^`X` must hold numbers from 0 to 255: got 256 to 256\.$"),
        (
            np.linspace(0, 1, 40 * 48).reshape(40, 6, 8),
            r"^`X` must hold numbers from 0 to 255: got numbers from 0 to 1; multiply",
        ),
        (np.zeros((40, 6, 8), complex), r"^`X` must hold numbers from 0 to 255: got NaN, infinity or no numbers\.$"),
        ([np.zeros((6, 8))] * 39 + [np.zeros((6, 9))], r"^`X` must be images of one size: got several\.$"),
        (np.zeros((40, 0, 8)), r"^`X` must be images, .*: got shape \(40, 0, 8\)\.$"),
    ],
)
def test_images_that_are_none(X, message):
    with pytest.raises(ValueError, match=message):
        image_classifier().fit(X, np.arange(40) % 2)


def test_inputs_that_are_none_of_a_fitted_one(fitted, seeing):
    for texts, message in (
        ([" "], "got an empty one in row 0"),
        (["a", None], "got None in row 1"),
        (["a\udc80"], "got half a character in row 0"),
        ("a", r"got shape \(\)"),
    ):
        with pytest.raises(ValueError, match=message):
            fitted.predict(texts)
    images = shades()[0]
    for wrong, message in (
        (images[0], r"got shape \(6, 8\)"),
        (images / 255, "got numbers from 0 to 1; multiply"),
        (images[:, :5], r"^`X` must be images of shape \(6, 8\), height and width, as in `fit`: got \(5, 8\)\.$"),
    ):
        with pytest.raises(ValueError, match=message):
            seeing.predict(wrong)
    assert seeing.predict(images[:0]).shape == (0,)
    assert fitted.predict([]).shape == (0,)
    assert fitted.predict_proba([]).shape == (0, 2)


def test_settings_that_are_none():
    with pytest.raises(SettingsError, match="unknown setting `model.lyers`, did you mean `model.layers`"):
        TextClassifier(settings={"model.lyers": 3}).fit(TEXTS, LABELS)
    with pytest.raises(
        TypeError, match=r"^`settings` must be a mapping of names to values: got \['model.layers=3'\]\.$"
    ):
        TextClassifier(settings=["model.layers=3"]).fit(TEXTS, LABELS)


def test_tags():
    text, image = get_tags(TextClassifier()), get_tags(ImageClassifier())
    assert (text.input_tags.string, text.input_tags.one_d_array, text.input_tags.two_d_array) == (True, True, False)
    assert (image.input_tags.three_d_array, image.input_tags.two_d_array) == (True, False)
    assert text.target_tags.required
    assert text.estimator_type == image.estimator_type == "classifier"


# `check_estimator` stops behind the first of these, as it does for all whose input is no table of numbers; those that make no
# table are run one by one. The others fit on tables of numbers.
CHECKS = (
    "check_estimator_cloneable", "check_estimator_tags_renamed", "check_valid_tag_types", "check_estimator_repr",
    "check_no_attributes_set_in_init", "check_parameters_default_constructible", "check_get_params_invariance",
    "check_set_params", "check_mixin_order", "check_do_not_raise_errors_in_init_or_set_params",
)  # fmt: skip


@pytest.mark.parametrize("model", [text_classifier(), image_classifier()], ids=["texts", "images"])
def test_scikit_learn_skips_what_needs_tables(model):
    with pytest.warns(SkipTestWarning, match=f"Can't test estimator {type(model).__name__} which requires input"):
        results = estimator_checks.check_estimator(model)
    assert [(one["check_name"], one["status"]) for one in results] == [("check_estimator_cloneable", "passed")]


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("model", [text_classifier(), image_classifier()], ids=["texts", "images"])
def test_scikit_learns_own_checks(model, name):
    check = getattr(estimator_checks, name)
    check(*(type(model).__name__, model)[-len(inspect.signature(check).parameters) :])


def test_a_smoother_is_fitted_once_and_smooths_any_series():
    random = np.random.default_rng(0)
    X = np.repeat([0.0, 5.0, 1.0], 60)[:, None] + random.standard_normal((180, 2))
    smoother = Smoother(window=31)
    expected = heedful.smooth(X, window=31)
    np.testing.assert_array_equal(smoother.fit_transform(X), expected.values)
    assert smoother.settings_ == expected.settings
    again = pickle.loads(pickle.dumps(clone(smoother).fit(X)))
    np.testing.assert_allclose(
        again.transform(X[:100]), heedful.smooth(X[:100], noise=smoother.noise_, settings=smoother.settings_).values
    )
    assert smoother.get_feature_names_out(["a", "b"]).tolist() == ["a", "b"]
    X[7, 0] = np.nan
    assert np.isfinite(smoother.transform(X)).all()
    with pytest.raises(ValueError, match="X has 1 features, but Smoother is expecting 2 features as input."):
        smoother.transform(X[:, :1])
    with pytest.raises(NotFittedError):
        Smoother().transform(X)
    assert Pipeline([("smooth", Smoother(length=5))]).fit(X).transform(X).shape == X.shape
