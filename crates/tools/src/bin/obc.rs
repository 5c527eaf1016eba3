//! `obc`: sends to, or reads from, a broadcast layer.

fn main() -> std::process::ExitCode {
    o7s_tools::obc::main(std::env::args_os().skip(1))
}
