//! The floor: the minimum that any collector must do.
//!
//! It uses one blocking connection in each direction. Records are decrypted in place, base64 is
//! decoded from them, and an image is encrypted from where it was decoded. It accepts one form of
//! line, stores no state, retries nothing and signs nothing, so it is a measure and not a
//! collector.

mod http;
mod images;
mod tls;

use std::path::PathBuf;

use self::{
    http::{Address, Reply},
    images::Images,
    tls::Connection,
};

/// The arguments of the floor.
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

/// Downloads a dataset and uploads its images.
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
