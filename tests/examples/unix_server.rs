//! The same on a Unix-domain socket.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process;

use crate::running::{Example, PATIENCE, assert_is_now, run};
use crate::scratch::Scratch;

fn server(path: &Path) -> Example {
    let server = Example::start("unix_server", &[path.to_str().unwrap()]);
    server.assert_line(&format!("listening on {}", path.display()));
    server
}

/// All of the answer.
fn ask(path: &Path, question: &str) -> String {
    let mut client = UnixStream::connect(path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(format!("{question}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn it_answers_and_knows_who_asks() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let server = server(&path);
    assert_eq!(ask(&path, "14"), "42\n");
    if cfg!(target_os = "linux") {
        server.assert_line(&format!("request: \"14\" from: {}", process::id()));
    }
    assert_is_now(ask(&path, "time").trim_end());
}

#[test]
fn the_client_prints_the_answers() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let _server = server(&path);
    let path = path.to_str().unwrap();
    let ended = run("unix_client", &[path]);
    let (time, number) = ended.output.split_once('\n').unwrap();
    assert_is_now(time);
    assert_eq!(number, "99\n");
    run("unix_client", &[path, "1", "2"]).assert_success("3\n6\n");
}

#[test]
fn the_client_says_that_there_is_no_server() {
    let scratch = Scratch::new();
    let path = scratch.path("none");
    let path = path.to_str().unwrap();
    run("unix_client", &[path]).assert_failure(&format!("connect to {path}: no such file or directory\n"));
}

#[test]
fn a_signal_ends_it_and_it_removes_its_file() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let server = server(&path);
    server.signal(libc::SIGINT);
    server.end().assert_success("stopped\n");
    assert!(!path.exists());
}

#[test]
fn what_a_killed_server_has_left_is_in_nobodys_way() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    drop(server(&path));
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    let _server = server(&path);
    assert_eq!(ask(&path, "1"), "3\n");
}

#[test]
fn other_files_are_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.path("precious");
    fs::write(&path, "precious").unwrap();
    let ended = run("unix_server", &[path.to_str().unwrap()]);
    ended.assert_failure(&format!("listen on {}: address already in use\n", path.display()));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}
