//! [`Incoming`].

use super::{UnixListener, UnixStream};
use crate::net::methods::incoming;

incoming!(Incoming of UnixListener: UnixStream,
"```
use std::thread;
use wakesock::net::unix::UnixListener;

# let path = std::env::temp_dir().join(format!(\"wakesock-incoming-{}\", std::process::id()));
let listener = UnixListener::bind(&path)?;
# std::fs::remove_file(&path)?;
let handle = listener.handle();
let clients = thread::spawn(move || listener.incoming().count());
handle.close();
assert_eq!(clients.join().unwrap(), 0);
# Ok::<(), std::io::Error>(())
```");
