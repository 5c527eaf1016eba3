"""Exceptions (api.md B8), and life without a daemon."""

import errno
import subprocess
import sys

import pytest
from conftest import PATIENCE

from ouroboros import errors
from ouroboros.dev import *
from ouroboros.errors import error_for

OWN = errors.OuroborosError


@pytest.mark.parametrize(
    ("number", "doing", "expected"),
    [
        (errno.ETIMEDOUT, "io", [errors.FlowTimeout, TimeoutError]),
        (errno.ETIMEDOUT, "alloc", [errors.FlowTimeout, TimeoutError]),
        (errno.ETIMEDOUT, "wait", [errors.FlowEventTimeout, FlowEventError, TimeoutError]),
        (
            errno.ETIMEDOUT,
            "alloc-unlimited",
            [errors.FlowAllocTimeout, FlowException, TimeoutError],
        ),
        (errno.EPERM, "io", [FlowPermissionException, PermissionError]),
        (errno.EPERM, "set", [FlowEventError]),
        (errno.EINVAL, "io", [errors.FlowValueError, ValueError]),
        (errno.ENOMEM, "alloc", [errors.FlowMemoryError, MemoryError]),
        (errno.EAGAIN, "io", [errors.FlowWouldBlock, BlockingIOError]),
        (errors.ENOTALLOC, "io", [FlowNotAllocatedException]),
        (errors.ENOTALLOC, "set", [FlowEventError]),
        (errno.EBADF, "io", [FlowNotAllocatedException]),
        (errno.EINPROGRESS, "io", [FlowNotAllocatedException]),
        (errno.EISCONN, "alloc", [FlowAllocatedException]),
        (errors.EFLOWDOWN, "io", [FlowDownException, ConnectionError]),
        (errors.EFLOWPEER, "io", [errors.FlowPeerException, FlowDownException]),
        (errno.EMSGSIZE, "io", [FlowException]),
        (errno.ENOTSUP, "alloc", [errors.FlowNotSupportedError, FlowException]),
        (errors.ENAME, "alloc", [errors.FlowNameError, FlowException]),
        (errors.EIPCP, "alloc", [FlowException]),
        (errors.EIRMD, "alloc", [errors.DaemonError, FlowException, ConnectionError]),
        (errors.ECRYPT, "alloc", [errors.FlowCryptError, errors.FlowSecurityError, FlowException]),
        (errors.EAUTH, "alloc", [errors.FlowAuthError, errors.FlowSecurityError, FlowException]),
        (errno.EBADF, "alloc", [errors.FlowSecurityError, FlowException]),
        (errno.EBADF, "alloc-unlimited", [errors.FlowSecurityError, FlowException]),
        (errno.EBADMSG, "io", [errors.FlowIntegrityError, FlowDownException]),
        (errno.EEXIST, "manage", [errors.IrmError]),
        (5, "io", [FlowException]),
    ],
)
def test_class_number_and_text(number, doing, expected):
    error = error_for(number, "what to do", doing)
    assert type(error) is expected[0]
    for base in [*expected, OWN, OSError]:
        assert isinstance(error, base)
    assert error.errno == number
    assert error.strerror == "what to do"
    assert "what to do" in str(error)


def test_classes_of_0_23_are_siblings():
    siblings = [
        FlowAllocatedException,
        FlowNotAllocatedException,
        FlowDownException,
        FlowPermissionException,
        FlowException,
        FlowEventError,
    ]
    for one in siblings:
        assert issubclass(one, OWN)
        for other in siblings:
            assert one is other or not issubclass(one, other)
    assert issubclass(FlowDeallocWarning, Warning)


def test_defect_1_import_works_without_a_daemon(no_daemon):
    program = """if True:
        from ouroboros.dev import *
        from ouroboros.errors import DaemonError
        for call in (lambda: flow_alloc("x"), flow_accept, lambda: flow_join("x")):
            try:
                call()
            except DaemonError as error:
                assert error.errno == 1002 and "irmd" in str(error), error
            else:
                raise SystemExit("no error")
        print("alive")
    """
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    # Defect 14: nothing else is printed.
    assert (done.returncode, done.stdout, done.stderr) == (0, "alive\n", "")


def test_defect_2_interactive_interpreter(no_daemon):
    done = subprocess.run(
        [sys.executable],
        input="import ouroboros.dev\nprint('alive')\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "alive\n")


def test_the_error_says_where_it_looked_and_what_to_do(no_daemon):
    with pytest.raises(errors.DaemonError) as caught:
        flow_alloc("oecho")
    assert str(no_daemon) in str(caught.value)
    assert "irmd" in str(caught.value)


def test_names_are_exported_once_and_exist():
    assert len(set(errors.__all__)) == len(errors.__all__)
    for name in errors.__all__:
        assert hasattr(errors, name)


def test_descriptors_exhausted(node, name, child):
    program = child(
        """
        import errno, os, resource, sys
        from ouroboros.dev import *
        first = flow_alloc(sys.argv[1])
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
        files = []
        try:
            while True:
                files.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        try:
            flow_alloc(sys.argv[1], timeo=10)
        except FlowException as error:
            print(errno.errorcode[error.errno], "ulimit" in str(error))
        for file in files:
            os.close(file)
        first.writeline("still works")
        with flow_alloc(sys.argv[1]) as again:
            again.writeline("works again")
        first.dealloc()
    """,
        name,
    )
    with flow_accept(PATIENCE) as first:
        # One end of the flow that the child could not receive may come first.
        line = None
        while line is None:
            with flow_accept(PATIENCE) as flow:
                flow.settimeout(PATIENCE)
                try:
                    line = flow.readline()
                except FlowDownException:
                    continue
        assert line == "works again"
        program.expect("EMFILE True")
        assert first.readline() == "still works"
        program.finish()
