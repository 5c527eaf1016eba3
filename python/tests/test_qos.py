"""QoSSpec: fields, defaults, limits, presets (api.md B3)."""

import pytest

from ouroboros.qos import BILLION, DEFAULT_PEER_TIMEOUT, MILLION, UINT32_MAX, QoSSpec

FIELDS = ["delay", "bandwidth", "availability", "loss", "ber", "in_order", "max_gap", "timeout"]
UINT64_MAX = 2**64 - 1


def values(qos):
    return tuple(getattr(qos, field) for field in FIELDS)


def test_defaults_are_those_of_the_documentation():
    qos = QoSSpec()
    assert values(qos) == (MILLION, 0, 0, MILLION, BILLION, 0, MILLION, 120_000)
    assert qos.cypher_s == 0
    assert (MILLION, BILLION, UINT32_MAX) == (10**6, 10**9, 2**32 - 1)
    assert DEFAULT_PEER_TIMEOUT == 120_000


def test_positional_order_is_that_of_0_23():
    assert values(QoSSpec(1, 2, 3, 4, 5, 6, 7, 8)) == (1, 2, 3, 4, 5, 6, 7, 8)


def test_cypher_s_is_keyword_only():
    assert QoSSpec(loss=0, cypher_s=256).cypher_s == 256
    with pytest.raises(TypeError):
        QoSSpec(1, 2, 3, 4, 5, 6, 7, 8, 256)


@pytest.mark.parametrize(
    ("field", "most"),
    [
        ("delay", UINT32_MAX),
        ("bandwidth", UINT64_MAX),
        ("availability", 255),
        ("loss", UINT32_MAX),
        ("ber", UINT32_MAX),
        ("in_order", 255),
        ("max_gap", UINT32_MAX),
        ("timeout", UINT32_MAX),
        ("cypher_s", 256),
    ],
)
def test_ranges(field, most):
    assert getattr(QoSSpec(**{field: most}), field) == most
    for bad in (-1, most + 1, 10**30):
        with pytest.raises(ValueError, match=field):
            QoSSpec(**{field: bad})
    qos = QoSSpec()
    with pytest.raises(ValueError, match=field):
        setattr(qos, field, -1)
    for bad in (1.5, "1", None):
        with pytest.raises(TypeError, match=field):
            QoSSpec(**{field: bad})


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("raw", (UINT32_MAX, 0, 0, 1, 1, 0, UINT32_MAX)),
        ("raw_no_errors", (UINT32_MAX, 0, 0, 1, 0, 0, UINT32_MAX)),
        ("best_effort", (UINT32_MAX, 0, 0, 1, 0, 1, UINT32_MAX)),
        ("video", (100, UINT64_MAX, 3, 1, 0, 1, 100)),
        ("voice", (50, 100_000, 5, 1, 0, 1, 50)),
        ("data", (1000, 0, 0, 0, 0, 1, 2000)),
    ],
)
def test_presets_are_those_of_c(preset, expected):
    assert values(getattr(QoSSpec, preset)()) == (*expected, 120_000)


def test_equality_and_repr():
    assert QoSSpec(loss=0) == QoSSpec(loss=0)
    assert QoSSpec(loss=0) != QoSSpec()
    assert QoSSpec(cypher_s=128) != QoSSpec()
    assert QoSSpec() != "raw"
    qos = QoSSpec(loss=0, cypher_s=256)
    assert eval(repr(qos)) == qos
    with pytest.raises(TypeError):
        hash(qos)


def test_fields_can_be_changed():
    qos = QoSSpec()
    qos.loss = True
    assert qos.loss == 1
    assert type(qos.loss) is int


def test_a_wrong_type_is_told_the_unit():
    with pytest.raises(TypeError, match="milliseconds"):
        QoSSpec(timeout=0.5)


def test_kex():
    qos = QoSSpec(kex="X25519")
    assert qos.kex == "X25519"
    assert eval(repr(qos)) == qos != QoSSpec()
    assert "kex" not in repr(QoSSpec())
    with pytest.raises(TypeError, match="kex"):
        qos.kex = 5
    with pytest.raises(TypeError):
        QoSSpec(1, 2, 3, 4, 5, 6, 7, 8, "X25519")


def test_no_loss_asks_for_order():
    # Reliability needs order (api.md B3); the object of the caller stays as it is.
    qos = QoSSpec(loss=0)
    assert qos._request()[5] == 1
    assert qos.in_order == 0
    assert QoSSpec(loss=0, in_order=3)._request()[5] == 3
    assert QoSSpec()._request()[5] == 0
