"""What a parameter may be: the kinds of values, as annotations, and the check that reads them.

``temperature: Temperature`` says which numbers are due; :func:`checked` refuses everything else
by its name, in one sentence."""

from typing import Annotated, Any, get_args, get_origin, get_type_hints

from darkknowledge import config
from darkknowledge import spec as s
from darkknowledge.spec import SpecError

#: A folder; a relative one counts from the project's, whoever's working directory is which.
Place = Annotated[str, lambda _, value: str(s.place(value, config.project_root())) if value else ""]
Name = Annotated[str, s.plain]
#: Beyond these nothing of the teacher is left in single precision: its labels are hard, or all alike.
Temperature = Annotated[float, lambda name, value: s.number(name, value, 0.01, 1000)]
Weight = Annotated[float, lambda name, value: s.number(name, value, 0, 1)]
Count = Annotated[int, s.integer]
Size = Annotated[int, lambda name, value: s.integer(name, value, 1)]
Seconds = Annotated[float, s.positive]
Net = Annotated[str, lambda name, value: s.ModelSpec.named(value).label]


def _distinct(name: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise SpecError(f"{name} is empty: name at least one.")
    return s.distinct(name, values)


def _of_shares(name: str, values: dict[str, str]) -> dict[str, str]:
    for share in values:
        try:
            inside = 0 < float(share) < 1
        except ValueError:
            inside = False
        if not inside:
            raise SpecError(f"{name} names {s.shown(share)}, but must name shares between 0 and 1.")
    return values


#: Something by the share of the images that it is for.
ByShare = Annotated[dict[str, str], _of_shares]
Blocks = Annotated[tuple[int, ...], _distinct]
Classes = Annotated[tuple[int, ...], _distinct]
Temperatures = Annotated[tuple[Temperature, ...], _distinct]
Weights = Annotated[tuple[Weight, ...], _distinct]
Nets = Annotated[tuple[Net, ...], _distinct]


def check(parameters: Any) -> None:
    """Check every field of a frozen dataclass by its annotation; lists become tuples, whole numbers
    floats where these are due. Raises SpecError."""
    for name, kind in get_type_hints(type(parameters), include_extras=True).items():
        object.__setattr__(parameters, name, checked(name, getattr(parameters, name), kind))


def checked(name: str, value: Any, kind: Any) -> Any:
    """``value`` as the annotation ``kind`` says. Raises SpecError, which names it."""
    if get_origin(kind) is Annotated:
        base, *rules = get_args(kind)
        value = checked(name, value, base)
        for rule in rules:
            value = rule(name, value)
        return value
    if kind in (int, float):
        return s.integer(name, value) if kind is int else s.number(name, value)
    if kind is bool:
        if not isinstance(value, bool):
            raise SpecError(f"{name} is {s.shown(value)}, but must be true or false.")
        return value
    if kind is str:
        if not isinstance(value, str):
            raise SpecError(f"{name} is {s.shown(value)}, but must be a text.")
        return value
    of = get_args(kind)
    if get_origin(kind) is dict:
        if not isinstance(value, dict):
            raise SpecError(f"{name} is {s.shown(value)}, but must be a mapping.")
        return {str(key): checked(f"{name}[{key}]", item, of[1]) for key, item in value.items()}
    if isinstance(value, str) or not isinstance(value, list | tuple):
        hint = " (with papermill: -y '{blocks: [1, 2]}', not -p)" if isinstance(value, str) else ""
        raise SpecError(f"{name} is {s.shown(value)}, but must be a list{hint}.")
    return tuple(checked(f"{name}[{i}]", item, of[0]) for i, item in enumerate(value))
