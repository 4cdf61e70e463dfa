//! The agent.

fn main() {
    println!("bedplate {}", env!("CARGO_PKG_VERSION"));
}
