//! Memory does not grow with the manifest.

use std::{cell::Cell, io::Read, rc::Rc};

use super::*;

const PROMPT: &str = "a canvas sneaker in off white, three-quarter view, pure white background, soft shadow under the \
                      sole, laces tied, no text, no other object, the whole shoe in the picture, seen from slightly above";

/// A manifest that is generated while it is read.
struct Endless<F> {
    item: F,
    number: u64,
    count: u64,
    rest: Vec<u8>,
    given: Rc<Cell<u64>>,
}

impl<F: Fn(u64, u64) -> String> Read for Endless<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() && self.number <= self.count {
            self.rest = (self.item)(self.number, self.count).into_bytes();
            self.number += 1;
        }
        let count = self.rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.rest[..count]);
        self.rest.drain(..count);
        self.given.set(self.given.get() + count as u64);
        Ok(count)
    }
}

#[test]
fn images_are_passed_on_while_the_manifest_is_read() {
    let table = |number, _| match number {
        0 => "key,prompt,aspect_ratio\n".to_owned(),
        _ => format!("SKU-{number:06},\"{PROMPT}\",4:5\n"),
    };
    let lines = |number, _| format!("{{\"key\":\"SKU-{number:06}\",\"prompt\":\"{PROMPT}\"}}\n");
    let array = |number, count| {
        let (start, end) = (
            if number == 0 { "[" } else { "" },
            if number == count { "]" } else { "," },
        );
        format!("{start}{{\"key\":\"SKU-{number:06}\",\"prompt\":\"{PROMPT}\"}}{end}\n")
    };
    let forms: [&dyn Fn(u64, u64) -> String; 3] = [&table, &lines, &array];
    for item in forms {
        let source = |given: &Rc<Cell<u64>>| Endless {
            item,
            number: 0,
            count: 5_000,
            rest: Vec::new(),
            given: given.clone(),
        };
        let given = Rc::new(Cell::new(0));
        let header = Header::read(source(&given), &context()).unwrap();
        assert!(given.get() < 200_000, "the header needs only the start");

        let given = Rc::new(Cell::new(0));
        let (mut taken, mut most) = (0, 0);
        let reading = read(source(&given), &header, &context(), |image| {
            taken += item(image.line.max(1), 0).len() as u64;
            most = most.max(given.get().saturating_sub(taken));
            Ok(())
        });
        let reading = reading.unwrap();
        assert_eq!(reading.errors, 0, "{:?}", reading.problems);
        assert!(
            reading.images >= 5_000 && most < 300_000,
            "{} images, {most} bytes ahead",
            reading.images
        );
    }
}
