"""How others write the distillation loss, and what their settings are in this study's convention.

Ours: L = w_hard · CE + w_soft · T² · KL, the KL summed over the classes, mean over the batch."""

import pandas as pd

from darkknowledge.spec import LossSpec, positive


def hinton(temperature: float, alpha: float) -> LossSpec:
    """Hinton et al. (2015), section 2: soft targets weigh alpha, times T²; true labels the rest."""
    return LossSpec.mix("kd", temperature, alpha)


def yuan(temperature: float, alpha: float, classes: int, multiplier: float = 1.0) -> LossSpec:
    """The code of Yuan et al. (2020): (1 − alpha) · CE + alpha · T² · multiplier · KL, where
    PyTorch's default average over batch *and* classes makes the KL ``classes`` times weaker."""
    weight = positive("multiplier", multiplier) * alpha / classes
    return LossSpec("kd", temperature, round(1 - alpha, 12), round(weight, 12))


def torchdistill(temperature: float, alpha: float) -> LossSpec:
    """torchdistill's KDLoss (alpha above 0): alpha · CE + (1 − alpha) · T² · KL, alpha on the true
    labels. So is the Keras example; as first published, in 2020, it had no T²."""
    return LossSpec.mix("kd", temperature, round(1 - alpha, 12))


MIX = r"(1-\alpha)\,\mathrm{CE} + \alpha\,T^2\,"
OTHER = r"\alpha\,\mathrm{CE} + (1-\alpha)\,T^2\,\mathrm{KL}"


def table() -> pd.DataFrame:
    """An example of each source's settings, one per row: its formula as TeX, and what they are in
    ours."""
    kl, scaled = MIX + r"\mathrm{KL}", MIX + r"m\,\mathrm{KL}/K"
    theirs, usual = "Yuan et al. [-@yuan2020]", "T = 20, α = 0.9"
    rows = [
        ("Hinton et al. [-@hinton2015]", kl, f"{usual} (α not stated there)", hinton(20, 0.9)),
        (f"{theirs}, normal", f"{kl}/K", f"{usual}, K = 10", yuan(20, 0.9, 10)),
        (f"{theirs}, reversed", f"{kl}/K", "T = 20, α = 0.05, K = 10", yuan(20, 0.05, 10)),
        (f"{theirs}, self", scaled, f"{usual}, m = 10, K = 100", yuan(20, 0.9, 100, 10)),
        ("torchdistill [@torchdistill]", OTHER, "T = 4, α = 0.5", torchdistill(4, 0.5)),
        ("Keras example since 2022 [@keraskd]", OTHER, "T = 10, α = 0.1", torchdistill(10, 0.1)),
    ]
    lines = [
        [source, f"${formula}$", settings]
        + [f"{value:g}" for value in (ours.w_hard, ours.w_soft, ours.temperature)]
        for source, formula, settings, ours in rows
    ]
    names = ["source", "their loss", "an example", "*w*~hard~", "*w*~soft~", "*T*"]
    return pd.DataFrame(lines, columns=names)
