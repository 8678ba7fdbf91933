"""The error tree: each row of the table has its status and code; errors survive a pickle."""

from __future__ import annotations

import pickle

import pytest

from qdwell import errors

ANSWERS = [
    (errors.NotAuthenticated(), 401, 1201),
    (errors.NotAllowed(), 403, 1200),
    (errors.TooManyRequests(5, 12), 429, 1202),
    (errors.BadInput("no", field="params"), 400, 1208),
    (errors.TooManyTags(9, 8), 400, 1204),
    (errors.TagTooLong("x" * 87, 86), 400, 1205),
    (errors.BodyTooLarge(50), 413, 1208),
    (errors.UnknownProgram("x", ("sampler",)), 404, "not_found"),
    (errors.UnknownBackend("x"), 400, 1007),
    (errors.UnknownBackend("x", on_resource=True), 404, 1007),
    (errors.BackendOffline("x", "calibration"), 400, 1004),
    (errors.BackendOffline("x", "the device is starting", starting=True), 503, 1004),
    (errors.SessionClosed("s"), 400, 1217),
    (errors.UnknownSession("s"), 400, 1208),
    (errors.UnknownSession("s", on_resource=True), 404, "not_found"),
    (errors.SessionNotInPlan("open"), 400, 1352),
    (errors.LimitAboveMaxTtl(400, 300), 400, 1208),
    (errors.MaxTtlOutOfRange(90_000, 28_800), 400, 1208),
    (errors.WrongBackend("a", "b"), 400, 1208),
    (errors.NoGroupOnSimulator("aer_simulator"), 400, 1208),
    (errors.PendingLimit(3), 400, 3458),
    (errors.SpendLimitReached(700, 600), 409, "usage_limit_reached"),
    (errors.UnknownJob("j"), 404, "not_found"),
    (errors.JobIsFinal("j", "Completed"), 409, "not_cancellable"),
    (errors.JobNotFinal("j", "Running"), 400, "not_final"),
    (errors.Internal("abc"), 500, 9999),
    (errors.SessionNotReopened("s"), 400, 1217),
    (errors.SessionNotActive("s"), 409, "session_not_active"),
    (errors.RepeatedJob("j"), 409, "repeated_job"),
    (errors.ReusedKey("job", "j", "params"), 422, "reused_key"),
    (errors.UnknownCircuit("0" * 64), 409, "unknown_circuit"),
    (errors.TooManyAtOnce(12), 429, 1202),
    (errors.TooManySessions(5), 400, "session_limit"),
    (errors.SignInFailed("The nonce is another one."), 403, "sign_in_failed"),
    (errors.IdentityUnknown("ada@example.org", "ada"), 403, "identity_unknown"),
    (errors.ProviderUnavailable("It does not answer."), 424, "provider_unavailable"),
    (errors.UnknownRoute("/x"), 404, "not_found"),
    (errors.MethodNotAllowed("PUT", "/x", ("GET", "POST")), 405, "method_not_allowed"),
]


@pytest.mark.parametrize(("error", "status", "code"), ANSWERS, ids=lambda it: type(it).__name__)
def test_an_answer_has_the_status_and_code_of_its_row(error, status: int, code: int | str) -> None:
    assert (error.status, error.code) == (status, code)
    assert error.message
    assert error.solution


def test_every_answer_is_in_that_list() -> None:
    tested = {type(error) for error, _, _ in ANSWERS}
    named = {getattr(errors, name) for name in errors.__all__}
    answers = {it for it in named if issubclass(it, errors.RequestError)}
    assert answers - tested == {errors.RequestError}


@pytest.mark.parametrize(("error", "status", "code"), ANSWERS, ids=lambda it: type(it).__name__)
def test_an_answer_survives_the_trip_between_processes(error, status: int, code: int | str) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (copy.status, copy.code, copy.message) == (status, code, error.message)
    assert (copy.solution, copy.field, str(copy)) == (error.solution, error.field, str(error))


def test_a_program_error_keeps_its_code_between_processes() -> None:
    copy = pickle.loads(pickle.dumps(errors.ProgramError(1517, "cz on 3, 4", "transpile it")))
    assert (copy.code, copy.reason, copy.solution) == (1517, "cz on 3, 4", "transpile it")


def test_only_a_missing_program_is_a_404_on_submission() -> None:
    on_submission = [errors.UnknownBackend("x"), errors.UnknownSession("s")]
    assert [error.status for error in on_submission] == [400, 400]
