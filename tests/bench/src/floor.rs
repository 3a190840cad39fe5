//! The floor: the least that any collector must do, and nothing else.
//!
//! One blocking connection each way. Records are decrypted where the kernel put them, base64 is
//! decoded out of them, and an image is encrypted from where it was decoded. It knows one form of
//! line only, keeps nothing, retries nothing, signs nothing: a measure, not a collector.

mod http;
mod images;
mod tls;

use std::path::PathBuf;

use self::{
    http::{Address, Reply},
    images::Images,
    tls::Connection,
};

/// What the floor is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Gemini's address.
    #[arg(long)]
    gemini: String,
    /// S3's address.
    #[arg(long)]
    aws: String,
    /// The certificate to trust, as PEM.
    #[arg(long)]
    authority: PathBuf,
    /// The dataset.
    #[arg(long)]
    dataset: String,
}

/// Collects a dataset.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (gemini, aws) = (
        Address::parse(&arguments.gemini)?,
        Address::parse(&arguments.aws)?,
    );
    let mut down = Connection::open(&gemini, &arguments.authority)?;
    let mut up = Connection::open(&aws, &arguments.authority)?;
    let request = format!(
        "GET /v1beta/files/{}:download?alt=media HTTP/1.1\r\nhost: {}\r\n\r\n",
        arguments.dataset, gemini.authority
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
