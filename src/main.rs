//! The command line of s1-forwarder.

fn main() {}
