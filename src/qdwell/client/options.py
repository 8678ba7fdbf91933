"""Options of primitives: V2's trees, V1's `Options`, and `RuntimeOptions` of `Session.run`.

A tree knows its names: an unknown one is an error where it is written, with the names that there
are (O1). Only what a user has set is sent; defaults are the server's. V1's values are checked here
(O2-O20), V2's by the server, which knows what it can do.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from qdwell.client.errors import IBMInputValueError

Names: TypeAlias = Mapping[str, "Names | None"]

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
IMAGE = re.compile(r"[a-zA-Z0-9]+([/.\-_][a-zA-Z0-9]+)*:[a-zA-Z0-9]+([.\-_][a-zA-Z0-9]+)*")
MAX_EXECUTION_S = 28_800  # L3


class Section:
    """A group of options; attributes and `update` set them, unknown names raise.

    Args:
        names: what may be set; a mapping is a section of its own.
        path: where it stands, for messages.
    """

    __slots__ = ("_names", "_path", "_set")

    def __init__(self, names: Names, path: str = "options") -> None:
        object.__setattr__(self, "_names", names)
        object.__setattr__(self, "_path", path)
        parts = {name: Section(inner, f"{path}.{name}") for name, inner in names.items() if inner}
        object.__setattr__(self, "_set", parts)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self._names:
            raise AttributeError(self._unknown(name))
        return self._set.get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._names:
            raise AttributeError(self._unknown(name))
        if self._names[name] is not None:
            if isinstance(value, Section):
                value = value.to_dict()
            if not isinstance(value, Mapping):
                raise IBMInputValueError(f"{self._path}.{name} is a group of options: {value!r}")
            self._set[name].update(**value)
        elif value is None:
            self._set.pop(name, None)
        else:
            self._set[name] = value

    def update(self, **values: Any) -> None:
        """Set several options; groups take mappings, and change only what these name.

        Raises:
            IBMInputValueError: there is no such option.
        """
        for name, value in values.items():
            if name not in self._names:
                raise IBMInputValueError(self._unknown(name))
            setattr(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        """What is set, groups without anything left out."""
        found = {}
        for name, value in self._set.items():
            plain = value.to_dict() if isinstance(value, Section) else value
            if plain != {}:
                found[name] = plain
        return found

    def _unknown(self, name: str) -> str:
        return f"{self._path} has no {name!r}; there are {', '.join(sorted(self._names))}."

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dict())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Section) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # it can change

    def __deepcopy__(self, memo: dict[int, Any]) -> Section:
        twin = type(self).__new__(type(self))
        object.__setattr__(twin, "_names", self._names)
        object.__setattr__(twin, "_path", self._path)
        object.__setattr__(twin, "_set", copy.deepcopy(self._set, memo))
        return twin

    def __repr__(self) -> str:
        return f"{self._path}({self.to_dict()!r})"


def _flat(*names: str) -> Names:
    return dict.fromkeys(names)


_ENVIRONMENT = _flat("log_level", "job_tags", "private")
_TWIRLING = _flat(
    "enable_gates", "enable_measure", "num_randomizations", "shots_per_randomization", "strategy"
)
_DECOUPLING = _flat(
    "enable",
    "sequence_type",
    "extra_slack_distribution",
    "scheduling_method",
    "skip_reset_qubits",
)
_SIMULATOR = _flat("noise_model", "seed_simulator", "coupling_map", "basis_gates")
_COMMON: Names = {
    "max_execution_time": None,
    "default_shots": None,
    "dynamical_decoupling": _DECOUPLING,
    "twirling": _TWIRLING,
    "environment": _ENVIRONMENT,
    "simulator": _SIMULATOR,
    "experimental": None,
}
SAMPLER: Names = {**_COMMON, "execution": _flat("init_qubits", "rep_delay", "meas_type")}
ESTIMATOR: Names = {
    **_COMMON,
    "default_precision": None,
    "resilience_level": None,
    "seed_estimator": None,
    "execution": _flat("init_qubits", "rep_delay"),
    "resilience": {
        **_flat("measure_mitigation", "zne_mitigation", "pec_mitigation", "layer_noise_model"),
        "measure_noise_learning": _flat("num_randomizations", "shots_per_randomization"),
        "zne": _flat("amplifier", "noise_factors", "extrapolator", "extrapolated_noise_factors"),
        "pec": _flat("max_overhead", "noise_gain"),
        "layer_noise_learning": _flat(
            "max_layers_to_learn",
            "shots_per_randomization",
            "num_randomizations",
            "layer_pair_depths",
        ),
    },
}
_V1: Names = {
    "optimization_level": None,
    "resilience_level": None,
    "max_execution_time": None,
    "transpilation": _flat(
        "skip_transpilation",
        "initial_layout",
        "layout_method",
        "routing_method",
        "approximation_degree",
    ),
    "resilience": _flat("noise_factors", "extrapolator", "noise_amplifier"),
    "execution": _flat("shots", "init_qubits"),
    "environment": _flat("log_level", "callback", "job_tags", "private"),
    "simulator": _SIMULATOR,
}


def options_v2(names: Names, given: Mapping[str, Any] | Section | None) -> Section:
    """The options of a V2 primitive, with those that its constructor was given."""
    section = Section(names)
    if given:
        section.update(**(given.to_dict() if isinstance(given, Section) else given))
    return section


class Options(Section):
    """Options of the V1 primitives (O2-O20).

    Attributes:
        optimization_level: 0-3, how hard the server compiles. Default 3; 1 on a simulator.
        resilience_level: 0-3 for the Estimator, 0-1 for the Sampler. Default 1; 0 on a simulator.
        max_execution_time: limit of quantum time in seconds.
        transpilation, resilience, execution, environment, simulator: groups of options.
    """

    __slots__ = ()

    def __init__(self, **given: Any) -> None:
        super().__init__(_V1)
        self.update(**given)


_Check: TypeAlias = Callable[[Any], bool]


def _one_of(*words: str) -> _Check:
    return lambda value: value in words


def _whole(least: int, most: int) -> _Check:
    return lambda value: (
        isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    )


_EXTRAPOLATORS = tuple(
    f"{kind}Extrapolator" for kind in ("Linear", "Quadratic", "Cubic", "Quartic")
)
#: option -> (what holds of it, in words).
_V1_CHECKS: Mapping[str, tuple[_Check, str]] = {
    "optimization_level": (_whole(0, 3), "0, 1, 2, or 3"),
    "max_execution_time": (_whole(1, MAX_EXECUTION_S), f"seconds from 1 to {MAX_EXECUTION_S}"),
    "transpilation.layout_method": (
        _one_of("trivial", "dense", "noise_adaptive", "sabre"),
        "trivial, dense, noise_adaptive, or sabre",
    ),
    "transpilation.routing_method": (
        _one_of("basic", "lookahead", "stochastic", "sabre", "none"),
        "basic, lookahead, stochastic, sabre, or none",
    ),
    "transpilation.approximation_degree": (
        lambda value: isinstance(value, int | float) and 0 <= value <= 1,
        "a number from 0 to 1",
    ),
    "resilience.extrapolator": (_one_of(*_EXTRAPOLATORS), ", ".join(_EXTRAPOLATORS)),
    "resilience.noise_amplifier": (
        _one_of("LocalFoldingAmplifier"),
        "LocalFoldingAmplifier",
    ),
    "environment.log_level": (_one_of(*LOG_LEVELS), ", ".join(LOG_LEVELS)),
    "execution.shots": (_whole(1, 10**9), "an integer from 1 on"),
}
_FACTORS_LEAST = {"CubicExtrapolator": 4, "QuarticExtrapolator": 5}  # O15


def check_v1(options: Mapping[str, Any], resilience_max: int) -> None:
    """Check V1 options.

    Raises:
        ValueError: names the first option that cannot be used, and what it takes.
    """
    level = options.get("resilience_level")
    if level is not None and not _whole(0, resilience_max)(level):
        raise IBMInputValueError(f"resilience_level must be 0 to {resilience_max}, not {level!r}.")
    for path, (holds, words) in _V1_CHECKS.items():
        section, _, name = path.rpartition(".")
        value = (options.get(section) or {} if section else options).get(name)
        if value is not None and not holds(value):
            raise IBMInputValueError(f"{path} must be {words}, not {value!r}.")
    resilience = options.get("resilience") or {}
    factors, extrapolator = resilience.get("noise_factors"), resilience.get("extrapolator")
    least = _FACTORS_LEAST.get(extrapolator or "", 1)
    if factors is not None and len(factors) < least:
        raise IBMInputValueError(f"{extrapolator} needs at least {least} noise_factors.")


def body_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a submission's body that options stand for: tags, cost, log level, privacy.

    Raises:
        IBMInputValueError: they cannot be used.
    """
    environment = options.get("environment") or {}
    fields: dict[str, Any] = {}
    if environment.get("log_level"):
        fields["log_level"] = environment["log_level"]
    if environment.get("job_tags"):
        fields["tags"] = checked_tags(environment["job_tags"])
    if environment.get("private"):
        fields["private"] = True
    if options.get("max_execution_time") is not None:
        fields["cost"] = options["max_execution_time"]
    image = (options.get("experimental") or {}).get("image")
    if image:
        fields["runtime"] = image
    return fields


def program_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """What a V2 program is sent of its options."""
    away = ("environment", "max_execution_time", "resilience_level")
    sent = {name: value for name, value in options.items() if name not in away}
    experimental = dict(sent.pop("experimental", None) or {})
    experimental.pop("image", None)
    if experimental:
        sent["experimental"] = experimental
    return sent


def checked_tags(tags: Any) -> list[str]:
    """Tags as a list of texts (O9)."""
    if isinstance(tags, str) or not isinstance(tags, Sequence):
        raise IBMInputValueError(f"Tags are a list of texts, not {tags!r}.")
    if not all(isinstance(tag, str) for tag in tags):
        raise IBMInputValueError(f"Tags are a list of texts, not {tags!r}.")
    return list(tags)


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """Options of `Session.run` and `service.run` (R2)."""

    backend: str | None = None
    image: str | None = None
    log_level: str | None = None
    instance: str | None = None
    job_tags: list[str] | None = None
    max_execution_time: int | None = None
    session_time: str | None = None
    private: bool | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any] | RuntimeOptions | None) -> RuntimeOptions:
        """The options that were given.

        Raises:
            IBMInputValueError: a name or a value that cannot be used.
        """
        if isinstance(given, RuntimeOptions):
            made = given
        else:
            try:
                made = cls(**(given or {}))
            except TypeError as error:
                known = ", ".join(cls.__dataclass_fields__)
                raise IBMInputValueError(f"{error}; there are {known}.") from None
        made._check()
        return made

    def _check(self) -> None:
        if self.image is not None and not IMAGE.fullmatch(self.image):
            raise IBMInputValueError(f"image must be name:tag, not {self.image!r}.")
        if self.log_level is not None and self.log_level not in LOG_LEVELS:
            raise IBMInputValueError(
                f"log_level must be {', '.join(LOG_LEVELS)}, not {self.log_level!r}."
            )
        if self.job_tags is not None:
            checked_tags(self.job_tags)
        if self.session_time is not None:
            raise IBMInputValueError("session_time is gone: say Session(max_time=...).")

    def body_fields(self) -> dict[str, Any]:
        """The fields of a submission's body."""
        fields = {
            "runtime": self.image,
            "log_level": self.log_level,
            "tags": self.job_tags,
            "cost": self.max_execution_time,
            "private": self.private,
        }
        return {name: value for name, value in fields.items() if value is not None}
