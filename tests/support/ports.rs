//! Ports for the real servers, whose port must be configured; a server that can ask the kernel for one binds port 0
//! instead.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below those that the kernel gives to outgoing connections and to port 0 (from 32768 on Linux, 49152 elsewhere), so
/// that a port is still free when its server gets to it, and when the server comes back after a test has stopped it.
const FIRST: u16 = 10_240;
const COUNT: u16 = 32_768 - FIRST;

/// A free port of 127.0.0.1 that no other call in this process gets.
pub fn free() -> u16 {
    static CALLS: AtomicU16 = AtomicU16::new(0);
    // Each process begins elsewhere.
    let start = std::process::id().wrapping_mul(97);
    loop {
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        assert!(call < COUNT, "no port is free");
        let port = FIRST + (start.wrapping_add(call.into()) % u32::from(COUNT)) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
