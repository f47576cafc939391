//! Downloads a file over HTTP, and shows how far it is. Ctrl-C ends it wherever it is.
//!
//! ```text
//! cargo run --example download -- URL [FILE] [--timeout SECONDS]
//! cargo run --features tls-ring --example download -- https://HOST/PATH [FILE] [--ca PEM]
//! ```
//!
//! What U++'s `reference/GuiWebDownload` does, with its idiom: the one thread there is shows the progress from
//! `when_wait`, that is while it waits for the network, and Ctrl-C ends whatever it waits for: the look-up of the name,
//! the connection, the handshake of TLS, or the file. What has come until then is kept as `FILE.part`.

mod support;

use std::error::Error as StdError;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use http::Uri;
use indicatif::{ProgressBar, ProgressStyle};
use wakesock::{Error, IpAddrFamily, IpAddrInfo, ShutdownLevel, ShutdownRegistry, TcpSocket};

use self::support::seconds;
#[cfg(feature = "tls-ring")]
use self::support::tls::Trust;

#[derive(Parser)]
#[command(about = "Downloads a file over HTTP")]
struct Options {
    /// What to download: http://HOST[:PORT]/PATH, or https with the feature `tls-ring`
    #[arg(value_parser = http_url)]
    url: Uri,
    /// Where to put it [default: by its name in the URL, here]
    file: Option<PathBuf>,
    /// How long the server may take to connect, and how long it may be silent
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    timeout: Duration,
    #[cfg(feature = "tls-ring")]
    #[command(flatten)]
    trust: Trust,
}

fn http_url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error| format!("{error}"))?;
    match (url.scheme_str(), url.host()) {
        (Some("http"), Some(_)) => Ok(url),
        (Some("https"), Some(_)) if cfg!(feature = "tls-ring") => Ok(url),
        (Some("https"), _) => Err("https needs the feature `tls-ring`".to_owned()),
        _ => Err("it has to begin with http://HOST".to_owned()),
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let bar = ProgressBar::new_spinner();
    let result = download(&options, &bar);
    let stands = where_it_stands(&bar);
    bar.finish_and_clear();
    match result {
        Ok(file) => {
            println!("{} is there", file.display());
            ExitCode::SUCCESS
        }
        Err(_) if ShutdownRegistry::global().is_shutdown() => {
            eprintln!("stopped while {stands}");
            ExitCode::from(128 + libc::SIGINT as u8)
        }
        Err(error) => {
            eprintln!("{error}, while {stands}");
            ExitCode::FAILURE
        }
    }
}

fn where_it_stands(bar: &ProgressBar) -> String {
    let (doing, came) = (bar.message(), bar.position());
    match bar.length() {
        Some(all) => format!("{doing}: {came} of {all} bytes"),
        None if came > 0 => format!("{doing}: {came} bytes"),
        None => doing,
    }
}

fn download(options: &Options, bar: &ProgressBar) -> Result<PathBuf, Box<dyn StdError>> {
    ShutdownRegistry::global().on_signal(libc::SIGINT, ShutdownLevel::All)?;
    let url = &options.url;
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_https = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    let mut socket = TcpSocket::new();
    socket.timeout(options.timeout);
    connect(&mut socket, host, port, bar)?;

    let waiting = bar.clone();
    socket.when_wait(move |_| waiting.tick());
    #[cfg(feature = "tls-ring")]
    if is_https {
        bar.set_message(format!("shaking hands with {host}"));
        socket.start_tls(host, &options.trust.config()?)?;
    }
    bar.set_message(format!("waiting for {host}"));
    socket.put_all(request(url).as_bytes())?;
    let length = Head::read(&mut socket)?.length()?;

    let file = options.file.clone().unwrap_or_else(|| name_in(url));
    let part = PathBuf::from([file.as_os_str(), ".part".as_ref()].into_iter().collect::<OsString>());
    bar.set_message(format!("receiving {}", part.display()));
    bar.set_style(style(&length)?);
    if let Length::Known(len) = length {
        bar.set_length(len);
    }
    let out = File::create(&part).map_err(about(&part))?;
    receive(&mut socket, &length, &mut bar.wrap_write(out))?;
    fs::rename(&part, &file).map_err(about(&file))?;
    Ok(file)
}

/// `connect` would do, but not say what it is at.
fn connect(socket: &mut TcpSocket, host: &str, port: u16, bar: &ProgressBar) -> Result<(), Error> {
    let mut info = IpAddrInfo::new();
    info.start(host, port, IpAddrFamily::Any)?;
    let show = {
        let (info, host, bar) = (info.clone(), host.to_owned(), bar.clone());
        move || {
            let doing = if info.in_progress() {
                "looking up"
            } else {
                "connecting to"
            };
            bar.set_message(format!("{doing} {host}"));
            bar.tick();
        }
    };
    show();
    socket.when_wait({
        let show = show.clone();
        move |_| show()
    });
    socket.connect_info(&info).inspect_err(|_| show())
}

fn request(url: &Uri) -> String {
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let host = url.authority().map_or("", |authority| authority.as_str());
    // Without a name and password that may be before the host.
    let host = host.rsplit('@').next().unwrap_or(host);
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n")
}

fn name_in(url: &Uri) -> PathBuf {
    match url.path().rsplit('/').next() {
        None | Some("" | "." | "..") => "index.html".into(),
        Some(name) => name.into(),
    }
}

fn style(length: &Length) -> Result<ProgressStyle, Box<dyn StdError>> {
    Ok(ProgressStyle::with_template(match length {
        Length::Known(_) => "{wide_bar} {percent}% {bytes}/{total_bytes} {bytes_per_sec} {eta} left",
        _ => "{spinner} {bytes} {bytes_per_sec} {elapsed}",
    })?)
}

fn about(path: &Path) -> impl FnOnce(io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}

/// What the server says before the file.
struct Head {
    status: String,
    fields: Vec<(String, String)>,
}

enum Length {
    Known(u64),
    Chunked,
    UntilTheEnd,
}

impl Head {
    const LONGEST_LINE: usize = 16 * 1024;
    const MOST_FIELDS: usize = 100;

    fn read(socket: &mut TcpSocket) -> Result<Head, Box<dyn StdError>> {
        let status = line(socket)?;
        let mut fields = Vec::new();
        while let Some((name, value)) = line(socket)?.split_once(':') {
            if fields.len() == Head::MOST_FIELDS {
                return Err("too many header fields".into());
            }
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Head { status, fields })
    }

    fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    /// How long the file is, if that is what comes.
    fn length(&self) -> Result<Length, Box<dyn StdError>> {
        let code = self
            .status
            .split(' ')
            .nth(1)
            .filter(|_| self.status.starts_with("HTTP/1."));
        match (code, self.field("location")) {
            (Some("200"), _) => {}
            (Some(code), Some(elsewhere)) if code.starts_with('3') => {
                return Err(format!("{}: it is at {elsewhere}", self.status).into());
            }
            (Some(_), _) => return Err(self.status.clone().into()),
            (None, _) => return Err("the server doesn't speak HTTP/1".into()),
        }
        match (self.field("transfer-encoding"), self.field("content-length")) {
            (Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => Ok(Length::Chunked),
            (Some(coding), _) => Err(format!("unknown transfer coding {coding}").into()),
            (None, Some(len)) => Ok(Length::Known(len.parse().map_err(|_| "bad Content-Length")?)),
            (None, None) => Ok(Length::UntilTheEnd),
        }
    }
}

fn line(socket: &mut TcpSocket) -> Result<String, Error> {
    let line = socket.get_line_bytes(Head::LONGEST_LINE)?.ok_or(Error::UnexpectedEof)?;
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn receive(socket: &mut TcpSocket, length: &Length, out: &mut impl Write) -> Result<(), Box<dyn StdError>> {
    match length {
        Length::Known(len) => copy(socket, *len, out)?,
        Length::UntilTheEnd => drop(io::copy(socket, out)?),
        Length::Chunked => loop {
            let size = line(socket)?;
            let size = size.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| "bad chunk")?;
            if size == 0 {
                // Trailers may follow, up to an empty line.
                while !line(socket)?.is_empty() {}
                break;
            }
            copy(socket, size, out)?;
            if !line(socket)?.is_empty() {
                return Err("bad chunk".into());
            }
        },
    }
    Ok(())
}

/// `read` returns as soon as something is there, so the limit is on the silence, not on the whole.
fn copy(socket: &mut TcpSocket, len: u64, out: &mut impl Write) -> io::Result<()> {
    let copied = io::copy(&mut socket.take(len), out)?;
    if copied < len {
        return Err(Error::UnexpectedEof.into());
    }
    Ok(())
}
