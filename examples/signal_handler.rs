//! A signal handler that closes the listener and shuts the rest down, with nothing in between.
//!
//! This is the loop that a U++ server has, `while(!Thread::IsShutdownThreads()) client.Accept(server)`, with the
//! handler its author wanted to write: `server.Close(); Thread::ShutdownThreads();`. Here it ends the server. The
//! `accept_loop` example does the same with `ShutdownRegistry::on_signal`, and lets running requests end.
//!
//! ```text
//! cargo run --example signal_handler -- [ADDR]
//! ```

#![allow(unsafe_code, reason = "sigaction(2), SetConsoleCtrlHandler")]

use std::error::Error as StdError;
use std::io;
use std::sync::OnceLock;
use std::thread;

use wakesock::{Error, ListenOptions, ShutdownRegistry, SocketHandle, TcpSocket};

static SERVER: OnceLock<SocketHandle> = OnceLock::new();

/// Runs in the middle of whatever the thread was doing, so it may call nothing but what is async-signal-safe. Both of
/// these are.
fn end() {
    if let Some(server) = SERVER.get() {
        server.close();
    }
    ShutdownRegistry::global().shutdown();
}

#[cfg(unix)]
fn install_handlers() -> io::Result<()> {
    extern "C" fn on_signal(_signal: libc::c_int) {
        end();
    }
    // SAFETY: `sigaction` is a struct of integers and pointers, for which zero is "no flags, no mask".
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: `action` is valid, and its handler does only what a handler may.
        if unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Windows has no signals, and runs this for Ctrl-C and its like in a thread that it makes.
#[cfg(windows)]
fn install_handlers() -> io::Result<()> {
    use windows_sys::Win32::Foundation::TRUE;
    use windows_sys::Win32::System::Console::SetConsoleCtrlHandler;

    unsafe extern "system" fn on_event(_event: u32) -> windows_sys::core::BOOL {
        end();
        TRUE
    }
    // SAFETY: the function may be called from any thread at any time, and is there as long as the process.
    if unsafe { SetConsoleCtrlHandler(Some(on_event), TRUE) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn StdError>> {
    let addr = std::env::args().nth(1);
    let addr = addr.as_deref().unwrap_or("127.0.0.1:3214");
    let mut server = TcpSocket::new();
    server.listen_on(addr, &ListenOptions::new())?;
    SERVER.get_or_init(|| server.handle());
    install_handlers()?;
    println!("listening on {}", server.local_addr()?);

    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| serve(&server));
        }
    });
    println!("stopped");
    Ok(())
}

fn serve(server: &TcpSocket) {
    while !ShutdownRegistry::global().is_shutdown() {
        let mut client = TcpSocket::new();
        let served = client.accept(server).and_then(|()| echo(&mut client));
        match served {
            Err(error) if error.is_closed() => break,
            Err(error) => eprintln!("{error}"),
            Ok(()) => {}
        }
    }
}

fn echo(client: &mut TcpSocket) -> Result<(), Error> {
    while let Some(line) = client.get_line()? {
        client.put_all(format!("{line}\n").as_bytes())?;
    }
    Ok(())
}
