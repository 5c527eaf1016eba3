//! The words of `irm` as data: groups, operations and options, each in the order in which words
//! are matched (`spec/irm-tools.md` §7.1, §7.3 – §7.5). Parser, help and completion read it.

use o7s::{DirHash, QosSpec};

use super::pattern;

/// Where the values of an option come from, for completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Anything.
    Free,
    /// One of these words.
    Words(&'static [&'static str]),
    /// Names of IPCPs.
    Ipcps,
    /// Names of layers.
    Layers,
    /// Names of services.
    Names,
    /// Bound programs.
    Programs,
    /// Files.
    Files,
}

/// A value: how help calls it, where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// `TYPE`, `NAME`, …
    pub shown: &'static str,
    /// For completion.
    pub source: Source,
}

/// An option: a keyword, mostly followed by a value.
#[derive(Debug, PartialEq, Eq)]
pub struct Opt {
    /// The keyword.
    pub word: &'static str,
    /// Other spellings; matched exactly and not shown.
    pub aliases: &'static [&'static str],
    /// None for flags.
    pub value: Option<Value>,
    /// Whether prefixes do not count.
    pub exact: bool,
    /// Whether it may be given several times.
    pub repeat: bool,
    /// One line.
    pub help: &'static str,
}

/// Which operation it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Op {
    IpcpCreate,
    IpcpDestroy,
    IpcpBootstrap,
    IpcpEnroll,
    IpcpConnect,
    IpcpDisconnect,
    IpcpList,
    IpcpShow,
    BindProgram,
    BindProcess,
    BindIpcp,
    UnbindProgram,
    UnbindProcess,
    UnbindIpcp,
    NameCreate,
    NameDestroy,
    NameRegister,
    NameUnregister,
    NameList,
}

/// An operation of a group.
#[derive(Debug, PartialEq, Eq)]
pub struct Operation {
    /// Which one.
    pub op: Op,
    /// The keyword.
    pub word: &'static str,
    /// A value that comes before the options.
    pub positional: Option<Value>,
    /// Whether the positional value must be there.
    pub required: bool,
    /// The options in the order in which they are matched.
    pub options: &'static [Opt],
    /// The option whose value a word is that is no option's, if there was none before.
    pub bare: Option<&'static str>,
    /// Whether `--` and arguments may follow.
    pub rest: bool,
    /// The words after group and operation.
    pub synopsis: &'static str,
    /// What it does, first line short.
    pub help: &'static str,
    /// Complete commands.
    pub examples: &'static [&'static str],
}

/// A group of operations.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    /// The keyword.
    pub word: &'static str,
    /// One line.
    pub help: &'static str,
    /// The operations in the order in which they are matched; `help` comes last.
    pub operations: &'static [Operation],
}

/// Words of the first place after the groups, with one line of help. New ones go to the end, so
/// that abbreviations keep their meaning.
pub const OTHERS: &[(&str, &str)] = &[
    ("help", "this text, or that of a group or operation"),
    ("status", "what the daemon holds"),
    (
        "completions",
        "print a script for completion: bash, zsh or fish",
    ),
];

/// The hidden command that shells call for completion; never abbreviated.
pub const COMPLETE: &str = "__complete";

/// Shells that completion scripts exist for.
pub const SHELLS: &[&str] = &["bash", "zsh", "fish"];

/// IPCP types in the order in which `bootstrap` matches prefixes (§7.4).
pub const TYPES: &[&str] = &[
    "unicast",
    "broadcast",
    "udp4",
    "udp6",
    "eth-dix",
    "eth-llc",
    "local",
];

const fn value(shown: &'static str, source: Source) -> Value {
    Value { shown, source }
}

const TYPE: Value = value("TYPE", Source::Words(TYPES));
const IPCP: Value = value("IPCP", Source::Ipcps);
const LAYER: Value = value("LAYER", Source::Layers);
const NAME: Value = value("NAME", Source::Names);
const NEW: Value = value("NAME", Source::Free);
const DST: Value = value("DST", Source::Free);
const NUMBER: Value = value("N", Source::Free);
const SECONDS: Value = value("SECONDS", Source::Free);
const ADDRESS: Value = value("ADDRESS", Source::Free);
const MILLIS: Value = value("MS", Source::Free);
const SHARE: Value = value("PERCENT", Source::Free);
const FILE: Value = value("FILE", Source::Files);
const PID: Value = value("PID", Source::Free);

const fn opt(word: &'static str, value: Value, help: &'static str) -> Opt {
    Opt {
        word,
        aliases: &[],
        value: Some(value),
        exact: false,
        repeat: false,
        help,
    }
}

const fn flag(word: &'static str, help: &'static str) -> Opt {
    Opt {
        value: None,
        ..opt(word, NUMBER, help)
    }
}

const fn many(word: &'static str, value: Value, help: &'static str) -> Opt {
    Opt {
        repeat: true,
        ..opt(word, value, help)
    }
}

const BOOTSTRAP: &[Opt] = &[
    opt("type", TYPE, "type of the IPCP; makes it if there is none"),
    opt("layer", LAYER, "name of the layer"),
    opt("name", IPCP, "name of the IPCP, may have *"),
    opt(
        "hash",
        value("HASH", Source::Words(DirHash::CHOICE_WORDS)),
        "directory hash, default SHA3_256 (not udp)",
    ),
    opt("ip", ADDRESS, "udp: own address, required"),
    opt("dns", ADDRESS, "udp: name server"),
    opt(
        "device",
        value("DEV", Source::Free),
        "eth: network interface, required",
    ),
    opt("ethertype", NUMBER, "eth-dix: hexadecimal, default 0xA000"),
    opt("addr", NUMBER, "unicast: bytes of an address, default 4"),
    opt("eid", NUMBER, "unicast: bytes of an endpoint id, default 8"),
    opt("ttl", NUMBER, "unicast: hops, default 60"),
    opt("port", NUMBER, "udp: port, default 3435"),
    flag(
        "autobind",
        "unicast, broadcast: bind the IPCP to its name and layer",
    ),
    opt(
        "addr_auth",
        value("POLICY", Source::Words(&["flat"])),
        "unicast: default flat",
    ),
    opt(
        "directory",
        value("POLICY", Source::Words(&["DHT"])),
        "unicast: default DHT",
    ),
    opt("dht_alpha", NUMBER, "unicast: 1 to 10, default 3"),
    opt("dht_k", NUMBER, "unicast: 1 to 20, default 8"),
    Opt {
        aliases: &["dht_t_expiry"],
        ..opt(
            "dht_t_expire",
            SECONDS,
            "unicast: 10 to 86400, default 86400",
        )
    },
    opt("dht_t_refresh", SECONDS, "unicast: 3 to 3600, default 900"),
    opt(
        "dht_t_replicate",
        SECONDS,
        "unicast: 3 to 3600, default 900",
    ),
    opt(
        "routing",
        value("POLICY", Source::Words(&["link_state", "lfa", "ecmp"])),
        "unicast: default link_state",
    ),
    opt("ls_t_timeo", SECONDS, "unicast: default 60"),
    opt("ls_t_update", SECONDS, "unicast: default 15"),
    opt("ls_t_recalc", SECONDS, "unicast: default 4"),
    opt(
        "congestion",
        value("POLICY", Source::Words(&["none", "mb-ecn"])),
        "unicast: default mb-ecn",
    ),
    opt(
        "loss",
        SHARE,
        "local: packets lost, percent (\"0.5\", \"0.5%\") or \"500ppm\"",
    ),
    opt("delay", MILLIS, "local: one-way delay, ms, up to 60000"),
    opt(
        "jitter",
        MILLIS,
        "local: variation of the delay either way, ms",
    ),
    opt("reorder", SHARE, "local: packets overtaken by the next"),
    opt("duplicate", SHARE, "local: packets that arrive twice"),
    opt("corrupt", SHARE, "local: packets with a flipped bit"),
    opt(
        "mtu",
        value("BYTES", Source::Free),
        "local: longest packet, 1 to 1048560; longer ones are dropped",
    ),
    opt("seed", NUMBER, "local: chooses the packets that are hit"),
    many(
        "host",
        value("NAME=ADDRESS", Source::Free),
        "udp: who serves a name, perhaps with :PORT",
    ),
];

const COMPONENT: Opt = opt(
    "component",
    value("COMPONENT", Source::Words(&["mgmt", "dt", "*"])),
    "mgmt, dt or *, default *",
);

const fn operation(op: Op, word: &'static str) -> Operation {
    Operation {
        op,
        word,
        positional: None,
        required: true,
        options: &[],
        bare: None,
        rest: false,
        synopsis: "",
        help: "",
        examples: &[],
    }
}

const TO_NAME: &[Opt] = &[opt("name", NAME, "the name")];

const REGISTER: &[Opt] = &[
    many("layer", LAYER, "layers by name, may have *"),
    many("ipcp", IPCP, "layers by their IPCP's name, may have *"),
];

/// The groups in the order in which they are matched.
pub const GROUPS: &[Group] = &[
    Group {
        word: "ipcp",
        help: "the IPC processes (IPCPs) and the layers they form",
        operations: &[
            Operation {
                options: &[
                    opt("type", TYPE, "type of the IPCP"),
                    opt("name", NEW, "name of the IPCP"),
                ],
                synopsis: "type TYPE name NAME",
                help: "start an IPCP that is in no layer yet",
                examples: &["irm ipcp create type local name loc1"],
                ..operation(Op::IpcpCreate, "create")
            },
            Operation {
                options: &[opt("name", IPCP, "name of the IPCP")],
                synopsis: "name IPCP",
                help: "stop an IPCP",
                examples: &["irm ipcp destroy name loc1"],
                ..operation(Op::IpcpDestroy, "destroy")
            },
            Operation {
                options: BOOTSTRAP,
                synopsis: "name IPCP layer LAYER [type TYPE] [OPTION VALUE]... [autobind]",
                help: "make an IPCP the first member of a new layer\n\
                       The IPCP is made if there is none of that name and the type is given. Flows of\n\
                       a local layer pass through its IPCP if it has one of the options from loss on;\n\
                       else the two programs share memory, and nothing happens to their packets.",
                examples: &[
                    "irm ipcp bootstrap type local name local layer local",
                    "irm i b t local n local l local",
                    "irm i b t local n bad l bad loss 1 delay 20 mtu 1400",
                    "irm ipcp bootstrap type eth-dix name e1 layer eth dev eth0",
                    "irm i b t udp4 n u1 l net ip 192.0.2.1 host oping=192.0.2.7",
                    "irm i b t unicast n n1 l lan autobind",
                ],
                ..operation(Op::IpcpBootstrap, "bootstrap")
            },
            Operation {
                options: &[
                    opt(
                        "name",
                        IPCP,
                        "name of the IPCP, may have *; made if there is none",
                    ),
                    opt(
                        "type",
                        value("TYPE", Source::Words(&["unicast", "broadcast"])),
                        "unicast (default) or broadcast",
                    ),
                    opt("layer", LAYER, "the layer that is expected"),
                    opt("dst", DST, "a member's name, default the layer's name"),
                    flag("autobind", "bind the IPCP to its name and layer"),
                ],
                synopsis: "name IPCP layer LAYER|dst DST [type TYPE] [autobind]",
                help: "make an IPCP a member of a layer that exists elsewhere",
                examples: &["irm ipcp enroll name n1 layer lan autobind"],
                ..operation(Op::IpcpEnroll, "enroll")
            },
            Operation {
                options: &[
                    opt("name", IPCP, "name of the IPCP"),
                    opt("dst", DST, "name of the neighbour"),
                    COMPONENT,
                    opt(
                        "qos",
                        value("QOS", Source::Words(&QosSpec::NAMES)),
                        "of data transfer, default raw",
                    ),
                ],
                synopsis: "name IPCP dst DST [component COMPONENT] [qos QOS]",
                help: "connect an IPCP to a neighbour in its layer",
                examples: &["irm ipcp connect name n1 dst n2"],
                ..operation(Op::IpcpConnect, "connect")
            },
            Operation {
                options: &[
                    opt("name", IPCP, "name of the IPCP"),
                    opt("dst", DST, "name of the neighbour"),
                    COMPONENT,
                ],
                synopsis: "name IPCP dst DST [component COMPONENT]",
                help: "disconnect an IPCP from a neighbour",
                examples: &["irm ipcp disconnect name n1 dst n2 component dt"],
                ..operation(Op::IpcpDisconnect, "disconnect")
            },
            Operation {
                options: &[
                    opt("type", TYPE, "only this type"),
                    opt("name", IPCP, "only these names, may have *"),
                    opt("layer", LAYER, "only these layers, may have *"),
                ],
                synopsis: "[type TYPE] [name IPCP] [layer LAYER] [--json]",
                help: "list the IPCPs",
                examples: &["irm ipcp list", "irm ipcp list layer 'lan*' --json"],
                ..operation(Op::IpcpList, "list")
            },
            // Added to those of 0.23, hence behind them: abbreviations keep their meaning.
            Operation {
                options: &[opt("name", IPCP, "name of the IPCP")],
                bare: Some("name"),
                synopsis: "[name] IPCP [--json]",
                help: "show the state of an IPCP: its flows, directory, neighbours, routes\n\
                       Which tables there are depends on the type.",
                examples: &["irm ipcp show n1", "irm ipcp show name n1 --json"],
                ..operation(Op::IpcpShow, "show")
            },
        ],
    },
    Group {
        word: "bind",
        help: "who accepts flows to a name",
        operations: &[
            Operation {
                positional: Some(value("PROGRAM", Source::Files)),
                options: &[
                    opt("name", NAME, "the name; made if there is none"),
                    Opt {
                        exact: true,
                        ..flag(
                            "auto",
                            "start it when a flow request finds nobody who accepts",
                        )
                    },
                ],
                rest: true,
                synopsis: "PROGRAM name NAME [auto] [-- ARGUMENT...]",
                help: "bind a program: its processes accept flows to the name\n\
                       A program is known by the last part of its path, a Python script by that of \
                       the script.\nProcesses that run already are not bound; see 'irm bind \
                       process'.",
                examples: &[
                    "irm bind program ./oecho.py name oecho",
                    "irm b prog ./x n oecho",
                    "irm bind program oping name oping auto -- -l",
                ],
                ..operation(Op::BindProgram, "program")
            },
            Operation {
                positional: Some(PID),
                options: TO_NAME,
                synopsis: "PID name NAME",
                help: "bind a running process to a name",
                examples: &["irm bind process 4711 name oecho"],
                ..operation(Op::BindProcess, "process")
            },
            Operation {
                positional: Some(IPCP),
                options: TO_NAME,
                synopsis: "IPCP name NAME",
                help: "bind an IPCP to a name, so that others can enroll with it",
                examples: &["irm bind ipcp n1 name lan"],
                ..operation(Op::BindIpcp, "ipcp")
            },
        ],
    },
    Group {
        word: "unbind",
        help: "undo bindings",
        operations: &[
            Operation {
                positional: Some(value("PROGRAM", Source::Programs)),
                options: TO_NAME,
                synopsis: "PROGRAM [name NAME]",
                help: "unbind a program from a name, or from all\n\
                       The program is given by its path or the last part of it.",
                examples: &["irm unbind program oecho.py name oecho"],
                ..operation(Op::UnbindProgram, "program")
            },
            Operation {
                positional: Some(PID),
                options: TO_NAME,
                synopsis: "PID [name NAME]",
                help: "unbind a process from a name, or from all",
                examples: &["irm unbind process 4711 name oecho"],
                ..operation(Op::UnbindProcess, "process")
            },
            Operation {
                positional: Some(IPCP),
                options: TO_NAME,
                synopsis: "IPCP [name NAME]",
                help: "unbind an IPCP from a name, or from all",
                examples: &["irm unbind ipcp n1 name lan"],
                ..operation(Op::UnbindIpcp, "ipcp")
            },
        ],
    },
    Group {
        word: "name",
        help: "the names that flows are allocated to",
        operations: &[
            Operation {
                positional: Some(NEW),
                options: &[
                    opt(
                        "lb",
                        value("POLICY", Source::Words(&["round-robin", "spillover"])),
                        "load balancing, default round-robin",
                    ),
                    opt("sencpath", FILE, "server: encryption configuration"),
                    opt("scrtpath", FILE, "server: certificate"),
                    opt("skeypath", FILE, "server: private key"),
                    opt("cencpath", FILE, "client: encryption configuration"),
                    opt("ccrtpath", FILE, "client: certificate"),
                    opt("ckeypath", FILE, "client: private key"),
                ],
                synopsis: "NAME [lb POLICY] [sencpath FILE] [scrtpath FILE] [skeypath FILE] \
                           [cencpath FILE] [ccrtpath FILE] [ckeypath FILE]",
                help: "create a name",
                examples: &["irm name create oecho lb spillover"],
                ..operation(Op::NameCreate, "create")
            },
            Operation {
                positional: Some(NAME),
                synopsis: "NAME",
                help: "forget a name and its bindings",
                examples: &["irm name destroy oecho"],
                ..operation(Op::NameDestroy, "destroy")
            },
            Operation {
                positional: Some(NAME),
                options: REGISTER,
                synopsis: "NAME layer LAYER|ipcp IPCP [layer LAYER|ipcp IPCP]...",
                help: "make a name reachable over layers\nIt is created if there is none.",
                examples: &[
                    "irm name register oecho layer local",
                    "irm n r oecho l local",
                    "irm name register oecho layer '*'",
                ],
                ..operation(Op::NameRegister, "register")
            },
            Operation {
                positional: Some(NAME),
                options: REGISTER,
                synopsis: "NAME layer LAYER|ipcp IPCP [layer LAYER|ipcp IPCP]...",
                help: "undo 'irm name register'",
                examples: &["irm name unregister oecho layer local"],
                ..operation(Op::NameUnregister, "unregister")
            },
            Operation {
                positional: Some(value("FILTER", Source::Names)),
                required: false,
                options: &[],
                synopsis: "[FILTER] [--json]",
                help: "list the names\nA filter is the beginning of names, or a pattern with *.",
                examples: &[
                    "irm name list",
                    "irm name list oe",
                    "irm name list '*.web' --json",
                ],
                ..operation(Op::NameList, "list")
            },
        ],
    },
];

impl Group {
    /// The operations' keywords and `help`, in the order in which they are matched.
    pub fn words(&self) -> impl Iterator<Item = &'static str> {
        self.operations
            .iter()
            .map(|operation| operation.word)
            .chain(["help"])
    }
}

impl Operation {
    /// The option that a word means.
    #[must_use]
    pub fn option(&self, word: &str) -> Option<&'static Opt> {
        self.options.iter().find(|option| {
            option.word == word
                || (!option.exact && option.word.starts_with(word))
                || option.aliases.contains(&word)
        })
    }

    /// The group that it is in.
    #[must_use]
    pub fn group(&self) -> &'static Group {
        GROUPS
            .iter()
            .find(|group| group.operations.iter().any(|own| own.op == self.op))
            .unwrap_or(&GROUPS[0])
    }

    /// `irm GROUP OPERATION`.
    #[must_use]
    pub fn command(&self) -> String {
        format!("irm {} {}", self.group().word, self.word)
    }
}

/// All words of the first place, in the order in which they are matched.
pub fn first_words() -> impl Iterator<Item = &'static str> {
    GROUPS
        .iter()
        .map(|group| group.word)
        .chain(OTHERS.iter().map(|(word, _)| *word))
}

/// Whether a text is a pattern rather than a name.
#[must_use]
pub fn is_pattern(text: &str) -> bool {
    text.contains('*')
}

/// Whether an IPCP or layer name is meant by a name or pattern of the command line.
#[must_use]
pub fn selects(given: &str, name: &str) -> bool {
    given == name || pattern::matches(given, name)
}
