"""What a worker says of its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from windlass.domain.errors import Invalid
from windlass.domain.schema import Column, Kind, Signature
from windlass.serving.describe import description, outputs_of
from windlass.serving.model import Model
from windlass.serving.wire import REPLIES, REQUESTS, Describe, Description, Frames, frame

OUTPUTS = (Column(name="prediction", kind=Kind.NUMBER),)
PROBABILITY = Column(name="probability", kind=Kind.NUMBER)


def model(answers: Any = None, classes: Any = None, positive: Any = None) -> Model:
    return Model(
        signature=Signature(inputs=(), outputs=OUTPUTS), estimator=None, features=None, classes=classes,
        positive=positive, golden=([], answers),
    )  # fmt: skip


def prediction(kind: Kind) -> Column:
    return Column(name="prediction", kind=kind)


def test_a_package_is_described_as_it_answers(packages: dict[str, Path]) -> None:
    loaded = Model.load(packages["good"])
    assert description(packages["good"], loaded) == Description(
        0,
        Signature(
            inputs=(Column(name="x", kind=Kind.NUMBER), Column(name="y", kind=Kind.INTEGER)),
            outputs=(prediction(Kind.INTEGER), PROBABILITY),
        ),
        "windlass",
        1,
    )


@pytest.mark.parametrize(
    ("made", "outputs"),
    [
        (model([{"prediction": "yes", "probability": 0.5}], (0, 1), 1), (prediction(Kind.STRING), PROBABILITY)),
        (model([{"prediction": 1}, {"prediction": None}], (0, 1), 1), (prediction(Kind.INTEGER),)),
        (model([{"prediction": 1}, {"prediction": 1.5}]), OUTPUTS),
        (model(None, ("a", "b"), "b"), (prediction(Kind.STRING), PROBABILITY)),
        (model(None, (True, False)), (prediction(Kind.BOOLEAN),)),
        (model(None, (0, 1, 2)), (prediction(Kind.INTEGER),)),
        (model(), OUTPUTS),
    ],
)
def test_outputs_are_those_of_golden_answers_or_classes(made: Model, outputs: tuple[Column, ...]) -> None:
    assert outputs_of(made) == outputs


def test_what_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="holds no package"):
        description(tmp_path, model())


def test_on_the_wire() -> None:
    said = Description(
        7, Signature(inputs=(Column(name="é", kind=Kind.STRING, nullable=True),), outputs=OUTPUTS), "p", 2
    )
    assert Frames(REPLIES).feed(frame(said)) == [said]
    assert Frames(REQUESTS).feed(frame(Describe(7))) == [Describe(7)]
