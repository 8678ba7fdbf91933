"""Every exception of qdwell. Standard library only, because every floor may import it.

    QdwellError
    ├── ConfigError               a setting that cannot be used
    ├── IllegalMove               a move that the state tables do not have
    ├── BrokenInvariant           a rule of the model found broken
    ├── ProgramError              a job fails through its own content (E25-E28)
    ├── WorkerLost                a worker process ended before it answered
    ├── AccountError              an account command that cannot be done
    │   ├── AccountExists
    │   ├── UnknownAccount
    │   ├── UnknownPlan
    │   ├── NotInBook
    │   ├── InBook
    │   ├── BadName
    │   ├── BadRows
    │   ├── FirstAccount
    │   ├── InUse
    │   ├── OwnRole
    │   ├── PlanOfFile
    │   └── TooManyTokens
    ├── StoreError
    │   ├── StaleWrite            the row moved on before the write
    │   ├── StoreTooNew           written by a newer release
    │   └── StoreUnavailable      cannot be opened, read, or written now
    │       ├── NotLeader         another server has taken over
    │       └── OutcomeUnknown    a commit failed half-way
    └── RequestError              answered over HTTP; `status` and `code` as in E1-E30
        ├── NotAuthenticated      E1   401
        ├── NotAllowed            E2   403
        ├── TooManyRequests       E3   429
        ├── TooManyAtOnce              429
        ├── BadInput              E4   400, also the parent of narrower 1208 answers
        │   ├── LimitAboveMaxTtl  E13
        │   ├── MaxTtlOutOfRange  E14
        │   ├── WrongBackend      E15
        │   └── NoGroupOnSimulator
        ├── TooManyTags           E5   400
        ├── TagTooLong            E5   400
        ├── BodyTooLarge          E6   413
        ├── UnknownCircuit             409
        ├── UnknownProgram        E7   404
        ├── UnknownBackend        E8   400, or 404 on the backend itself
        ├── BackendOffline        E9   400
        ├── SessionClosed         E10  400
        │   └── SessionNotReopened  E30
        ├── UnknownSession        E11  400, or 404 on the session itself
        ├── SessionNotActive           409
        ├── SessionNotInPlan      E12  400
        ├── TooManySessions            400
        ├── PendingLimit          E16  400
        ├── SpendLimitReached     E17  409
        ├── UnknownJob            E19  404
        ├── RepeatedJob                409
        ├── ReusedKey                  422
        ├── JobIsFinal            E20  409
        ├── JobNotFinal           E21  400
        ├── SignInFailed               403
        │   └── IdentityUnknown
        ├── ProviderUnavailable        424
        ├── UnknownRoute               404
        ├── MethodNotAllowed           405
        └── Internal              E29  500

The classes are in three files: `inside` for what stays in our own processes, `answers` for what a
user is answered, `added` for answers about what qdwell adds to the dialect.

A docstring is the sense of the message. A message says what happened, and to which object;
`solution` says what to do next. Rows E22-E28 are not here, except as `ProgramError`: they are the
end of a job, not the answer to a request.
"""

from qdwell.errors.added import (
    IdentityUnknown,
    ProviderUnavailable,
    RepeatedJob,
    ReusedKey,
    SessionNotActive,
    SignInFailed,
    TooManyAtOnce,
    TooManySessions,
    UnknownCircuit,
)
from qdwell.errors.answers import (
    BackendOffline,
    BadInput,
    BodyTooLarge,
    Internal,
    JobIsFinal,
    JobNotFinal,
    LimitAboveMaxTtl,
    MaxTtlOutOfRange,
    MethodNotAllowed,
    NoGroupOnSimulator,
    NotAllowed,
    NotAuthenticated,
    PendingLimit,
    RequestError,
    SessionClosed,
    SessionNotInPlan,
    SessionNotReopened,
    SpendLimitReached,
    TagTooLong,
    TooManyRequests,
    TooManyTags,
    UnknownBackend,
    UnknownJob,
    UnknownProgram,
    UnknownRoute,
    UnknownSession,
    WrongBackend,
)
from qdwell.errors.inside import (
    AccountError,
    AccountExists,
    BadName,
    BadRows,
    BrokenInvariant,
    ConfigError,
    FirstAccount,
    IllegalMove,
    InBook,
    InUse,
    NotInBook,
    NotLeader,
    OutcomeUnknown,
    OwnRole,
    PlanOfFile,
    ProgramError,
    QdwellError,
    StaleWrite,
    StoreError,
    StoreTooNew,
    StoreUnavailable,
    TooManyTokens,
    UnknownAccount,
    UnknownPlan,
    WorkerLost,
)

__all__ = [
    "AccountError",
    "AccountExists",
    "BackendOffline",
    "BadInput",
    "BadName",
    "BadRows",
    "BodyTooLarge",
    "BrokenInvariant",
    "ConfigError",
    "FirstAccount",
    "IdentityUnknown",
    "IllegalMove",
    "InBook",
    "InUse",
    "Internal",
    "JobIsFinal",
    "JobNotFinal",
    "LimitAboveMaxTtl",
    "MaxTtlOutOfRange",
    "MethodNotAllowed",
    "NoGroupOnSimulator",
    "NotAllowed",
    "NotAuthenticated",
    "NotInBook",
    "NotLeader",
    "OutcomeUnknown",
    "OwnRole",
    "PendingLimit",
    "PlanOfFile",
    "ProgramError",
    "ProviderUnavailable",
    "QdwellError",
    "RepeatedJob",
    "RequestError",
    "ReusedKey",
    "SessionClosed",
    "SessionNotActive",
    "SessionNotInPlan",
    "SessionNotReopened",
    "SignInFailed",
    "SpendLimitReached",
    "StaleWrite",
    "StoreError",
    "StoreTooNew",
    "StoreUnavailable",
    "TagTooLong",
    "TooManyAtOnce",
    "TooManyRequests",
    "TooManySessions",
    "TooManyTags",
    "TooManyTokens",
    "UnknownAccount",
    "UnknownBackend",
    "UnknownCircuit",
    "UnknownJob",
    "UnknownPlan",
    "UnknownProgram",
    "UnknownRoute",
    "UnknownSession",
    "WorkerLost",
    "WrongBackend",
]
