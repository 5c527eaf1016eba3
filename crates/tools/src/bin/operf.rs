//! `operf`: measures throughput.

fn main() -> std::process::ExitCode {
    o7s_tools::operf::main(std::env::args_os().skip(1))
}
