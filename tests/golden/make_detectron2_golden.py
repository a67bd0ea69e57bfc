"""Make the golden vectors of the detector with genuine Detectron2; run by hand where it is installed.

    python tests/golden/make_detectron2_golden.py

writes `tests/golden/detectron2.npz`: outputs at every level of the network on the case of `detectron2_case.py`,
sampled where they are large, and the versions that made them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

import detectron2_case as case

PATH = Path(__file__).with_name("detectron2.npz")


def genuine_model() -> Any:
    """Detectron2's own `mask_rcnn_R_50_FPN_3x` with two classes and the generated weights, read by its checkpointer."""
    import detectron2
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    node = get_cfg()
    node.merge_from_file(str(_zoo_config(Path(detectron2.__file__).parent)))
    node.MODEL.ROI_HEADS.NUM_CLASSES = 2
    node.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = case.CONFIG.rois_per_image
    node.MODEL.ROI_HEADS.SCORE_THRESH_TEST = case.CONFIG.store_threshold
    node.MODEL.DEVICE, node.MODEL.WEIGHTS, node.INPUT.MASK_FORMAT = "cpu", "", "bitmask"
    model = build_model(node)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights_mrcnn.pth"
        torch.save({"model": case.generated_weights(shapes)}, path)
        DetectionCheckpointer(model).load(str(path))
    return model


def _zoo_config(package: Path) -> Path:
    name = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"
    for folder in (package / "model_zoo" / "configs", package.parent / "configs"):
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{name} in neither the installed nor the source tree of Detectron2")


@torch.no_grad()
def inference_vectors(model: Any) -> dict[str, np.ndarray]:
    """Every level of inference, on the slices resized as Detectron2's predictor does."""
    from detectron2.data.transforms import ResizeShortestEdge
    from detectron2.structures import Boxes

    model.eval()
    vectors: dict[str, np.ndarray] = {}
    resizer = ResizeShortestEdge([case.CONFIG.min_size] * 2, case.CONFIG.max_size)
    inputs = []
    for number, image in enumerate(case.slices()):
        channels_last = image.transpose(1, 2, 0)
        fed = resizer.get_transform(channels_last).apply_image(channels_last).transpose(2, 0, 1)
        vectors[f"resized_{number}"] = fed
        inputs.append(
            {"image": torch.from_numpy(fed.astype(np.float32)), "height": image.shape[1], "width": image.shape[2]}
        )
    batch = model.preprocess_image(inputs)
    features = model.backbone(batch.tensor)
    for name, value in features.items():
        vectors[f"feature_{name}"] = case.sampled(value)
    rpn = model.proposal_generator
    levels = [features[name] for name in rpn.in_features]
    logits, deltas = rpn.rpn_head(levels)
    for level, (logit, delta) in enumerate(zip(logits, deltas, strict=True)):
        vectors[f"rpn_logits_{level}"] = case.sampled(logit.permute(0, 2, 3, 1))
        vectors[f"rpn_deltas_{level}"] = case.sampled(delta.permute(0, 2, 3, 1))
    for level, anchor in enumerate(rpn.anchor_generator(levels)):
        vectors[f"anchors_{level}"] = case.sampled(anchor.tensor)
    proposals, _ = rpn(batch, features, None)
    heads = model.roi_heads
    box_features = heads.box_pooler([features[f] for f in heads.box_in_features], [p.proposal_boxes for p in proposals])
    class_logits, box_deltas = heads.box_predictor(heads.box_head(box_features))
    vectors["pooled"] = case.sampled(box_features, 4000)
    vectors["class_logits"], vectors["box_deltas"] = class_logits.numpy(), box_deltas.numpy()
    for number, proposal in enumerate(proposals):
        vectors[f"proposals_{number}"] = proposal.proposal_boxes.tensor.numpy()
    found, _ = heads.box_predictor.inference((class_logits, box_deltas), proposals)
    pooled = heads.mask_pooler(
        [features[f] for f in heads.mask_in_features], [Boxes(f.pred_boxes.tensor) for f in found]
    )
    mask_logits = heads.mask_head.layers(pooled)
    vectors["mask_logits"] = case.sampled(mask_logits, 4000)
    for number, result in enumerate(model(inputs)):
        instances = result["instances"]
        vectors[f"boxes_{number}"] = instances.pred_boxes.tensor.numpy()
        vectors[f"scores_{number}"] = instances.scores.numpy()
        vectors[f"labels_{number}"] = instances.pred_classes.numpy().astype(np.int8)
        vectors[f"masks_{number}"] = np.packbits(instances.pred_masks.numpy())
    return vectors


def loss_vectors(model: Any) -> dict[str, np.ndarray]:
    """The five losses of the training batch and the norm of every parameter's gradient."""
    from detectron2.structures import BitMasks, Boxes, Instances
    from detectron2.utils.events import EventStorage

    model.train()
    items = []
    for image, target in zip(*case.training_batch(), strict=True):
        instances = Instances(tuple(image.shape[-2:]))
        instances.gt_boxes, instances.gt_classes = Boxes(target.boxes), target.labels
        instances.gt_masks = BitMasks(target.masks)
        items.append({"image": image, "instances": instances})
    torch.manual_seed(case.SAMPLING_SEED)
    model.zero_grad()
    with EventStorage():
        losses = model(items)
    sum(losses.values()).backward()
    vectors = {name: np.float64(value.item()) for name, value in losses.items()}
    for name, parameter in sorted(model.named_parameters()):
        if parameter.grad is not None:
            vectors[f"gradient_{name}"] = np.float64(parameter.grad.norm().item())
    return vectors


def golden_vectors() -> dict[str, np.ndarray]:
    """All vectors, from Detectron2 as it is installed here."""
    model = genuine_model()
    shapes = [f"{name} {'x'.join(map(str, value.shape))}" for name, value in sorted(model.state_dict().items())]
    return inference_vectors(model) | loss_vectors(model) | {"names_and_shapes": np.array(shapes)}


if __name__ == "__main__":
    import detectron2
    import PIL
    import torchvision

    vectors = golden_vectors()
    versions = {"detectron2": detectron2.__version__, "torch": torch.__version__,
                "torchvision": torchvision.__version__, "pillow": PIL.__version__, "numpy": np.__version__}  # fmt: skip
    vectors["versions"] = np.array([f"{name} {version}" for name, version in versions.items()])
    np.savez_compressed(PATH, **vectors)
    print(f"{PATH.name}: {len(vectors)} vectors, {PATH.stat().st_size / 1e6:.2f} MB")
    for number in range(2):
        print(
            len(vectors[f"proposals_{number}"]),
            "proposals",
            len(vectors[f"boxes_{number}"]),
            "detections",
            vectors[f"scores_{number}"][:5],
            vectors[f"labels_{number}"][:5],
        )
    print({k: float(v) for k, v in vectors.items() if k.startswith("loss")})
