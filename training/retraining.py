"""One run of retraining: the bundle it starts from, its data and terms, and what names it."""

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from model.bundle import BundleFacts, read_facts
from model.bundle_store import BundleStore, Pointer
from model.errors import VersionMissing
from model.network import VcemoNetwork
from training.fine_tune import Material, Sources, check_parts, gather_material, recipe_of, sentence_encoder_of
from training.prediction_rows import PredictionRow
from training.predictions import predictions
from training.trial import Trial
from training.views import ALONE, LeftOut, views
from training.workshop import Workshop

_NUMBERED: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What a new bundle has to be, to be promoted. least_new: labels to begin at all. trial: on live traffic first."""

    least_new: int = 50
    least_gain: float = 0.0
    most_loss: float = 0.1
    trial: Trial | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Retraining:
    """One run. bundle: folder that the store's current version was pulled to; facts: of it."""

    store: BundleStore
    start: Pointer
    bundle: Path
    facts: BundleFacts
    workshop: Workshop
    material: Material
    terms: Terms

    @property
    def digest(self) -> str:
        """Name the data and the recipe, whatever they start from."""
        recipe = {"recipe": self.workshop.experiment.digest, "terms": [self.terms.least_gain, self.terms.most_loss]}
        return hashlib.sha256(f"{self.material.digest} {recipe}".encode()).hexdigest()[:12]

    @property
    def version(self) -> str:
        """The new bundle's: one patch further, and named by what it was made of."""
        made_of = hashlib.sha256(f"{self.digest} {self.start.sha256}".encode()).hexdigest()[:8]
        found = _NUMBERED.match(self.facts.version)
        if found is None:
            return f"{self.facts.version[:48]}-{made_of}"
        major, minor, patch = (int(number) for number in found.groups())
        return f"{major}.{minor}.{patch + 1}-{made_of}"

    @property
    def record_name(self) -> str:
        """Under which the store keeps what it came to."""
        return f"retrain-{self.digest}"


def opened(store: BundleStore, sources: Sources, workshop: Workshop, terms: Terms) -> Retraining:
    """Read the store's current bundle, and gather what it goes on with; raises as :func:`training.retrain.retrain`."""
    start = store.pointer()
    if start is None:
        raise VersionMissing(
            f"{store.url} has no current version to start from: push one and promote it", value=store.url
        )
    bundle = store.pull(
        start.version,
        workshop.cache / "retrain" / "bundles" / f"{start.version}-{start.sha256[:12]}",
        sha256=start.sha256,
    )
    facts, _ = read_facts(bundle)
    workshop = replace(workshop, experiment=recipe_of(facts, workshop.experiment), bert=sentence_encoder_of(bundle))
    check_parts(facts, workshop)
    material = gather_material(sources, facts, workshop)
    return Retraining(
        store=store, start=start, bundle=bundle, facts=facts, workshop=workshop, material=material, terms=terms
    )


def judged(network: VcemoNetwork, run: Retraining, *, view: str = ALONE, orders: int = 0) -> list[PredictionRow]:
    """Return what a network says of every test set, one fold each; more views than one where orders are given."""
    rows: list[PredictionRow] = []
    for name, examples in run.material.tests.items():
        # Two test sets may know two clips by one name.
        named = [replace(one, clip=replace(one.clip, key=f"{name}/{one.clip.key}")) for one in examples]
        shown = views(LeftOut(clips=named), orders=orders) if orders else [(view, named)]
        for each, some in shown:
            rows += predictions(network, some, features=run.workshop.features, view=each, fold=name, seed=0)
    return rows
