//! The models that the manifests of a folder may name.

use super::{Catalog, Model};
use crate::names::FolderPath;

/// The models that the manifests of a folder may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedModels {
    folder: FolderPath,
    names: Vec<String>,
}

impl AllowedModels {
    /// Allows these names in a folder: full ids, and families with all of their models.
    pub fn new(folder: FolderPath, names: Vec<String>) -> Self {
        Self { folder, names }
    }

    /// Returns why a model is not allowed, as a message for the user, or `None` if it is.
    pub fn refusal(&self, model: &Model, catalog: &Catalog) -> Option<String> {
        // A model that the catalog lacks has the family of the model whose prices it borrows.
        let family = catalog.model(&model.id).map(|known| known.family.as_str());
        let is_allowed = |name: &String| *name == model.id || Some(name.as_str()) == family;
        (!self.names.iter().any(is_allowed)).then(|| {
            format!(
                "{} is not allowed in {}: use {}",
                model.id,
                self.folder,
                self.names.join(" or ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_allows_its_models_and_an_id_allows_itself() {
        let catalog = Catalog::built_in();
        let folder = FolderPath::new("inbox/acme/**");
        let refused = |names: &[&str], model: &Model| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            AllowedModels::new(folder.clone(), names).refusal(model, &catalog)
        };
        let model = catalog.model("gemini-3-pro-image").unwrap();
        assert_eq!(refused(&["nano-banana-pro"], model), None);
        assert_eq!(refused(&["gemini-3-pro-image"], model), None);
        assert_eq!(
            refused(&["nano-banana-2", "nano-banana-2-lite"], model).unwrap(),
            "gemini-3-pro-image is not allowed in inbox/acme/**: use nano-banana-2 or \
             nano-banana-2-lite"
        );

        // The stand-in of an unknown model has the family of another one.
        let (unknown, _) = catalog.stand_in("gemini-9-image").unwrap();
        assert!(refused(&[&unknown.family], &unknown).is_some());
        assert_eq!(refused(&["gemini-9-image"], &unknown), None);
    }
}
