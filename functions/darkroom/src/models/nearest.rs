//! The known names that a mistaken one may have meant.

/// The known names nearest to `name`, best first; none when all are too far to be meant.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted: Vec<char> = name.chars().take(80).flat_map(char::to_lowercase).collect();
    let bound = (wanted.len() / 3).max(1);
    let mut found: Vec<(usize, &str)> = known
        .into_iter()
        .map(|candidate| (distance(&wanted, candidate), candidate))
        .filter(|(distance, _)| *distance <= bound)
        .collect();
    found.sort();
    found
        .into_iter()
        .map(|(_, candidate)| candidate)
        .take(3)
        .collect()
}

/// Letters to insert, delete or replace.
fn distance(wanted: &[char], candidate: &str) -> usize {
    let mut row: Vec<usize> = (0..=wanted.len()).collect();
    for (count, letter) in candidate.chars().flat_map(char::to_lowercase).enumerate() {
        let mut diagonal = row[0];
        row[0] = count + 1;
        for (place, other) in wanted.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[place + 1];
            row[place + 1] = replaced.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row[wanted.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["prompt", "aspect_ratio", "image_size", "n"];
        assert_eq!(nearest("promt", known), ["prompt"]);
        assert_eq!(nearest("Aspect Ratio", known), ["aspect_ratio"]);
        assert_eq!(nearest("colour", known), [""; 0]);
        assert_eq!(nearest("", known), ["n"]);
    }
}
