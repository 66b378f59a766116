"""Who is scanned: age and size of the fetus, the operator and the machine."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from fetalclip_nb import growth
from fetalclip_nb.phantoms.acquisition import Tone

OPERATORS = {"Op. 1": 0.34, "Op. 2": 0.24, "Op. 3": 0.22, "Other": 0.20}

MACHINES = {"Voluson E6": 0.46, "Aloka": 0.28, "Voluson S10": 0.14, "Other": 0.12}
"""Names and shares as in FETAL_PLANES_DB (doi 10.5281/zenodo.3904280), rounded."""

CENTRES = {
    "Algeria": ("DZA", "Voluson S8"),
    "Egypt": ("EGY", "Voluson P8"),
    "Ghana": ("GHA", "EDAN DUS 60"),
    "Malawi": ("MWI", "Mindray DC-N2"),
    "Uganda": ("UGA", "ACUSON X600"),
}
"""Code and machine of each centre of the African planes (doi 10.1038/s41598-023-29490-3)."""

# machine -> means of axial, lateral, span, gain, gamma, smooth
_PRESETS = {
    "Voluson E6": (0.68, 1.35, 55.0, -14.0, 2.7, 0.6),
    "Voluson S10": (0.78, 1.55, 51.0, -13.0, 2.6, 0.45),
    "Aloka": (0.64, 1.2, 59.0, -15.0, 2.9, 0.3),
    "Other": (0.85, 1.9, 49.0, -12.0, 2.4, 0.4),
    "Voluson S8": (0.80, 1.7, 50.0, -12.0, 2.5, 0.5),
    "Voluson P8": (0.76, 1.5, 52.0, -15.0, 2.7, 0.5),
    "EDAN DUS 60": (0.98, 2.4, 44.0, -9.0, 2.0, 0.7),
    "Mindray DC-N2": (0.92, 2.1, 46.0, -10.0, 2.2, 0.5),
    "ACUSON X600": (0.88, 2.2, 47.0, -13.0, 2.3, 0.8),
}


POOR_WINDOW = 1.1  # deviate beyond which one examination in seven lies; chosen on phantoms


@dataclass(frozen=True)
class Patient:
    """A fetus and the examination that its pictures come from.

    Attributes:
        age_days: Gestational age in days.
        hc_mm: Head circumference (perimeter of the outer skull's ellipse) in mm.
        cephalic_index: Width of the head over its length.
        shape_seed: Seed of what all pictures of the patient share (outline, side, tone).
        operator, machine: Names as in FETAL_PLANES_DB.
    """

    age_days: int
    hc_mm: float
    cephalic_index: float
    shape_seed: int
    operator: str
    machine: str

    @property
    def head_length_mm(self) -> float:
        """Long diameter (occipito-frontal) of the head in mm."""
        return 2 * self.hc_mm / growth.perimeter(1.0, self.cephalic_index)

    @property
    def weeks(self) -> float:
        """Gestational age in weeks."""
        return self.age_days / growth.DAYS_PER_WEEK

    @property
    def femur_mm(self) -> float:
        """Femur length in mm (INTERGROWTH-21st mean, doi 10.1016/S0140-6736(14)61490-2)."""
        return max(6.0, -39.9616 + 4.32298 * self.weeks - 0.0380156 * self.weeks**2)

    @property
    def abdomen_mm(self) -> float:
        """Mean diameter of the abdomen in mm (INTERGROWTH-21st mean circumference over pi)."""
        return (-81.3243 + 11.6772 * self.weeks - 0.000561865 * self.weeks**3) / np.pi

    @property
    def window(self) -> float:
        """How poor the acoustic window is, a standard deviate: the one that sets the haze."""
        return float(self.shared().standard_normal(7)[6])

    def shared(self) -> np.random.Generator:
        """A fresh generator that gives every picture of this patient the same numbers."""
        return np.random.default_rng(self.shape_seed)


def draw_patient(
    rng: np.random.Generator, *, age_days: int | None = None, hc_mm: float | None = None
) -> Patient:
    """Draw what is absent of a patient.

    Without an age it is the median one for ``hc_mm``, or, without that either, uniform over
    14w0d to 38w6d; a head circumference is drawn around the median at that age.
    """
    if age_days is None:
        uniform = int(rng.integers(growth.AGES_DAYS[0], growth.AGES_DAYS[-1] + 1))
        age_days = uniform if hc_mm is None else round(float(growth.gestational_age(hc_mm)))
    deviate = float(np.clip(rng.normal(), -1.9, 1.9))
    return Patient(
        age_days=int(age_days),
        hc_mm=_circumference(age_days, deviate) if hc_mm is None else float(hc_mm),
        cephalic_index=float(np.clip(rng.normal(0.79, 0.035), 0.70, 0.88)),
        shape_seed=int(rng.integers(2**32)),
        operator=pick(rng, OPERATORS),
        machine=pick(rng, MACHINES),
    )


def pick(rng: np.random.Generator, shares: Mapping[str, float]) -> str:
    """Draw a name by the shares, which sum to 1."""
    return str(rng.choice(list(shares), p=list(shares.values())))


def _circumference(age_days: float, deviate: float) -> float:
    """Head circumference in mm at a standard deviate; the 2.5th and 97.5th centile lie at 1.96."""
    median = float(growth.head_circumference(age_days))
    outer = float(growth.head_circumference(age_days, 97.5 if deviate > 0 else 2.5))
    return median * (outer / median) ** (abs(deviate) / 1.96)


def draw_tone(patient: Patient, rng: np.random.Generator) -> Tone:
    """The machine's tone as set for this patient, a little different in every picture."""
    mean = np.array(_PRESETS[patient.machine])
    spread = np.array([0.08, 0.25, 3.5, 3.0, 0.25, 0.2])
    shared = patient.shared()
    values = mean + spread * shared.standard_normal(6) + 0.35 * spread * rng.standard_normal(6)
    axial, lateral, span, gain, gamma, smooth = values.tolist()
    return Tone(
        axial=float(np.clip(axial, 0.55, 1.0)),
        lateral=float(np.clip(lateral, 0.9, 2.6)),
        span=float(np.clip(span, 42, 64)),
        gain=gain,
        gamma=float(np.clip(gamma, 1.8, 3.4)),
        smooth=max(0.0, smooth),
        haze=float(np.exp(shared.normal(-5.6, 0.9))),
        specular=float(shared.uniform(3, 9)),
    )


def through_window(tone: Tone, patient: Patient) -> Tone:
    """The tone as the mother's wall leaves it: weaker and hazier where the window is poor."""
    if patient.window <= POOR_WINDOW:
        return tone
    return replace(tone, gain=tone.gain - 8.0, haze=3 * tone.haze)
