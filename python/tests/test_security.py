"""Encryption and authentication by the files of a name (oap-crypto.md §3, §9)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from authority import Authority
from conftest import PATIENCE, Pair, connect
from cryptography.hazmat.primitives.asymmetric import ec

import ouroboros
from ouroboros import aio, errors
from ouroboros.daemon import Irmd
from ouroboros.dev import *
from ouroboros.errors import FlowAuthError, FlowCryptError, FlowSecurityError
from ouroboros.node import find_program


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def node(authority, tmp_path_factory) -> Iterator[ouroboros.Node]:
    """A node that trusts the authority."""
    security = tmp_path_factory.mktemp("security")
    authority.trust(security)
    with ouroboros.Node(security_dir=security) as node:
        node.local_layer()
        yield node


class Files:
    """The security files of the test's name."""

    def __init__(self, security: Path, name: str) -> None:
        self.name = name
        self.server = security / "server" / name
        self.client = security / "client" / name

    def write(self, side: str, text: str) -> Path:
        """Writes the enc.conf of 'server' or 'client'."""
        directory = self.server if side == "server" else self.client
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "enc.conf"
        path.write_text(text)
        return path


@pytest.fixture
def files(node, name) -> Files:
    return Files(node.security_dir, name)


@contextlib.contextmanager
def flow(name, qos=None) -> Iterator[Pair]:
    pair = connect(name, qos)
    try:
        for end in pair:
            end.settimeout(PATIENCE)
        pair.client.write(b"secret")
        assert pair.server.read() == b"secret"
        yield pair
    finally:
        for end in pair:
            end.close()


def bits(name, qos=None) -> int:
    """The strength of a flow, the same at both ends."""
    with flow(name, qos) as (client, server):
        assert client.get_qos() == server.get_qos()
        return client.get_qos().cypher_s


def refusal(name, qos=None) -> FlowSecurityError:
    """How an allocation fails. The server hears nothing of it."""
    with pytest.raises(FlowSecurityError) as caught:
        flow_alloc(name, qos, PATIENCE)
    with pytest.raises(TimeoutError):
        flow_accept(0)
    assert isinstance(caught.value, FlowException)
    return caught.value


# enc.conf


def test_a_name_without_files_is_in_clear(files):
    assert bits(files.name) == 0


@pytest.mark.parametrize(
    ("conf", "strength"),
    [
        ("", 256),
        ("kex = X25519\n", 256),
        ("kex=X25519\ncipher=aes-128-gcm\nkdf=sha256\n", 128),
        ("# comment\n\nkex = secp384r1\ncipher = aes-192-gcm\n", 192),
        ("kex = ML-KEM-768\ncipher = chacha20-poly1305\n", 256),
        ("kex = X25519MLKEM768\ncipher = aes-256-ctr\n", 256),
        ("kex = X25519\nnone\n", 0),
    ],
)
@pytest.mark.parametrize("sides", [("client",), ("client", "server")])
def test_enc_conf(files, conf, strength, sides):
    for side in sides:
        files.write(side, conf)
    assert bits(files.name) == strength


def test_enc_conf_is_read_again_for_every_flow(files):
    path = files.write("client", "cipher = aes-128-gcm")
    assert bits(files.name) == 128
    path.write_text("cipher = aes-192-gcm")
    assert bits(files.name) == 192
    path.unlink()
    assert bits(files.name) == 0


def test_the_stronger_of_program_and_configuration(files):
    files.write("client", "kex = X25519\ncipher = aes-128-gcm\nkdf = sha256")
    assert bits(files.name, QoSSpec(cypher_s=256)) == 256
    files.write("client", "kex = X25519\ncipher = aes-256-gcm\nkdf = sha256")
    assert bits(files.name, QoSSpec(cypher_s=128)) == 256


def test_the_stronger_of_client_and_server(files):
    files.write("client", "kex = X25519\ncipher = aes-128-gcm")
    files.write("server", "kex = X25519\ncipher = aes-256-gcm")
    assert bits(files.name) == 256


def test_a_server_that_wants_encryption_refuses_flows_in_clear(files):
    files.write("server", "kex = X25519")
    error = refusal(files.name)
    assert isinstance(error, FlowCryptError)
    assert error.errno == errors.ECRYPT
    assert "enc.conf" in str(error)
    # The program can give what the configuration of the client does not.
    assert bits(files.name, QoSSpec(cypher_s=256)) == 256


def test_a_weaker_key_exchange_is_refused(files):
    files.write("client", "kex = prime256v1")
    files.write("server", "kex = X25519MLKEM768")
    error = refusal(files.name)
    assert isinstance(error, FlowCryptError)
    for word in ("prime256v1", "X25519MLKEM768", "weaker"):
        assert word in str(error)
    assert bits(files.name, QoSSpec(kex="X25519MLKEM768")) == 256
    # cypher_s names a key exchange, too: prime256v1 for 128 bits.
    (files.client / "enc.conf").unlink()
    files.write("server", "kex = X25519")
    assert "prime256v1" in str(refusal(files.name, QoSSpec(cypher_s=128)))
    assert bits(files.name, QoSSpec(cypher_s=128, kex="X25519")) == 256


def test_none_and_a_program_that_asks_for_encryption(files):
    files.write("client", "none")
    assert bits(files.name) == 0
    for asked in (QoSSpec(cypher_s=1), QoSSpec(loss=0, cypher_s=256), QoSSpec(kex="X25519")):
        error = refusal(files.name, asked)
        assert isinstance(error, FlowCryptError)
        assert "none" in str(error)


@pytest.mark.parametrize(
    ("conf", "word"),
    [
        ("kex = X25518", "X25518"),
        ("cipher = aes-256-cbc", "aes-256-cbc"),
        ("kdf = md5", "md5"),
        ("kem_mode = both", "both"),
    ],
)
def test_a_wrong_enc_conf_names_file_and_value(files, conf, word):
    path = files.write("client", conf)
    error = refusal(files.name)
    # As in 0.23: nothing was sent.
    assert error.errno == errno.EBADF
    assert str(path) in str(error)
    assert word in str(error)
    path.unlink()
    path = files.write("server", conf)
    error = refusal(files.name)
    assert isinstance(error, FlowCryptError)
    assert word in str(error)
    path.unlink()
    assert bits(files.name) == 0


def test_an_enc_conf_that_is_no_file(files):
    (files.client / "enc.conf").mkdir(parents=True)
    error = refusal(files.name)
    assert "enc.conf" in str(error)
    assert "file" in str(error)


def test_flows_that_are_not_waited_for(files):
    files.write("client", "kex = X25518")
    f = Flow()

    def outcome():
        f.alloc(files.name, timeo=0)
        with FlowSet([f]) as fset:
            while f.state == "pending":
                fset.select(PATIENCE)
        f.read()

    # At once, or afterwards.
    with pytest.raises((FlowSecurityError, FlowNotAllocatedException), match="X25518"):
        outcome()
    f.close()


def test_asyncio(files, run):
    files.write("server", "kex = X25519")

    async def main():
        with pytest.raises(FlowCryptError):
            await aio.open_flow(files.name)
        flows = await asyncio.gather(
            aio.open_flow(files.name, QoSSpec(cypher_s=256)), aio.accept_flow()
        )
        for one in flows:
            assert one.get_qos().cypher_s == 256
            one.close()

    run(main())


def test_many_encrypted_allocations_at_once(files):
    files.write("server", "kex = X25519")
    files.write("client", "kex = X25519")
    accepted, allocated = [], []
    count = 30

    def accept():
        for _ in range(count):
            accepted.append(flow_accept(PATIENCE))

    threads = [threading.Thread(target=accept)]
    threads += [
        threading.Thread(target=lambda: allocated.append(flow_alloc(files.name, timeo=PATIENCE)))
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.get_qos().cypher_s for one in allocated + accepted] == [256] * 2 * count
    for one in allocated + accepted:
        one.close()


# Certificates


def test_who_has_a_certificate_proves_his_name(files, authority):
    with flow(files.name) as pair:
        assert [end.peer_name for end in pair] == [None, None]
    authority.issue(files.server, files.name)
    with flow(files.name) as pair:
        assert [end.peer_name for end in pair] == [files.name, None]
        assert pair.client.get_qos().cypher_s == 0
    authority.issue(files.client, "alice")
    with flow(files.name, QoSSpec(loss=0, cypher_s=256)) as pair:
        assert [end.peer_name for end in pair] == [files.name, "alice"]
        assert pair.client.get_qos().cypher_s == 256
    with pytest.raises(FlowNotAllocatedException):
        pair.client.peer_name  # noqa: B018


def test_peer_name_in_asyncio(files, authority, run):
    authority.issue(files.client, "alice")

    async def main():
        f, g = await asyncio.gather(aio.open_flow(files.name), aio.accept_flow())
        assert (f.peer_name, g.peer_name) == (None, "alice")
        f.close()
        g.close()

    run(main())


def test_a_certificate_for_another_name(files, authority):
    authority.issue(files.server, "somebody.else")
    error = refusal(files.name, QoSSpec(cypher_s=128))
    assert isinstance(error, FlowCryptError)
    for word in ("somebody.else", files.name, "CN"):
        assert word in str(error)


def test_an_expired_certificate(files, authority):
    authority.issue(files.server, files.name, expired=True)
    error = refusal(files.name)
    assert isinstance(error, FlowCryptError)
    assert "certificate" in str(error)
    assert "expired" in str(error)


def test_a_certificate_of_a_stranger(files):
    stranger = Authority("A stranger")
    stranger.issue(files.server, files.name)
    error = refusal(files.name)
    assert isinstance(error, FlowCryptError)
    assert "trust" in str(error)


def test_the_server_refuses_a_client(files, authority):
    Authority("A stranger").issue(files.client, "mallory")
    error = refusal(files.name)
    assert isinstance(error, FlowAuthError)
    assert error.errno == errors.EAUTH
    assert "trust" in str(error)
    authority.issue(files.client, "alice", expired=True)
    error = refusal(files.name)
    assert isinstance(error, FlowAuthError)
    assert "expired" in str(error)


def test_a_key_that_does_not_fit(files, authority):
    other = ec.generate_private_key(ec.SECP256R1())
    authority.issue(files.server, files.name, key=other)
    error = refusal(files.name)
    assert isinstance(error, FlowAuthError)
    assert "key.pem" in str(error)
    (files.server / "key.pem").write_text("no key")
    assert "key.pem" in str(refusal(files.name))
    authority.issue(files.server, files.name)
    authority.issue(files.client, "alice", key=other)
    error = refusal(files.name)
    assert error.errno == errno.EBADF
    assert str(files.client) in str(error)


def test_a_renewed_certificate_needs_no_restart(files, authority):
    authority.issue(files.server, files.name, expired=True)
    refusal(files.name)
    authority.issue(files.server, files.name)
    with flow(files.name) as pair:
        assert pair.client.peer_name == files.name


CLIENT = """
import sys
from ouroboros.dev import *
with flow_alloc(sys.argv[1], QoSSpec(loss=0, kex="X25519MLKEM768"), timeo=30) as f:
    f.settimeout(30)
    print(f.peer_name)
    f.writeline(f.readline().upper())
    try:
        f.read()
    except FlowDownException:
        print("end")
"""


def test_between_programs(files, authority, child):
    authority.issue(files.server, files.name)
    authority.issue(files.client, "alice")
    program = child(CLIENT, files.name)
    with flow_accept(PATIENCE) as f:
        f.settimeout(PATIENCE)
        program.expect(files.name)
        assert f.peer_name == "alice"
        assert f.get_qos().cypher_s == 256
        f.writeline("proven")
        assert f.readline() == "PROVEN"
    program.expect("end")
    program.finish()


# Where the files are


def irm(*words: object) -> str:
    """Runs irm; what it prints, and how it ended."""
    done = subprocess.run(
        [find_program("irm"), *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return f"{done.stdout}exit status {done.returncode}"


def test_files_that_are_given_to_a_name(node, authority, tmp_path):
    name = f"given-{uuid.uuid4().hex}"
    authority.issue(tmp_path, name)
    conf = tmp_path / "e.conf"
    conf.write_text("kex = X25519\n")
    paths = {"senc": conf, "scrt": tmp_path / "crt.pem", "skey": tmp_path / "key.pem"}
    words = [word for key, path in paths.items() for word in (f"{key}path", path)]
    assert irm("name", "create", name, *words).endswith("exit status 0")
    node.register(name)
    node.bind(name)
    error = refusal(name)
    assert isinstance(error, FlowCryptError)
    with flow(name, QoSSpec(kex="X25519")) as pair:
        assert pair.client.peer_name == name
    # A file that was given and is gone never means less protection.
    conf.unlink()
    assert str(conf) in str(refusal(name, QoSSpec(cypher_s=128)))


def test_irm_says_what_is_wrong_with_a_file(node, tmp_path):
    missing = tmp_path / "missing.conf"
    said = irm("name", "create", "wrong-file", "sencpath", missing)
    assert str(missing) in said
    assert not said.endswith("exit status 0")
    missing.write_text("kex = X25518\n")
    said = irm("name", "create", "wrong-file", "sencpath", missing)
    assert "X25518" in said
    assert not said.endswith("exit status 0")
    assert "wrong-file" not in irm("name", "list")


# Node(security_dir=…)


def test_a_node_has_a_security_directory_of_its_own(tmp_path):
    with ouroboros.Node() as node:
        assert node.security_dir == node.dir / "security"
        assert not node.security_dir.exists()
        node.serve_name("own")
        assert bits("own") == 0
        Files(node.security_dir, "own").write("client", "")
        assert bits("own") == 256
    assert not node._dir
    with Irmd(runtime_dir=tmp_path / "kept") as daemon:
        assert daemon.security_dir == tmp_path / "kept" / "security"
    given = tmp_path / "given"
    given.mkdir()
    with Irmd(runtime_dir=tmp_path / "kept", security_dir=given) as daemon:
        assert daemon.security_dir == given
        daemon.serve_name("kept")
        Files(given, "kept").write("server", "")
        with pytest.raises(FlowCryptError):
            flow_alloc("kept", timeo=PATIENCE)


def test_a_security_directory_that_is_not_there(tmp_path):
    for wrong in (tmp_path / "mistyped", __file__):
        node = ouroboros.Node(security_dir=wrong)
        with pytest.raises(errors.NodeError, match="security") as caught:
            node.start()
        assert caught.value.errno == errno.ENOENT


def test_a_wrong_certificate_stops_the_node_at_its_start(tmp_path):
    store = tmp_path / "cacert"
    store.mkdir()
    (store / "wrong.pem").write_text("nothing")
    node = ouroboros.Node(security_dir=tmp_path)
    with pytest.raises(errors.NodeError, match=r"wrong\.pem"):
        node.start()
