//! A terminal for an example to show something in.

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::ptr;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::running::{PATIENCE, program};

/// An example that runs in a terminal of its own.
pub struct Terminal {
    child: Child,
    shown: String,
    more: Receiver<Vec<u8>>,
    /// Kept open, as the terminal forgets what was not read yet when all have closed it.
    _inside: OwnedFd,
}

impl Terminal {
    pub fn start(name: &str, arguments: &[&str]) -> Terminal {
        let (outside, inside) = open();
        let mut command = Command::new(program(name));
        command.args(arguments).env("TERM", "xterm").stdin(Stdio::null());
        command
            .stdout(inside.try_clone().unwrap())
            .stderr(inside.try_clone().unwrap());
        let child = command.spawn().unwrap();
        let (send, more) = channel();
        thread::spawn(move || {
            let mut outside = File::from(outside);
            let mut buffer = [0; 4096];
            // At its end there is an error.
            while let Ok(count @ 1..) = outside.read(&mut buffer) {
                let _ = send.send(buffer[..count].to_vec());
            }
        });
        Terminal {
            child,
            shown: String::new(),
            more,
            _inside: inside,
        }
    }

    /// Waits until all of these have been shown, one after the other.
    #[track_caller]
    pub fn until_shown(&mut self, texts: &[&str]) {
        while !contains_in_turn(&self.shown, texts) {
            match self.more.recv_timeout(PATIENCE) {
                Ok(more) => self.shown += &String::from_utf8_lossy(&more),
                Err(why) => panic!("{texts:?} is not shown ({why}) but {:?}", self.shown),
            }
        }
    }

    /// What Ctrl-C does.
    pub fn interrupt(&self) {
        // SAFETY: it takes numbers, and the process was not waited for yet, so this one is its own.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, libc::SIGINT) }, 0);
    }

    pub fn exit_code(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both ends of a terminal: what shows, and what programs have.
fn open() -> (OwnedFd, OwnedFd) {
    let (mut outside, mut inside) = (-1, -1);
    let size = libc::winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: all pointers are valid, or null where they may be.
    let opened = unsafe { libc::openpty(&mut outside, &mut inside, ptr::null_mut(), ptr::null(), &size) };
    assert_eq!(opened, 0);
    // SAFETY: it is open, and nobody else's.
    let outside = unsafe { OwnedFd::from_raw_fd(outside) };
    // SAFETY: as above.
    let inside = unsafe { OwnedFd::from_raw_fd(inside) };
    (outside, inside)
}

fn contains_in_turn(shown: &str, texts: &[&str]) -> bool {
    let mut rest = shown;
    texts.iter().all(|text| match rest.split_once(text) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}
