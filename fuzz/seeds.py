#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets from tests/data and from what the targets document.

    python3 fuzz/seeds.py [DIRECTORY]       (fuzz/corpus)

Run it after a change of a target's input; inputs that a run found are kept beside these seeds only
if they reach something that the seeds do not.
"""

import base64
import hashlib
import json
import struct
import sys
from pathlib import Path

FUZZ = Path(__file__).resolve().parent
DATA = FUZZ.parent / "tests" / "data"
OUT = Path(sys.argv[1]) if len(sys.argv) > 1 else FUZZ / "corpus"
VECTORS = json.loads((DATA / "vectors" / "oap-crypto.json").read_text())
FLOWS = json.loads((DATA / "captures" / "09-keys.json").read_text())
NOW = struct.pack(">I", 1_700_000_000)


def seed(target: str, data: bytes) -> None:
    """One file, named after its content as libFuzzer does."""
    directory = OUT / target
    directory.mkdir(parents=True, exist_ok=True)
    (directory / hashlib.sha1(data).hexdigest()).write_bytes(data)


def frames(name: str) -> list[bytes]:
    """The frames of a capture."""
    file = (DATA / "captures" / name).read_bytes()
    order = "<" if file[:4] == b"\xd4\xc3\xb2\xa1" else ">"
    found, at = [], 24
    while at < len(file):
        (length,) = struct.unpack_from(order + "I", file, at + 8)
        found.append(file[at + 16 : at + 16 + length])
        at += 16 + length
    return found


def steps(*parts: tuple[int, bytes]) -> bytes:
    """Actions with their bytes, 255 at most."""
    return b"".join(bytes([action, len(data[:255])]) + data[:255] for action, data in parts)


def pem(private: bytes) -> bytes:
    """A private key in PEM."""
    text = base64.encodebytes(private)
    return b"-----BEGIN PRIVATE KEY-----\n" + text + b"-----END PRIVATE KEY-----\n"


def control_frame() -> None:
    def frame(body: bytes) -> bytes:
        return struct.pack("<I", len(body)) + body

    # An id, and one empty body of each number.
    for number in range(2, 40):
        tag = number << 3 | 2
        varint = bytes([tag]) if tag < 128 else bytes([tag & 127 | 128, tag >> 7])
        seed("control_frame", bytes([200]) + frame(b"\x08\x07" + varint + b"\0"))
    text = b"\x08\x01\x1a\x06\x0a\x04name"
    seed("control_frame", b"\x03" + frame(text) * 2)
    seed("control_frame", b"\xff" + struct.pack("<I", 0xFFFF_FFFF))


def oping_message() -> None:
    for kind in (0, 1, 2):
        seed("oping_message", struct.pack(">II", kind, 7) + struct.pack("<QQ", 11, 999) + b"pad")
    seed("oping_message", b"\0" * 23)


def frcp_input() -> None:
    poll, read, tick = (5, b""), (4, b""), (6 | 10 << 3, b"\0" * 50)
    for name, from_address in [
        ("05-frct-loss-A.pcap", 10),
        ("05-frct-loss-B.pcap", 11),
        ("05b-frct-window.pcap", 10),
        ("05b-frct-window.pcap", 11),
        ("13-crc32.pcap", 11),
        ("10-large-eth-dix-mtu1500.pcap", 10),
    ]:
        packets = [
            frame[18 : 18 + struct.unpack_from(">H", frame, 16)[0]]
            for frame in frames(name)[4:]
            if frame[11] == from_address and frame[14:16] != b"\0\0"
        ]
        for setup in (0x10, 0x1F, 0x08):
            actions = []
            for packet in packets[:24]:
                actions += [(3, b"text " * 8), poll, (0, packet), read, tick]
            seed("frcp_input", bytes([setup, 9]) + steps(*actions, (7, b""), poll))
    # A whole message, fragments, an acknowledgement, ranges, a window.
    message = struct.pack(">BBHII", 0x03, 0, 0, 100, 0) + b"message"
    ack = struct.pack(">BBHII", 0x0C, 0, 9, 0, 3)
    ranges = ack + struct.pack(">II", 5, 6) + struct.pack(">II", 8, 12)
    for setup in range(0, 32, 3):
        writes = [(3, b"x" * 250)] * 6
        seed(
            "frcp_input",
            bytes([setup, 8])
            + steps(
                (0, message), read, *writes, poll, (0, ack), (0, ranges), tick, poll, tick, poll
            ),
        )


def oap_messages() -> list[bytes]:
    found = []
    for exchange in VECTORS["oap"]["exchanges"]:
        found += [
            bytes.fromhex(exchange[side]) for side in ("request", "response") if exchange.get(side)
        ]
    found += [bytes.fromhex(result["request"]) for result in VECTORS["oap_server_results"]]
    return found


def oap_header() -> None:
    for message in oap_messages():
        if len(message) < 3000:
            seed("oap_header", b"\x02\xa0" + message)
    for message in oap_messages()[:2]:
        seed("oap_header", b"\0\0" + message)


def oap_exchange() -> None:
    # The first byte: response, trust, configuration, ..., clock and id of the message.
    for message in oap_messages():
        if len(message) < 2000:
            for setup in (0, 8) if len(message) < 1000 else (12,):
                seed("oap_exchange", bytes([setup]) + message)
    for exchange in VECTORS["oap"]["exchanges"]:
        response = bytes.fromhex(exchange["response"])
        if len(response) < 2000:
            seed(
                "oap_exchange", bytes([1 if exchange["client_enc_conf"] is None else 5]) + response
            )
    for id, flow in FLOWS.items():
        for side, setups in (
            ("request", (64 | 2, 64 | 2 | 8 | 16)),
            ("response", (64 | 3, 64 | 7)),
        ):
            frame = frames(flow["pcap"])[flow[side]["frame"] - 1]
            message = frame[frame.index(bytes.fromhex(id)) :]
            for setup in setups:
                seed("oap_exchange", bytes([setup]) + message)


def enc_conf() -> None:
    for case in VECTORS["enc_conf"]:
        seed("enc_conf", case["text"].encode())
    seed("enc_conf", b"# comment\n\n kex = X448 \ncipher=aes-256-ctr # why\nkem_mode=client\n")


def certificate() -> None:
    for file in sorted((DATA / "captures" / "09-certs").glob("*.pem")):
        seed("certificate", NOW + file.read_bytes())
    for pem in VECTORS["certificates"].values():
        if len(pem) < 9000:
            lines = pem.strip().splitlines()[1:-1]
            seed("certificate", NOW + base64.b64decode("".join(lines)))
    for case in VECTORS["certificate_name"]:
        seed("certificate", NOW + base64.b64decode(case["crt_der"]))
    for case in VECTORS["dhe"]:
        if case["kex"].startswith(("prime", "secp")):
            seed("certificate", NOW + bytes.fromhex(case["a_priv_pkcs8"]))
            seed("certificate", NOW + bytes.fromhex(case["a_pk"]))
    seed("certificate", NOW + bytes.fromhex("302e020100300506032b657004220420") + b"\x07" * 32)
    seed("certificate", NOW + bytes.fromhex("302a300506032b6570032100") + b"\x07" * 32)


def kex_key() -> None:
    for case in VECTORS["dhe"]:
        for field in ("a_priv_pkcs8", "a_pk"):
            if case.get(field):
                seed("kex_key", bytes.fromhex(case[field]))
    for case in VECTORS["kem"]:
        for field in ("pk", "priv_pkcs8", "priv_raw"):
            if case.get(field):
                seed("kex_key", bytes.fromhex(case[field]))
    for flow in FLOWS.values():
        private = bytes.fromhex(flow["client_private_pkcs8_der"])
        seed("kex_key", pem(private))


def encrypted_packet() -> None:
    talk = []
    for number in range(12):
        text = b"packet %d" % number
        # Seal and deliver in both directions, then two late ones and a forged one.
        talk += [(0, text), (4, b""), (1, text), (5, b"")]
    late = [
        (0, b"first"),
        (0, b"second"),
        (0, b"third"),
        (6, b"12"),
        (4, b""),
        (12, b"\x01"),
        (4, b""),
    ]
    burst = [(0, b"x")] * 40 + [(4, b"")] * 40 + [(8, b"")]
    for setup in range(14):
        seed("encrypted_packet", bytes([setup, 0]) + steps(*talk, *late))
        seed("encrypted_packet", bytes([setup, 1]) + steps(*burst, *late))
    for case in VECTORS["symmetric"][::3]:
        packet = bytes.fromhex(case["packet"])
        seed("encrypted_packet", bytes([4, 1]) + steps((10, packet), (14, packet)))
    for case in VECTORS["crc32"]:
        data, wire = bytes.fromhex(case["data"]), bytes.fromhex(case["wire"])
        seed("encrypted_packet", bytes([4, 1]) + steps((14, data + wire), (0x4E, data)))


def transfer_packets(name: str) -> list[bytes]:
    """The data transfer packets of a capture: those on the adjacency with EID 65."""
    payloads = [frame[18:] for frame in frames(name) if frame[14:16] == b"\0\x41"]
    return [packet for packet in payloads if len(packet) >= 15 and packet[:1] != b"\x0a"]


def dt_packet() -> None:
    def talk(*packets: tuple[int, bytes]) -> bytes:
        return b"".join(bytes([len(p[:255]), queue]) + p[:255] for queue, p in packets)

    own, other, stranger = (struct.pack("<I", address) for address in (1, 7, 99))
    header = b"\0\x3c\0"
    kinds = [
        own + header + bytes(8) + b"message",
        own + header + b"\x01" + bytes(7),
        own + header + b"\x41" + bytes(7) + b"data",
        other + header + b"\x41" + bytes(7) + b"data",
        other + b"\x02\x01\0" + bytes(8),
        stranger + header + bytes(8),
        b"",
        b"short",
    ]
    for setup in (1, 3, 5, 60):
        for widths in (0x3B, 0x3F, 0):
            queues = [(queue, kind) for queue in (0, 40, 0xC0, 0x80) for kind in kinds]
            seed("dt_packet", bytes([widths, setup]) + talk(*queues))
    packets = [(20, packet) for packet in transfer_packets("06-unicast-2nodes.pcap")]
    seed("dt_packet", bytes([0x3B, 60]) + talk(*packets))


def fa_machine() -> None:
    request, grant, refuse = (1, b"\x02\x50data"), (2, b"\x01\0data"), (2, b"\x01\xff")
    allocate, wait = (3, b"\x05data"), (7, b"\xff")
    for actions in (
        [allocate, grant, (6, b"\x01"), (5, b"\x01")],
        [allocate, refuse, allocate, wait],
        [request, (4, b"\x01\0data"), (2, b"\x01"), (5, b"\x01")],
        [request, (4, b"\x01\xff"), request, wait, (4, b"\x02\0")],
        [(1, bytes([source, eid])) for source in (2, 3, 4, 5) for eid in range(80, 87)] + [wait],
        [allocate] * 30 + [wait],
    ):
        seed("fa_machine", steps(*actions))
    messages = [
        packet[15:]
        for name in ("06-unicast-2nodes.pcap", "12-mb-ecn.pcap")
        for packet in transfer_packets(name)
        if packet[7:15] == bytes(8)
    ]
    # Requests need hashes of 28 bytes here: what is beyond is data.
    for start in (0, 4):
        seed("fa_machine", steps(*[(0, message) for message in messages[start : start + 6]]))


def dht_message() -> None:
    vectors = json.loads((DATA / "vectors" / "directory-enrollment.json").read_text())
    for part in ("messages", "parse"):
        for vector in vectors[part]:
            if vector["message"] == "dht_msg":
                seed("dht_message", bytes.fromhex(vector["hex"]))


def dht_machine() -> None:
    # Answers to what it asks, with and without contacts and values.
    answers = bytes([1, 2, 8, 0xE1, 3, 9, 2, 4, 0]) * 12
    names = bytes([4, 7, 0, 6, 8, 0, 6, 7, 0])
    pause = bytes([7, 200, 1, 7, 250, 7])
    for setup in (0x23, 0x63, 0x00, 0x3F):
        run = bytes([setup]) + answers + names + answers + pause + answers
        seed("dht_machine", run)
        seed("dht_machine", run + bytes([9, 2, 0, 8, 2, 0, 5, 7, 0, 9, 8, 1]) + pause * 9)
        stores = b"".join(bytes([3 + 10 * n, 5 + n, 7]) for n in range(20))
        seed("dht_machine", bytes([setup]) + stores + answers + pause * 20)


def enroll_message() -> None:
    vectors = json.loads((DATA / "vectors" / "directory-enrollment.json").read_text())
    for part in ("messages", "parse"):
        for vector in vectors[part]:
            if vector["message"].startswith(("cep", "enroll")):
                seed("enroll_message", bytes.fromhex(vector["hex"]))
    seed("enroll_message", struct.pack(">QQQ", 0x0D0C0B0A, 0x04030201, 6))


def enroll_machine() -> None:
    def step(action: int, flow: int, data: bytes) -> bytes:
        return bytes([action, flow, len(data)]) + data

    vectors = json.loads((DATA / "vectors" / "directory-enrollment.json").read_text())
    for exchange in vectors["exchanges"][:4]:
        run = [step(1, 2, b""), step(0, 1, b"")]
        for side, message in exchange["steps"]:
            packet = bytes.fromhex(message)
            run += [step(2, 2 if side == "initiator" else 1, packet), step(4, 0, packet)]
        seed("enroll_machine", b"".join(run))
    silent = b"".join(step(1, flow, b"") for flow in range(255))
    seed("enroll_machine", silent + bytes([6, 0, 20]) + silent + bytes([6, 0, 255]))


def broadcast_machine() -> None:
    def step(action: int, flow: int, data: bytes = b"") -> bytes:
        return bytes([action, flow, len(data)]) + data

    vectors = json.loads((DATA / "vectors" / "directory-enrollment.json").read_text())
    hello = next(v["hex"] for v in vectors["messages"] if v["name"] == "cep_dt_broadcast")
    exchange = next(e for e in vectors["exchanges"] if "broadcast" in e["name"])["steps"]
    said = [bytes.fromhex(message) for _, message in exchange]
    data = bytes.fromhex(hello)
    member = step(3, 1) + step(7, 1, said[0]) + step(7, 1, said[2]) + step(7, 1, said[4])
    ring = b"".join(step(3, n) + step(7, n, data) for n in (2, 3)) + step(7, 2, b"x")
    seed("broadcast_machine", b"\0" + member + ring + step(7, 3, b"x") * 40 + step(6, 0, b"z" * 200))
    joins = step(0, 0) + step(4, 1, b"y") + step(7, 1, said[1]) + step(7, 1, said[3])
    connects = step(1, 0) + step(4, 2, b"y") + step(7, 2, data) + step(2, 0) + step(5, 2)
    seed("broadcast_machine", b"\1" + joins + connects + step(3, 9) + step(6, 0, b"z" * 255))


def linkstate_machine() -> None:
    up = bytes([2, 1, 0, 0, 2, 2, 0, 0, 0, 3, 2, 0, 0, 4, 3, 0])
    known = b"".join(bytes([22, 1 + n % 2, 2 + n, 3 + n, 22, 1, 3 + n, 2 + n]) for n in range(10))
    own = bytes([22, 1, 2, 1, 38, 2, 3, 1])
    gone = bytes([201, 1, 2, 3, 1, 3, 0, 0, 22, 1, 1, 2, 202, 1, 1, 2, 240, 2, 1, 2])
    for policy in range(3):
        run = bytes([policy]) + up + own + known + bytes([4, 0, 100, 100])
        seed("linkstate_machine", run + gone + bytes([4, 0, 255, 255]) * 4)
        seed("linkstate_machine", run + bytes([3, 1, 0, 0, 5, 2, 24, 0]) + bytes(range(60, 84)))


def shim_vectors() -> list[tuple[str, bytes]]:
    lines = (DATA / "vectors" / "shims.tsv").read_text().splitlines()
    return [(name, bytes.fromhex(digits)) for name, digits in (line.split("\t") for line in lines)]


def shim_frame() -> None:
    # The first byte: format, length of the hash.
    formats = {"dix": 0 | 2 << 2, "llc": 1 | 2 << 2, "udp": 2}
    for name, frame in shim_vectors():
        seed("shim_frame", bytes([formats[name[:3]]]) + frame)
        if not name.startswith("udp"):
            tagged = frame[:12] + b"\x81\0\xe0\0" + frame[12:] + b"\0" * 20
            seed("shim_frame", bytes([formats[name[:3]]]) + tagged)
    for frame in frames("04-eth-dix-qos.pcap")[:24]:
        seed("shim_frame", bytes([formats["dix"]]) + frame)
    seed("shim_frame", b"\x0b" + b"\0" * 80)


def shim_machine() -> None:
    def step(action: int, what: int, data: bytes = b"") -> bytes:
        return bytes([action, what, len(data)]) + data

    def message(kind: int, requester: int, acceptor: int, response: int, flags: int) -> bytes:
        return bytes([kind, requester, acceptor, response, flags]) + b"piggyback"

    tick, resolve = bytes([11, 3, 200]), bytes([12, 1, 2])
    for setup, eid in ((0, 64), (1, 2), (2, 64), (0x80, 64)):
        # The name is found, the request answered, the flow ended; then one that nobody answers.
        found = step(1, 1, message(3, 0, 0, 0, 1))
        asked = step(8, 1, b"oap") + resolve + found
        granted = step(1, 1, message(1, eid, 70, 0, 1))
        refused = step(1, 1, message(1, eid + 1, 0, 2, 0))
        ended = bytes([10, 1, 0])
        seed("shim_machine", bytes([setup]) + asked + granted + ended + tick)
        seed("shim_machine", bytes([setup]) + asked + step(8, 7, b"oap") + refused + tick * 9)
        # Requests of strangers: accepted, repeated, refused, left alone.
        request = step(1, 1, message(0, 9, 0, 0, 1))
        other = step(1, 0x41, message(0, 10, 0, 0, 0))
        query = step(1, 1, message(2, 0, 0, 0, 3))
        accept, refuse = step(9, 5, b"oa"), step(9, 6, b"oap")
        server = step(5, 1) + query + request + request + accept + request + other + refuse
        seed("shim_machine", bytes([setup]) + server + other + tick * 9 + bytes([10, 5, 3]) + tick)
        # The link, the MTU, queries.
        rest = bytes([7, 2, 9, 7, 3, 20, 13, 0, 1, 13, 1, 1, 8, 1, 0, 13, 0, 0, 13, 2, 0])
        seed("shim_machine", bytes([setup]) + rest + tick + asked)
    for name, frame in shim_vectors():
        setup = {"dix": 0, "llc": 1, "udp": 2}[name[:3]]
        seed("shim_machine", bytes([setup]) + step(5, 1) + step(0, 1, frame) + tick)


for write in (
    broadcast_machine,
    enroll_message,
    enroll_machine,
    linkstate_machine,
    dt_packet,
    fa_machine,
    control_frame,
    oping_message,
    frcp_input,
    oap_header,
    oap_exchange,
    enc_conf,
    certificate,
    kex_key,
    encrypted_packet,
    dht_message,
    dht_machine,
    shim_frame,
    shim_machine,
):
    write()
