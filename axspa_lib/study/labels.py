"""Names and codes shared by every stage; no bare integer stands for an anatomical thing elsewhere."""

from enum import IntEnum

#: Patient's side, never the image's side.
RIGHT, LEFT = "R", "L"
SIDES = (RIGHT, LEFT)

#: Quadrants of one joint on one slice: sacral or iliac bone, upper or lower half.
QUADRANTS = ("sacral_upper", "sacral_lower", "iliac_upper", "iliac_lower")

#: Sequences of a pair; the BIDS suffix of each (`acq` entity and suffix).
T1, STIR = "T1", "STIR"
SEQUENCES = (T1, STIR)
BIDS_SUFFIX = {T1: "acq-cor_T1w", STIR: "acq-corSTIR_T2w"}


class Bone(IntEnum):
    """Values of a bone mask (uint8)."""

    BACKGROUND = 0
    SACRUM = 1
    ILIAC = 2


class Inflammation(IntEnum):
    """Classes of a joint ROI, in the order of the detector's class indices (demo of the authors)."""

    HEALTHY = 0
    INFLAMED = 1


#: Subsets of a split.
TRAIN, VALIDATION, TEST = "train", "validation", "test"
SUBSETS = (TRAIN, VALIDATION, TEST)

#: Readers of the paper's two cohorts (Tables 1 to 3).
READERS_DESIR = ("1", "2", "3")
READERS_ASAS = ("1", "2", "4", "5", "6", "7")

#: What a figure or table shows, as written below it.
MARKS = {"phantom": "PHANTOM – simulated, not clinical", "real": "REAL MRI", "both": "PHANTOM and REAL MRI, as marked"}
