"""The model card of a pretrained model, written from its scores file and nothing else."""

_PREDICTORS = {
    "templates": "this model",
    "unseen": "this model, sentence frames that training never used",
    "shuffled images": "control: each head with another head's picture",
    "mean embedding": "control: the mean image embedding for every head",
    "black image": "control: a black image for every head",
    "spacing only": "baseline: regression on the pixel spacing, no image",
    "constant age": "baseline: the best constant age, no image, no spacing",
}


def model_card(scores: dict[str, dict]) -> str:
    """Write the card.

    Args:
        scores: Content of ``scores.json`` as ``pretraining_run.run`` writes it.

    Returns:
        Markdown with data, recipe, scores and limits.
    """
    parts = [_heading(scores), _data(scores), _recipe(scores), _planes(scores)]
    parts.append(_ages(scores["age"], "Gestational age of held-out phantom heads"))
    if "real_hc18" in scores:
        parts.append(_ages(scores["real_hc18"], "Gestational age of real HC18 heads"))
        parts.append(_caveats())
    return "\n".join(parts)


def _heading(scores: dict[str, dict]) -> str:
    model = scores["model"]
    return f"""---
license: mit
library_name: open_clip
tags: [clip, ultrasound, synthetic-data]
---
# Phantom CLIP

A CLIP of FetalCLIP's family (open_clip, text of 117 tokens), small enough to ship: \
{model["parameters"]:,} parameters, {model["bytes"]:,} bytes in half precision. It has seen \
simulated ultrasound pictures only. It stands in for a real model in the demo of this book; it \
is a research tool and no medical device.

```python
import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:FOLDER")
tokenizer = open_clip.get_tokenizer("local-dir:FOLDER")
```

SHA-256 of the weights: `{model["sha256"]}`.
"""


def _data(scores: dict[str, dict]) -> str:
    recipe, held_out = scores["recipe"], scores["held_out"]
    planes, heads = held_out["fetal_planes"], held_out["hc18"]
    return f"""## Data

Training: {recipe["heads"]:,} brain phantoms (gestational age uniform from 14w0d to 38w6d) and \
{recipe["others"]:,} phantoms of the other planes, pictures of version \
{scores["training"]["phantoms"]}, and {recipe["hearts"]:,} frames of four-chamber clips, every \
second one with a defect; seed {recipe["seed"]}, each of another patient. Captions: \
our own sentences on plane, brain sub-plane, structures, on how the chambers of a heart in a clip \
look, and on gestational age with pixel spacing. No real image and no real caption. The captions \
of clips tell a normal heart and each of the three defects apart, without naming a disease; \
ordinary thorax pictures, which show normal hearts too, have no such captions.

Held out: {planes["patients"]} phantom patients in the layout of FETAL_PLANES_DB (seed \
{planes["seed"]}) and {heads["patients"]} in that of HC18 (seed {heads["seed"]}).
"""


def _recipe(scores: dict[str, dict]) -> str:
    recipe, training = scores["recipe"], scores["training"]
    shown = {f"stage {i}": _stage(stage) for i, stage in enumerate(recipe["stages"], start=1)}
    shown |= {name: value for name, value in recipe.items() if name != "stages"}
    rows = "\n".join(f"| {name} | {value} |" for name, value in shown.items())
    return f"""## Recipe

`fetalclip-nb pretrain` remakes it. Training took {training["seconds"]:,} s on \
{training["threads"]} CPU threads (torch {training["torch"]}, open_clip \
{training["open_clip_torch"]}, commit `{training["commit"]}`).

| setting | value |
|---|---|
{rows}
"""


def _stage(stage: dict[str, object]) -> str:
    """One stage in words.

    >>> _stage({"steps": 10, "zoom": [0.7, 1.25], "shared": True, "hearts": 0})
    '10 steps, zoom 0.7 to 1.25, every picture serves both losses'
    """
    low, high = stage["zoom"]
    use = "every picture serves both losses" if stage["shared"] else "separate pictures a loss"
    clips = f", {stage['hearts']} frames of clips" if stage["hearts"] else ""
    return f"{stage['steps']:,} steps, zoom {low} to {high}, {use}{clips}"


def _planes(scores: dict[str, dict]) -> str:
    rows = [
        f"| {title} | {name.removeprefix('f1/').replace('f1_macro', '**macro**')} | {_cell(score)} "
        f"| {score['n']} |"
        for task, title in (("planes", "five planes"), ("brain", "brain sub-planes"))
        for name, score in scores[task].items()
    ]
    table = "\n".join(rows)
    return f"""## Zero-shot planes of held-out phantoms

F1 in percent with its 95 % interval (patients resampled), n images in the task. Prompts are \
sentences that training has not used.

| task | class | F1 | n |
|---|---|---|---|
{table}
"""


def _ages(predictors: dict[str, dict], title: str) -> str:
    rows = "\n".join(
        f"| {_PREDICTORS[name]} | {_cell(found['vpr'])} "
        f"| {100 * found['hc_error']['value']:.1f} | {found['age_error_days']['value']:.0f} |"
        for name, found in predictors.items()
    )
    n = predictors["templates"]["vpr"]["n"]
    strata = "\n".join(
        f"| {name.removeprefix('vpr/')} | {score['n']} | {_cell(score)} "
        f"| {100 * predictors['constant age'][name]['value']:.1f} |"
        for name, score in predictors["templates"].items()
        if name.startswith("vpr/")
    )
    return f"""## {title}

Valid prediction rate (VPR) in percent of {n} heads of 100 to 342 mm with its 95 % interval \
(patients resampled), median error of head circumference in percent, median error of age in days.

| predictor | VPR | HC error | days |
|---|---|---|---|
{rows}

| head circumference (mm) | n | VPR of this model | VPR of the constant age |
|---|---|---|---|
{strata}
"""


def _cell(score: dict[str, float]) -> str:
    """Value and interval in percent.

    >>> _cell({"value": 0.5, "low": 0.25, "high": 0.75})
    '50.0 (25.0-75.0)'
    """
    return f"{100 * score['value']:.1f} ({100 * score['low']:.1f}-{100 * score['high']:.1f})"


def _caveats() -> str:
    return """## How to read the figures on real heads

The captions use the very growth curve that defines a valid prediction, and tone and field of
view of the phantoms were chosen while looking at HC18. The rate is therefore a statement on
simulation and on the measure, not on clinical use; read it beside the controls and by stratum.
"""
