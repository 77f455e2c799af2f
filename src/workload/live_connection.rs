//! A master of a [`LivePair`](super::live_pair::LivePair) that is reached by a socket: a hustdb.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::live_pair::{Master, Reply};
use crate::fake_hustdb::Request;

/// How long a master may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// More bytes than the head of any answer of hustdb's.
const HEAD_BYTES_MAX: usize = 4096;
/// Headers that an answer can have; hustdb's have four.
const HEADERS_MAX: usize = 16;

/// A connection to a hustdb, which is made anew when it has ended.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    authorization: Option<String>,
    stream: Option<TcpStream>,
}

impl Connection {
    /// To a hustdb there, which may ask for a password.
    #[must_use]
    pub fn new(address: SocketAddr, login: Option<(&str, &str)>) -> Self {
        let authorization = login.map(|(user, password)| {
            base64_simd::STANDARD.encode_to_string(format!("{user}:{password}"))
        });
        Self {
            address,
            authorization,
            stream: None,
        }
    }

    fn exchange(&mut self, request: &Request<'_>) -> io::Result<Reply> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect_timeout(&self.address, ANSWER_TIMEOUT)?;
                stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
                stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
                stream.set_nodelay(true)?;
                self.stream.insert(stream)
            }
        };
        let mut bytes = b"GET ".to_vec();
        bytes.extend_from_slice(request.path);
        bytes.push(b'?');
        bytes.extend_from_slice(request.query);
        let host = self.address;
        bytes.extend_from_slice(format!(" HTTP/1.1\r\nHost: {host}\r\n").as_bytes());
        if let Some(authorization) = &self.authorization {
            let header = format!("Authorization: Basic {authorization}\r\n");
            bytes.extend_from_slice(header.as_bytes());
        }
        let length = request.body.len();
        bytes.extend_from_slice(format!("Content-Length: {length}\r\n\r\n").as_bytes());
        bytes.extend_from_slice(request.body);
        stream.write_all(&bytes)?;
        receive(stream)
    }
}

impl Master for Connection {
    fn answer(&mut self, request: &Request<'_>, _: u64) -> Option<Reply> {
        let reply = self.exchange(request);
        if reply.is_err() {
            self.stream = None;
        }
        reply.ok()
    }
}

/// Reads an answer to its end.
fn receive(stream: &mut impl Read) -> io::Result<Reply> {
    let mut bytes = Vec::new();
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not hustdb's");
    loop {
        let mut chunk = [0; 1024];
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&chunk[..read]);
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let head = response.parse(&bytes).map_err(|_| malformed())?;
        let Some(status) = response.code.filter(|_| head.is_complete()) else {
            if bytes.len() > HEAD_BYTES_MAX {
                return Err(malformed());
            }
            continue;
        };
        let number = |name: &str| {
            let named = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case(name);
            let header = response.headers.iter().find(named)?;
            std::str::from_utf8(header.value).ok()?.trim().parse().ok()
        };
        let version = number("version").unwrap_or(0u32);
        let body_bytes = number("content-length").unwrap_or(0) as usize;
        let left = (head.unwrap() + body_bytes).saturating_sub(bytes.len());
        let mut body = stream.take(left as u64);
        if io::copy(&mut body, &mut io::sink())? < left as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        return Ok(Reply { status, version });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::Method;
    use crate::fake_hustdb::{Act, FakeHustdb, On, Options, Rule, Script};
    use crate::workload::live_pair::LivePair;
    use crate::workload::live_pair::tests::{NOW, WRITES, mutation, taken};

    #[test]
    fn over_connections_it_is_the_same() {
        let options = || Options {
            credentials: Some(("u".to_owned(), "p".to_owned())),
            ..Options::default()
        };
        let hustdbs = [0, 1].map(|_| FakeHustdb::start(options()).unwrap());
        let connect = |at: usize| Connection::new(hustdbs[at].addr(), Some(("u", "p")));
        let mut pair = LivePair::new([connect(0), connect(1)]);
        for (add, remove) in WRITES {
            assert_eq!(pair.write(&mutation(add, "k"), NOW), taken(1, None));
            assert_eq!(pair.write(&mutation(add, "k"), NOW), taken(2, None));
            assert_eq!(pair.write(&mutation(remove, "k"), NOW), taken(2, None));
            assert_eq!(pair.write(&mutation(remove, "k"), NOW), None);
        }
        // One is gone, and comes back: the connection is made anew.
        hustdbs[1].kill().unwrap();
        assert_eq!(
            pair.write(&mutation(Method::Put, "k"), NOW),
            taken(1, Some(1))
        );
        hustdbs[1].restart().unwrap();
        assert_eq!(pair.write(&mutation(Method::Put, "k"), NOW), taken(2, None));
        let version = |at: usize| hustdbs[at].contents().values().next().unwrap().version;
        assert_eq!([version(0), version(1)], [2, 1]);
        // An answer that is lost after the write was carried out.
        let rule = Rule::new(On::Mutations, Act::Reset).times(1).applied();
        hustdbs[1].set_script(Script::default().rule(rule)).unwrap();
        assert_eq!(
            pair.write(&mutation(Method::Put, "k"), NOW),
            taken(3, Some(1))
        );
        assert_eq!([version(0), version(1)], [3, 2]);
        // A wrong password is an error like others: HA would log every write.
        hustdbs[0].set_credentials(Some(("u", "new"))).unwrap();
        assert_eq!(
            pair.write(&mutation(Method::Put, "k"), NOW),
            taken(3, Some(0))
        );
    }

    #[test]
    fn what_is_not_an_answer_of_hustdb_is_none() {
        let check = |bytes: &[u8], expected: Option<Reply>| {
            let mut bytes = bytes;
            assert_eq!(receive(&mut bytes).ok(), expected);
        };
        let reply = |status, version| Some(Reply { status, version });
        check(
            b"HTTP/1.1 200 OK\r\nVersion: 7\r\nContent-Length: 2\r\n\r\n12",
            reply(200, 7),
        );
        check(
            b"HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n",
            reply(404, 0),
        );
        check(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n12", None);
        check(b"HTTP/1.1 200 OK\r\nVersion: 7", None);
        check(b"", None);
        check(b"hello\r\n\r\n", None);
        check(
            &[b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'x'; 9000]].concat(),
            None,
        );
    }
}
