"""Time class activation maps: ours, and the library's driven the authors' way."""

import contextlib
import io
import tempfile
from pathlib import Path

import numpy as np
import torch
from pytorch_grad_cam import ScoreCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from timing import Measure, in_turns
from torch import nn

from fetalclip_nb import phantoms
from fetalclip_nb.data.fetal_planes import read_fetal_planes
from fetalclip_nb.data.prompts import load_prompts
from fetalclip_nb.experiments.cam import maps
from fetalclip_nb.experiments.cam.images import pixels_of
from fetalclip_nb.models import similarity
from fetalclip_nb.models.model import Model, load_model
from fetalclip_nb.models.tower import fast_tower, input_norm, vision_tower

IMAGES = 8
RUNS = 7


class EncodesTextAgain(nn.Module):
    """Pixels to probabilities; all sentences go through the text tower in each forward pass."""

    def __init__(self, model: Model, prompts: dict[str, list[str]]) -> None:
        super().__init__()
        self.network, self.tokenizer, self.prompts = model.network, model.tokenizer, prompts

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (N, 3, S, S) to (N, C)."""
        images = nn.functional.normalize(self.network.encode_image(pixels), dim=-1)
        text = torch.stack([self._class_vector(group) for group in self.prompts.values()])
        return (similarity.SCALE * images @ text.T).softmax(-1)

    def _class_vector(self, sentences: list[str]) -> torch.Tensor:
        text = self.network.encode_text(self.tokenizer(sentences))
        mean = nn.functional.normalize(text, dim=-1).mean(0)
        return nn.functional.normalize(mean, dim=-1)


def cams() -> dict[str, float | Measure]:
    """ScoreCAM maps of the phantom CLIP, an image: all ways in turn, in one process."""
    model = load_model("phantomclip", device="cpu")
    prompts = load_prompts("planes")
    with tempfile.TemporaryDirectory() as folder:
        phantoms.write_fetal_planes(Path(folder) / "planes", patients=4, seed=0)
        images = read_fetal_planes(Path(folder) / "planes")
        pixels = pixels_of(model, images)[:IMAGES]
    n = len(pixels)
    targets = [row % len(prompts) for row in range(n)]
    again, tower = EncodesTextAgain(model, prompts), fast_tower(model)
    few = pixels[:1].repeat(32, 1, 1, 1)

    def authors(batch_size: int = 16) -> np.ndarray:
        tower = vision_tower(model)
        layer = input_norm(tower)
        maker = ScoreCAM(again, [layer], lambda tokens: tower.maps(tokens))
        maker.batch_size = batch_size
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
            asked = [[ClassifierOutputTarget(target)] for target in targets]
            made = [maker(p[None], one) for p, one in zip(pixels, asked, strict=True)]
        maker.activations_and_grads.release()
        return np.concatenate(made)

    def ours(method: str = "scorecam") -> np.ndarray:
        classes = similarity.class_embeddings(model.encode_text, prompts)
        return maps.cam_maps(model, pixels, classes, targets, method=method).maps

    @torch.inference_mode()
    def passes(encode: nn.Module) -> None:
        for _ in range(4):
            encode(few)

    @torch.inference_mode()
    def predictions() -> None:
        for picture in pixels:
            again(picture[None])

    slow, fast, quick, predicted, plain, lean = in_turns(
        authors,
        ours,
        lambda: ours("gradcam"),
        predictions,
        lambda: passes(model.network.encode_image),
        lambda: passes(tower),
        runs=RUNS,
    )
    unlike = float(np.abs(slow.result - fast.result).max())
    return {
        "ScoreCAM an image, authors' way": slow.wall / n,
        "predicted class and confidence on top, authors' way": predicted.wall / n,
        "ScoreCAM an image, ours, with predicted class and confidence": fast.wall / n,
        "map alone: authors' way against ours": Measure(slow.wall / fast.wall, "times"),
        "map and prediction: authors' way against ours": Measure(
            (slow.wall + predicted.wall) / fast.wall, "times"
        ),
        "the same in processor seconds": Measure(
            (slow.processor + predicted.processor) / fast.processor, "times"
        ),
        "largest difference of the maps": Measure(1e6 * unlike, "millionths"),
        "GradCAM an image, ours": quick.wall / n,
        "128 masked pictures, encoder as it is": plain.wall,
        "128 masked pictures, fast tower": lean.wall,
    }
