//! [`Message`] and [`Role`].

/// A message of a [`WebSocket`](crate::WebSocket): text, or any bytes.
///
/// ```
/// use wakesock::Message;
///
/// assert_eq!(Message::from("hello"), Message::Text("hello".to_owned()));
/// assert_eq!(Message::from(vec![1, 2]).into_bytes(), [1, 2]);
/// assert_eq!(Message::from(b"hello"), Message::Binary(b"hello".to_vec()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Text.
    Text(String),
    /// Any bytes.
    Binary(Vec<u8>),
}

impl Message {
    /// The content, whichever kind it is of.
    ///
    /// ```
    /// assert_eq!(wakesock::Message::from("hello").as_bytes(), b"hello");
    /// ```
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(data) => data,
        }
    }

    /// The content, whichever kind it is of.
    ///
    /// ```
    /// assert_eq!(wakesock::Message::from("hello").into_bytes(), b"hello");
    /// ```
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Message::Text(text) => text.into_bytes(),
            Message::Binary(data) => data,
        }
    }

    /// The text; `None` of a message of bytes, even if they are those of a text.
    ///
    /// ```
    /// use wakesock::Message;
    ///
    /// assert_eq!(Message::from("hello").as_text(), Some("hello"));
    /// assert_eq!(Message::from(&b"hello"[..]).as_text(), None);
    /// ```
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Message::Text(text) => Some(text),
            Message::Binary(_) => None,
        }
    }
}

impl From<&Message> for Message {
    /// A copy: of a message that goes to many, or that may have to be sent again.
    fn from(message: &Message) -> Message {
        message.clone()
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Message {
        Message::Text(text.to_owned())
    }
}

impl From<&String> for Message {
    fn from(text: &String) -> Message {
        Message::Text(text.clone())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Message {
        Message::Text(text)
    }
}

impl From<&[u8]> for Message {
    fn from(data: &[u8]) -> Message {
        Message::Binary(data.to_vec())
    }
}

impl<const N: usize> From<&[u8; N]> for Message {
    fn from(data: &[u8; N]) -> Message {
        Message::Binary(data.to_vec())
    }
}

impl From<&Vec<u8>> for Message {
    fn from(data: &Vec<u8>) -> Message {
        Message::Binary(data.clone())
    }
}

impl From<Vec<u8>> for Message {
    fn from(data: Vec<u8>) -> Message {
        Message::Binary(data)
    }
}

/// Which end of a connection a [`WebSocket`](crate::WebSocket) is: [`from_upgraded`](crate::WebSocket::from_upgraded).
///
/// ```
/// use wakesock::{Role, TcpSocket, WebSocket};
///
/// let socket = WebSocket::from_upgraded(TcpSocket::new(), Role::Server);
/// assert!(!socket.is_open());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The end that has connected. It masks what it sends.
    Client,
    /// The end that has accepted.
    Server,
}
