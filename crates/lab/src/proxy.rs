//! A proxy for one TCP service on this machine that aborts a connection at a message of the test's
//! choice. Depends on the loopback address only.

use anyhow::Result;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// When a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    /// The client's message does not reach the server.
    Before,
    /// The server has answered it, and the answer does not reach the client.
    After,
}

/// The proxy. It serves until the process ends.
#[derive(Debug, Clone)]
pub struct Proxy {
    port: u16,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug, Default)]
struct Plan {
    /// Only messages with these bytes in them count.
    text: &'static [u8],
    /// Those of clients since the plan was made.
    count: usize,
    at: Option<(usize, Abort)>,
    cut: Option<Vec<u8>>,
}

impl Proxy {
    /// In front of a port of 127.0.0.1.
    pub fn to(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let proxy = Self {
            port: listener.local_addr()?.port(),
            plan: Arc::default(),
        };
        let serving = proxy.clone();
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A client that cannot be served sees its connection end.
                let _ = serving.serve(&client, server);
            }
        });
        Ok(proxy)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts the connection on which a client sends the message with this number from now on (what
    /// it sends at once is one), of those with `text` in them.
    pub fn abort_at(&self, number: usize, text: &'static str, when: Abort) {
        *self.plan() = Plan {
            text: text.as_bytes(),
            at: Some((number, when)),
            ..Plan::default()
        };
    }

    /// Cuts no more; the message at which it did.
    pub fn end(&self) -> Option<Vec<u8>> {
        std::mem::take(&mut *self.plan()).cut
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, client: &TcpStream, server: SocketAddr) -> Result<()> {
        let server = TcpStream::connect(server)?;
        for stream in [client, &server] {
            stream.set_nodelay(true)?;
        }
        // Set when the next answer is not passed on.
        let mute = Arc::new(Mutex::new(false));
        let (from, to, muted) = (server.try_clone()?, client.try_clone()?, Arc::clone(&mute));
        std::thread::spawn(move || {
            pass(&from, &to, |_| {
                !*muted.lock().unwrap_or_else(PoisonError::into_inner)
            });
        });
        let (from, to, proxy) = (client.try_clone()?, server, self.clone());
        std::thread::spawn(move || {
            pass(&from, &to, |message| match proxy.step(message) {
                None => true,
                Some(Abort::Before) => false,
                Some(Abort::After) => {
                    *mute.lock().unwrap_or_else(PoisonError::into_inner) = true;
                    true
                }
            });
        });
        Ok(())
    }

    fn step(&self, message: &[u8]) -> Option<Abort> {
        let mut plan = self.plan();
        let text = plan.text;
        if !text.is_empty() && !message.windows(text.len()).any(|part| part == text) {
            return None;
        }
        plan.count += 1;
        let (number, when) = plan.at?;
        if plan.count < number {
            return None;
        }
        plan.at = None;
        plan.cut = Some(message.to_vec());
        Some(when)
    }
}

/// Passes bytes on until one end is closed, or `goes_on` says no; then both are.
fn pass(mut from: &TcpStream, mut to: &TcpStream, mut goes_on: impl FnMut(&[u8]) -> bool) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let message = &buffer[..length];
        if !goes_on(message) || to.write_all(message).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        let _ = stream.shutdown(Shutdown::Both); // it may be closed already
    }
}
