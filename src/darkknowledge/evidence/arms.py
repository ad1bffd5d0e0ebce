"""The arms: what each is called and how it is drawn, once for text, tables and figures."""

from dataclasses import dataclass

#: Okabe & Ito 2008: tell apart also without colour vision.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000 #E69F00 #56B4E9 #009E73 #0072B2 #D55E00 #CC79A7".split()
)
GREY = "#767676"
#: What an arm learns from: how figures group them.
NO_TEACHER, BROKEN_TEACHER, REAL_TEACHER = "no teacher", "altered soft labels", "real teacher"
JITTERED = "jittered images"


@dataclass(frozen=True)
class Arm:
    """An arm's name in tables and figures, its group, and its look."""

    label: str
    group: str = REAL_TEACHER
    colour: str = PURPLE
    marker: str = "v"


ARMS = {
    "teacher": Arm("teacher", NO_TEACHER, BLACK, "s"),
    "hard": Arm("hard labels", NO_TEACHER, VERMILION, "o"),
    "hard_augmented": Arm("hard labels, trained like the teacher", NO_TEACHER, ORANGE, "s"),
    "kd": Arm("distilled", REAL_TEACHER, BLUE, "D"),
    "kd_weight": Arm("distilled, another weight", REAL_TEACHER, SKY, "d"),
    "soft_only": Arm("distilled, soft labels only", REAL_TEACHER, SKY, "D"),
    "confidence_only": Arm(
        "teacher\N{RIGHT SINGLE QUOTATION MARK}s confidence only", BROKEN_TEACHER, GREEN, "^"
    ),
    "permuted_teacher": Arm("soft labels permuted", BROKEN_TEACHER, GREEN, "v"),
    "label_smoothing": Arm("label smoothing", NO_TEACHER, PURPLE, "^"),
    "tfkd_reg": Arm("Tf-KD reg", NO_TEACHER, PURPLE, "v"),
    "hard_jitter": Arm("hard labels, jittered images", JITTERED, VERMILION, "P"),
    "kd_jitter": Arm("distilled, jittered images", JITTERED, BLUE, "P"),
    "hard_equal_budget": Arm("hard labels, trained longer", NO_TEACHER, VERMILION, "X"),
    "by_weak": Arm("taught by a smaller network", REAL_TEACHER, SKY, "v"),
    "by_own": Arm("taught by its own kind", REAL_TEACHER, BLUE, "D"),
    "by_strong": Arm("taught by a larger network", REAL_TEACHER, BLUE, "^"),
    "uniform_teacher": Arm("uniform teacher", BROKEN_TEACHER, GREY, "."),
    "shuffled_teacher": Arm("soft labels of other images", BROKEN_TEACHER, GREY, "."),
    "untrained_teacher": Arm("taught by an untrained teacher", BROKEN_TEACHER, GREY, "."),
    "teacher_untrained": Arm("the teacher, untrained", BROKEN_TEACHER, GREY, "."),
    "label_smoothing_strong": Arm("label smoothing, too strong", NO_TEACHER, GREY, "."),
    "target_part": Arm("target part only", BROKEN_TEACHER, GREEN, "<"),
    "nontarget_part": Arm("non-target part only", BROKEN_TEACHER, GREEN, ">"),
    "decoupled": Arm("both parts, weighted alike", REAL_TEACHER, GREEN, "d"),
}


def label(arm: str) -> str:
    """What an arm is called; its key where it has no name."""
    return ARMS[arm].label if arm in ARMS else arm.replace("_", " ")
