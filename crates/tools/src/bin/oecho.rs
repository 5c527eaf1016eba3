//! `oecho`: the smallest server and client.

fn main() -> std::process::ExitCode {
    o7s_tools::oecho::main(std::env::args_os().skip(1))
}
