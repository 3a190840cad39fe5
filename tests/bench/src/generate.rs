//! Generates datasets with the same images and files on every machine.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
};

use anyhow::Context;
use bench::responses::{Form, crc32, line};
use fastrand::Rng;

use crate::dataset::{Dataset, Expected};

/// The seed of the random bytes.
const SEED: u64 = 7;

/// Generates a dataset with images of this form. Its responses file has `bytes` bytes, exceeded by
/// at most one line. Does nothing if the dataset exists.
pub(crate) fn generate(dataset: &Dataset, form: Form, bytes: u64) -> anyhow::Result<()> {
    if dataset.is_complete() {
        return Ok(());
    }
    let path = dataset.responses();
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = BufWriter::new(
        File::create(&path).with_context(|| format!("can't write {}", path.display()))?,
    );
    let mut random = Rng::with_seed(SEED);
    let mut images = Vec::new();
    let mut written = 0;
    while written < bytes {
        let image = form.image(&mut random);
        let key = format!("shoe-{:04}", images.len() + 1);
        let line = line(&key, form, &image)?;
        file.write_all(&line)?;
        written += line.len() as u64;
        images.push(Expected {
            key,
            bytes: image.len() as u64,
            crc32: crc32(&image),
        });
    }
    file.flush()?;
    dataset.complete(&images)
}
