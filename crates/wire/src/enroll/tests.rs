//! Properties of the enrollment messages; the vectors are in `tests/enrollment_vectors.rs`.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{hash, name::Name};

fn unicast() -> impl Strategy<Value = UnicastConfig> {
    let time = 1..=u32::MAX;
    let policy = prop_oneof![
        Just(LinkStatePolicy::Simple),
        Just(LinkStatePolicy::Lfa),
        Just(LinkStatePolicy::Ecmp)
    ];
    let routing = (policy, time.clone(), time.clone(), time.clone());
    let dht = (
        time.clone(),
        time.clone(),
        time.clone(),
        time.clone(),
        time,
        any::<u64>(),
    );
    let congestion = prop_oneof![
        Just(CongestionPolicy::None),
        Just(CongestionPolicy::MultiBitEcn)
    ];
    (any::<u8>(), 1..=u8::MAX, routing, dht, congestion).prop_map(
        |(eid_size, max_ttl, routing, dht, congestion)| UnicastConfig {
            dt: DtConfig {
                eid_size,
                max_ttl,
                routing: LinkStateConfig {
                    policy: routing.0,
                    t_recalc: routing.1,
                    t_update: routing.2,
                    t_timeo: routing.3,
                },
            },
            dht: DhtConfig {
                alpha: dht.0,
                k: dht.1,
                t_expire: dht.2,
                t_refresh: dht.3,
                t_replicate: dht.4,
                peer: dht.5.into(),
            },
            addresses: AddressPolicy::FlatRandom,
            congestion,
        },
    )
}

fn config() -> impl Strategy<Value = LayerConfig> {
    let name = "[a-z.]{1,255}".prop_map(|name| Name::new(&name).unwrap());
    let hash = proptest::sample::select(hash::ALL.to_vec());
    (name, hash, proptest::option::of(unicast())).prop_map(|(name, hash, unicast)| match unicast {
        Some(unicast) => LayerConfig {
            name,
            hash,
            layer: Layer::Unicast(unicast),
        },
        None => LayerConfig::broadcast(name),
    })
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        config().prop_map(Answer::Accepted),
        (i32::MIN..0).prop_map(Answer::Denied)
    ]
}

proptest! {
    #[test]
    fn parse_is_the_inverse_of_emit(
        id: [u8; 8],
        sec: i64,
        nsec in 0..1_000_000_000_u32,
        answer in answer(),
        result: i32,
    ) {
        let id = EnrollmentId(id);
        let request = Request { id };
        prop_assert_eq!(Request::parse(&request.emit()), Ok(request));
        let ack = Ack { id, result };
        prop_assert_eq!(Ack::parse(&ack.emit()), Ok(ack));
        let response = Response { id, time: WallTime { sec, nsec }, answer };
        let packet = response.emit();
        prop_assert!(packet.len() <= LEN_MAX, "{} octets", packet.len());
        prop_assert_eq!(Response::parse(&packet), Ok(response));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..1100)) {
        let _ = Request::parse(&bytes);
        let _ = Response::parse(&bytes);
        let _ = Ack::parse(&bytes);
    }

    /// One octet of a good response is changed: it parses or not, and if so it is consistent.
    #[test]
    fn a_damaged_response_never_panics(answer in answer(), at: usize, octet: u8) {
        let response = Response {
            id: EnrollmentId([1; 8]),
            time: WallTime { sec: 1, nsec: 2 },
            answer,
        };
        let mut packet = response.emit();
        let at = at % packet.len();
        packet[at] = octet;
        if let Ok(response) = Response::parse(&packet) {
            let _ = response.to_string();
            prop_assert_eq!(Response::parse(&response.emit()), Ok(response));
        }
    }
}

#[test]
fn what_a_reader_cannot_take_is_too_long() {
    let request = Request {
        id: EnrollmentId([7; 8]),
    };
    let mut packet = request.emit();
    // An unknown field 15 fills it up.
    let rest = LEN_MAX - packet.len() - 3;
    packet.extend([0x7a, (rest & 0x7f) as u8 | 0x80, (rest >> 7) as u8]);
    packet.resize(LEN_MAX, 0);
    assert_eq!(Request::parse(&packet), Ok(request));
    packet.push(0);
    assert_eq!(
        Request::parse(&packet),
        Err(EnrollError::TooLong(LEN_MAX + 1))
    );
}

#[test]
fn what_no_member_can_use_is_refused() {
    type Spoil = fn(&mut UnicastConfig);
    let good = UnicastConfig::default();
    let spoilt: [(Spoil, &str); 6] = [
        (|c| c.dt.max_ttl = 0, "max_ttl"),
        (|c| c.dt.routing.t_update = 0, "t_update"),
        (|c| c.dt.routing.t_timeo = 0, "t_timeo"),
        (|c| c.dht.alpha = 0, "alpha"),
        (|c| c.dht.k = 0, "k"),
        (|c| c.dht.t_replicate = 0, "t_replicate"),
    ];
    for (spoil, name) in spoilt {
        let mut config = good;
        spoil(&mut config);
        let response = Response {
            id: EnrollmentId([0; 8]),
            time: WallTime { sec: 0, nsec: 0 },
            answer: Answer::Accepted(LayerConfig {
                name: Name::new("lan").unwrap(),
                hash: hash::DirHash::Sha3_224,
                layer: Layer::Unicast(config),
            }),
        };
        let error = Response::parse(&response.emit()).unwrap_err();
        assert!(
            matches!(error, EnrollError::Value { field, .. } if field == name),
            "{error}"
        );
    }
}

#[test]
fn clocks_are_compared_in_milliseconds() {
    let time = |sec, nsec| WallTime { sec, nsec };
    assert_eq!(time(1, 0).apart_ms(time(0, 979_000_000)), 21);
    assert_eq!(time(0, 999_999).apart_ms(time(0, 0)), 0);
    assert_eq!(
        time(i64::MIN, 0).apart_ms(time(i64::MAX, 999_999_999)),
        u64::MAX
    );
}
