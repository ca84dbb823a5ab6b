"""windlass.toml is read strictly, and says where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from windlass.domain.errors import Invalid, NotFound
from windlass.pipelines import template
from windlass.workspace import config

EXAMPLE = Path(__file__).parents[2] / "examples" / "employment" / "windlass.toml"
LEAST = '[project]\nname = "p"\n[model]\nname = "m"\n[endpoint]\nname = "e"\n'


def test_the_example_and_the_template_are_legal() -> None:
    example = config.load(EXAMPLE)
    assert example.gates.fairness.columns == ("SEX", "RAC1P")
    assert [phase.weight for phase in example.rollout.phases] == [0.0, 0.01, 0.05, 0.25, 1.0]
    assert config.parse(template.files("churn")["windlass.toml"], "x").endpoint.name == "churn"


def test_a_rollout_may_be_said_in_short() -> None:
    def shares(text: str) -> list[float]:
        return [phase.share for phase in config.parse(LEAST + "[rollout]\n" + text, "x").rollout.phases]

    assert shares("steps = [0.01, 0.05, 0.25, 1]\n") == [0.01, 0.05, 0.25, 1.0]
    assert shares("preset = 'low'\n") == [1.0, 1.0]
    written = "phases = [{ kind = 'blue-green', approval = true }, { kind = 'bake', users = 5 }]\n"
    assert shares(written) == [1.0, 1.0]


def test_what_is_left_out_has_its_default() -> None:
    found = config.parse(LEAST, "x")
    assert (found.monitors.window_rows, found.retraining.on, found.pipeline.file) == (2000, (), "pipeline.py")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[project", "x:1: "),
        (LEAST + "[gates]\napprovals = 'one'\n", "x:8: gates.approvals"),
        (LEAST + "[gates]\napproval_group = 'leads'\n", "x:8: gates.approval_group: no group 'leads' under [groups]"),
        (LEAST + "[groups]\nleads = 'alex'\n", "x:7: groups: expected"),
        (LEAST + "[groups]\n'a b' = ['alex']\n", "group name"),
        (LEAST + "[gates]\nunheard = 1\n", "x:8: gates.unheard: unknown key"),
        (LEAST + "[gates.metrics]\naccuracy = { min = 'high' }\n", "gates.metrics"),
        (LEAST + "[rollout]\nalpha = 7.0\n", "rollout.alpha"),
        (LEAST + "[rollout]\nphases = [{ kind = 'canary', weight = 3.0 }]\n", "weight"),
        (LEAST + "[rollout]\npreset = 'none'\n", "x:8: rollout.preset"),
        (LEAST + "[rollout]\nstrategy = 'big-bang'\n", "x:8: rollout.strategy"),
        (LEAST + "[rollout]\nsteps = [0.1, 0.05]\n", "rollout.steps[1]: 0.05 after 0.1"),
        (LEAST + "[rollout]\nsteps = ['1 %']\n", "x:8: rollout.steps"),
        (LEAST + "[rollout]\npreset = 'low'\nsteps = [1.0]\n", "rollout.preset and rollout.steps"),
        (LEAST + "[rollout]\nphases = [{ kind = 'bake', seconds = 5 }]\n", "rollout.phases[0]: a bake follows"),
        (LEAST + "[rollout]\nphases = [{ kind = 'flip' }]\n", "x:8: rollout.phases"),
        (
            LEAST + "[rollout]\nphases = [{ kind = 'blue-green', approve = true }]\n",
            "rollout.phases.0.approve",
        ),
        (LEAST + "[rollback]\ncooldown_seconds = -1\n", "rollback.cooldown_seconds"),
        (LEAST + "[rollout.signals]\nspeed = {}\n", "x:8: rollout.signals.speed: unknown key"),
        (LEAST + "[rollout.signals.latency]\nratio = 0.5\n", "rollout.signals.latency.ratio is 0.5"),
        (LEAST + "[rollout.signals.answers]\nmarign = 0.5\n", "rollout.signals.answers.marign: unknown key"),
        (LEAST + "[[rollout.signals.custom]]\nname = 'errors'\nexpression = '1'\nmargin = 0.1\n", "name is 'errors'"),
        (LEAST + "[[rollout.signals.custom]]\nname = 'a'\nmargin = 0.1\n", "expression"),
        (LEAST + "[monitors]\nwindow_rows = 3\n", "window_rows"),
        (LEAST + "[gateway]\ntls_key = 'k'\n", "gateway.tls_key is given, and gateway.tls_certificate is not"),
        (LEAST + "[gateway]\nmax_body_kb = 0\n", "gateway.max_body_kb is 0"),
        (LEAST + "[gateway]\nmax_header_kb = '1'\n", "x:8: gateway.max_header_kb"),
        (LEAST + "[predictions]\nsync = 'never'\n", "x:8: predictions.sync"),
        (LEAST + "[predictions]\nwhen_full = 'wait'\n", "x:8: predictions.when_full"),
        (LEAST + "[predictions]\nqueue_bytes = 1000\n", "predictions.queue_bytes is 1000"),
        (LEAST + "[predictions]\nsample = 1.5\n", "predictions.sample is 1.5"),
        (LEAST + "[predictions]\nsample = nan\n", "predictions.sample is nan"),
        (LEAST + "[predictions]\nkeep_days = 0\n", "predictions.keep_days is 0"),
        (LEAST + "[predictions]\ndrop = ['a', 'b', 'a']\n", "predictions.drop names 'a' twice"),
        (LEAST + "[predictions]\ndrop = ['a']\nhash = ['a']\n", "predictions.hash names 'a', which is dropped"),
        (LEAST + "[predictions]\ndropp = ['a']\n", "x:8: predictions.dropp: unknown key"),
        (LEAST.replace('"m"', '"a b"'), "model name"),
        ('[model]\nname = "m"\n[endpoint]\nname = "e"\n', "project"),
        (LEAST + "[retraining]\non = ['moon']\n", "retraining.on"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, said: str) -> None:
    with pytest.raises(Invalid) as error:
        config.parse(text, "x")
    assert said in error.value.message


def test_signals_of_a_rollout_are_data() -> None:
    text = (
        LEAST
        + "[rollout.signals]\nlatency = { on = false }\nquality = { margin = 0.01 }\n"
        + "[[rollout.signals.custom]]\nname = 'approved'\nexpression = 'prediction = 1'\nmargin = 0.05\n"
        + "worse = 'lower'\n"
    )
    found = config.parse(text, "x").rollout.signals
    assert (found.latency.on, found.quality.margin, found.answers.margin) == (False, 0.01, 0.1)
    assert [(each.name, each.worse, each.bounds) for each in found.custom] == [("approved", "lower", (0.0, 1.0))]


def test_no_file() -> None:
    with pytest.raises(NotFound, match="nowhere"):
        config.load(Path("nowhere/windlass.toml"))
