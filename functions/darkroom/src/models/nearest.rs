//! Suggestions for a misspelled name.

/// Returns up to three known names nearest to `name`, best first. The list is empty if no name is
/// near.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted: Vec<char> = name.chars().take(80).flat_map(char::to_lowercase).collect();
    // A third of the letters may differ.
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

/// Returns the Levenshtein distance, ignoring case: the number of letters to insert, delete or
/// replace.
fn distance(wanted: &[char], candidate: &str) -> usize {
    let mut row: Vec<usize> = (0..=wanted.len()).collect();
    for (count, letter) in candidate.chars().flat_map(char::to_lowercase).enumerate() {
        let mut diagonal = row[0];
        row[0] = count + 1;
        for (index, other) in wanted.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[index + 1];
            row[index + 1] = replaced.min(diagonal + 1).min(row[index] + 1);
        }
    }
    row[wanted.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_near_names_only() {
        let known = ["prompt", "aspect_ratio", "image_size", "n"];
        assert_eq!(nearest("promt", known), ["prompt"]);
        assert_eq!(nearest("Aspect Ratio", known), ["aspect_ratio"]);
        assert_eq!(nearest("colour", known), [""; 0]);
        assert_eq!(nearest("", known), ["n"]);
    }
}
