//! `irm`: manages the IPC processes, names and bindings of a machine.

fn main() -> std::process::ExitCode {
    o7s_tools::irm::main(std::env::args_os().skip(1))
}
