//! Serving, and who serves next.

use std::error::Error as StdError;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use wakesock::{Error, ShutdownLevel, ShutdownRegistry, TcpSocket};

use crate::support::{ServerOptions, report, say};
use crate::{inherit, pass};

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    server: ServerOptions,
    /// A Unix-domain socket by which a successor takes the listener over
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

/// How many clients are served at once.
const MOST: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(options: &Options) -> Result<(), Box<dyn StdError>> {
    let registry = ShutdownRegistry::global();
    for signal in [libc::SIGINT, libc::SIGTERM] {
        registry.on_signal(signal, ShutdownLevel::Accepting)?;
    }
    // Only to learn of the signal: nothing is opened in it.
    let restart = ShutdownRegistry::new();
    restart.on_signal(libc::SIGHUP, ShutdownLevel::Accepting)?;

    let mut predecessor = None;
    let mut listener = TcpSocket::new();
    let origin = if let Some(socket) = inherit::listener()? {
        listener.attach(socket)?;
        "inherited"
    } else if let Some(path) = &options.control
        && let Some((socket, from)) = pass::take(path)?
    {
        listener.attach(socket)?;
        predecessor = Some(from);
        "taken over"
    } else {
        listener.listen_on(&*options.server.addr, &Default::default())?;
        "its own"
    };
    // Connections to successors don't count as clients, and are not stopped with them.
    let beside = ShutdownRegistry::new();
    let control = options
        .control
        .as_ref()
        .map(|path| pass::listen(path, &beside))
        .transpose()?;
    say(&format!("listening on {}", listener.local_addr()?))?;
    say(&format!("process {}: the listener is {origin}", std::process::id()))?;
    inherit::tell_ready()?;
    if let Some(mut predecessor) = predecessor {
        predecessor.put_all(pass::READY)?;
    }

    let answered = AtomicU64::new(0);
    let (listener, answered) = (&listener, &answered);
    let (served, drained) = thread::scope(|scope| {
        if let Some(control) = control {
            scope.spawn(move || pass::serve(&control, listener, || registry.stop_accepting()));
        }
        scope.spawn(|| {
            while restart.wait_stop(None) && !restart.is_shutdown() {
                match inherit::start_successor(listener, PATIENCE) {
                    Ok(()) => return registry.stop_accepting(),
                    Err(error) => eprintln!("no successor: {error}"),
                }
                restart.reset();
            }
        });
        let server = scope.spawn(move || {
            listener.serve(MOST, |mut client| {
                answer(&mut client, answered).unwrap_or_else(|error| report(&error))
            })
        });
        registry.wait_stop(None);
        let drained = registry.drain(options.server.grace);
        restart.shutdown();
        beside.shutdown();
        (server.join(), drained)
    });
    let served = served.map_err(|_| "the server has panicked")?;
    say(&format!(
        "process {}: {} answers to {} clients, {} forced",
        std::process::id(),
        answered.load(SeqCst),
        served.accepted,
        drained.forced
    ))?;
    Ok(())
}

fn answer(client: &mut TcpSocket, answered: &AtomicU64) -> Result<(), Error> {
    client.timeout(Duration::from_secs(60));
    // Whoever has connected is served, though its first request may come after a stop: so that is not waited for by
    // `wait_request`, as those are that follow.
    while let Some(line) = client.get_line()? {
        client.put_all(format!("{line} {}\n", std::process::id()).as_bytes())?;
        answered.fetch_add(1, SeqCst);
        if !client.wait_request()? {
            break;
        }
    }
    client.finish(PATIENCE)
}
