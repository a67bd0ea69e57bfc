"""Variants of the bone networks: what each learns from (sections 4.1 and 5.1), rows of `bone_variants.yaml`."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from axspa_lib.study.config import MANIFEST, BoneNets
from axspa_lib.study.errors import ConfigError
from axspa_lib.study.overrides import parse_yaml

#: Phantom cohort that a variant learns from.
PHANTOM = "phantom-desir"


class BoneVariant(BaseModel):
    """One row of the table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    label: str
    networks: Literal["pair", "single"] = "pair"
    learns: Literal["own", "phantom", "grown"] = Field(
        "own", description="masks of the training cohort, of the phantom, or of the set grown by round 1 (4.1)"
    )
    patients: int = Field(0, ge=0, description="annotated patients learnt from; 0: all")
    start: str | None = Field(None, description="row to continue; '': random weights; none: as the study")
    length: float = Field(1.0, gt=0, description="slices seen, as a share of what the study's own networks see")

    def starts_from(self, bones: BoneNets) -> str:
        """Return the row whose weights are continued under the study's settings, '' for random weights."""
        return bones.start if self.start is None else self.start

    @property
    def folded(self) -> bool:
        """True where each fold learns from other patients."""
        return self.learns != "phantom"

    def settings(self, bones: BoneNets, slices: int, usual: int) -> BoneNets:
        """Return the study's settings, with as many epochs as see the usual number of slices.

        Args:
            bones: of the study.
            slices: that this variant learns from.
            usual: slices that the study's own networks learn from.
        """
        epochs = max(1, round(bones.epochs * self.length * usual / max(slices, 1)))
        return bones.model_copy(update={"networks": self.networks, "epochs": epochs})

    def chosen(self, patients: list[str], seed: int) -> list[str]:
        """Return the patients learnt from: drawn by the seed, those of fewer patients among those of more.

        Raises:
            ConfigError: there are fewer than the row wants.
        """
        if not self.patients:
            return patients
        if self.patients > len(patients):
            raise ConfigError(
                f"bone variant {self.name}: wants {self.patients} annotated patients, the training set has "
                f"{len(patients)}; take the row out of `bone_variants` of the profile"
            )
        order = np.random.default_rng([seed, 5]).permutation(len(patients))
        return sorted(sorted(patients)[place] for place in order[: self.patients])


def bone_variants() -> dict[str, BoneVariant]:
    """Return all variants by name.

    Raises:
        ConfigError: a row has an unknown or impossible field, or continues a row that is not there.
    """
    rows: dict[str, Any] = parse_yaml((MANIFEST / "bone_variants.yaml").read_text(encoding="utf-8"))
    found = {}
    for name, row in rows.items():
        try:
            found[name] = BoneVariant(name=name, **row)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ConfigError(f"data_manifest/bone_variants.yaml: {name}: {where}: {first['msg']}") from None
    for variant in found.values():
        if variant.start and variant.start not in found:
            raise ConfigError(f"data_manifest/bone_variants.yaml: {variant.name}: start: no row {variant.start!r}")
    return found


def bone_variant(name: str) -> BoneVariant:
    """Return one variant by name.

    Raises:
        ConfigError: no such row.
    """
    known = bone_variants()
    if name not in known:
        raise ConfigError(f"no bone variant {name!r}: choose one of {', '.join(known)}")
    return known[name]
