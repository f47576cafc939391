//! U++'s server of one request a connection, and its client.

use crate::running::{Server, assert_is_now, run, scripted_server};

#[test]
fn it_answers_one_request_of_each_client_and_says_whose() {
    let server = Server::start("line_server", &[]);
    for (question, answer) in [("14", "42"), ("-14\r", "-42"), ("no number", "0")] {
        let mut client = server.client();
        let addr = client.stream().local_addr().unwrap();
        assert_eq!(client.ask(question), answer);
        client.assert_end();
        let asked = question.trim_end();
        server
            .example
            .assert_line(&format!("request: \"{asked}\" from: {addr}"));
    }
    assert_is_now(&server.client().ask("time"));
}

#[test]
fn the_client_prints_the_answers() {
    let server = Server::start("line_server", &[]);
    let port = server.port.to_string();
    let ended = run("line_client", &["127.0.0.1", &port]);
    let (time, number) = ended.output.split_once('\n').unwrap();
    assert_is_now(time);
    assert_eq!(number, "99\n");
    run("line_client", &["localhost", &port, "1", "2", "3"]).assert_success("3\n6\n9\n");
}

#[test]
fn the_client_says_that_there_is_no_server_or_no_answer() {
    let server = Server::start("line_server", &[]);
    let (addr, port) = (server.addr(), server.port.to_string());
    server.stop(libc::SIGINT).assert_success("stopped\n");
    run("line_client", &["127.0.0.1", &port]).assert_failure(&format!("connect to {addr}: connection refused\n"));

    let (port, silent) = scripted_server(|_| {});
    run("line_client", &["127.0.0.1", &port.to_string()]).assert_failure("the server gives no answer\n");
    silent.join().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_ends_it_while_it_waits_for_a_client_or_for_its_request() {
    use crate::proc::{until_all_sleep, until_received};

    let server = Server::start("line_server", &[]);
    until_all_sleep(&server.example, 1);
    server.stop(libc::SIGINT).assert_success("stopped\n");

    let server = Server::start("line_server", &[]);
    let mut client = server.client();
    client.send("half a line");
    until_received(&server);
    until_all_sleep(&server.example, 1);
    server.stop(libc::SIGINT).assert_success("stopped\n");
    client.assert_end();
}
