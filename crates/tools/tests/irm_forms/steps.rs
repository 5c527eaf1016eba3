//! The forms: commands for one daemon, one after the other, and what each leaves behind.

#![allow(unreachable_pub, reason = "a module of a test")]

use crate::Leaves::{self, Complaint, Ipcps, Names, Output, Warning};

const NO_IPCPS: &str = "No IPCPs in system.\n\n";
const NO_NAMES: &str = "No names in system.\n\n";

/// Written out, abbreviated, what it leaves. All steps are for one daemon, one after the other.
///
/// `{prog}` is a program, `{dir}` a directory with the file `key.pem`, `{self}` the pid of a process
/// that the daemon knows.
pub const STEPS: &[(&str, &str, Leaves)] = &[
    // Lists of an empty system.
    ("ipcp list", "i l", Output(NO_IPCPS)),
    ("name list", "n l", Output(NO_NAMES)),
    ("ipcp list --json", "--json i l", Output("[]\n")),
    // §7.3 create, destroy.
    (
        "ipcp create type local name loc1",
        "i c n loc1 t local",
        Output(""),
    ),
    (
        "ipcp create type local name loc1",
        "i c t local n loc1",
        Complaint("there is an IPCP named loc1 already"),
    ),
    (
        "ipcp create type loc name x",
        "i c t loc n x",
        Complaint("IPCP type \"loc\" is unknown."),
    ),
    (
        "ipcp create name x",
        "i c n x",
        Complaint("Missing option \"type\".\n\nUsage: "),
    ),
    (
        "ipcp create type local",
        "i c t local",
        Complaint("Missing option \"name\".\n\nUsage: "),
    ),
    (
        "ipcp create name x foo",
        "i c n x foo",
        Complaint("\"foo\" is unknown, try \"irm ipcp create\"."),
    ),
    ("ipcp list", "i l", Ipcps(&[("loc1", "Not enrolled.")])),
    (
        "ipcp destroy name loc2",
        "i d n loc2",
        Complaint("There is no IPCP named \"loc2\""),
    ),
    ("ipcp destroy", "i d", Complaint("Missing option \"name\".")),
    ("ipcp destroy name loc1", "i d n loc1", Output("")),
    ("ipcp list", "i l", Output(NO_IPCPS)),
    // §7.4 bootstrap: made, found, by a pattern, mistakes.
    (
        "ipcp bootstrap type local name local layer local",
        "i b t local n local l local",
        Output(""),
    ),
    (
        "ipcp create type local name spare",
        "i c t local n spare",
        Output(""),
    ),
    (
        "ipcp bootstrap name sp*e layer lan hash SHA3_512",
        "i b h SHA3_512 n sp*e l lan",
        Output(""),
    ),
    (
        "ipcp bootstrap type lo name two layer lan2 hash SHA3_224 hash SHA3_384",
        "i b t l n two l lan2 h SHA3_224 h SHA3_384",
        Output(""),
    ),
    (
        "ipcp list",
        "i l",
        Ipcps(&[("local", "local"), ("spare", "lan"), ("two", "lan2")]),
    ),
    (
        "ipcp bootstrap name local layer other",
        "i b n local l other",
        Complaint("Failed to bootstrap IPCP local in layer other.\n"),
    ),
    (
        "ipcp bootstrap type unicast name local layer x",
        "i b t u n local l x",
        Complaint("Types do not match.\n"),
    ),
    (
        "ipcp bootstrap name none layer x",
        "i b n none l x",
        Complaint("No IPCPs matching none found.\n"),
    ),
    (
        "ipcp bootstrap name x",
        "i b n x",
        Complaint("Missing option \"layer\"."),
    ),
    (
        "ipcp bootstrap layer x",
        "i b l x",
        Complaint("Missing option \"name\"."),
    ),
    (
        "ipcp bootstrap name x layer y foo z",
        "i b n x l y foo z",
        Complaint("Unknown option: \"foo\"."),
    ),
    (
        "ipcp bootstrap name x layer y hash",
        "i b n x l y h",
        Complaint("Option \"hash\" needs a value."),
    ),
    (
        "ipcp bootstrap type udp4 name x layer y",
        "i b t udp4 n x l y",
        Complaint("Missing option \"ip\""),
    ),
    (
        "ipcp bootstrap type udp4 name x layer y ip 10.0.0",
        "i b t udp4 n x l y i 10.0.0",
        Complaint("Invalid IPv4 address: \"10.0.0\"."),
    ),
    (
        "ipcp bootstrap type udp4 name x layer y ip 0.0.0.0",
        "i b t udp4 n x l y i 0.0.0.0",
        Complaint("Cannot use IPv4 address: \"0.0.0.0\"."),
    ),
    (
        "ipcp bootstrap type udp6 name x layer y ip ::1 dns x",
        "i b t udp6 n x l y i ::1 d x",
        Complaint("Invalid DNS IPv6 address: \"x\"."),
    ),
    (
        "ipcp bootstrap type eth-dix name x layer y",
        "i b t eth-d n x l y",
        Complaint("Missing option \"device\""),
    ),
    (
        "ipcp bootstrap type eth-dix name x layer y device lo ethertype 5FF",
        "i b t e n x l y dev lo e 5FF",
        Complaint("Invalid Ethertype: \"5FF\".\nRecommended range: 0xA000-0xEFFF."),
    ),
    (
        "ipcp bootstrap type unicast name x layer y routing foo",
        "i b t u n x l y r foo",
        Complaint("Unknown parameter for routing: \"foo\"."),
    ),
    (
        "ipcp bootstrap type unicast name x layer y dht_k 21",
        "i b t u n x l y dht_k 21",
        Complaint("Invalid value for dht_k: \"21\"."),
    ),
    (
        "ipcp bootstrap type unicast name x layer y addr 2",
        "i b t u n x l y a 2",
        Complaint("Invalid configuration: addr_size is 2; it must be 4."),
    ),
    (
        "ipcp bootstrap type local name three layer lan3 device lo autobind",
        "i b t local n three l lan3 dev lo au",
        Warning(
            "No option of type local, ignored: device.\n\
             Can not bind this IPCP type,autobind disabled.\n",
        ),
    ),
    (
        "ipcp bootstrap type udp4 name u layer net ip 127.0.0.1 host oping",
        "i b t udp4 n u l net i 127.0.0.1 ho oping",
        Complaint("Invalid value for host: \"oping\"."),
    ),
    (
        "ipcp bootstrap type udp4 name u layer net ip 127.0.0.1 host oping=::1",
        "i b t udp4 n u l net i 127.0.0.1 ho oping=::1",
        Complaint(
            "Invalid host: the host \"oping\" has the address \"::1\"; write an IPv4 address",
        ),
    ),
    // Added to those of 0.23.
    (
        "ipcp show name none",
        "i s n none",
        Complaint("There is no IPCP named \"none\""),
    ),
    ("ipcp show", "i s", Complaint("Missing option \"name\".")),
    // §7.3 enroll, connect, disconnect.
    (
        "ipcp enroll name u",
        "i e n u",
        Complaint("Missing option \"layer\" or \"dst\"."),
    ),
    (
        "ipcp enroll name u layer l type local",
        "i e n u l l t local",
        Complaint("IPCPs of type \"local\" cannot enroll"),
    ),
    (
        "ipcp connect name none dst x",
        "i co n none d x",
        Complaint("There is no IPCP named \"none\""),
    ),
    (
        "ipcp connect name local dst x component mgmt qos voice",
        "i co n local d x c mgmt q voice",
        Complaint("Failed to connect Management to x.\n"),
    ),
    (
        "ipcp connect name local dst x component foo",
        "i co n local d x c foo",
        Complaint("There is no component \"foo\""),
    ),
    (
        "ipcp connect name local dst x qos fast",
        "i co n local d x q fast",
        Complaint("Unknown QoS cube, defaulting to raw.\n"),
    ),
    (
        "ipcp disconnect name local dst x",
        "i di n local d x",
        Complaint("Failed to disconnect Data Transfer from x.\n"),
    ),
    (
        "ipcp disconnect name local dst x foo",
        "i di n local d x foo",
        Complaint("\"foo\" is unknown, try \"irm ipcp disconnect\"."),
    ),
    // §7.3 list with filters.
    (
        "ipcp list name t*",
        "i l n t*",
        Ipcps(&[("two", "lan2"), ("three", "lan3")]),
    ),
    (
        "ipcp list layer lan type local",
        "i l t local l lan",
        Ipcps(&[("spare", "lan")]),
    ),
    (
        "ipcp list type udp6",
        "i l t udp6",
        Output("No IPCPs match.\n\n"),
    ),
    (
        "ipcp list type foo",
        "i l t foo",
        Complaint("IPCP type \"foo\" is unknown."),
    ),
    // §7.5 name.
    ("name create oecho", "n c oecho", Output("")),
    ("name create oecho", "n c oecho", Output("")),
    (
        "name create web lb spillover skeypath {dir}/key.pem",
        "n c web skey {dir}/key.pem l spill",
        Output(""),
    ),
    (
        "name create mail lb round-robin",
        "n c mail lb round-robin",
        Output(""),
    ),
    (
        "name create oecho lb spillover",
        "n c oecho lb spillover",
        Complaint("the name \"oecho\" exists with other attributes"),
    ),
    (
        "name create x lb foo",
        "n c x lb foo",
        Complaint("Unknown load balancing policy \"foo\""),
    ),
    (
        "name create x sencpath /nowhere/x",
        "n c x senc /nowhere/x",
        Complaint("Failed to check path /nowhere/x: No such file or directory"),
    ),
    ("name create", "n c", Complaint("Missing the NAME.")),
    (
        "name create x foo",
        "n c x foo",
        Complaint("\"foo\" is unknown, try \"irm name create\"."),
    ),
    (
        "name list",
        "n l",
        Names(&[
            ("mail", "round-robin"),
            ("oecho", "round-robin"),
            ("web", "spillover"),
        ]),
    ),
    (
        "name list oe",
        "n l l oe",
        Names(&[("oecho", "round-robin")]),
    ),
    ("name list x", "n l x", Output("No names match.\n\n")),
    (
        "name list a b",
        "n l a b",
        Complaint("\"b\" is unknown, try \"irm name list\"."),
    ),
    (
        "name register oecho layer local",
        "n r oecho l local",
        Output(""),
    ),
    (
        "name register new layer lan* ipcp local ipcp two",
        "n r new i local l lan* i two",
        Output(""),
    ),
    ("name list new", "n l new", Names(&[("new", "spillover")])),
    (
        "name register x layer none",
        "n r x l none",
        Complaint("There is no layer \"none\" here"),
    ),
    (
        "name register x ipcp none",
        "n r x i none",
        Complaint("There is no ipcp \"none\" here"),
    ),
    (
        "name register x",
        "n r x",
        Complaint("Missing option \"layer\" or \"ipcp\"."),
    ),
    (
        "name register x lan y",
        "n r x lan y",
        Complaint("\"lan\" is unknown, try \"irm name register\"."),
    ),
    (
        "name unregister oecho layer local",
        "n u oecho l local",
        Output(""),
    ),
    ("name unregister new ipcp *", "n u new i *", Output("")),
    (
        "name unregister x layer local",
        "n u x l local",
        Complaint("Failed to unregister from local"),
    ),
    (
        "name unregister x",
        "n u x",
        Complaint("Missing option \"layer\" or \"ipcp\"."),
    ),
    ("name destroy new", "n d new", Output("")),
    (
        "name destroy new",
        "n d new",
        Complaint("this irmd has no name \"new\""),
    ),
    ("name destroy", "n d", Complaint("Missing the NAME.")),
    (
        "name foo",
        "n foo",
        Complaint("\"foo\" is unknown, try \"irm name help\"."),
    ),
    // §7.5 bind, unbind.
    (
        "bind program {prog} name oecho",
        "b prog {prog} n oecho",
        Output(""),
    ),
    (
        "bind program {prog} name oecho",
        "b pro {prog} n oecho",
        Complaint("program oecho is bound to \"oecho\" already"),
    ),
    (
        "bind program {prog} name web auto -- -l --x",
        "b prog {prog} auto n web -- -l --x",
        Output(""),
    ),
    (
        "bind program {prog} name mail -- -l",
        "b prog {prog} n mail -- -l",
        Warning("The arguments"),
    ),
    (
        "bind program ./none name x",
        "b prog ./none n x",
        Complaint("./none does not exist."),
    ),
    (
        "bind program {dir}/key.pem name x",
        "b prog {dir}/key.pem n x",
        Complaint("Cannot execute {dir}/key.pem, please check permissions."),
    ),
    (
        "bind program {prog}",
        "b prog {prog}",
        Complaint("Missing option \"name\"."),
    ),
    ("bind program", "b prog", Complaint("Missing the PROGRAM.")),
    (
        "bind program {prog} name x aut",
        "b prog {prog} n x aut",
        Complaint("\"aut\" is unknown, try \"irm bind program\"."),
    ),
    (
        "bind process {self} name oecho",
        "b proc {self} n oecho",
        Output(""),
    ),
    (
        "bind process {self} name oecho",
        "b proc {self} n oecho",
        Complaint("process {self} is bound to \"oecho\" already"),
    ),
    (
        "bind process 4194304 name x",
        "b proc 4194304 n x",
        Complaint("\"4194304\" is not a valid process id."),
    ),
    (
        "bind process x name x",
        "b proc x n x",
        Complaint("\"x\" is not a valid process id."),
    ),
    (
        "bind process -1 name x",
        "b proc -1 n x",
        Complaint("\"-1\" is not a valid process id."),
    ),
    (
        "bind process {self}",
        "b proc {self}",
        Complaint("Missing option \"name\"."),
    ),
    ("bind ipcp local name loc", "b i local n loc", Output("")),
    (
        "bind ipcp none name loc",
        "b i none n loc",
        Complaint("There is no IPCP named \"none\""),
    ),
    (
        "bind ipcp local",
        "b i local",
        Complaint("Missing option \"name\"."),
    ),
    (
        "bind foo",
        "b foo",
        Complaint("\"foo\" is unknown, try \"irm bind help\"."),
    ),
    (
        "unbind program oecho name oecho",
        "u prog oecho n oecho",
        Output(""),
    ),
    (
        "unbind program oecho name oecho",
        "u prog oecho n oecho",
        Complaint("program oecho is not bound to \"oecho\""),
    ),
    ("unbind program {prog}", "u prog {prog}", Output("")),
    (
        "unbind program {prog}",
        "u prog {prog}",
        Complaint("program oecho is not bound to any name"),
    ),
    (
        "unbind process {self} name oecho",
        "u proc {self} n oecho",
        Output(""),
    ),
    (
        "unbind process {self} name oecho",
        "u proc {self} n oecho",
        Complaint("process {self} is not bound to \"oecho\""),
    ),
    (
        "unbind process 1",
        "u proc 1",
        Complaint("this irmd knows no process 1"),
    ),
    ("unbind ipcp local name loc", "u i local n loc", Output("")),
    (
        "unbind ipcp none name loc",
        "u i none n loc",
        Complaint("There is no IPCP named \"none\""),
    ),
    ("unbind ipcp local", "u i local", Complaint("process ")),
    (
        "unbind foo",
        "u foo",
        Complaint("\"foo\" is unknown, try \"irm unbind help\"."),
    ),
    // §7.2.
    (
        "foo",
        "foo",
        Complaint("\"foo\" is unknown, try \"irm help\"."),
    ),
    (
        "ipcp foo",
        "i foo",
        Complaint("\"foo\" is unknown, try \"irm ipcp help\"."),
    ),
    (
        "ipcp",
        "i",
        Complaint("\"irm ipcp\" needs an operation.\n\nUsage: irm ipcp"),
    ),
    (
        "bind",
        "b",
        Complaint("\"irm bind\" needs an operation.\n\nUsage: irm bind"),
    ),
    (
        "unbind",
        "u",
        Complaint("\"irm unbind\" needs an operation.\n\nUsage: irm unbind"),
    ),
    (
        "name",
        "n",
        Complaint("\"irm name\" needs an operation.\n\nUsage: irm name"),
    ),
    // What is left is what the table says.
    (
        "name list",
        "n l",
        Names(&[
            ("loc", "spillover"),
            ("mail", "round-robin"),
            ("oecho", "round-robin"),
            ("web", "spillover"),
        ]),
    ),
    (
        "ipcp list",
        "i l",
        Ipcps(&[
            ("local", "local"),
            ("spare", "lan"),
            ("two", "lan2"),
            ("three", "lan3"),
        ]),
    ),
];
