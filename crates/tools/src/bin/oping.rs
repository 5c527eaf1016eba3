//! `oping`: measures round trips.

fn main() -> std::process::ExitCode {
    o7s_tools::oping::main(std::env::args_os().skip(1))
}
