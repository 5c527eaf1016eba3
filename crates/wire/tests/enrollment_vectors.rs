//! The vectors of OCEP and OEP (`spec/directory-enrollment.md` §12), both ways, byte for byte.

use o7s_wire::{
    cep,
    enroll::{self, Ack, Answer, Layer, LayerConfig, Request, Response, UnicastConfig},
};
use serde_json::Value;

fn vectors() -> Value {
    o7s_captures::json("vectors/directory-enrollment.json")
}

fn unhex(value: &Value) -> Vec<u8> {
    o7s_captures::unhex(value.as_str().unwrap())
}

/// The fields that 0.23 decodes are those that we decode.
fn same_fields(name: &str, fields: &Value, pairs: &[(&str, i128)]) {
    for (field, value) in pairs {
        let expected = fields.pointer(&format!("/{field}"));
        let expected = expected.unwrap_or_else(|| panic!("{name}: {field}"));
        let expected = expected
            .as_i64()
            .map(i128::from)
            .or_else(|| expected.as_u64().map(i128::from));
        assert_eq!(expected, Some(*value), "{name}: {field}");
    }
}

fn check_config(name: &str, fields: &Value, config: &LayerConfig) {
    let text = |path: &str| fields.pointer(path).and_then(Value::as_str).unwrap();
    assert_eq!(text("/layer_info/name"), config.name.as_str(), "{name}");
    let kind = match &config.layer {
        Layer::Unicast(unicast) => {
            check_unicast(name, &fields["unicast"], unicast);
            1
        }
        Layer::Broadcast => 2,
    };
    let pairs = [
        ("layer_info/dir_hash_algo", config.hash as i128),
        ("ipcp_type", kind),
    ];
    same_fields(name, fields, &pairs);
}

fn check_unicast(name: &str, fields: &Value, config: &UnicastConfig) {
    let UnicastConfig { dt, dht, .. } = config;
    let pairs: [(&str, i128); 15] = [
        ("dt/addr_size", 4),
        ("dt/eid_size", dt.eid_size.into()),
        ("dt/max_ttl", dt.max_ttl.into()),
        ("dt/routing/ls/pol", dt.routing.policy as i128),
        ("dt/routing/ls/t_recalc", dt.routing.t_recalc.into()),
        ("dt/routing/ls/t_update", dt.routing.t_update.into()),
        ("dt/routing/ls/t_timeo", dt.routing.t_timeo.into()),
        ("dir/dht/alpha", dht.alpha.into()),
        ("dir/dht/k", dht.k.into()),
        ("dir/dht/t_expire", dht.t_expire.into()),
        ("dir/dht/t_refresh", dht.t_refresh.into()),
        ("dir/dht/t_replicate", dht.t_replicate.into()),
        ("dir/dht/peer", dht.peer.get().into()),
        ("addr_auth_type", config.addresses as i128),
        ("cong_avoid", config.congestion as i128),
    ];
    same_fields(name, fields, &pairs);
}

fn check_cep(name: &str, fields: &Value, bytes: &[u8]) {
    if bytes.len() > cep::LEN_MAX {
        assert_eq!(
            cep::Message::parse(bytes),
            Err(cep::CepError::TooLong(bytes.len()))
        );
        return;
    }
    let message = cep::Message::parse(bytes).unwrap();
    assert_eq!(message.emit().unwrap(), bytes, "{name}");
    assert_eq!(
        fields["comp_name"].as_str().unwrap().as_bytes(),
        message.component
    );
    assert_eq!(
        fields["protocol"].as_str().unwrap().as_bytes(),
        message.protocol
    );
    let pairs = [
        ("pref_version", message.version.into()),
        ("pref_syntax", message.syntax.into()),
        ("address", message.address.get().into()),
    ];
    same_fields(name, fields, &pairs);
    let supported = fields["supp_version"].as_array().map_or(0, Vec::len);
    assert_eq!(supported, message.supported_versions.len(), "{name}");
    assert_eq!(
        fields.get("syntax_spec").is_some(),
        message.fixed_syntax.is_some()
    );
}

fn check_response(name: &str, fields: &Value, bytes: &[u8]) {
    let response = Response::parse(bytes).unwrap();
    assert_eq!(response.emit(), bytes, "{name}");
    assert_eq!(unhex(&fields["id"]), response.id.0, "{name}");
    let code = match &response.answer {
        Answer::Accepted(config) => {
            check_config(name, &fields["conf"], config);
            0
        }
        Answer::Denied(code) => *code,
    };
    let pairs = [
        ("t_sec", response.time.sec.into()),
        ("t_nsec", response.time.nsec.into()),
        ("response", code.into()),
    ];
    same_fields(name, fields, &pairs);
}

#[test]
fn every_message_is_parsed_and_emitted() {
    let vectors = vectors();
    let mut seen = 0;
    for vector in vectors["messages"].as_array().unwrap() {
        let name = vector["name"].as_str().unwrap();
        let (fields, bytes) = (&vector["fields"], unhex(&vector["hex"]));
        match vector["message"].as_str().unwrap() {
            "cep_msg" => check_cep(name, fields, &bytes),
            "enroll_req_msg" => {
                let request = Request::parse(&bytes).unwrap();
                assert_eq!(unhex(&fields["id"]), request.id.0);
                assert_eq!(request.emit(), bytes, "{name}");
            }
            "enroll_resp_msg" => check_response(name, fields, &bytes),
            "enroll_ack_msg" => {
                let ack = Ack::parse(&bytes).unwrap();
                assert_eq!(unhex(&fields["id"]), ack.id.0);
                same_fields(name, fields, &[("result", ack.result.into())]);
                assert_eq!(ack.emit(), bytes, "{name}");
            }
            // The others do not belong to these protocols, or do not cross a machine.
            _ => continue,
        }
        seen += 1;
    }
    assert_eq!(seen, 17);
}

/// Configurations by themselves, wrapped into a response: those of types that enroll are accepted.
#[test]
fn every_configuration_of_a_type_that_enrolls_is_parsed_and_emitted() {
    let vectors = vectors();
    let mut seen = 0;
    for vector in vectors["messages"].as_array().unwrap() {
        if vector["message"] != "ipcp_config_msg" {
            continue;
        }
        let (name, config) = (vector["name"].as_str().unwrap(), unhex(&vector["hex"]));
        let mut packet = vec![0x0a, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0x10, 1, 0x18, 2, 0x20, 0];
        packet.extend([0x2a, u8::try_from(config.len()).unwrap()]);
        packet.extend(config);
        let kind = vector["fields"]["ipcp_type"].as_u64().unwrap();
        match Response::parse(&packet) {
            Ok(response) => {
                assert!(kind == 1 || kind == 2, "{name}");
                assert_eq!(response.emit(), packet, "{name}");
            }
            Err(error) => {
                let kind = u32::try_from(kind).unwrap();
                // UDP layers also have a hash that no member of others can use.
                assert!(kind != 1 && kind != 2, "{name}: {error}");
                assert!(
                    error == enroll::EnrollError::IpcpType(kind) || kind >= 5,
                    "{name}: {error}"
                );
            }
        }
        seen += 1;
    }
    assert_eq!(seen, 8);
}

#[test]
fn what_must_be_accepted_or_rejected_is() {
    let vectors = vectors();
    let mut seen = 0;
    for vector in vectors["parse"].as_array().unwrap() {
        let bytes = unhex(&vector["hex"]);
        let accepted = match vector["message"].as_str().unwrap() {
            "cep_msg" => cep::Message::parse(&bytes).is_ok(),
            "enroll_req_msg" => Request::parse(&bytes).is_ok(),
            "enroll_resp_msg" => Response::parse(&bytes).is_ok(),
            "enroll_ack_msg" => Ack::parse(&bytes).is_ok(),
            _ => continue,
        };
        assert_eq!(accepted, vector["expect"] == "accept", "{vector}");
        seen += 1;
    }
    assert_eq!(seen, 16);
}

/// The last value of a duplicated field counts.
#[test]
fn duplicated_fields() {
    let vectors = vectors();
    let parse = |name: &str| {
        let all = vectors["parse"].as_array().unwrap();
        let vector = all.iter().find(|vector| vector["name"] == name).unwrap();
        cep::Message::parse(&unhex(&vector["hex"])).unwrap()
    };
    assert_eq!(parse("duplicate_scalar").version, 1);
    assert_eq!(parse("duplicate_string").component, b"Enrollment");
    assert_eq!(parse("packed_repeated").supported_versions, [1, 2]);
}

#[test]
fn identities_are_those_of_the_specification() {
    let vectors = vectors();
    let hex = |name: &str| {
        let all = vectors["messages"].as_array().unwrap();
        let vector = all.iter().find(|vector| vector["name"] == name).unwrap();
        unhex(&vector["hex"])
    };
    for (name, identity, address) in [
        ("cep_enrollment", cep::Identity::ENROLLMENT, 0),
        ("cep_dt_unicast", cep::Identity::UNICAST_DATA, 0x1234_5678),
        ("cep_mgmt_unicast", cep::Identity::MANAGEMENT, 0x1234_5678),
        ("cep_dt_broadcast", cep::Identity::BROADCAST_DATA, 0),
    ] {
        let message = identity.message(o7s_wire::address::Address::new(address));
        assert_eq!(message.emit().unwrap(), hex(name), "{name}");
        assert!(message.is_of(&identity));
    }
    let refusal = cep::Message::refusal();
    assert_eq!(refusal.emit().unwrap(), hex("cep_reject"));
}
