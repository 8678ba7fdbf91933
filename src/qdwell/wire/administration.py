"""Messages of the routes for operators: who may use the server, under which plan, on what.

The names are those of the commands. Instants are milliseconds since 1970, as they are stored.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model

from qdwell.config import Plan
from qdwell.wire.messages import BackendName, Request
from qdwell.wire.replies import Reply

ROWS_MAX = 10_000  # of one class list

Label = Annotated[str, Field(min_length=1, max_length=200)]
Seconds = Annotated[int, Field(ge=1, le=2_147_483_647)]


class BackendModeRequest(Request):
    """Body of `PUT /admin/backends/{name}` (I10, I11)."""

    mode: Literal["online", "paused", "offline"]
    reason: Annotated[str, Field(max_length=200)] = ""


class NewAccountRequest(Request):
    """Body of `POST /admin/accounts`."""

    name: Label
    plan: Label = "default"


class NewIdentityRequest(Request):
    """Body of `POST /admin/identities`."""

    user: Label
    subject: Annotated[str, Field(min_length=1, max_length=255)] = Field(
        description="What the identity provider knows them by."
    )
    issuer: Annotated[str, Field(min_length=1, max_length=1_000)] | None = Field(
        None, description="Another provider's URL than the config's."
    )


class ClosedChange(Request):
    """Body of `PATCH /admin/accounts/{name}`."""

    closed: bool


class InstanceOwn(Request):
    """What an instance may have instead of its plan's (I7-I9)."""

    backends: Annotated[list[BackendName], Field(max_length=1_000)] | None = Field(
        None, description="Backends it may use; null: all."
    )
    allocation_seconds: Seconds | None = None
    limit_seconds: Seconds | None = None
    spend_seconds: Seconds | None = None


class NewInstanceRequest(InstanceOwn):
    """Body of `POST /admin/instances`."""

    account: Label
    name: Label
    plan: Label = "default"


class InstanceChange(InstanceOwn):
    """Body of `PATCH /admin/instances/{name}`: what is left out stays."""

    plan: Label | None = None
    closed: bool | None = Field(None, description="Nobody acts in it; what waits in it waits.")


class ClassRow(Request):
    """One line of a class list: the name of an instance and of its user."""

    name: Label
    plan: Label = "default"


class ClassRequest(Request):
    """Body of `POST /admin/instances/import`: all are made, or none."""

    account: Label
    rows: Annotated[list[ClassRow], Field(min_length=1, max_length=ROWS_MAX)]


class MemberRequest(Request):
    """Body of `PUT /admin/instances/{name}/members/{user}`."""

    role: Literal["admin", "member", "viewer"]


class NewUserRequest(Request):
    """Body of `POST /admin/users`."""

    account: Label
    name: Label


class UserChange(Request):
    """Body of `PATCH /admin/users/{name}`."""

    disabled: bool


class NewTokenRequest(Request):
    """Body of `POST /admin/tokens`."""

    user: Label
    name: Label
    scope: Literal["full", "read"] = "full"
    instance: Label | None = Field(None, description="The only one it is for; null: the user's.")
    expires_in_seconds: Seconds | None = None


class OwnTokenRequest(Request):
    """Body of `POST /tokens`."""

    name: Label
    scope: Literal["full", "read"] = "full"
    instance: Label | None = Field(None, description="The only one it is for; null: all of yours.")
    expires_in_seconds: Seconds | None = None


# ---- plans: their settings are the config's, so that there is one list of them -------------------


def _setting(field: dataclasses.Field[Any], hint: Any) -> Any:
    single = next((it for it in (*typing.get_args(hint), hint) if it in (int, str)), str)
    plain = list[str] if typing.get_origin(hint) is tuple else single
    range_ = Field(ge=field.metadata["least"], le=field.metadata["most"])
    kind = Annotated[plain, range_] if plain is int else plain
    default = Field(None, description=field.metadata["reason"])
    return (kind | None, default)


_HINTS = typing.get_type_hints(Plan)
if TYPE_CHECKING:
    PlanSettings = BaseModel
else:
    PlanSettings = create_model(
        "PlanSettings",
        __base__=Request,
        __doc__="Settings of a plan; one that is left out, or null, is as a new plan has it.",
        **{it.name: _setting(it, _HINTS[it.name]) for it in dataclasses.fields(Plan)},
    )


class NewPlanRequest(Request):
    """Body of `POST /admin/plans`."""

    name: Label
    like: Label | None = Field(None, description="The plan whose settings it begins with.")
    settings: PlanSettings = Field(default_factory=PlanSettings)


class PlanChange(Request):
    """Body of `PATCH /admin/plans/{name}`: what is left out stays."""

    settings: PlanSettings


# ---- answers ------------------------------------------------------------------------------------


class AccountEntry(Reply):
    """An account."""

    id: str
    name: str
    admin: bool = Field(description="Whether its administrators are operators.")
    created: int
    closed_at: int | None
    instances: list[str] | None = Field(None, description="Names; only where one is shown.")
    users: list[str] | None = Field(None, description="Names; only where one is shown.")


class AccountList(Reply):
    """All accounts, oldest first."""

    accounts: list[AccountEntry]


class MemberEntry(Reply):
    """A user who may act in an instance."""

    user: str
    name: str | None
    role: str
    created: int


class MemberList(Reply):
    """Who may act in an instance."""

    members: list[MemberEntry]


class InstanceEntry(Reply):
    """An instance, with what is its own instead of its plan's."""

    crn: str
    account: str
    name: str
    plan: str
    created: int
    backends: list[str] | None
    allocation_seconds: int | None
    limit_seconds: int | None
    spend_seconds: int | None
    closed_at: int | None
    members: list[MemberEntry] | None = Field(None, description="Only where one is shown.")


class InstanceEntries(Reply):
    """All instances, oldest first."""

    instances: list[InstanceEntry]


class UserEntry(Reply):
    """A user."""

    id: str
    account: str
    name: str | None
    created: int
    disabled_at: int | None
    instances: list[dict[str, Any]] | None = Field(None, description="Only where one is shown.")


class UserList(Reply):
    """All users, oldest first."""

    users: list[UserEntry]


class TokenEntry(Reply):
    """A token, without what signs in."""

    id: str
    user: str | None
    user_id: str
    name: str | None
    scope: str | None
    instance: str | None
    created: int
    expires_at: int | None
    revoked_at: int | None
    used_at: int | None


class TokenList(Reply):
    """Tokens, oldest first."""

    tokens: list[TokenEntry]


class NewToken(TokenEntry):
    """A token as it was made: it is for no more, and lasts no longer, than the one that made it."""

    token: str = Field(description="What signs in; shown in this answer and nowhere else.")


class IdentityEntry(Reply):
    """Who an identity provider says that a user is."""

    id: str
    user: str | None
    user_id: str
    issuer: str
    subject: str
    email: str | None
    created: int
    used_at: int | None


class IdentityList(Reply):
    """Identities, oldest first."""

    identities: list[IdentityEntry]


class Credentials(Reply):
    """What a new user signs in with; shown in this answer and nowhere else."""

    name: str
    token: str
    crn: str | None = Field(None, description="Of the instance that was made with it.")


class ClassList(Reply):
    """What was made of a class list, line by line."""

    made: list[Credentials]


class Made(Reply):
    """What was made, by its name."""

    name: str
    crn: str | None = None
    id: str | None = None


class PlanEntry(Reply):
    """A plan."""

    name: str
    of_file: bool = Field(description="Whether the config file has it: no command changes it.")
    settings: dict[str, Any]


class PlanList(Reply):
    """All plans, the config file's first."""

    plans: list[PlanEntry]


class BackendEntry(Reply):
    """A backend as an operator sees it."""

    name: str
    mode: str
    reason: str
    simulator: bool
    qubits: int
    lanes: int | None
    queue_length: int
    instances: list[str] = Field(description="Names of those that may use it.")


class BackendEntries(Reply):
    """All backends, in the order of the config."""

    backends: list[BackendEntry]


class AuditLine(Reply):
    """What one operator did."""

    id: int
    at: int
    actor: str
    actor_name: str | None = Field(description="The user's, if it was one.")
    action: str
    subject: str
    subject_name: str | None = Field(description="The user's, if it is the id of one.")
    detail: dict[str, Any]


class AuditLines(Reply):
    """The newest lines of the audit log, newest first."""

    audit: list[AuditLine]
