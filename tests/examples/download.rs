//! The download: what it takes for a file, what it says of a server that gives none, and what Ctrl-C leaves.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::running::{Ended, Example, eventually, program, read_to_the_end, run, scripted_server};
use crate::scratch::Scratch;

/// Where the file goes.
struct Place {
    scratch: Scratch,
    file: PathBuf,
    part: PathBuf,
}

impl Place {
    fn new() -> Place {
        let scratch = Scratch::new();
        let (file, part) = (scratch.path("file"), scratch.path("file.part"));
        Place { scratch, file, part }
    }

    fn start(&self, port: u16, options: &[&str]) -> Example {
        let url = format!("http://127.0.0.1:{port}/file");
        let arguments = [url.as_str(), self.file.to_str().unwrap()];
        Example::start("download", &[&arguments, options].concat())
    }

    /// Downloads what such a server gives.
    fn download(&self, options: &[&str], script: impl FnOnce(&mut TcpStream) + Send + 'static) -> Ended {
        let (port, server) = scripted_server(script);
        let ended = self.start(port, options).end();
        server.join().unwrap();
        ended
    }

    /// Downloads from a server that says just this.
    fn download_from(&self, answer: impl AsRef<[u8]>) -> Ended {
        let answer = answer.as_ref().to_vec();
        // Who refuses an answer may not wait for the rest.
        self.download(&[], move |stream| drop(stream.write_all(&answer)))
    }

    #[track_caller]
    fn assert_has(&self, ended: &Ended, content: &[u8]) {
        ended.assert_success(&format!("{} is there\n", self.file.display()));
        assert_eq!(fs::read(&self.file).unwrap(), content);
        assert!(!self.part.exists());
    }

    /// That it failed with these words, and such a part is left.
    #[track_caller]
    fn assert_failed(&self, ended: &Ended, code: i32, text: &str, part: Option<&[u8]>) {
        ended.assert(Some(code), "", &format!("{text}\n"));
        assert!(!self.file.exists());
        assert_eq!(fs::read(&self.part).ok().as_deref(), part);
    }

    fn receiving(&self) -> String {
        format!("receiving {}", self.part.display())
    }
}

#[test]
fn the_file_has_the_name_that_is_in_the_url() {
    let place = Place::new();
    let (port, server) = scripted_server(|stream| stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n12").unwrap());
    let mut command = Command::new(program("download"));
    command.arg(format!("http://localhost:{port}/some/name?query#fragment"));
    command.current_dir(place.scratch.path("."));
    Example::of("download", command).end().assert_success("name is there\n");
    assert_eq!(fs::read(place.scratch.path("name")).unwrap(), b"12");
    server.join().unwrap();
}

#[test]
fn a_file_may_come_in_chunks_or_until_the_end() {
    let place = Place::new();
    let ended = place.download(&[], |stream| {
        let pieces: [&[u8]; 4] = [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"5\r\nhello\r",
            b"\n00001;name=value\r\n,\r\n6\r\n wo",
            b"rld\r\n0\r\nTrailer: it\r\n\r\n",
        ];
        pieces.iter().for_each(|piece| stream.write_all(piece).unwrap());
    });
    place.assert_has(&ended, b"hello, world");

    let place = Place::new();
    place.assert_has(&place.download_from("HTTP/1.0 200 OK\r\n\r\nhello"), b"hello");
}

#[test]
fn what_ends_too_early_is_kept_as_a_part() {
    let place = Place::new();
    let ended = place.download_from("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    let text = format!("stream ended too early, while {}: 5 of 10 bytes", place.receiving());
    place.assert_failed(&ended, 1, &text, Some(b"hello"));
}

#[test]
fn it_says_what_is_not_http() {
    let many_fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(101));
    for (answer, text) in [
        ("220 smtp.example\r\n\r\n", "the server doesn't speak HTTP/1"),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "bad Content-Length"),
        (&"x".repeat(20_000), "line is longer than 16384 bytes"),
        (&many_fields, "too many header fields"),
        ("", "stream ended too early"),
    ] {
        let place = Place::new();
        let text = format!("{text}, while waiting for 127.0.0.1");
        place.assert_failed(&place.download_from(answer), 1, &text, None);
    }
}

#[test]
fn it_refuses_other_urls() {
    let mut urls = vec!["localhost/", "http:///file", "http://local host/"];
    if !cfg!(feature = "tls-ring") {
        urls.push("https://localhost/");
    }
    for url in urls {
        let ended = run("download", &[url]);
        assert_eq!(ended.code, Some(2));
        let text = format!("invalid value '{url}' for '<URL>'");
        assert!(ended.errors.contains(&text), "{}", ended.errors);
    }
}

#[test]
fn its_limit_is_on_the_silence_and_not_on_the_whole() {
    let place = Place::new();
    // Five pieces, each of which needs nearly half of the limit.
    let ended = place.download(&["--timeout", "1"], |stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
            .unwrap();
        for _ in 0..5 {
            std::thread::sleep(std::time::Duration::from_millis(400));
            stream.write_all(b"x").unwrap();
        }
    });
    place.assert_has(&ended, b"xxxxx");

    let place = Place::new();
    let begin = Instant::now();
    let ended = place.download(&["--timeout", "0.3"], |stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n")
            .unwrap();
        read_to_the_end(stream);
    });
    assert!(begin.elapsed().as_secs_f64() >= 0.3);
    let text = format!("timed out, while {}: 0 of 30 bytes", place.receiving());
    place.assert_failed(&ended, 1, &text, Some(b""));
}

/// What the shell is told of a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

#[test]
fn ctrl_c_ends_it_while_it_receives_and_what_has_come_is_kept() {
    let place = Place::new();
    let (port, server) = scripted_server(|stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n")
            .unwrap();
        stream.write_all(&[b'x'; 1000]).unwrap();
        read_to_the_end(stream);
    });
    let download = place.start(port, &[]);
    eventually("the part has grown", || {
        fs::metadata(&place.part).is_ok_and(|part| part.len() == 1000)
    });
    download.signal(libc::SIGINT);
    let text = format!("stopped while {}: 1000 of 3000 bytes", place.receiving());
    place.assert_failed(&download.end(), INTERRUPTED, &text, Some(&[b'x'; 1000]));
    server.join().unwrap();
}

#[test]
fn ctrl_c_ends_it_while_it_waits_for_the_answer() {
    let place = Place::new();
    let (asked, is_asked) = std::sync::mpsc::channel();
    let (port, server) = scripted_server(move |stream| {
        asked.send(()).unwrap();
        read_to_the_end(stream);
    });
    let download = place.start(port, &[]);
    is_asked.recv_timeout(crate::running::PATIENCE).unwrap();
    download.signal(libc::SIGINT);
    place.assert_failed(
        &download.end(),
        INTERRUPTED,
        "stopped while waiting for 127.0.0.1",
        None,
    );
    server.join().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_ends_it_while_it_connects() {
    let place = Place::new();
    let hole = crate::black_hole::BlackHole::new();
    let download = place.start(hole.port(), &[]);
    hole.until_another_hangs();
    download.signal(libc::SIGINT);
    place.assert_failed(
        &download.end(),
        INTERRUPTED,
        "stopped while connecting to 127.0.0.1",
        None,
    );
}

#[cfg(target_os = "linux")]
mod shown {
    use std::fs;
    use std::io::Write;
    use std::sync::mpsc::channel;

    use super::{INTERRUPTED, Place};
    use crate::running::{PATIENCE, read_to_the_end, scripted_server};
    use crate::terminal::Terminal;

    fn start(place: &Place, port: u16) -> Terminal {
        let url = format!("http://127.0.0.1:{port}/");
        Terminal::start("download", &[&url, place.file.to_str().unwrap()])
    }

    #[test]
    fn the_bar_moves() {
        let place = Place::new();
        let (half_is_shown, go_on) = channel();
        let (port, server) = scripted_server(move |stream| {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n")
                .unwrap();
            stream.write_all(&[b'x'; 1500]).unwrap();
            go_on.recv_timeout(PATIENCE).unwrap();
            stream.write_all(&[b'x'; 1500]).unwrap();
        });
        let mut terminal = start(&place, port);
        terminal.until_shown(&["█░", " 50% 1.46 KiB/2.93 KiB ", "/s ", " left"]);
        half_is_shown.send(()).unwrap();
        terminal.until_shown(&[" is there"]);
        assert_eq!(terminal.exit_code(), Some(0));
        assert_eq!(fs::read(&place.file).unwrap(), [b'x'; 3000]);
        server.join().unwrap();
    }

    #[test]
    fn the_time_passes_while_nothing_comes() {
        let place = Place::new();
        let (port, server) = scripted_server(|stream| {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
                .unwrap();
            read_to_the_end(stream);
        });
        let mut terminal = start(&place, port);
        terminal.until_shown(&["2 B ", " 1s"]);
        terminal.interrupt();
        terminal.until_shown(&["stopped while receiving "]);
        assert_eq!(terminal.exit_code(), Some(INTERRUPTED));
        server.join().unwrap();
    }
}
