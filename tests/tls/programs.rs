//! Programs that others wrote, as peers.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crate::support::certificates::{CERTIFICATES, issue};
use crate::support::eventually;

/// Whether this command runs here.
pub(crate) fn has(command: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(command);
    let status = command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// The files that programs want, as long as this lives.
pub(crate) struct Files(PathBuf);

impl Files {
    pub(crate) fn new() -> Files {
        let place = std::env::temp_dir().join(format!("wakesock-tls-{}", std::process::id()));
        fs::create_dir(&place).unwrap();
        let files = Files(place);
        let mut params = rcgen::CertificateParams::new(["client.test".to_owned()]).unwrap();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let (client, client_key) = issue(&CERTIFICATES.authority, params);
        for (name, text) in [
            ("ca.pem", &CERTIFICATES.authority_pem),
            ("chain.pem", &CERTIFICATES.chain_pem),
            ("key.pem", &CERTIFICATES.key_pem),
            ("client.pem", &client),
            ("client-key.pem", &client_key),
        ] {
            fs::write(files.path(name), text).unwrap();
        }
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn place(&self) -> &Path {
        &self.0
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The byte of which there may be very many among what a program writes.
pub(crate) const DATA: u8 = 1;

/// A program that is running, until this is dropped.
pub(crate) struct Program {
    child: Child,
    input: Option<ChildStdin>,
    /// What it has written so far to its standard output, and to that for errors.
    output: Arc<Mutex<Vec<u8>>>,
    errors: Arc<Mutex<Vec<u8>>>,
    /// How many bytes of [`DATA`] there were beside that.
    data: Arc<AtomicUsize>,
    readers: Vec<JoinHandle<()>>,
}

impl Program {
    pub(crate) fn start<A: AsRef<OsStr>>(place: &Files, command: &str, arguments: &[A]) -> Program {
        let mut child = Command::new(command)
            .args(arguments)
            .current_dir(place.place())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let [output, errors] = [const { Mutex::new(Vec::new()) }, const { Mutex::new(Vec::new()) }].map(Arc::new);
        let data = Arc::default();
        let readers = vec![
            keep(child.stdout.take().unwrap(), &output, &data),
            keep(child.stderr.take().unwrap(), &errors, &data),
        ];
        Program {
            input: child.stdin.take(),
            child,
            output,
            errors,
            data,
            readers,
        }
    }

    /// Gives it this to read.
    #[track_caller]
    pub(crate) fn say(&mut self, text: &str) {
        self.input.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Ends what it reads.
    pub(crate) fn hang_up(&mut self) {
        self.input = None;
    }

    pub(crate) fn output(&self) -> Vec<u8> {
        self.output.lock().unwrap().clone()
    }

    pub(crate) fn data(&self) -> usize {
        self.data.load(SeqCst)
    }

    pub(crate) fn errors(&self) -> String {
        String::from_utf8_lossy(&self.errors.lock().unwrap()).into_owned()
    }

    /// Returns when `look` finds what it wants in what was written to both.
    #[track_caller]
    pub(crate) fn until<T>(&self, what: &str, look: impl Fn(&[u8], &str) -> Option<T>) -> T {
        eventually(
            || format!("the program has come to: {what}"),
            || {
                let (output, errors) = (self.output(), self.errors());
                look(&output, &errors).ok_or_else(|| format!("{} {errors}", String::from_utf8_lossy(&output)))
            },
        )
    }

    /// Returns when it has written `text` to either.
    #[track_caller]
    pub(crate) fn until_said(&self, text: &str) {
        self.until(text, |output, errors| {
            (errors.contains(text) || String::from_utf8_lossy(output).contains(text)).then_some(())
        });
    }

    /// Waits for its end. Returns its exit code, and what it has written to both.
    pub(crate) fn end(mut self) -> (Option<i32>, String, String) {
        self.hang_up();
        let code = eventually(
            || "the program ends".to_owned(),
            || self.child.try_wait().unwrap().ok_or_else(String::new),
        );
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let output = String::from_utf8_lossy(&self.output()).into_owned();
        (code.code(), output, self.errors())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

/// Keeps what comes, and counts the [`DATA`] in it.
fn keep(mut from: impl Read + Send + 'static, kept: &Arc<Mutex<Vec<u8>>>, data: &Arc<AtomicUsize>) -> JoinHandle<()> {
    let (kept, data) = (Arc::clone(kept), Arc::clone(data));
    thread::spawn(move || {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(count) = from.read(&mut bytes)
            && count > 0
        {
            let other: Vec<u8> = bytes[..count].iter().copied().filter(|byte| *byte != DATA).collect();
            data.fetch_add(count - other.len(), SeqCst);
            kept.lock().unwrap().extend(other);
        }
    })
}
