//! The floor: the minimum that any collector must do.
//!
//! It uses one blocking connection in each direction. Records are decrypted in place, base64 is
//! decoded from them, and an image is encrypted from where it was decoded. It accepts one form of
//! line, stores no state, retries nothing and signs nothing, so it is a measure and not a
//! collector.
//!
//! `tests/bench/run collector` starts it with the name of the dataset, the addresses of Gemini and
//! S3, and the file of the certificate to trust, as PEM. It is a separate crate because it is
//! compiled like the functions, which would take minutes for the crates of the services.

mod http;
mod images;
mod tls;

use std::env;

use anyhow::bail;

use self::{
    http::{Address, Reply},
    images::Images,
    tls::Connection,
};

/// Downloads a dataset and uploads its images.
fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [dataset, gemini, aws, authority] = &arguments[..] else {
        bail!("usage: floor DATASET GEMINI S3 CERTIFICATE");
    };
    let (gemini, aws) = (Address::parse(gemini)?, Address::parse(aws)?);
    let mut down = Connection::open(&gemini, authority.as_ref())?;
    let mut up = Connection::open(&aws, authority.as_ref())?;
    let request = format!(
        "GET /v1beta/files/{}:download?alt=media HTTP/1.1\r\nhost: {}\r\n\r\n",
        dataset, gemini.authority
    );
    down.send(&[request.as_bytes()])?;
    let (mut reply, mut images) = (Reply::default(), Images::default());
    while !reply.is_complete() {
        down.receive(|bytes| images.feed(reply.body(bytes)?))?;
        while let Some(image) = images.finished() {
            let head = format!(
                "PUT /bench/{}.png HTTP/1.1\r\nhost: {}\r\ncontent-type: image/png\r\n\
                 x-amz-content-sha256: UNSIGNED-PAYLOAD\r\nx-amz-checksum-crc32: {}\r\ncontent-length: {}\r\n\r\n",
                image.key,
                aws.authority,
                image.checksum(),
                image.bytes.len()
            );
            up.send(&[head.as_bytes(), &image.bytes])?;
            let mut reply = Reply::default();
            while !reply.is_complete() {
                up.receive(|bytes| reply.body(bytes).map(drop))?;
            }
            images.reuse(image);
        }
    }
    Ok(())
}
