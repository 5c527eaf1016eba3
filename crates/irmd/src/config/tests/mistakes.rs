//! What is wrong in a file is shown with its place, what has no effect is told.

use super::*;

#[test]
fn mistakes_are_shown_with_their_place_and_what_is_allowed() {
    let long = "n".repeat(256);
    let unicast = |option: &str| format!("[unicast.x]\nbootstrap = \"l\"\n{option}");
    for (text, place, message) in [
        (
            "[lokal.x]".to_owned(),
            "1:2",
            "did you mean \"local\"? allowed are name, local,",
        ),
        (
            "name = 3".to_owned(),
            "1:8",
            "name must be a table of tables",
        ),
        (
            "[name]\na = 3".to_owned(),
            "2:5",
            "\"a\" must be a table, not an integer",
        ),
        (
            "[name.\"\"]".to_owned(),
            "1:7",
            "this is no name: a name must not be empty",
        ),
        (format!("[local.{long}]"), "1:8", "the limit is 255 bytes"),
        (
            "[name.a]\nlb = \"x\"".to_owned(),
            "2:6",
            "allowed are \"spill\", \"round-robin\"",
        ),
        (
            "[name.a]\nlb = 1".to_owned(),
            "2:6",
            "lb must be a string, not an integer",
        ),
        (
            "[name.a]\nprog = [1]".to_owned(),
            "2:9",
            "prog must be an array of strings",
        ),
        (
            "[name.a]\nprog = [\"\"]".to_owned(),
            "2:9",
            "\"\" is no path of a program",
        ),
        (
            "[name.a]\nprog = [\"x\"]\nargs = [\"\"]".to_owned(),
            "2:9",
            "\"x\" cannot be started: it is no absolute path",
        ),
        (
            "[local.x]\n[unicast.x]".to_owned(),
            "2:10",
            "there are two IPCPs named \"x\"",
        ),
        (
            "[local.x]\nenrol = \"y\"".to_owned(),
            "2:9",
            "an IPCP of type local cannot enroll",
        ),
        (
            format!("[local.x]\nbootstrap = \"{long}\""),
            "2:13",
            "this is no name of a layer",
        ),
        (
            "[local.x]\nautobind = \"yes\"".to_owned(),
            "2:12",
            "autobind must be true or false",
        ),
        (
            "[local.x]\nbootstrap = \"l\"\nreg = [\"\"]".to_owned(),
            "3:8",
            "this is no name",
        ),
        (
            "[unicast.x]\nenrol = \"a\"\nenroll = \"b\"".to_owned(),
            "3:1",
            "\"enroll\" is another spelling of \"enrol\", which is there too",
        ),
        (
            "[eth-dix.x]\nbootstrap = \"l\"".to_owned(),
            "2:13",
            "a layer of type eth-dix needs dev",
        ),
        (
            "[eth-llc.x]\nbootstrap = \"l\"\ndev = \"\"".to_owned(),
            "3:7",
            "has 1 to 255 bytes",
        ),
        (
            "[eth-dix.x]\nbootstrap = \"l\"\ndev = \"lo\"\nethertype = 0xFFFF".to_owned(),
            "4:13",
            "allowed are 1536 to 65534",
        ),
        (
            "[udp4.x]\nbootstrap = \"l\"".to_owned(),
            "2:13",
            "a layer of type udp4 needs ip",
        ),
        (
            "[udp4.x]\nbootstrap = \"l\"\nip = \"::1\"".to_owned(),
            "3:6",
            "is no IPv4 address",
        ),
        (
            "[udp4.x]\nbootstrap = \"l\"\nip = \"0.0.0.0\"".to_owned(),
            "3:6",
            "cannot be used",
        ),
        (
            "[udp6.x]\nbootstrap = \"l\"\nip = \"::\"".to_owned(),
            "3:6",
            "cannot be used",
        ),
        (
            "[udp6.x]\nbootstrap = \"l\"\nip = \"::1\"\ndns = \"x\"".to_owned(),
            "4:7",
            "\"x\" is no IPv6 address",
        ),
        (
            "[udp4.x]\nbootstrap = \"l\"\nip = \"1.1.1.1\"\nport = 0".to_owned(),
            "4:8",
            "allowed are 1 to 65535",
        ),
        (
            "[udp4.x]\nbootstrap = \"l\"\nip = \"1.1.1.1\"\nhosts = \"a=1.1.1.2\"".to_owned(),
            "4:9",
            "write hosts = { oping = \"192.0.2.7\" }",
        ),
        (
            "[udp4.x]\nbootstrap = \"l\"\nip = \"1.1.1.1\"\nhosts = { a = \"::1\" }".to_owned(),
            "4:15",
            "the host \"a\" has the address \"::1\"",
        ),
        (
            "[udp4.x]\nbootstrap = \"l\"\nip = \"1.1.1.1\"\nhosts = { a = [\"1.1.1.2\", 7] }"
                .to_owned(),
            "4:27",
            "a string",
        ),
        (
            "[local.x]\nbootstrap = \"l\"\nloss = 101".to_owned(),
            "3:8",
            "\"101\" is no value of loss",
        ),
        (
            "[local.x]\nbootstrap = \"l\"\ndelay = true".to_owned(),
            "3:9",
            "delay must be a number or a string",
        ),
        (
            "[local.x]\nbootstrap = \"l\"\nmtu = 0".to_owned(),
            "3:7",
            "allowed are 1 to 1048560",
        ),
        (
            unicast("addr_size = 8"),
            "3:13",
            "addr_size is out of range",
        ),
        (unicast("eid_size = 9"), "3:12", "allowed are 1 to 8"),
        (unicast("max_ttl = 256"), "3:11", "allowed are 1 to 255"),
        (unicast("dht_alpha = 11"), "3:13", "allowed are 1 to 10"),
        (unicast("dht_k = 21"), "3:9", "allowed are 1 to 20"),
        (unicast("dht_k = \"8\""), "3:9", "write dht_k = 8"),
        (
            unicast("dht_t_expire = 9"),
            "3:16",
            "allowed are 10 to 86400",
        ),
        (
            unicast("dht_t_refresh = 3601"),
            "3:17",
            "allowed are 3 to 3600",
        ),
        (
            unicast("dht_t_replicate = -1"),
            "3:19",
            "allowed are 3 to 3600",
        ),
        (unicast("ls_t_recalc = 0"), "3:15", "allowed are 1 to"),
        (unicast("ls_t_update = 0"), "3:15", "allowed are 1 to"),
        (
            unicast("ls_t_timeo = 99999999999999999999"),
            "3:14",
            "allowed are 1 to",
        ),
        (unicast("directory = \"x\""), "3:13", "allowed are \"DHT\""),
        (unicast("directory = DHT"), "3:13", "string"),
        (
            unicast("routing = \"x\""),
            "3:11",
            "\"link-state\", \"lfa\", \"ecmp\"",
        ),
        (unicast("addr-auth = \"x\""), "3:13", "allowed are \"flat\""),
        (
            unicast("congestion = \"x\""),
            "3:14",
            "allowed are \"none\", \"mb-ecn\"",
        ),
        ("[name.a]\n[name.a]".to_owned(), "2:7", "duplicate key"),
        ("[name.a".to_owned(), "1:8", "unclosed table"),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(
            error.contains(&format!("--> irmd.conf:{place}\n")),
            "{text}\n{error}"
        );
        assert!(error.contains(message), "{text}\n{error}");
        assert!(error.contains(" | ") && error.contains('^'), "{error}");
        assert!(error.ends_with("irmd.conf: 1 error\n"), "{text}\n{error}");
    }
    // Not endlessly many; the number is that of all.
    let many: String = (0..60).map(|n| format!("[lokal{n}.x]\n")).collect();
    let error = parse(&many).unwrap_err();
    assert_eq!(error.matches("-->").count(), 50);
    assert!(
        error.ends_with("… and 10 more\n\nirmd.conf: 60 errors\n"),
        "{error}"
    );
    // All at once.
    let error = parse("[lokal.x]\n[name.a]\nlb = 1\n").unwrap_err();
    assert!(error.ends_with("irmd.conf: 2 errors\n"), "{error}");
}

#[test]
fn what_has_no_effect_is_told_and_the_file_is_used() {
    for (text, expected) in [
        (
            "[name.a]\nprogs = []",
            "irmd.conf:2:1: unknown key \"progs\" is ignored; did you mean \"prog\"? keys of a \
             name are",
        ),
        (
            "[name.a]\nhash = \"SHA3_256\"",
            "irmd.conf:2:1: hash has no effect on a name; remove it",
        ),
        (
            "[local.a]\nbootstrap = \"l\"\ndev = \"lo\"",
            "irmd.conf:3:1: dev has no effect on an IPCP of type local",
        ),
        (
            "[unicast.a]\nbootstrap = \"l\"\nhash = \"SHA3_512\"",
            "irmd.conf:3:1: hash has no effect on an IPCP of type unicast",
        ),
        (
            "[eth-llc.a]\nbootstrap = \"l\"\ndev = \"lo\"\nethertype = 1",
            "irmd.conf:4:1: ethertype has no effect on an IPCP of type eth-llc",
        ),
        (
            "[name.a]\nprog = []\nargs = [\"-l\"]",
            "irmd.conf:3:9: these arguments have no program",
        ),
    ] {
        let config = good(text);
        assert_eq!(config.warnings.len(), 1, "{config:?}");
        assert!(config.warnings[0].starts_with(expected), "{config:?}");
        assert!(config.summary().ends_with("; 1 warning"), "{config:?}");
    }
    // Unicast and broadcast layers use SHA3-256 whatever the file says.
    let unicast = good("[unicast.a]\nbootstrap = \"l\"\nhash = \"SHA3_512\"");
    let Some(Join::Bootstrap(config)) = ipcp(&unicast.entries[0])
        .join
        .as_ref()
        .map(|join| &join.value)
    else {
        panic!("{unicast:?}");
    };
    assert_eq!(config.layer.dir_hash, 1);
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused(text in "(\\[(name|local|unicast|udp4)\\.[a-c]\\]|\n|[a-z]{2,5} = |[\"\\[\\]]|enrol|bootstrap|lan|[0-9]|\\PC){0,30}") {
        match parse(&text) {
            Ok(config) => prop_assert!(config.entries.len() <= text.len()),
            Err(error) => prop_assert!(error.contains("error: ")),
        }
    }
}
