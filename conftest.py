"""For all tests and doctests: shapes in signatures are checked, and examples know the names that they use."""

from collections.abc import Iterator

import jaxtyping
import pytest
from jaxtyping import install_import_hook

install_import_hook(["heedful.ops", "heedful.nn", "heedful.models", "heedful.inspection.rollout"], "beartype.beartype")


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Annotations are not checked, so that a wrong type meets our own words."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


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
