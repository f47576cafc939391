//! A handler of one's own that closes and shuts down.

use crate::running::Server;

#[test]
fn its_handler_ends_it_in_the_middle_of_accepting_and_of_reading() {
    for signal in [libc::SIGINT, libc::SIGTERM].repeat(5) {
        let server = Server::start("signal_handler", &[]);
        let mut client = server.client();
        assert_eq!(client.ask("hello"), "hello");
        #[cfg(target_os = "linux")]
        crate::proc::until_all_sleep(&server.example, 5);
        server.stop(signal).assert_success("stopped\n");
        client.assert_end();
    }
}
