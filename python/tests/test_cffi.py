"""The C libraries through cffi, beside the native module in one process.

Existing packages are built so: declarations repeated, checked by the C compiler against the
headers. The process has three copies of the library then, and is one process to the daemon.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import PATIENCE, Child

import ouroboros
from ouroboros.dev import flow_accept, flow_alloc

ROOT = Path(__file__).resolve().parents[2]

DEV = """
typedef struct qos_spec {
    uint32_t delay; uint64_t bandwidth; uint8_t availability; uint32_t loss; uint32_t ber;
    uint8_t in_order; uint32_t max_gap; uint32_t timeout;
} qosspec_t;
struct timespec { long tv_sec; long tv_nsec; ...; };
struct conn_info {
    char comp_name[129]; char protocol[129]; uint32_t pref_version; int pref_syntax;
    struct proto_field { size_t fid; ssize_t len; } fixed_conc_syntax[128]; size_t num_fields;
    uint64_t addr;
};
enum fqtype {
    FLOW_PKT, FLOW_DOWN, FLOW_UP, FLOW_ALLOC, FLOW_DEALLOC, FLOW_PEER, ...
};
typedef struct flow_set fset_t;
typedef struct fqueue fqueue_t;
#define FLOWGFLAGS ...
#define EFLOWDOWN ...
int flow_alloc(const char * dst_name, qosspec_t * qs, const struct timespec * timeo);
int flow_accept(qosspec_t * qs, const struct timespec * timeo);
int flow_join(const char * bc, const struct timespec * timeo);
int flow_dealloc(int fd);
ssize_t flow_write(int fd, const void * buf, size_t count);
ssize_t flow_read(int fd, void * buf, size_t count);
int fccntl(int fd, int cmd, ...);
fset_t * fset_create(void);
void fset_destroy(fset_t * set);
int fset_add(fset_t * set, int fd);
bool fset_has(const fset_t * set, int fd);
fqueue_t * fqueue_create(void);
void fqueue_destroy(struct fqueue * fq);
int fqueue_next(fqueue_t * fq);
enum fqtype fqueue_type(fqueue_t * fq);
ssize_t fevent(fset_t * set, fqueue_t * fq, const struct timespec * timeo);
"""

IRM = """
typedef int... pid_t;
enum ipcp_type { IPCP_LOCAL, IPCP_UNICAST, ... };
struct ipcp_list_info { pid_t pid; enum ipcp_type type; char name[255]; char layer[255]; };
struct name_sec_paths { char enc[512]; char key[512]; char crt[512]; };
struct name_info {
    char name[256]; int pol_lb; struct name_sec_paths s; struct name_sec_paths c;
};
ssize_t irm_list_ipcps(struct ipcp_list_info ** ipcps);
ssize_t irm_list_names(struct name_info ** names);
int irm_create_name(struct name_info * info);
int irm_reg_name(const char * name, pid_t pid);
int irm_bind_process(pid_t pid, const char * name);
void free(void * ptr);
"""


class Libraries(NamedTuple):
    """The modules made by cffi."""

    dev: Any
    irm: Any


def stage(directory: Path) -> Path:
    """Installs the C libraries; the reason why not skips the test."""
    for needed in ("make", "cc", "cargo"):
        if shutil.which(needed) is None:
            pytest.skip(f"there is no {needed} to build the C libraries with")
    prefix = directory / "stage"
    command = ["make", "-s", "install-capi", "PROFILE=debug", f"PREFIX={prefix}"]
    plain = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = subprocess.run(
        command, cwd=ROOT, env=plain, check=False, text=True, stderr=subprocess.STDOUT, stdout=-1
    )
    assert done.returncode == 0, done.stdout
    return prefix


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the modules."""
    cffi = pytest.importorskip("cffi")
    directory = tmp_path_factory.mktemp("cffi")
    prefix = stage(directory)
    for name, declarations, headers in (
        ("dev", DEV, ("cep", "dev", "errno", "fccntl", "fqueue")),
        ("irm", IRM, ("irm",)),
    ):
        ffi = cffi.FFI()
        ffi.cdef(declarations)
        source = "#include <stdlib.h>\n"
        source += "".join(f"#include <ouroboros/{header}.h>\n" for header in headers)
        ffi.set_source(
            f"_test_{name}",
            source,
            libraries=[f"ouroboros-{name}"],
            include_dirs=[str(prefix / "include")],
            library_dirs=[str(prefix / "lib")],
            extra_link_args=[f"-Wl,-rpath,{prefix / 'lib'}"],
        )
        ffi.compile(tmpdir=str(directory))
    return directory


@pytest.fixture
def libraries(node: ouroboros.Node, modules: Path, monkeypatch: pytest.MonkeyPatch) -> Libraries:
    monkeypatch.setenv("OUROBOROS_RUNTIME_DIR", str(node.dir))
    monkeypatch.syspath_prepend(str(modules))
    dev, irm = (importlib.import_module(f"_test_{name}") for name in ("dev", "irm"))
    return Libraries(dev, irm)


def test_flows_between_the_copies(libraries: Libraries, name: str) -> None:
    """Each copy serves the names of the process, and reaches the other."""
    ffi, lib = libraries.dev.ffi, libraries.dev.lib
    # Known to the daemon from its first call, and bound to what the process is bound to.
    now = ffi.new("struct timespec *", (0, 0))
    assert lib.flow_accept(ffi.NULL, now) < 0

    accepted: list[int] = []
    server = threading.Thread(target=lambda: accepted.append(lib.flow_accept(ffi.NULL, ffi.NULL)))
    server.start()
    with flow_alloc(name, timeo=PATIENCE) as flow:
        server.join()
        (fd,) = accepted
        assert fd >= 64
        flow.write(b"from Python")
        buffer = ffi.new("char[64]")
        assert lib.flow_read(fd, buffer, 64) == 11
        assert ffi.buffer(buffer, 11)[:] == b"from Python"
        assert lib.flow_write(fd, b"from C", 6) == 6
        assert flow.read() == b"from C"
        flags = ffi.new("uint32_t *")
        assert lib.fccntl(fd, lib.FLOWGFLAGS, flags) == 0
        assert flags[0] == 0o20002
    assert lib.flow_read(fd, buffer, 64) == -lib.EFLOWDOWN
    assert lib.flow_dealloc(fd) == 0

    answered: list[bytes] = []

    def serve() -> None:
        with flow_accept(PATIENCE) as flow:
            answered.append(flow.read())

    server = threading.Thread(target=serve)
    server.start()
    fd = lib.flow_alloc(name.encode(), ffi.NULL, ffi.NULL)
    assert fd >= 64
    assert lib.flow_write(fd, b"hello", 5) == 5
    server.join()
    assert answered == [b"hello"]
    assert lib.flow_dealloc(fd) == 0


def test_events(libraries: Libraries, name: str) -> None:
    ffi, lib = libraries.dev.ffi, libraries.dev.lib
    accepted: list[int] = []
    server = threading.Thread(target=lambda: accepted.append(lib.flow_accept(ffi.NULL, ffi.NULL)))
    server.start()
    client = lib.flow_alloc(name.encode(), ffi.NULL, ffi.NULL)
    server.join()
    fset, queue = lib.fset_create(), lib.fqueue_create()
    assert lib.fset_add(fset, accepted[0]) == 0
    assert lib.fset_has(fset, accepted[0])
    assert lib.flow_write(client, b"x", 1) == 1
    assert lib.fevent(fset, queue, ffi.NULL) == 1
    assert lib.fqueue_next(queue) == accepted[0]
    assert lib.fqueue_type(queue) == lib.FLOW_PKT
    assert lib.fqueue_next(queue) == -1
    lib.fqueue_destroy(queue)
    lib.fset_destroy(fset)
    for fd in (client, accepted[0]):
        assert lib.flow_dealloc(fd) == 0


def test_management(libraries: Libraries, node: ouroboros.Node) -> None:
    ffi, lib = libraries.irm.ffi, libraries.irm.lib
    ipcps = ffi.new("struct ipcp_list_info **")
    assert lib.irm_list_ipcps(ipcps) == 1
    assert ffi.string(ipcps[0][0].layer) == b"local"
    pid = ipcps[0][0].pid
    lib.free(ipcps[0])
    info = ffi.new("struct name_info *")
    info.name = b"by-cffi"
    assert lib.irm_create_name(info) == 0
    assert lib.irm_reg_name(b"by-cffi", pid) == 0
    assert lib.irm_bind_process(os.getpid(), b"by-cffi") == 0
    names = ffi.new("struct name_info **")
    count = lib.irm_list_names(names)
    assert b"by-cffi" in [ffi.string(names[0][index].name) for index in range(count)]
    lib.free(names[0])


def test_the_end_of_one_copy_is_not_that_of_the_others(
    node: ouroboros.Node, modules: Path, child: type[Child]
) -> None:
    """A process that loads the C library after it has flows keeps them, and its names."""
    program = child(
        """
        import os, sys, threading
        import ouroboros
        from ouroboros.dev import flow_accept, flow_alloc
        sys.path.insert(0, sys.argv[1])
        got = []
        try:
            flow_accept(0)
        except TimeoutError:
            print("ready")
        input()
        thread = threading.Thread(target=lambda: got.append(flow_accept(30)))
        thread.start()
        mine = flow_alloc(sys.argv[2], timeo=30)
        thread.join()
        from _test_dev import ffi, lib
        mine.write(b"still here")
        assert got[0].read() == b"still here"
        thread = threading.Thread(target=lambda: got.append(lib.flow_accept(ffi.NULL, ffi.NULL)))
        thread.start()
        other = flow_alloc(sys.argv[2], timeo=30)
        thread.join()
        assert got[1] >= 64
        print("done")
        """,
        str(modules),
        "both",
        env=node.environ,
    )
    program.expect("ready")
    node.register("both")
    node.bind("both", program.pid)
    program.tell()
    program.expect("done")
    program.finish()
