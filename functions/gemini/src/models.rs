//! The models that a key's project can use.

use serde::Deserialize;

use super::{Gemini, error::ApiError, listing::Listed, refusal::sanitize, wire::or_default};

/// A model that the API lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// The ID, such as `gemini-3-pro-image`, without `models/`.
    pub id: String,
    /// The methods that it supports, such as `batchGenerateContent`.
    pub methods: Vec<String>,
}

/// The members of a `Model` resource that are used.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WireModel {
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    supported_generation_methods: Vec<String>,
}

impl TryFrom<WireModel> for Model {
    type Error = ApiError;

    fn try_from(wire: WireModel) -> Result<Self, ApiError> {
        let id = wire.name.strip_prefix("models/").unwrap_or(&wire.name);
        let methods = wire.supported_generation_methods.iter();
        Ok(Self {
            id: sanitize(id),
            methods: methods.map(|method| sanitize(method)).collect(),
        })
    }
}

impl Listed for Model {
    type Wire = WireModel;

    const PATH: &'static str = "models";
    const MEMBER: &'static str = "models";

    fn name(&self) -> &str {
        &self.id
    }
}

impl Gemini {
    /// Returns all models that the project can use, in Google's order, each once. An incomplete
    /// list is an error. The call is free.
    ///
    /// # Errors
    /// The error of the first page that fails, or [`ApiError::Malformed`] when the pages form a
    /// cycle.
    pub async fn models(&self) -> Result<Vec<Model>, ApiError> {
        self.list().await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::fake_transport::{FakeTransport, client, json as answer};

    #[tokio::test]
    async fn models_have_their_ids_and_methods() {
        let fake = FakeTransport::replies([answer(
            200,
            &json!({"models": [
                {"name": "models/gemini-3-pro-image", "displayName": "Pro",
                 "supportedGenerationMethods": ["generateContent", "batchGenerateContent"]},
                {"name": "embed\u{1b}[2J", "supportedGenerationMethods": null},
            ]}),
        )]);
        let models = client(&fake).models().await.unwrap();
        let ids: Vec<&str> = models.iter().map(|model| model.id.as_str()).collect();
        assert_eq!(ids, ["gemini-3-pro-image", "embed [2J"]);
        assert_eq!(
            models[0].methods,
            ["generateContent", "batchGenerateContent"]
        );
        assert!(models[1].methods.is_empty());
        assert_eq!(fake.lines(), ["GET /v1beta/models?pageSize=100"]);
    }
}
