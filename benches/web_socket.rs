//! Messages of WebSockets over the loopback, there and back and one way: what both ends together take of a processor for one.
//!
//! The ends of a contestant are threads on one processor. It is the time that the processor runs them that is compared, with
//! what the kernel does for them: others on the same machine add little to that.

mod support;

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use support::report::{Answer, Contestant, Report};
use support::web_sockets::{
    EpollTungstenite, Fastwebsockets, Talker, TokioTungstenite, Tungstenite, Wakesock, WakesockDeflate, YawcDeflate,
};
use support::{count, each, machine};

/// The bytes of a message.
const SIZES: [usize; 4] = [16, 1 << 10, 16 << 10, 1 << 20];

/// For the ratios that are kept.
const ROUNDS: usize = 31;

fn main() {
    let mut report = Report::new("web_socket");
    machine::use_one_processor();
    let rounds = count(ROUNDS, 1);
    for (what, kind, way) in [
        ("round trips of binary messages", Kind::Binary, Way::ThereAndBack),
        (
            "throughput of binary messages, client to server",
            Kind::Binary,
            Way::ToServer,
        ),
        (
            "throughput of binary messages, server to client",
            Kind::Binary,
            Way::ToClient,
        ),
        ("throughput of text, client to server", Kind::Text, Way::ToServer),
    ] {
        let title = format!("{what}: processor time of both ends for a message");
        let talk = Talk { kind, way, bytes: 0 };
        let answer = report.compare_in(rounds, &title, "bytes", &SIZES, |bytes| plain(Talk { bytes, ..talk }));
        keep(&mut report, what, &answer);
    }
    for (what, way) in [
        ("round trips of compressed text", Way::ThereAndBack),
        ("throughput of compressed text, client to server", Way::ToServer),
    ] {
        let kind = Kind::Text;
        let title = format!("{what}: processor time of both ends for a message");
        report.compare_in(count(11, 1), &title, "bytes", &SIZES[1..], |bytes| {
            let talk = Talk { kind, way, bytes };
            vec![
                one::<YawcDeflate>(talk),
                one::<WakesockDeflate>(talk),
                one::<Wakesock>(talk),
            ]
        });
    }
    report.finish();
}

fn plain(talk: Talk) -> Vec<Contestant<'static>> {
    vec![
        one::<Tungstenite>(talk),
        one::<Wakesock>(talk),
        one::<EpollTungstenite>(talk),
        one::<TokioTungstenite>(talk),
        one::<Fastwebsockets>(talk),
    ]
}

fn one<T: Talker>(talk: Talk) -> Contestant<'static> {
    (T::NAME, Box::new(move || talk.time::<T>()))
}

fn keep(report: &mut Report, what: &str, answer: &Answer) {
    for (bytes, size) in SIZES.into_iter().zip(["16 B", "1 KiB", "16 KiB", "1 MiB"]) {
        for against in [Tungstenite::NAME, EpollTungstenite::NAME] {
            let ratio = answer.ratio_to(Wakesock::NAME, against, bytes);
            report.figure(&format!("WebSocket, {what}, {size}"), against, ratio, 1.0);
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Binary,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ThereAndBack,
    ToServer,
    ToClient,
}

/// Messages of so many bytes, one after the other.
#[derive(Clone, Copy)]
struct Talk {
    kind: Kind,
    way: Way,
    bytes: usize,
}

impl Talk {
    /// Of one message, for both ends.
    fn time<T: Talker>(self) -> Duration {
        let messages = match self.bytes {
            ..1_000 => count(20_000, 100),
            1_000..100_000 => count(10_000, 100),
            _ => count(100, 3),
        };
        // A round trip takes more.
        let messages = match self.way {
            Way::ThereAndBack => messages.div_ceil(4),
            _ => messages,
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = thread::spawn(move || self.play(&mut T::accept(&listener), Way::ToClient, messages));
        let client = thread::spawn(move || self.play(&mut T::connect(addr), Way::ToServer, messages));
        each(server.join().unwrap() + client.join().unwrap(), messages)
    }

    /// What the end that sends `own` way takes of the processor.
    fn play<T: Talker>(self, end: &mut T, own: Way, messages: usize) -> Duration {
        let message = self.message::<T>();
        let send = |end: &mut T| end.send(&message);
        let receive = |end: &mut T| assert_eq!(end.receive(), self.bytes);
        // What is made at the first message is not what is measured.
        match own {
            Way::ToServer => {
                send(end);
                receive(end);
            }
            _ => {
                receive(end);
                send(end);
            }
        }
        let begin = machine::thread_time();
        for _ in 0..messages {
            match self.way {
                Way::ThereAndBack if own == Way::ToServer => {
                    send(end);
                    receive(end);
                }
                Way::ThereAndBack => {
                    receive(end);
                    send(end);
                }
                way if way == own => send(end),
                _ => receive(end),
            }
        }
        let took = machine::thread_time() - begin;
        // So that what is still under way is read.
        if self.way != Way::ThereAndBack {
            match self.way == own {
                true => receive(end),
                false => send(end),
            }
        }
        took
    }

    fn message<T: Talker>(self) -> T::Message {
        let text = words(self.bytes);
        match self.kind {
            Kind::Text => T::text(&text),
            Kind::Binary => T::binary(text.as_bytes()),
        }
    }
}

/// So many bytes of something that is like text: it repeats itself, but not much.
fn words(bytes: usize) -> String {
    const WORDS: [&str; 16] = [
        "socket ",
        "message ",
        "frame ",
        "the ",
        "of ",
        "and ",
        "to ",
        "a ",
        "length ",
        "payload ",
        "peer ",
        "close ",
        "mask ",
        "text ",
        "0123456789 ",
        "{\"id\": 17} ",
    ];
    let mut state = 1_u32;
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push_str(WORDS[(state >> 28) as usize]);
        text.push(char::from(b'a' + (state >> 20) as u8 % 26));
    }
    text.truncate(bytes);
    text
}
