//! What the model makes of a request: requests are parsed and answered with an image, a refusal or
//! an error.

pub(crate) mod answer;
pub(crate) mod error_form;
pub(crate) mod generate_request;
pub(crate) mod interactive;
pub(crate) mod line_form;
pub(crate) mod models;
pub(crate) mod outcome;
pub(crate) mod refusal;
pub(crate) mod service_tier;
pub(crate) mod shape_effect;
pub(crate) mod thought_signature;
pub(crate) mod usage;
