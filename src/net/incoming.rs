//! [`Incoming`].

use super::methods::incoming;
use super::{TcpListener, TcpStream};

incoming!(Incoming of TcpListener: TcpStream,
"```
use std::thread;
use wakesock::net::TcpListener;

let listener = TcpListener::bind(\"127.0.0.1:0\")?;
let handle = listener.handle();
let clients = thread::spawn(move || listener.incoming().count());
handle.close();
assert_eq!(clients.join().unwrap(), 0);
# Ok::<(), std::io::Error>(())
```");
