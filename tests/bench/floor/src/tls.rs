//! A TLS connection without intermediate buffers: records are decrypted in place and encrypted into
//! one buffer.

use std::{
    fs,
    io::{self, Read, Write},
    net::TcpStream,
    path::Path,
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    client::UnbufferedClientConnection,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    unbuffered::{ConnectionState, UnbufferedStatus},
    version::TLS13,
};

use super::http::Address;

/// The number of bytes to read from the socket at once.
const READ_BYTES: usize = 256 << 10;
/// The number of bytes to write to the socket at once.
const WRITE_BYTES: usize = 256 << 10;
/// The maximum content of a record, and the space that it needs when encrypted (RFC 8446 §5.2).
const RECORD_BYTES: usize = 16 << 10;
const ENCRYPTED_BYTES: usize = RECORD_BYTES + 256;

/// A blocking connection.
pub(super) struct Connection {
    socket: TcpStream,
    tls: UnbufferedClientConnection,
    incoming: Vec<u8>,
    /// The number of bytes in `incoming`.
    filled: usize,
    outgoing: Vec<u8>,
}

impl Connection {
    /// Connects to a server whose certificate `authority`, a PEM file, has signed. The handshake
    /// happens with the first bytes.
    pub(super) fn open(address: &Address, authority: &Path) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&fs::read(authority)?) {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(address.host.clone())?;
        let socket = TcpStream::connect(&address.authority)?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            tls: UnbufferedClientConnection::new(Arc::new(config), name)?,
            incoming: vec![0; READ_BYTES],
            filled: 0,
            outgoing: vec![0; WRITE_BYTES + ENCRYPTED_BYTES],
        })
    }

    /// Sends all of these bytes.
    pub(super) fn send(&mut self, parts: &[&[u8]]) -> anyhow::Result<()> {
        loop {
            let UnbufferedStatus { discard, state, .. } = self
                .tls
                .process_tls_records(&mut self.incoming[..self.filled]);
            let mut sent = false;
            match state? {
                ConnectionState::EncodeTlsData(mut data) => {
                    let length = data.encode(&mut self.outgoing)?;
                    self.socket.write_all(&self.outgoing[..length])?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::BlockedHandshake => {
                    self.filled += read(&mut self.socket, &mut self.incoming[self.filled..])?;
                }
                ConnectionState::WriteTraffic(mut traffic) => {
                    let mut length = 0;
                    for record in parts.iter().flat_map(|part| part.chunks(RECORD_BYTES)) {
                        length += traffic.encrypt(record, &mut self.outgoing[length..])?;
                        if length >= WRITE_BYTES {
                            self.socket.write_all(&self.outgoing[..length])?;
                            length = 0;
                        }
                    }
                    self.socket.write_all(&self.outgoing[..length])?;
                    sent = true;
                }
                state => anyhow::bail!("the connection is in no state to send: {state:?}"),
            }
            self.discard(discard);
            if sent {
                return Ok(());
            }
        }
    }

    /// Waits for bytes and passes the content of complete records to `sink`.
    pub(super) fn receive(
        &mut self,
        mut sink: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.filled += read(&mut self.socket, &mut self.incoming[self.filled..])?;
        let mut done = 0;
        loop {
            let status = self
                .tls
                .process_tls_records(&mut self.incoming[done..self.filled]);
            done += status.discard;
            match status.state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        done += record.discard;
                        sink(record.payload)?;
                    }
                }
                _ => break,
            }
        }
        self.discard(done);
        Ok(())
    }

    /// Removes bytes that were handled, and moves the following ones to the front.
    fn discard(&mut self, bytes: usize) {
        self.incoming.copy_within(bytes..self.filled, 0);
        self.filled -= bytes;
    }
}

fn read(socket: &mut TcpStream, into: &mut [u8]) -> io::Result<usize> {
    match socket.read(into)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        length => Ok(length),
    }
}
