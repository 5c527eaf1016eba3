//! `ovpn`: carries IP packets over a flow.

fn main() -> std::process::ExitCode {
    o7s_tools::ovpn::main(std::env::args_os().skip(1))
}
