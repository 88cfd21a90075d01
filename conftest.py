"""For all tests and doctests: examples know the names that they use, and `--shapes` checks shapes in signatures."""

import pytest

ANNOTATED = ("heedful.ops", "heedful.nn", "heedful.models", "heedful.inspection.rollout")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--shapes`."""
    words = "check each annotation of a type and a shape at each call; six times slower, so tests/project/test_shapes.py chooses"
    parser.addoption("--shapes", action="store_true", help=words)


def pytest_configure(config: pytest.Config) -> None:
    """The hook stands before anything of heedful is imported."""
    if config.getoption("--shapes"):
        from jaxtyping import install_import_hook

        install_import_hook(list(ANNOTATED), "beartype.beartype")


@pytest.fixture(autouse=True)
def _example_names(doctest_namespace: dict[str, object]) -> None:
    import torch

    import heedful
    from heedful import nn, ops
    from heedful.data import LabeledImages, read_images, read_unlabeled
    from heedful.models import vision_transformer

    torch.manual_seed(0)
    for module in (ops, nn):
        doctest_namespace.update({name: getattr(module, name) for name in module.__all__})
    doctest_namespace.update(torch=torch, heedful=heedful, vision_transformer=vision_transformer)
    doctest_namespace.update(LabeledImages=LabeledImages, read_images=read_images, read_unlabeled=read_unlabeled)
